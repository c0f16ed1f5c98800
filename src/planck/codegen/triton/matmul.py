"""Matrix products: batches of [M, K] x [K, N], each side wherever its strides say.

A constant right side is packed as [N, K], zeros up to whole tiles. Few rows (`Rows`) are no work
for tensor cores: each block reads some columns' weights once and multiplies all rows by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.epilogue import Placing, Tail
from planck.codegen.triton.product import Tile, share_sums, split_block
from planck.codegen.triton.text import Text, both, load, power_of_two, times, total
from planck.dtypes import DType


@dataclass(frozen=True, slots=True)
class Matrix:
    """Strides in elements: of each batch axis, of rows and of columns; 0 where it broadcasts."""

    batch: tuple[int, ...]
    row: int
    column: int
    dtype: DType
    aligned: bool = True

    def at(self, batch: tuple[int, ...]) -> str:
        """Where the block's own matrix begins; "" for the first."""
        axes = enumerate(zip(batch, self.batch, strict=True))
        far = total(*(times(f"z{k}", s) for k, (n, s) in axes if n > 1))
        return "" if far == "0" else far


@dataclass(frozen=True, slots=True)
class Shape:
    """A product, ready to be cut.

    packed:      whether b lies as [N, K], padded
    multiplied:  the dtype that both sides have when they meet
    memory:      how both sides, outputs and operands of the epilogue lie
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a: str
    b: str
    packed: bool
    packed_dtype: DType
    multiplied: DType
    memory: Mapping[str, Matrix]
    channel_strides: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Results:
    """Where a tile of results lies: a Placing."""

    shape: Shape
    mask: str
    columns: str

    def offset(self, name: str) -> str:
        own = self.shape.memory[name]
        down, across = times("m", own.row) or "m * 0", times("n", own.column) or "n * 0"
        return total(own.at(self.shape.batch), f"({down})[:, None]", f"({across})[None, :]")

    def along(self, name: str) -> str:
        return times("n", self.shape.channel_strides.get(name, 1)) or "n * 0"


def write_batch(t: Text, batch: tuple[int, ...]) -> None:
    """The numbers of the block's matrix along each batch axis: z0, z1, ..."""
    for k, extent in enumerate(batch):
        inner = math.prod(batch[k + 1 :])
        if extent > 1:
            t(f"z{k} = outer // {inner} % {extent}")


def masked(t: Text, shape: Shape, bm: int, bn: int) -> Results:
    """Which results there are; `rows` and `columns` may be written already."""
    rows = "rows" if shape.m % bm else ""
    columns = "columns" if shape.n % bn else ""
    mask = both(f"{rows}[:, None]" if rows else "", f"{columns}[None, :]" if columns else "")
    if mask:
        t(f"there = {mask}")
    return Results(shape, "there" if mask else "", columns)


def write_masks(t: Text, shape: Shape, bm: int, bn: int) -> None:
    write_mask(t, "rows", "m", shape.m, bm)
    write_mask(t, "columns", "n", shape.n, bn)


def write_mask(t: Text, name: str, places: str, extent: int, tile: int) -> str:
    """Which places are inside, where not all are; gives the mask's name, or ""."""
    if extent % tile == 0:
        return ""
    t(f"{name} = {places} < {extent}")
    return name


