"""Convolutions on tensor cores: plain, grouped and transposed ones; and of few channels.

Notebook (one H100 SXM; a prototype of the same design against cuDNN's fused kernels, fp16, us
inside a CUDA graph):

- Batch 1, ResNet-50: 3x3 64@56 3.8 (cuDNN 5.9), 128@28 5.0 (6.1), 256@14 6.2 (8.3), 512@7 7.7
  (13.0); 1x1 with a residual 64-256@56 3.4 (4.0); the whole network's convolutions 224 (306). Tiles
  of 64 x 32 x 64 with 5 stages win nearly everywhere, four blocks to a sum from 14 x 14 on.
- Batch 8: 407 (446); 64 x 64 and 64 x 128 win. Batch 64: 1957 (1950): 1x1 layers as fast as memory,
  3x3 layers at 0.75 to 0.85 of cuDNN with 128 x 128 and 128 x 256.
- Where the next kernel may begin decides more than the tile: in a network, at the start 277 us,
  after the wait 219, after the sum 223.
- Weights held before the wait, what each channel has loaded there too (then in tiles of any size),
  and six ways of a kernel instead of four in the graph: one H200, batch 1, before and after in one
  run, us: ResNet-50 206.8 and 179.1, MobileNetV2 94.3 and 92.2; YOLOv5s at level 2 without
  branches, by its builds' own clocks, 294 and 249. 10 to 20 less had been predicted for ResNet-50.
- In ResNet-50's graph held weights gain 0.3 to 1.5 a layer, mostly where sums are of up to 512
  numbers, in 64 x 64, and at 3x3 256@14 with three blocks to a sum in steps of 256. Sums of 1024
  in one block lose 1 to 3, as nothing is computed until all is there. The stem gains 3 in 128 x
  64: its gathers had waited for each other.
- No gain in that graph: a 1x1 that widens, its residual and the 1x1 that narrows again in one
  kernel, 1 to 4 slower a pair at 56, 28 and 14 pixels in the best of about six tiles, where 2
  less had been predicted; hints that L2 keep or drop weights; a residual loaded before the sum.
  The shares of a sum are all in flight at once already. Held steps of 64 in 16 x 64 gain at
  times; in steps of 256 the compiler keeps their weights in registers and spills.
- Predictions, to be measured: a stem whose steps take several rows of taps runs at memory's speed
  from batch 8 on; float32 by three products of TF32 is 3 to 4 times as fast as by fused
  multiply-adds, at an error of 1e-6.
- Triton 3.9 compiles one in 0.5 to 2 s on one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.convolution import Taps
from planck.codegen.triton.product import Product, Tile, write
from planck.codegen.triton.stem import Gather
from planck.codegen.triton.text import power_of_two
from planck.dtypes import SHORT_FLOATS, Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import constant, symbol
from planck.tactics.triton.images import Problem, dense_weights, read_problem
from planck.tactics.triton.operands import (
    dependent,
    has_room,
    pack_operands,
    precisions,
    tail_of,
    tf32,
    written_bytes,
)
from planck.tactics.triton.tiles import (
    Work,
    config_of,
    configs,
    interleaved,
    ranked,
    ranked_held,
    tile_of,
)

MAX_OFFERS: Final = 12  # without those that only let the next kernel begin later
HELD_OFFERS: Final = 3
FEW_CHANNELS: Final = 4  # below which a step of one tap would be mostly empty
WIDEST_STEP: Final = 128  # of a stem
WIDE_STEM: Final = 128  # rows of its tile, where all of a tile's loads are in flight
MAX_WARPS: Final = 8
GATHERED: Final = 32 * 32  # elements of a step, for one warp: addresses take registers


class TensorConvolution:
    """One tap and some channels a step."""

    name = "triton_convolution"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel, moving=True)
        if isinstance(problem, No):
            return problem
        shape = problem.shape
        if shape.channels <= FEW_CHANNELS and shape.groups == 1:
            return No(f"{shape.channels} channels are too few for a step")
        op, w = problem.form.node.op, problem.form.node.inputs[1].type
        if isinstance(op, Conv) and op.is_depthwise(w) and w.dims[0] == op.groups:
            return No("one filter for each channel: most of a product would be zeros")
        found = []
        for precision in precisions(kernel, shape.multiplied, w.dtype in SHORT_FLOATS):
            work = Work(
                shape.rows, shape.columns, shape.outer,
                shape.down.taps * shape.across.taps * shape.channels, shape.channels,
                written_bytes(problem.form), shape.multiplied.bytes, precision,
            )  # fmt: skip
            tiles, held = (
                [t for t in own if has_room(problem.form, t.bm, t.bn, t.warps)]
                for own in (ranked(work, kernel.target), ranked_held(work, kernel.target))
            )
            found.append(configs(tiles, MAX_OFFERS, held[:HELD_OFFERS]))
        return interleaved(found)

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem, tile = _take(kernel), tile_of(config)
        loads = Taps(problem.shape, tile)
        return write(Product(
            symbol("convolution", kernel, config), loads, tile, tail_of(problem.form),
            dependent(kernel), _growth(problem, loads),
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem, tile = _take(kernel), tile_of(config)
        dense = dense_weights(problem, _weights(problem, constants))
        chunked = Taps(problem.shape, tile).chunks * tile.bk
        outer, columns, down, across, channels = dense.shape
        packed = np.zeros((outer, _whole(columns, tile.bn), down * across, chunked), np.float32)
        packed[:, :columns, :, :channels] = dense.reshape(outer, columns, -1, channels)
        return _packed(problem, tile, constants, packed)


class StemConvolution:
    """Few channels: several rows of taps a step, gathered from wherever they lie."""

    name = "triton_stem"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel, moving=True)
        if isinstance(problem, No):
            return problem
        shape = problem.shape
        if shape.outer > 1:
            return No("groups, or phases of a transposed convolution")
        width = shape.across.taps * shape.channels
        if shape.channels >= 16 or width > WIDEST_STEP:
            return No(
                f"{shape.channels} channels and {shape.across.taps} taps make a step too long"
            )
        whole = shape.down.taps
        togethers = {whole if whole * width <= WIDEST_STEP else 1}
        togethers |= {k for k in (1, 2, 3) if k < whole and 16 <= k * width <= WIDEST_STEP}
        # The fewest padded elements, and among these the fewest steps.
        order = sorted(togethers, key=lambda k: (_padded(whole, k, width), -k))[:2]
        found = []
        short = problem.form.node.inputs[1].type.dtype in SHORT_FLOATS
        for precision in precisions(kernel, shape.multiplied, short):
            made = []
            for together in order:
                bk = max(16, power_of_two(together * width))
                steps = -(-whole // together)
                work = Work(
                    shape.rows, shape.columns, 1, steps * bk, bk,
                    written_bytes(problem.form), shape.multiplied.bytes, precision,
                )  # fmt: skip
                whole_sums = [t for t in ranked(work, kernel.target) if t.splits == 1]
                cut = list(dict.fromkeys(_gathering(t, bk) for t in whole_sums))[:5]
                if precision in ("", "tf32"):
                    held = replace(cut[0], held=True)
                    wide = replace(held, bm=WIDE_STEM, warps=4)
                    cut[1:1] = dict.fromkeys((wide, held))
                cut.insert(3, replace(cut[0], trigger=3))
                made += [{**config_of(t), "together": together} for t in cut]
            found.append(made)
        return interleaved(found)

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem, tile = _take(kernel), tile_of(config)
        loads = Gather(problem.shape, tile, config["together"])
        return write(Product(
            symbol("stem", kernel, config), loads, tile, tail_of(problem.form), dependent(kernel),
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem, tile = _take(kernel), tile_of(config)
        loads = Gather(problem.shape, tile, config["together"])
        (dense,) = dense_weights(problem, _weights(problem, constants))
        if not loads.channels_last:
            dense = dense.swapaxes(2, 3)
        columns, down = dense.shape[:2]
        rows = np.zeros((columns, loads.steps * loads.together, loads.width), np.float32)
        rows[:, :down] = dense.reshape(columns, down, -1)
        steps = rows.reshape(columns, loads.steps, -1)
        packed = np.zeros((_whole(columns, tile.bn), loads.steps, tile.bk), np.float32)
        packed[:columns, :, : steps.shape[2]] = steps
        return _packed(problem, tile, constants, packed)


def _gathering(tile: Tile, bk: int) -> Tile:
    """A tile whose loads cannot be in flight, with threads enough for its addresses."""
    room = GATHERED // 2 if tile.precision == "tf32x3" else GATHERED
    warps = max(tile.warps, power_of_two(-(-tile.bm * bk // room)))
    bm = tile.bm if warps <= MAX_WARPS else tile.bm * MAX_WARPS // warps
    return replace(tile, bm=bm, bk=bk, stages=2, warps=min(warps, MAX_WARPS))


def _padded(taps: int, together: int, width: int) -> int:
    return -(-taps // together) * max(16, power_of_two(together * width))


def _take(kernel: Kernel) -> Problem:
    problem = read_problem(kernel, moving=True)
    assert isinstance(problem, Problem), problem
    return problem


def _weights(problem: Problem, constants: Mapping[str, Array]) -> Array:
    return constant(problem.form.kernel, constants, problem.form.node.inputs[1].name)


def _whole(size: int, tile: int) -> int:
    return -(-size // tile) * tile


def _growth(problem: Problem, loads: Taps) -> int:
    shape, weights = problem.shape, problem.form.node.inputs[1].type
    packed = shape.outer * _whole(shape.columns, loads.tile.bn) * loads.steps * loads.tile.bk
    return max(0, packed * shape.weights_dtype.bytes - weights.size * weights.dtype.bytes)


def _packed(
    problem: Problem, tile: Tile, constants: Mapping[str, Array], weights: Array
) -> dict[str, Array]:
    shape, name = problem.shape, problem.form.node.inputs[1].name
    others = pack_operands(problem.form, constants, frozenset([name]))
    rounded = tf32(weights) if tile.precision == "tf32" else weights
    return {**others, shape.weights: rounded.astype(shape.weights_dtype.numpy)}
