"""Convolutions of few channels, their rows of taps as one piece of memory, two results at once.

Notebook (one H200 SXM, Triton 3.6; us, fp16; medians of graphs of 24 launches)

    stem                     batch   gathered   copy    this, one at once   this, two at once
    7x7/2 3-64 @ 224, ReLU       1        6.5    1.2                  3.4                 3.3
                                 8       32.7    3.3                 13.7                12.2
                                18       70.2    5.5                 28.4                26.1
                                64      235     17.9                 93.4                89.8
    6x6/2 3-32 @ 640, SiLU       1       21.1    2.9                 10.1                 7.6
                                18      336     40.0                142                  91.8
    5x5/2 3-32 @ 320, ReLU       1        5.9    1.4                  3.5                 3.1
                                16       56.5    8.5                 31.7                22.2

    3x3, stride 1            batch   tap by tap   two, tap by tap   this, one   this, two
    32-32 @ 160, SiLU, add      18         51.9              48.2                    45.4
    32-32 @ 80, SiLU, add       64         45.8              42.9                    40.4
    64-64 @ 56, ReLU            64         47.5              39.1        44.8        40.3
    64-64 @ 80, SiLU, add       18         30.2              30.2        29.4        28.3
    16-16 @ 160, SiLU, add       8         12.5              14.6                    10.4

- "Gathered" is `triton_stem` on the picture, that of 7x7 and 6x6 of other runs; "copy" and "this"
  replace it (passes/deepen_stem.py). For the 6x6 stem two results at once were predicted to take
  91: what is brought to shared memory at 7 TB/s, then its results at memory's speed.
- The copy and the product of 3x3 stems take longer than gathering them, as prototypes: 416x416 at
  batch 64 55 + 95 (gathered 92.5), 640x640 at 8 17 + 24 (26.7), 224x224 at 1 1.5 + 2.3 (1.8). So
  only filters of 25 taps or more are replaced.
- Where the mask's taps were found as `k % width // channels`, Triton loaded single numbers unless
  the width was a power of two: 116 for 32-32 @ 160, one at once. Mended since, and not timed.
- Strides of 2 with pads are not offered: 3x3/2 32-64 @ 320 at batch 18 takes 77 tap by tap, two at
  once tap by tap 86.
- No gain, and not kept: four results at once; steps written out, their loads through L1; all of a
  sum in one step; tensor maps whose rows overlap (from 5 % faster to 14 % slower).
- Two results at once tap by tap gain less in most layers, and in one step of 64 numbers there are
  several taps of 16 or 32 channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.convolution import Shape
from planck.codegen.triton.product import Product, Tile, write
from planck.codegen.triton.strips import Strips
from planck.codegen.triton.text import power_of_two
from planck.dtypes import SHORT_FLOATS, Array
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import constant, symbol
from planck.tactics.triton.images import Problem, beside_each_other, dense_weights, read_problem
from planck.tactics.triton.operands import dependent, pack_operands, tail_of
from planck.tactics.triton.tiles import config_of, cores_of, tile_of

STEP: Final = 64
WIDEST: Final = 256  # columns of a tile
LANES: Final = 8  # elements that one thread loads at once
WAVES: Final = 2  # blocks for each multiprocessor, below which sums had better be shared
# Of what a step of one tap suits as well.
MOST_CHANNELS: Final = 64
MOST_COLUMNS: Final = 64

# results beside each other, rows, warps, stages
CUTS: Final = (
    (2, 64, 4, 2), (2, 128, 4, 3), (2, 128, 8, 3), (1, 64, 4, 2), (2, 128, 4, 2), (2, 64, 4, 3),
    (1, 128, 4, 3),
)  # fmt: skip
FEW: Final = 4  # cuts, where tap by tap is a way as well


class StripConvolution:
    """A sum of strips, as long as they come."""

    name = "triton_strips"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel)
        if isinstance(problem, No):
            return problem
        shape, form = problem.shape, problem.form
        inside = not (shape.down.leaves or shape.across.leaves)
        if (refusal := _no_strips(shape)) is not None:
            return refusal
        if not inside and (refusal := _better_by_taps(kernel, shape)) is not None:
            return refusal
        found = []
        for beside, bm, warps, stages in CUTS:
            bn = max(16, power_of_two(beside * shape.columns))
            apart = form.parts or form.resized or shape.across.out % beside
            if bn > WIDEST or (beside > 1 and apart):
                continue
            sums = Strips(shape.widened(beside), Tile(bm, bn, STEP), beside).sums
            tile = Tile(bm, bn, min(STEP, max(16, power_of_two(sums))), 1, warps, stages)
            found.append({**config_of(tile), "beside": beside})
        return tuple(found if inside else found[:FEW]) or No(f"{shape.columns} columns are many")

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem, loads = _take(kernel, config)
        weights = problem.form.node.inputs[1].type
        packed = _packed_columns(loads) * loads.steps * loads.tile.bk
        growth = max(0, packed - weights.size) * weights.dtype.bytes
        return write(Product(
            symbol("strips", kernel, config), loads, loads.tile, tail_of(problem.form),
            dependent(kernel), growth,
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem, loads = _take(kernel, config)
        name, shape, across = problem.form.node.inputs[1].name, problem.shape, problem.shape.across
        dense = dense_weights(problem, constant(kernel, constants, name))
        wide = beside_each_other(dense, loads.beside, across.stride // across.step)
        dtype = shape.weights_dtype.numpy
        packed = np.zeros((_packed_columns(loads), loads.steps * loads.tile.bk), dtype)
        packed[: loads.columns, : loads.sums] = wide.reshape(loads.columns, loads.sums)
        others = pack_operands(problem.form, constants, frozenset([name]))
        return {**others, shape.weights: packed}


def _no_strips(shape: Shape) -> No | None:
    """Why a row of taps is not one piece of memory, or is no more than a tap."""
    place, across = shape.x_place, shape.across
    if shape.outer > 1:
        return No("groups, or phases of a transposed convolution")
    if shape.multiplied not in SHORT_FLOATS:
        return No(f"multiplies {shape.multiplied}")
    if place.channel != 1 or shape.channels % LANES or shape.lanes != shape.channels:
        return No("pixels are not read whole")
    if not shape.x_aligned or any(n % LANES for n in (place.column, place.row, place.batch)):
        return No("pixels begin at no multiples of 16 bytes")
    if across.step < 0 or across.stride % across.step or across.taps * across.step <= across.stride:
        return No("neighbours have no taps in common")
    if shape.channels > MOST_CHANNELS:
        return No(f"{shape.channels} channels are a step of one tap")
    return None


def _better_by_taps(kernel: Kernel, shape: Shape) -> No | None:
    """Why a convolution with pads had better be made tap by tap."""
    if shape.down.stride * shape.across.stride > 1:
        return No("strides and pads")
    if shape.columns > MOST_COLUMNS:
        return No(f"{shape.columns} columns are many")
    cores = cores_of(kernel.target)
    beside, bm, *_ = CUTS[0]
    if shape.rows < beside * bm * WAVES * cores:
        return No(f"{shape.rows} pixels are too few for a tile each")
    return None


def _packed_columns(loads: Strips) -> int:
    return -(-loads.columns // loads.tile.bn) * loads.tile.bn


def _take(kernel: Kernel, config: Config) -> tuple[Problem, Strips]:
    problem = read_problem(kernel)
    assert isinstance(problem, Problem), problem
    beside = config["beside"]
    return problem, Strips(problem.shape.widened(beside), tile_of(config), beside)
