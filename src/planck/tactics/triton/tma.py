"""Large matrix products and 1x1 convolutions, their tiles brought by the copy engine (TMA).

Notebook (one H200 SXM, Triton 3.6; us, fp16 with bias, K -> 768 with a residual too; medians of 7
graphs of 24 launches). All three columns of a row are of one run. Rows of run 3 are of what is
offered here, 5 cuts, beside all 12 of the pointer loads; those of run 2 are the least of 14 to 45
cuts beside 6 of the pointer loads', which flatters ours:

    rows x K -> N         this    cuBLASLt  pointers   run  fastest cut
    1024 x 768 -> 2304    9.63    9.20      11.74      3    64 x 144
    1024 x 768 -> 768     6.32    6.33      6.65       3    64 x 128 x 128
    1024 x 768 -> 3072    11.61   11.18     11.96      3    128 x 96
    1024 x 3072 -> 768    12.47   11.17     17.30      3    64 x 128 x 128
    8192 x 768 -> 2304    51.58   49.63     55.87      3    128 x 256, blocks that stay
    8192 x 768 -> 768     24.10   18.48     24.57      3    128 x 128, blocks that stay
    8192 x 768 -> 3072    62.29   61.05     65.81      2    128 x 256, blocks that stay
    8192 x 3072 -> 768    60.99   54.38     64.76      2    128 x 128, blocks that stay
    2304 x 768 -> 2304    18.69   17.82     19.36      2    128 x 128, 4 warps
    2304 x 768 -> 768     8.82    8.11      9.10       2    64 x 128
    2304 x 768 -> 3072    21.91   24.27     23.25      2    128 x 128, 4 warps
    2304 x 3072 -> 768    20.42   18.13     20.98      2    128 x 128, 8 warps
    1x1 1024-256@14, 8    5.85    -         5.16       3    64 x 128 x 128
    1x1 512-2048@7, 8     6.00    -         6.13       3    64 x 128 x 128
    1x1 1024-256@14, 64   15.30   14.18     15.44      3    128 x 128, 4 warps (cuDNN)
    1x1 512-2048@7, 64    20.47   18.27     21.16      3    128 x 128, 4 warps (cuDNN)

- Between runs the same cut moved by up to 3 %, cuBLASLt's first row from 9.12 to 10.05, cuDNN's at
  batch 8 from 6 to 8 and more (left out): a few per cent either way say nothing. cuBLASLt stays
  ahead in ten of twelve, one is even; the goal was all. No network was timed with it and without.
- Predicted, and wrong: 128 x 192 in one wave would take 9.5 for 1024 x 768 -> 2304 (11.5). Smaller
  blocks, two to a multiprocessor, or steps of 128, did better; why was not measured.
- No gain, and taken out: two to four blocks to a sum (none among the first 16 cuts of either layer
  that had them); weights or residuals fetched to L2 ahead; 264 blocks that stay; 256 x 192.
- 8192 x 768 -> 3072 with GELU, one H200, blocks of 128 x 256 that stay: 97 while GELU took 27
  instructions an element, 70.6 with 11 of them (72 predicted), 61.5 with none; 128 x 128 88 before.
  1024 rows 15.4 before, 12.2 now; 1576 rows 23.3 and 20.6 (19.3 by pointers).
- Of no or little use there, beside 70.6: halves of 128 columns written one after the other 86,
  results stored by the copy engine 70.0, 264 blocks of 128 x 128 that stay 70.9.
- Left out: `warp_specialize` of Triton 3.6, a group of warps that loads and two that multiply. It
  wants four warps, and a box of half the rows, as each of the two groups loads its half. 128 x 256
  and 256 x 128 were right: 70.5 with GELU (72.1 so measured without), 49.2 for 768 -> 2304 (50.7),
  no gain for the others. 128 x 128 gave NaN, and Triton 3.9 does not compile it.
- The model below errs by 8 % (root mean square) on the twelve products of run 2, to which it was
  fitted; the fastest of CUTS is among its first five each time. Of other layers only the two
  convolutions at batch 64 were looked at: there too, going by run 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from planck.codegen.triton import tma
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.convolution import Taps
from planck.codegen.triton.product import Tile
from planck.codegen.triton.tma import DEPTH, Cut, Sides
from planck.dtypes import SHORT_FLOATS, Array
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import Anchored, constant, symbol
from planck.tactics.triton import images, matmul
from planck.tactics.triton.operands import dependent, has_room, pack_operands, tail_of
from planck.tactics.triton.tiles import SHARED_BYTES, cores_of

MAX_OFFERS: Final = 5
LEAST_ROWS: Final = 256
LEAST_COLUMNS: Final = 64
LEAST_SUMS: Final = 128
ROW_BYTES: Final = 16  # from row to row, a multiple
ELEMENT_BYTES: Final = 2

# Of the model, fitted to what the notebook's table was taken from.
FLOPS_PER_US: Final = 7.5e6  # of a multiprocessor
L2_BYTES_PER_US: Final = 154e3  # to a multiprocessor
WRITE_BYTES_PER_US: Final = 32e3
LATENCY_US: Final = 0.91  # from a load to its use
STEP_US: Final = 0.084  # of a block, beside its products
NARROWEST: Final = 64  # columns that an instruction takes no less time for

# rows, columns, sums of a step, warps, stages, whether blocks stay
CUTS: Final = (
    (64, 64, 64, 4, 6, 0), (64, 128, 64, 4, 4, 0), (64, 144, 64, 4, 4, 0), (64, 192, 64, 4, 3, 0),
    (128, 96, 64, 4, 3, 0), (128, 128, 64, 4, 3, 0), (128, 128, 64, 8, 7, 0),
    (64, 96, 128, 4, 5, 0), (64, 128, 128, 4, 4, 0), (128, 64, 128, 4, 4, 0),
    (128, 144, 128, 8, 3, 0), (128, 128, 64, 8, 5, 1), (128, 256, 64, 8, 4, 1),
    (256, 128, 64, 8, 4, 1),
)  # fmt: skip


class TmaProduct:
    """Tiles of two tensor maps, on tensor cores."""

    name = "triton_tma"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        found = _read(kernel)
        if isinstance(found, No):
            return found
        form, sides = found
        cores = cores_of(kernel.target)
        written = len(form.epilogue.of_kind("full")) + len(form.epilogue.outputs)
        cuts = []
        for bm, bn, bk, warps, stages, stays in CUTS:
            cut = Cut(bm, bn, bk, warps, stages, cores if stays else 0)
            enough = not stays or _tiles(sides, cut) > cores
            if enough and has_room(form, bm, bn, warps):
                cuts.append(cut)
        cuts.sort(key=lambda cut: cost_us(sides, cut, cores, written))
        return tuple(_config_of(cut) for cut in cuts[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        form, sides = _take(kernel)
        cut = Cut(**config)
        packed = _whole(sides.columns, cut.bn) * _whole(sides.sums, cut.bk)
        growth = 2 * max(0, packed - form.node.inputs[1].type.size)
        return tma.write(tma.Product(
            symbol("tma", kernel, config), sides, cut, tail_of(form), dependent(kernel), growth
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        form, sides = _take(kernel)
        name, dtype = form.node.inputs[1].name, sides.left[1]
        right = constant(kernel, constants, name)
        columns, sums = sides.columns, sides.sums
        if not isinstance(problem := matmul.read_problem(kernel), No):
            right = right.reshape(right.shape[-2:])
            right = right if problem.transpose_b else right.T
        whole = np.zeros((_whole(columns, config["bn"]), _whole(sums, config["bk"])), dtype.numpy)
        whole[:columns, :sums] = right.reshape(columns, sums)
        return {**pack_operands(form, constants, frozenset([name])), sides.right: whole}


def cost_us(sides: Sides, cut: Cut, cores: int, written: int) -> float:
    """What all tiles take, without what every launch takes.

    written:  matrices that the epilogue reads or writes
    """
    moved = (cut.bm + cut.bn) * cut.bk * ELEMENT_BYTES
    wide = sum(max(width, NARROWEST) for _, width in cut.widths)
    busy = 2 * cut.bm * wide * cut.bk / FLOPS_PER_US
    steps = -(-sides.sums // cut.bk)
    store = cut.bm * cut.bn * ELEMENT_BYTES * written / WRITE_BYTES_PER_US

    def wave(blocks: int) -> float:
        """Blocks side by side on one multiprocessor, one tile each."""
        step = max(blocks * busy, blocks * moved / L2_BYTES_PER_US, busy + STEP_US)
        return steps * max(step, LATENCY_US / (cut.stages - 1)) + blocks * store

    each = -(-_tiles(sides, cut) // cores)
    if cut.blocks:
        return each * wave(1) + LATENCY_US
    room = max(1, SHARED_BYTES // (cut.stages * moved + 1024))
    if cut.bm * cut.bn >= 4096 * cut.warps:  # their sums fill the registers
        room = min(room, 2)
    waves, rest = divmod(each, room)
    last = wave(rest) + LATENCY_US if rest else 0.0
    return waves * (wave(room) + LATENCY_US) + last


def _tiles(sides: Sides, cut: Cut) -> int:
    return -(-sides.rows // cut.bm) * -(-sides.columns // cut.bn)


def _config_of(cut: Cut) -> dict[str, Any]:
    return {own.name: getattr(cut, own.name) for own in fields(cut)}


def _take(kernel: Kernel) -> tuple[Anchored, Sides]:
    found = _read(kernel)
    assert not isinstance(found, No), found
    return found


def _read(kernel: Kernel) -> tuple[Anchored, Sides] | No:
    if not 90 <= kernel.target.sm < 100:
        return No("needs the copy engine and the tensor cores of Hopper")
    found = _pixels(kernel)
    if isinstance(found, No):
        refusal, found = found, _matrices(kernel)
        if isinstance(found, No):
            return No(f"{refusal}; {found}")
    sides = found[1]
    if sides.rows < LEAST_ROWS or sides.columns < LEAST_COLUMNS or sides.sums < LEAST_SUMS:
        return No(f"{sides.rows} x {sides.sums} by {sides.columns} is too small")
    if sides.left[2] * 2 % ROW_BYTES:
        return No(f"rows do not begin at multiples of {ROW_BYTES} bytes")
    return found


def _matrices(kernel: Kernel) -> tuple[Anchored, Sides] | No:
    problem = matmul.read_problem(kernel)
    if isinstance(problem, No):
        return problem
    shape = matmul.shape_of(problem)
    own = shape.memory[shape.a]
    if not shape.packed or int(np.prod(shape.batch, dtype=np.int64)) > 1:
        return No("the right side is no constant matrix")
    if own.dtype not in SHORT_FLOATS or shape.multiplied is not own.dtype:
        return No("it does not multiply 16-bit floats")
    if not own.aligned or own.column != 1:
        return No("the left side does not lie in aligned rows")
    return problem.form, tma.of_matrices(shape)


def _pixels(kernel: Kernel) -> tuple[Anchored, Sides] | No:
    problem = images.read_problem(kernel, moving=True)
    if isinstance(problem, No):
        return problem
    shape = problem.shape
    down, across, place = shape.down, shape.across, shape.x_place
    same = (down.size, across.size) == (down.out, across.out)
    single = Taps(shape, Tile(1, 1, DEPTH)).pointwise and same and shape.groups == 1
    if not single or not shape.is_flat(place, down.size, across.size):
        return No("it is no convolution of single pixels that lie equally far apart")
    if shape.x_dtype not in SHORT_FLOATS or shape.multiplied is not shape.x_dtype:
        return No("it does not multiply 16-bit floats")
    if not shape.x_aligned or place.channel != 1:
        return No("the image does not lie in aligned pixels")
    return problem.form, tma.of_pixels(shape)


def _whole(size: int, tile: int) -> int:
    return -(-size // tile) * tile
