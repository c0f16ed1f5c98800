"""Matrix multiplication: row-major A and C, B as packed panels, as it lies, or packed on the way.

A unit of work is one panel of columns by one group of rows of one product of the batch:

    (pack the panel of B into scratch)
    for strips of rows:
        for k, unrolled:  broadcast a[row, k], multiply by b[k, panel]
        epilogue and store; the last vector of a row is masked where N is no multiple of the lanes

In bfloat16 a k-step is a pair of neighbouring k; the panels hold pairs of rows of B, interleaved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from planck.codegen import bfloat
from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import function
from planck.codegen.microkernel import LINE_BYTES, Ahead, Steps, Vector, accumulate
from planck.codegen.tables import TableBuilder
from planck.codegen.tiling import balanced
from planck.codegen.transpose import transpose
from planck.dtypes import DType, f32
from planck.target import Target

# packed: panels made at build time; rows: read as it lies, N contiguous; copy: panels copied to
# scratch first; transpose: the same with K contiguous in memory.
Form = Literal["packed", "rows", "copy", "transpose"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Byte strides of a matrix: of each batch axis, of rows and of columns."""

    batch: tuple[int, ...]
    row: int
    column: int
    dtype: DType = f32


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is multiplied, how it lies, and the tile that it is cut by.

    batch:    extents of the batch axes; operands that broadcast have stride 0 there
    rows:     rows of a tile, at most
    vectors:  vectors of a panel; the last panel has what is left
    ahead:    lines of a coming panel to prefetch in each trip of the innermost loop
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    rows: int
    vectors: int
    unroll: int
    ahead: int = 0
    arguments: tuple[str, ...]
    a: str
    b: str
    memory: Mapping[str, Matrix]
    epilogue: Epilogue
    lanes: int

    @property
    def columns(self) -> int:
        """Vectors in a row of C."""
        return -(-self.n // self.lanes)

    @property
    def products(self) -> int:
        return math.prod(self.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplication(Product):
    """A product with everything decided.

    groups:       parts that the strips of rows are divided into
    panel_first:  neighbouring units share a panel rather than rows
    pairs:        both operands are bfloat16 and multiplied in pairs, half as many steps as k
    packed:       of panels made at build time that are no pairs: float32, float16 or float24
    """

    groups: int
    panel_first: bool
    form: Form
    pairs: bool = False
    packed: DType = f32

    @property
    def steps(self) -> int:
        """k-steps of a panel."""
        return -(-self.k // 2) if self.pairs else self.k

    @property
    def panels(self) -> int:
        return -(-self.columns // self.vectors)

    @property
    def column_bytes(self) -> int:
        """A vector of a panel made at build time."""
        return self.lanes * (4 if self.pairs else self.packed.bytes)

    @property
    def units(self) -> int:
        return self.products * self.panels * self.groups

    @property
    def panel_bytes(self) -> int:
        """Of B's panels."""
        vector = self.column_bytes if self.form == "packed" else self.lanes * 4
        return self.steps * self.vectors * vector

    @property
    def weight_bytes(self) -> int:
        """Of all panels made at build time."""
        return self.steps * self.columns * self.column_bytes

    @property
    def copied_bytes(self) -> int:
        """Scratch of a panel that is made at run time."""
        return self.panel_bytes if self.form in ("copy", "transpose") else 0

    @property
    def scratch_bytes(self) -> int:
        tile = 0 if self.epilogue.cheap else self.rows * self.vectors * self.lanes * 4
        return self.copied_bytes + tile


def write(target: Target, symbol: str, spec: Multiplication) -> str:
    """The module of one matrix multiplication kernel."""
    b = TableBuilder()
    _Writer(target, spec, b).kernel()
    return function(target, symbol, b)


def batch_offset(b: TableBuilder, batch: tuple[int, ...], memory: Matrix, product: str) -> str:
    """Bytes to the matrix that takes part in a product of the batch."""
    total, inner = "0", math.prod(batch)
    for extent, stride in zip(batch, memory.batch, strict=True):
        inner //= extent
        if extent == 1 or stride == 0:
            continue
        index = product if inner == 1 else b.let(f"udiv i64 {product}, {inner}")
        total = b.plus(total, b.times(b.let(f"urem i64 {index}, {extent}"), stride))
    return total


@dataclass(slots=True)
class _Panel:
    """Where one unit reads and writes; masked: lanes of the last vector, 0 if it is whole.

    ahead:  the panel that this thread is likely to multiply next
    """

    vectors: int
    masked: int
    a: str
    b: str
    ahead: str
    b_row: int  # bytes from one k to the next
    b_masked: bool
    at: dict[str, str]
    group: str


class _Writer:
    def __init__(self, target: Target, spec: Multiplication, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector.of(target)

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = b.arguments(spec.arguments)
        with b.loop("%begin", "%end") as unit:
            self.unit(unit)
        b.do("ret void")

    def unit(self, unit: str) -> None:
        """Decode the number of a unit and write its panel's code."""
        b, spec = self.b, self.spec
        if spec.panel_first:
            group = b.let(f"urem i64 {unit}, {spec.groups}")
            rest = b.let(f"udiv i64 {unit}, {spec.groups}")
            panel = b.let(f"urem i64 {rest}, {spec.panels}")
            product = b.let(f"udiv i64 {rest}, {spec.panels}")
        else:
            panel = b.let(f"urem i64 {unit}, {spec.panels}")
            rest = b.let(f"udiv i64 {unit}, {spec.panels}")
            group = b.let(f"urem i64 {rest}, {spec.groups}")
            product = b.let(f"udiv i64 {rest}, {spec.groups}")
        left = spec.columns - (spec.panels - 1) * spec.vectors
        masked = spec.n % spec.lanes
        if left == spec.vectors and not masked:
            self.panel(left, 0, panel, product, group)
            return
        if spec.panels == 1:
            self.panel(left, masked, panel, product, group)
            return
        whole, last, done = b.label("whole"), b.label("last"), b.label("paneldone")
        test = b.let(f"icmp slt i64 {panel}, {spec.panels - 1}")
        b.branch_if(test, whole, last)
        b.block(whole)
        self.panel(spec.vectors, 0, panel, product, group)
        b.branch(done)
        b.block(last)
        self.panel(left, masked, panel, product, group)
        b.branch(done)
        b.block(done)

    def panel(self, vectors: int, masked: int, panel: str, product: str, group: str) -> None:
        b, spec, size = self.b, self.spec, self.vector.bytes
        at = {}
        for name, pointer in self.base.items():
            if name in spec.memory:
                pointer = b.offset(pointer, batch_offset(b, spec.batch, spec.memory[name], product))
            at[name] = pointer
        a, right, ahead = at[spec.a], at[spec.b], ""
        if spec.form == "packed":
            right = b.offset(right, b.times(panel, spec.panel_bytes))
            ahead = b.offset(right, b.times("%direction", spec.panel_bytes))
        elif spec.form in ("rows", "copy"):
            right = b.offset(right, self.across(panel, spec.memory[spec.b].dtype))
        else:
            step = spec.vectors * spec.lanes * spec.memory[spec.b].column
            right = b.offset(right, b.times(panel, step))
        row, masks = vectors * (spec.column_bytes if spec.form == "packed" else size), False
        if spec.form == "rows":
            row, masks = spec.memory[spec.b].row, bool(masked)
        elif spec.form == "copy":
            self.copy(right, vectors, masked)
            right = "%scratch"
        elif spec.form == "transpose":
            self.transpose(right, vectors, masked)
            right = "%scratch"
        for name in (*spec.epilogue.operands, *spec.epilogue.outputs):
            if spec.epilogue.operands.get(name) != "scalar":
                at[name] = b.offset(at[name], self.across(panel, spec.epilogue.dtype(name)))
        self.strips(_Panel(vectors, masked, a, right, ahead, row, masks, at, group))

    def across(self, panel: str, dtype: DType) -> str:
        """Bytes to a panel's columns in a row."""
        return self.b.times(panel, self.spec.vectors * self.spec.lanes * dtype.bytes)

    # Panels of B made at run time

    def copy(self, right: str, vectors: int, masked: int) -> None:
        """[K, N] with N contiguous -> scratch [k-step][vectors * lanes]."""
        b, spec = self.b, self.spec
        per = 2 if spec.pairs else 1
        with b.loop(0, spec.k // per, hint="k") as k:
            self.copy_step(right, k, vectors, masked, per)
        if spec.k % per:
            self.copy_step(right, str(spec.k // per), vectors, masked, 1)

    def copy_step(self, right: str, k: str, vectors: int, masked: int, rows: int) -> None:
        """One k-step of the panel: a row of B, or a pair of rows (or its first) interleaved."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        memory = spec.memory[spec.b]
        source = b.offset(right, b.times(k, memory.row * (2 if spec.pairs else 1)))
        place = b.offset("%scratch", b.times(k, vectors * size))
        for n in range(vectors):
            count = masked if n == vectors - 1 else 0
            at = b.offset(source, n * spec.lanes * memory.dtype.bytes)
            value, other = self.vector.load(b, at, memory.dtype, count), ""
            if spec.pairs:
                if rows > 1:
                    below = b.offset(at, memory.row)
                    other = self.vector.load(b, below, memory.dtype, count)
                value = bfloat.pair(b, value, other, spec.lanes)
                b.store(self.vector.pairs, value, b.offset(place, n * size), 4)
            else:
                self.vector.store(b, value, b.offset(place, n * size))

    def transpose(self, right: str, vectors: int, masked: int) -> None:
        """[N, K] with K contiguous -> scratch [k-step][vectors * lanes], by squares of lanes."""
        b, spec, size, lanes = self.b, self.spec, self.vector.bytes, self.spec.lanes
        column = spec.memory[spec.b].column
        far = lanes * (4 if spec.pairs else spec.memory[spec.b].dtype.bytes)
        whole, left = divmod(spec.k // 2 if spec.pairs else spec.k, lanes)
        for n in range(vectors):
            count = masked if masked and n == vectors - 1 else lanes
            source = b.offset(right, n * lanes * column)
            place = b.offset("%scratch", n * size)
            if whole:
                with b.loop(0, whole, hint="k") as k:
                    self.square(
                        b.offset(source, b.times(k, far)),
                        b.offset(place, b.times(k, lanes * vectors * size)),
                        column, vectors * size, count, lanes,
                    )  # fmt: skip
            if left:
                self.square(
                    b.offset(source, whole * far),
                    b.offset(place, whole * lanes * vectors * size),
                    column, vectors * size, count, left,
                )  # fmt: skip
            if spec.pairs and spec.k % 2:
                last = b.offset(source, (spec.k - 1) * 2)
                to = b.offset(place, (spec.steps - 1) * vectors * size)
                self.last_column(last, to, column, count)

    def last_column(self, source: str, place: str, column: int, count: int) -> None:
        """The last k where K is odd: pairs with nothing, element by element."""
        b = self.b
        for i in range(self.spec.lanes):
            value = "0"
            if i < count:
                value = b.load("i16", b.offset(source, i * column), 2)
                value = b.let(f"zext i16 {value} to i32")
            b.store("i32", value, b.offset(place, 4 * i), 4)

    def square(
        self, source: str, place: str, column: int, row: int, count: int, depth: int
    ) -> None:
        """Transpose count columns by depth k-steps of B, each at most the lanes."""
        b, lanes = self.b, self.spec.lanes
        # A pair moves like a float32.
        dtype = f32 if self.spec.pairs else self.spec.memory[self.spec.b].dtype
        values = [
            self.vector.load(b, b.offset(source, i * column), dtype, depth) if i < count
            else "zeroinitializer"
            for i in range(lanes)
        ]  # fmt: skip
        for k, value in enumerate(transpose(b, values, self.vector.kind)[:depth]):
            self.vector.store(b, value, b.offset(place, k * row))

    # Tiles

    def strips(self, panel: _Panel) -> None:
        b, spec = self.b, self.spec
        pieces = balanced(spec.m, spec.rows)
        before = 0
        for size in dict.fromkeys(length for _, length in pieces):
            starts = [start for start, length in pieces if length == size]
            low, high = b.share(len(starts), panel.group, spec.groups)
            with b.loop(low, high, hint="r") as strip:
                row = b.let(f"add nsw i64 {b.times(strip, size)}, {starts[0]}")
                ahead = None
                if spec.ahead:
                    ahead = Ahead(self.fetched(panel, strip, low, before), spec.ahead)
                self.tile(panel, row, size, ahead)
            before += len(starts)

    def fetched(self, panel: _Panel, strip: str, low: str, before: int) -> str:
        """A strip's share of the next panel: of all strips', or of its group's alone."""
        b, spec = self.b, self.spec
        trips = (spec.k // 2 if spec.pairs else spec.k) // spec.unroll
        if not spec.panel_first:  # each group's units fetch all: the next one has the same rows
            strip = b.let(f"sub nsw i64 {strip}, {low}")
            before = -(-before // spec.groups)
        share = b.times(b.plus(strip, str(before)), trips * spec.ahead * LINE_BYTES)
        return b.offset(panel.ahead, share)

    def tile(self, panel: _Panel, row: str, size: int, ahead: Ahead | None) -> None:
        b, spec = self.b, self.spec
        memory = spec.memory[spec.a]
        a = b.offset(panel.a, b.times(row, memory.row))
        acc = ["zeroinitializer"] * (size * panel.vectors)
        whole, half = (spec.k // 2, spec.k % 2) if spec.pairs else (spec.k, 0)
        left = whole % spec.unroll
        right = panel.b
        k_bytes = 4 if spec.pairs else memory.column
        lying = f32  # panels made in scratch
        if spec.form == "packed":
            lying = spec.packed
        elif spec.form == "rows":
            lying = spec.memory[spec.b].dtype
        for count, unroll, odd in ((whole - left, spec.unroll, 0), (left, 1, 0), (half, 1, 1)):
            if not count:
                continue
            steps = Steps(
                self.vector, panel.vectors, k_bytes, panel.b_row, unroll,
                panel.masked if panel.b_masked else 0,
                memory.dtype, lying, spec.pairs, bool(odd),
            )  # fmt: skip
            rows = [(i, a, i * memory.row) for i in range(size)]
            acc = accumulate(b, steps, acc, rows, right, count, ahead)
            ahead = None
            a = b.offset(a, count * k_bytes)
            right = b.offset(right, count * panel.b_row)
        at = {
            name: b.offset(pointer, b.times(row, spec.memory[name].row))
            if (name in spec.memory and name not in (spec.a, spec.b))
            or (name in spec.memory and name in spec.epilogue.operands)
            else pointer
            for name, pointer in panel.at.items()
        }
        self.finish(panel, at, acc, size)

    def finish(self, panel: _Panel, at: dict[str, str], acc: list[str], size: int) -> None:
        """Epilogue and store: straight from registers if cheap, else in a loop over the rows."""
        b, spec, bytes_ = self.b, self.spec, self.vector.bytes
        if spec.epilogue.cheap:
            for i in range(size):
                for n in range(panel.vectors):
                    self.emit(panel, at, acc[i * panel.vectors + n], i, n)
            return
        tile = b.offset("%scratch", spec.copied_bytes)
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset(tile, i * bytes_))
        with b.loop(0, size, hint="r") as row:
            source = b.offset(tile, b.times(row, panel.vectors * bytes_))
            for n in range(panel.vectors):
                value = self.vector.load(b, b.offset(source, n * bytes_))
                self.emit(panel, at, value, row, n)

    def emit(self, panel: _Panel, at: dict[str, str], value: str, row: int | str, n: int) -> None:
        """The epilogue of one vector: vector n of the panel, in a row of the tile."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            pointer = at[name]
            if spec.epilogue.operands.get(name) == "scalar":
                return pointer
            if spec.epilogue.is_full(name):
                stride = spec.memory[name].row
                down = row * stride if isinstance(row, int) else b.times(row, stride)
                pointer = b.offset(pointer, down)
            return b.offset(pointer, n * spec.lanes * spec.epilogue.dtype(name).bytes)

        count = panel.masked if n == panel.vectors - 1 else 0
        spec.epilogue.write(b, self.target, self.vector, value, place, count)
