"""Windows that slide over one block of channels: depthwise convolution, pooling, small groups.

A unit of work is one block of channels of one image, and a group of its rows. A tile is a strip of
one row; its accumulators stay in registers while the rows of the window go past:

    for rows of the output, strips of columns:
        for rows of the window inside the image:      table-driven
            for columns of the input, written out:    load once, use for every window it is in
        epilogue and store

Strips at the left and right border are written out apart, without the columns that are padding.

Where groups of a few channels share filters, a block of channels holds whole groups, and each input
is used once for each channel k of a group: k of every group is repeated over its group's lanes, and
multiplied by the weights from there to each lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import float_literal, function
from planck.codegen.microkernel import Carried, Vector, step_apart
from planck.codegen.tables import Memory, TableBuilder
from planck.codegen.tiling import Axis, Strip
from planck.target import Target

Kind = Literal["depthwise", "grouped", "max", "average"]


@dataclass(frozen=True, slots=True)
class Sliding:
    """Sliding windows with everything decided.

    blocks:     blocks of channels
    taps:       window rows and columns
    rows:       strips of one row
    scales:     average: what sums are multiplied by, for each output row and column
    groups:     parts that the rows are divided into
    each:       grouped: channels of a group, a divisor of the lanes
    arguments:  names in the order of the pointer table; weights and bias by these two names, ""
                where there are none
    """

    kind: Kind
    batch: int
    blocks: int
    taps: tuple[int, int]
    rows: Axis
    columns: Axis
    scales: tuple[tuple[float, ...], tuple[float, ...]]
    groups: int
    arguments: tuple[str, ...]
    x: str
    weights: str
    bias: str
    memory: Mapping[str, Memory]
    epilogue: Epilogue
    each: int = 1

    @property
    def units(self) -> int:
        return self.batch * self.blocks * self.groups

    def scratch_bytes(self, target: Target) -> int:
        return 0 if self.epilogue.cheap else self.columns.sizes[0] * target.vector_bytes


def write(target: Target, symbol: str, spec: Sliding) -> str:
    """The module of one kernel of sliding windows."""
    b = TableBuilder()
    SlidingWriter(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(slots=True)
class _Row:
    """One output row of a unit."""

    x: str
    at: dict[str, str]
    case: str
    number: str


class SlidingWriter:
    """Writes all that a unit of work does."""

    def __init__(self, target: Target, spec: Sliding, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector.of(target)

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        base = b.arguments(spec.arguments)
        with b.loop("%begin", "%end") as unit:
            group = b.let(f"urem i64 {unit}, {spec.groups}")
            rest = b.let(f"udiv i64 {unit}, {spec.groups}")
            block = b.let(f"urem i64 {rest}, {spec.blocks}")
            image = b.let(f"udiv i64 {rest}, {spec.blocks}")
            rows = b.share(len(spec.rows.strips), group, spec.groups)
            self.rows(self.block(base, image, block), *rows)
        b.do("ret void")

    def block(self, base: dict[str, str], image: str, block: str) -> dict[str, str]:
        """Where each argument lies for one block of channels of one image."""
        b, spec = self.b, self.spec
        at = {}
        for name, pointer in base.items():
            if name in spec.memory:
                memory = spec.memory[name]
                pointer = b.offset(pointer, b.times(image, memory.batch))
                pointer = b.offset(pointer, b.times(block, memory.block))
            elif name == spec.weights:
                step = spec.taps[0] * spec.taps[1] * spec.each * self.vector.bytes
                pointer = b.offset(pointer, b.times(block, step))
            elif name == spec.bias or spec.epilogue.operands.get(name) == "channel":
                along = self.vector.lanes * spec.epilogue.dtype(name).bytes
                pointer = b.offset(pointer, b.times(block, along))
            at[name] = pointer
        return at

    def rows(self, at: dict[str, str], begin: str, end: str) -> None:
        """Strips of one row, from one number to another."""
        b, spec = self.b, self.spec
        strips = spec.rows.strips
        with b.loop(begin, end, hint="r") as r:
            at_in, at_out, case = (
                b.entry([getattr(s, field) for s in strips], r)
                for field in ("at_in", "at_out", "case")
            )
            x = b.offset(at[spec.x], b.times(at_in, spec.memory[spec.x].row))
            moved = {
                name: b.offset(pointer, b.times(at_out, spec.memory[name].row))
                if name in spec.memory
                else pointer
                for name, pointer in at.items()
            }
            row = _Row(x, moved, case, r)
            for run in runs(spec.columns.strips):
                with b.loop(0, len(run), hint="c") as c:
                    self.tile(row, run, c)

    def tile(self, row: _Row, run: list[Strip], number: str) -> None:
        """The strips of a run in turn: all have one size and one case."""
        b, spec = self.b, self.spec
        at_in = b.entry([s.at_in for s in run], number)
        at_out = b.entry([s.at_out for s in run], number)
        memory = spec.memory[spec.x]
        x = b.offset(row.x, b.times(at_in, memory.column))
        at = {
            name: b.offset(pointer, b.times(at_out, spec.memory[name].column))
            if name in spec.memory
            else pointer
            for name, pointer in row.at.items()
        }
        size = run[0].size
        acc = self.initial(row) * size
        cases = spec.rows.cases[1]
        flat = [tap for case in cases for tap in case]
        begins = [sum(len(c) for c in cases[:i]) for i in range(len(cases))]
        begin = b.entry(begins, row.case)
        end = b.entry([s + len(c) for s, c in zip(begins, cases, strict=True)], row.case)
        with Carried(b, begin, end, [self.vector.kind] * size, acc) as loop:
            shift = b.entry([tap.shift * memory.row for tap in flat], loop.counter)
            width = spec.taps[1] * spec.each * self.vector.bytes
            place = b.entry([tap.index * width for tap in flat], loop.counter)
            weights = b.offset(row.at[spec.weights], place) if spec.weights else ""
            here, values = b.offset(x, shift), loop.values
            for k in range(spec.each):
                if k:
                    step_apart(b)  # or all columns would be loaded once, and spilled
                own = b.offset(weights, k * spec.taps[1] * self.vector.bytes)
                values = self.window_row(run[0], values, here, own if weights else "", k)
            loop.values = values
        if spec.kind == "average":
            loop.values = self.scaled(loop.values, row, at_out)
        self.finish(at, loop.values)

    def initial(self, row: _Row) -> list[str]:
        spec = self.spec
        if spec.bias:
            return [self.vector.load(self.b, row.at[spec.bias])]
        if spec.kind == "max":
            return [f"splat (float {float_literal(float('-inf'))})"]
        return ["zeroinitializer"]

    def window_row(self, strip: Strip, acc: list[str], x: str, weights: str, k: int) -> list[str]:
        """One row of all the windows of a strip; grouped: of channel k of each group."""
        b, spec, vector = self.b, self.spec, self.vector
        step = spec.columns.in_step
        uses: dict[int, list[tuple[int, int]]] = {}
        for tap in spec.columns.cases[strip.size][strip.case]:
            for pixel in tap.pixels:
                uses.setdefault(tap.shift + pixel * step, []).append((pixel, tap.index))
        acc = list(acc)
        columns: dict[int, str] = {}
        for position in sorted(uses):
            memory = spec.memory[spec.x]
            value = vector.load(b, b.offset(x, position * memory.column), memory.dtype)
            if spec.each > 1:
                value = self.repeated(value, k)
            for pixel, tap_index in uses[position]:
                if spec.weights:
                    if tap_index not in columns:
                        place = b.offset(weights, tap_index * vector.bytes)
                        columns[tap_index] = vector.load(b, place)
                    acc[pixel] = vector.fma(b, value, columns[tap_index], acc[pixel])
                elif spec.kind == "max":
                    acc[pixel] = vector.larger(b, acc[pixel], value)
                else:
                    acc[pixel] = b.let(f"fadd {vector.kind} {acc[pixel]}, {value}")
        return acc

    def repeated(self, value: str, k: int) -> str:
        """Channel k of each group in all lanes of the group."""
        lanes, each, kind = self.vector.lanes, self.spec.each, self.vector.kind
        mask = ", ".join(f"i32 {lane // each * each + k}" for lane in range(lanes))
        return self.b.let(f"shufflevector {kind} {value}, {kind} poison, <{lanes} x i32> <{mask}>")

    def scaled(self, acc: list[str], row: _Row, at_out: str) -> list[str]:
        """Sums -> means."""
        b, spec, vector = self.b, self.spec, self.vector
        down, along = spec.scales
        if len(set(down)) == 1 and len(set(along)) == 1:
            factor = f"splat (float {float_literal(down[0] * along[0])})"
            return [b.let(f"fmul {vector.kind} {value}, {factor}") for value in acc]
        by_strip = tuple(down[s.at_out] for s in spec.rows.strips)
        own = vector.broadcast(b, b.float_place(by_strip, row.number))
        first = b.float_place(along, at_out)
        result = []
        for i, value in enumerate(acc):
            factor = vector.broadcast(b, b.offset(first, 4 * i))
            factor = b.let(f"fmul {vector.kind} {factor}, {own}")
            result.append(b.let(f"fmul {vector.kind} {value}, {factor}"))
        return result

    def finish(self, at: dict[str, str], acc: list[str]) -> None:
        """Epilogue and store: straight from registers if cheap, else in a loop over the pixels."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        if spec.epilogue.cheap:
            for i, value in enumerate(acc):
                self.emit(at, value, str(i))
            return
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset("%scratch", i * size))
        with b.loop(0, len(acc), hint="x") as x:
            value = self.vector.load(b, b.offset("%scratch", b.times(x, size)))
            self.emit(at, value, x)

    def emit(self, at: dict[str, str], value: str, pixel: str) -> None:
        """The epilogue of one vector: a pixel of the tile."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            if not spec.epilogue.is_full(name):
                return at[name]
            return b.offset(at[name], b.times(pixel, spec.memory[name].column))

        spec.epilogue.write(b, self.target, self.vector, value, place)


def runs(strips: tuple[Strip, ...]) -> list[list[Strip]]:
    """The strips by size and case: each run is code of its own."""
    found: dict[tuple[int, int], list[Strip]] = {}
    for strip in strips:
        found.setdefault((strip.size, strip.case), []).append(strip)
    return list(found.values())
