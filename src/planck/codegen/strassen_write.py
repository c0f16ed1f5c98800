"""Strassen's last part: the quarters of C from scratch to memory, with the epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planck.codegen.microkernel import Vector
from planck.codegen.strassen_spec import QUARTERS, Strassen
from planck.codegen.tables import TableBuilder
from planck.target import Target


@dataclass(slots=True)
class Group:
    """A group of rows of one product of the batch.

    low, high:  its strips, in the whole product
    pairs:      of rows in it
    a:          its first row
    at:         its first row, or the first row of the whole where an operand has no rows
    """

    low: str
    high: str
    pairs: str
    a: str
    at: dict[str, str]


class Writing:
    """Writes a panel of a group of rows."""

    tiles: str  # the accumulators, in scratch

    def __init__(self, target: Target, spec: Strassen, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector(target.lanes)

    def write_panel(self, group: Group, panel: str) -> None:
        """The epilogue, for the quarters one after the other; panels at an edge have own code."""
        b, spec = self.b, self.spec
        cases: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for number in range(spec.panels):
            first = number * spec.vectors
            left = self.lanes_of(first, spec.half)
            right = self.lanes_of(spec.half + first, 2 * spec.half)
            cases.setdefault((left, right), []).append(number)
        *others, inner = sorted(cases, key=lambda counts: len(cases[counts]))
        written = b.label("written")
        for counts in others:
            for number in cases[counts]:
                edge, other = b.label("edge"), b.label("other")
                b.branch_if(b.let(f"icmp eq i64 {panel}, {number}"), edge, other)
                b.block(edge)
                self.write_halves(group, panel, counts)
                b.branch(written)
                b.block(other)
        self.write_halves(group, panel, inner)
        b.branch(written)
        b.block(written)

    def lanes_of(self, first: int, end: int) -> tuple[int, ...]:
        """Lanes to write of each vector of a panel: from vector `first` on, in a half to `end`."""
        spec = self.spec
        return tuple(
            max(0, min(spec.lanes, spec.n - i * spec.lanes)) if i < end else 0
            for i in range(first, first + spec.vectors)
        )

    def write_halves(self, group: Group, panel: str, counts: tuple[tuple[int, ...], ...]) -> None:
        """The left and the right half, as one loop if they are alike."""
        if counts[0] == counts[1]:
            with self.b.loop(0, 2, hint="half") as half:
                self.write_half(group, panel, half, counts[0])
            return
        for number, own in enumerate(counts):
            self.write_half(group, panel, str(number), own)

    def write_half(self, group: Group, panel: str, half: str, counts: tuple[int, ...]) -> None:
        b, spec = self.b, self.spec
        size = self.vector.bytes
        with b.loop(0, 2, hint="lower") as lower:
            quarter = b.plus(b.times(lower, 2), half)
            tiles = spec.strips * spec.tile_bytes
            source = b.offset(self.tiles, b.entry([q * tiles for q in QUARTERS], quarter))
            down = b.times(lower, spec.down)
            at = {}
            for name in (*spec.epilogue.operands, *spec.epilogue.outputs):
                pointer = group.at[name]
                if spec.epilogue.operands.get(name) != "scalar":
                    step = self.across(name)
                    right = b.times(half, spec.half * step)
                    pointer = b.offset(pointer, b.plus(right, b.times(panel, spec.vectors * step)))
                if self.has_rows(name):
                    pointer = b.offset(pointer, b.times(down, spec.memory[name].row))
                at[name] = pointer
            with b.loop(self.skipped(group, lower), group.pairs, hint="r") as row:
                place = b.offset(source, b.times(row, spec.vectors * size))
                for n, count in enumerate(counts):
                    if count:
                        value = self.vector.load(b, b.offset(place, n * size))
                        self.emit(at, value, row, n, count % spec.lanes)

    def skipped(self, group: Group, lower: str) -> str:
        """1 in the lower half of the first group if its first row is the upper half's last."""
        b = self.b
        if self.spec.m % 2 == 0:
            return "0"
        begins = b.let(f"icmp eq i64 {group.low}, 0")
        return b.let(f"select i1 {begins}, i64 {lower}, i64 0")

    def has_rows(self, name: str) -> bool:
        epilogue = self.spec.epilogue
        return name in epilogue.outputs or epilogue.operands.get(name) == "full"

    def across(self, name: str) -> int:
        """Bytes from one vector of an operand's or an output's columns to the next."""
        return self.vector.bytes

    def emit(self, at: Mapping[str, str], value: str, row: str, n: int, masked: int) -> None:
        """The epilogue of vector n of a panel, in a row of the group."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            down = b.times(row, spec.memory[name].row)
            return b.offset(b.offset(at[name], down), n * self.across(name))

        def load(name: str) -> str:
            kind = spec.epilogue.operands[name]
            if kind == "scalar":
                return self.vector.broadcast(b, at[name])
            where = place(name) if kind == "full" else b.offset(at[name], n * self.vector.bytes)
            if masked:
                return self.vector.masked_load(b, where, masked)
            return self.vector.load(b, where)

        results = spec.epilogue.apply(b, value, load, self.vector.kind, self.target)
        for name, result in zip(spec.epilogue.outputs, results, strict=True):
            if masked:
                self.vector.masked_store(b, result, place(name), masked)
            else:
                self.vector.store(b, result, place(name))