@dataclass(frozen=True, slots=True)
class Matrices:
    """The loads of a matrix product, BK of its sum a step."""

    shape: Shape
    tile: Tile

    @property
    def steps(self) -> int:
        return -(-self.shape.k // self.tile.bk)

    @property
    def outer(self) -> int:
        return math.prod(self.shape.batch)

    @property
    def rows(self) -> int:
        return self.shape.m

    @property
    def columns(self) -> int:
        return self.shape.n

    def setup(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        write_batch(t, shape.batch)
        write_masks(t, shape, tile.bm, tile.bn)
        a = shape.memory[shape.a]
        far = total(t.pointer(shape.a, a.dtype, a.aligned), a.at(shape.batch))
        down, across = times("m", a.row) or "m * 0", times("kk", a.column) or "kk * 0"
        t(f"x = {far} + ({down})[:, None] + ({across})[None, :]")
        if shape.packed:
            b = t.pointer(shape.b, shape.packed_dtype)
            t(f"w = {b} + n[None, :] * {self.steps * tile.bk} + kk[:, None]")
            return
        own = shape.memory[shape.b]
        far = total(t.pointer(shape.b, own.dtype, own.aligned), own.at(shape.batch))
        down, across = times("kk", own.row) or "kk * 0", times("n", own.column) or "n * 0"
        t(f"w = {far} + ({across})[None, :] + ({down})[:, None]")

    def fetch(self, t: Text) -> None:
        """A line is 128 bytes; only packed weights are there before the wait."""
        shape, tile = self.shape, self.tile
        if shape.packed:
            write_fetch(t, t.pointer(shape.b, shape.packed_dtype), self.steps, tile.bk,
                        shape.packed_dtype)  # fmt: skip

    def left(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        a = shape.memory[shape.a]
        rows = "rows[:, None]" if shape.m % tile.bm else ""
        deep = shape.k % tile.bk != 0
        if deep:
            t(f"deep = step * {tile.bk} + kk < {shape.k}")
        far = times("step", tile.bk * a.column)
        left = load(total("x", far), both(rows, "deep[None, :]" if deep else ""))
        t(f"a = {left}" + _widened(a.dtype, shape.multiplied))

    def right(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        columns = "columns[None, :]" if shape.n % tile.bn else ""
        deep = shape.k % tile.bk != 0
        if shape.packed:
            t(f"b = tl.load(w + step * {tile.bk})" + _widened(shape.packed_dtype, shape.multiplied))
            return
        own = shape.memory[shape.b]
        far = times("step", tile.bk * own.row)
        right = load(total("w", far), both("deep[:, None]" if deep else "", columns))
        t(f"b = {right}" + _widened(own.dtype, shape.multiplied))

    def placing(self, t: Text) -> Placing:
        return masked(t, self.shape, self.tile.bm, self.tile.bn)


def _widened(dtype: DType, to: DType) -> str:
    return "" if dtype is to else ".to(tl.float32)"


def write_fetch(t: Text, weights: str, steps: int, bk: int, dtype: DType) -> None:
    """Fetch a block's share of the rows `n` of packed weights to L2."""
    line = 128 // dtype.bytes
    t(f"lines = {weights} + n * {steps * bk}", f"for step in {t.share}:")
    for at in range(0, bk, line):
        t(f"    fetch(lines + (step * {bk}" + (f" + {at}))" if at else "))"))


@dataclass(frozen=True, slots=True)
class Rows:
    """Few rows by packed weights, without tensor cores."""

    symbol: str
    shape: Shape
    tail: Tail
    bn: int
    bk: int
    splits: int
    warps: int
    trigger: int
    fetch: bool
    dependent: bool
    growth_bytes: int = 0


def write_rows(rows: Rows) -> TritonCode:
    """Products summed along K in registers, first apart for each place of a step."""
    shape, bn, bk = rows.shape, rows.bn, rows.bk
    t = Text(rows.dependent)
    steps, tiles = -(-shape.k // bk), -(-shape.n // bn)
    whole = power_of_two(shape.m)
    split_block(t, rows.splits, steps)
    t(f"n = block * {bn} + tl.arange(0, {bn})", f"kk = tl.arange(0, {bk})")
    t(f"m = tl.arange(0, {whole})")
    write_masks(t, shape, whole, bn)
    b, a = t.pointer(shape.b, shape.packed_dtype), shape.memory[shape.a]
    x = t.pointer(shape.a, a.dtype, a.aligned)
    t(f"w = {b} + n[:, None] * {steps * bk} + kk[None, :]")
    if rows.fetch:
        t.fetches = True
        write_fetch(t, b, steps, bk, shape.packed_dtype)
    for k in range(shape.m):
        t(f"acc{k} = tl.zeros(({bn}, {bk}), tl.float32)")
    placing = masked(t, shape, whole, bn)
    loaded = rows.tail.load_constants(t, placing, "n")
    t.wait()
    if rows.trigger == 2:
        t.trigger()
    t(f"for step in {t.share}:")
    t.indent += 1
    t(f"b = tl.load(w + step * {bk}).to(tl.float32)", f"at = step * {bk} + kk")
    for k in range(shape.m):
        far = total(x, str(k * a.row) if k * a.row else "", times("at", a.column) or "at * 0")
        mask = f"at < {shape.k}" if shape.k % bk else ""
        t(f"acc{k} += b * {load(far, mask)}.to(tl.float32)[None, :]")
    t.indent -= 1
    if rows.trigger == 3:
        t.trigger()
    t(f"acc = tl.zeros(({whole}, {bn}), tl.float32)")
    for k in range(shape.m):
        t(f"acc = tl.where((m == {k})[:, None], tl.sum(acc{k}, 1)[None, :], acc)")
    if rows.splits > 1:
        share_sums(t, rows.splits, tiles, (whole, bn))
    rows.tail.write(t, "acc", placing, "n", loaded=loaded)
    return t.finish(rows.symbol, tiles * rows.splits, rows.warps, 2, rows.growth_bytes)
