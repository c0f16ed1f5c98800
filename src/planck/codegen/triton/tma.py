"""Products of large matrices whose tiles the copy engine (TMA) brings to shared memory.

    for tile in the block's tiles:
        for step in steps:  load a[BM, BK] and b[BN, BK] of two tensor maps; add their product
        epilogue and store

A tile may be as wide as a sum of powers of two, 192 = 128 + 64: that makes as many tiles as the GPU
has multiprocessors. A block with several tiles loads the next one's operands while it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

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


class Sides(Protocol):
    """What is multiplied: an operand's rows by a constant's, both as long as the sum."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def sums(self) -> int: ...

    @property
    def left(self) -> tuple[str, DType, int]:
        """Name, dtype, and elements from row to row."""
        ...

    @property
    def right(self) -> str:
        """The packed constant, of the same dtype."""
        ...

    def write_rows(self, t: Text, bm: int) -> None:
        """Write what is known of a tile's rows `m`."""
        ...

    def placing(self, t: Text, bm: int, bn: int) -> Placing:
        """Write where results lie in columns `n`."""
        ...


@dataclass(frozen=True, slots=True)
class MatrixSides:
    shape: matmul.Shape

    @property
    def rows(self) -> int:
        return self.shape.m

    @property
    def columns(self) -> int:
        return self.shape.n

    @property
    def sums(self) -> int:
        return self.shape.k

    @property
    def left(self) -> tuple[str, DType, int]:
        own = self.shape.memory[self.shape.a]
        return self.shape.a, own.dtype, own.row

    @property
    def right(self) -> str:
        return self.shape.b

    def write_rows(self, t: Text, bm: int) -> None:
        if self.shape.m % bm:
            t(f"rows = m < {self.shape.m}")

    def placing(self, t: Text, bm: int, bn: int) -> Placing:
        if self.shape.n % bn:
            t(f"columns = n < {self.shape.n}")
        return matmul.masked(t, self.shape, bm, bn)


@dataclass
class PixelSides:
    """A convolution of single pixels, of an image whose pixels are equally far apart."""

    shape: convolution.Shape
    _rows: str = ""

    @property
    def rows(self) -> int:
        return self.shape.rows

    @property
    def columns(self) -> int:
        return self.shape.columns

    @property
    def sums(self) -> int:
        return self.shape.channels

    @property
    def left(self) -> tuple[str, DType, int]:
        return self.shape.x, self.shape.x_dtype, self.shape.x_place.column

    @property
    def right(self) -> str:
        return self.shape.weights

    def write_rows(self, t: Text, bm: int) -> None:
        self._rows = convolution.write_pixels(t, self.shape, bm)

    def placing(self, t: Text, bm: int, bn: int) -> Placing:
        columns = convolution.write_columns(t, self.shape, bn)
        return convolution.results(t, self.shape, self._rows, columns)


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
    sides.write_rows(t, cut.bm)
    for k, (first, width) in enumerate(cut.widths):
        t(f"n = pn * {cut.bn}" + f" + {first}" * bool(first) + f" + tl.arange(0, {width})")
        product.tail.write(t, f"acc{k}", sides.placing(t, cut.bm, cut.bn), "n", f"e{k}")
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
