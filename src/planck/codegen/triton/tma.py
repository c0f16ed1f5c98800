"""Products of large matrices whose tiles the copy engine (TMA) brings to shared memory.

    for tile in the block's tiles:
        for step in steps:  load a[BM, BK] and b[BN, BK] of two tensor maps; add their product
        epilogue and store

A tile may be as wide as a sum of powers of two, 192 = 128 + 64: that makes as many tiles as the GPU
has multiprocessors. A block with several tiles loads the next one's operands while it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from planck.codegen.triton import convolution, matmul
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.epilogue import Placing, Tail
from planck.codegen.triton.text import Text
from planck.dtypes import DType

DEPTH: Final = 64  # numbers of 16 bits in one line of shared memory
WIDEST: Final = 256  # columns of one instruction


@dataclass(frozen=True, slots=True)
class Cut:
    """How a product is cut.

    bm, bn:   rows and columns of a tile
    bk:       what is added in one step, a multiple of DEPTH
    blocks:   that go through all tiles; 0: one for each tile
    trigger:  when the next kernel may begin: 0 at the end, 2 after the wait
    """

    bm: int
    bn: int
    bk: int
    warps: int
    stages: int
    blocks: int = 0
    trigger: int = 2

    @property
    def widths(self) -> list[tuple[int, int]]:
        """Where each part of a tile's columns begins, and how wide it is: powers of two."""
        made, first = [], 0
        while first < self.bn:
            left = self.bn - first
            width = min(WIDEST, 1 << (left.bit_length() - 1))
            made.append((first, width))
            first += width
        return made


@dataclass(frozen=True, slots=True)
class Sides:
    """What is multiplied: an operand's rows by a constant's, both as long as the sum.

    left:        name, dtype, and elements from row to row
    right:       the packed constant, of the same dtype
    write_rows:  writes what is known of a tile's rows `m`, as many as given; gives their mask
    placing:     writes where results lie in columns `n`, given that mask and the tile's extents
    """

    rows: int
    columns: int
    sums: int
    left: tuple[str, DType, int]
    right: str
    write_rows: Callable[[Text, int], str]
    placing: Callable[[Text, str, int, int], Placing]


def of_matrices(shape: matmul.Shape) -> Sides:
    def write_rows(t: Text, bm: int) -> str:
        return matmul.write_mask(t, "rows", "m", shape.m, bm)

    def placing(t: Text, rows: str, bm: int, bn: int) -> Placing:
        matmul.write_mask(t, "columns", "n", shape.n, bn)
        return matmul.masked(t, shape, bm, bn)

    own = shape.memory[shape.a]
    left = (shape.a, own.dtype, own.row)
    return Sides(shape.m, shape.n, shape.k, left, shape.b, write_rows, placing)


def of_pixels(shape: convolution.Shape) -> Sides:
    """Of a convolution of single pixels, of an image whose pixels are equally far apart."""

    def write_rows(t: Text, bm: int) -> str:
        return convolution.write_pixels(t, shape, bm)

    def placing(t: Text, rows: str, bm: int, bn: int) -> Placing:
        return convolution.results(t, shape, rows, convolution.write_columns(t, shape, bn))

    left = (shape.x, shape.x_dtype, shape.x_place.column)
    return Sides(
        shape.rows, shape.columns, shape.channels, left, shape.weights, write_rows, placing
    )


@dataclass(frozen=True, slots=True)
class Product:
    """One kernel with everything decided."""

    symbol: str
    sides: Sides
    cut: Cut
    tail: Tail
    dependent: bool
    growth_bytes: int = 0


def write(product: Product) -> TritonCode:
    sides, cut = product.sides, product.cut
    t = Text(product.dependent)
    downs, acrosses = -(-sides.rows // cut.bm), -(-sides.columns // cut.bn)
    tiles, steps = downs * acrosses, -(-sides.sums // cut.bk)
    name, dtype, row = sides.left
    a = t.tensor(name, dtype, (sides.rows, sides.sums), row, (cut.bm, cut.bk))
    packed = (acrosses * cut.bn, steps * cut.bk)
    for _, width in cut.widths:
        t.tensor(sides.right, dtype, packed, packed[1], (width, cut.bk))
    grid = min(cut.blocks, tiles) if cut.blocks else tiles
    if cut.blocks:
        _start(t, product)
        t(f"for block in tl.range(tl.program_id(0), {tiles}, {grid}, flatten=True):")
        t.indent += 1
    else:
        t("block = tl.program_id(0)")
    t(f"pm = block // {acrosses}", f"pn = block % {acrosses}")
    if not cut.blocks:
        _start(t, product)
    _multiply(t, product, a, steps)
    t(f"m = pm * {cut.bm} + tl.arange(0, {cut.bm})")
    rows = sides.write_rows(t, cut.bm)
    for k, (first, width) in enumerate(cut.widths):
        t(f"n = pn * {cut.bn}" + f" + {first}" * bool(first) + f" + tl.arange(0, {width})")
        placing = sides.placing(t, rows, cut.bm, cut.bn)
        product.tail.write(t, f"acc{k}", placing, "n", f"e{k}")
    return t.finish(product.symbol, grid, cut.warps, cut.stages, product.growth_bytes)


def _start(t: Text, product: Product) -> None:
    t.wait()
    if product.cut.trigger == 2:
        t.trigger()


def _multiply(t: Text, product: Product, a: str, steps: int) -> None:
    cut, right = product.cut, product.sides.right
    for k, (_, width) in enumerate(cut.widths):
        t(f"acc{k} = tl.zeros(({cut.bm}, {width}), tl.float32)")
    t(f"for step in range({steps}):")
    t.indent += 1
    t(f"a = {a}.load([pm * {cut.bm}, step * {cut.bk}])")
    for k, (first, width) in enumerate(cut.widths):
        at = f"pn * {cut.bn}" + f" + {first}" * bool(first)
        t(f"b{k} = t_{right}_{width}.load([{at}, step * {cut.bk}])")
    for k in range(len(cut.widths)):
        t(f"acc{k} = tl.dot(a, b{k}.T, acc{k})")
    t.indent -= 1
