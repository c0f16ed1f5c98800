"""Strassen's last part: the parts of C from scratch to memory, with the epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planck.codegen.microkernel import Vector
from planck.codegen.strassen_spec import Strassen
from planck.codegen.tables import TableBuilder
from planck.target import Target

Range = tuple[str, str]  # begin and end


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

    def write_panel(self, group: Group, panel: str, lower: Range, right: Range) -> None:
        """The epilogue, for some parts of C one after the other; panels at an edge have own code.

        lower, right:  the parts by row and column
        """
        b, spec = self.b, self.spec
        cases: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for number in range(spec.panels):
            counts = tuple(self.lanes_of(number, right) for right in range(len(spec.downs)))
            cases.setdefault(counts, []).append(number)
        *others, inner = sorted(cases, key=lambda counts: len(cases[counts]))
        written = b.label("written")
        for counts in others:
            for number in cases[counts]:
                edge, other = b.label("edge"), b.label("other")
                b.branch_if(b.let(f"icmp eq i64 {panel}, {number}"), edge, other)
                b.block(edge)
                self.write_columns(group, panel, lower, right, counts)
                b.branch(written)
                b.block(other)
        self.write_columns(group, panel, lower, right, inner)
        b.branch(written)
        b.block(written)

    def lanes_of(self, panel: int, right: int) -> tuple[int, ...]:
        """Lanes to write of each vector of a panel in a part of the columns."""
        spec = self.spec
        first, end = panel * spec.vectors, spec.part
        return tuple(
            max(0, min(spec.lanes, spec.n - (right * end + i) * spec.lanes)) if i < end else 0
            for i in range(first, first + spec.vectors)
        )

    def write_columns(
        self,
        group: Group,
        panel: str,
        lower: Range,
        right: Range,
        counts: tuple[tuple[int, ...], ...],
    ) -> None:
        """The parts of the columns, as one loop if they are alike."""
        b = self.b
        if len(set(counts)) == 1:
            with b.loop(*right, hint="right") as part:
                self.write_part(group, panel, lower, part, counts[0])
            return
        for number, own in enumerate(counts):
            begin, end = b.larger(right[0], number), b.smaller(right[1], number + 1)
            with b.loop(begin, end, hint="right") as part:
                self.write_part(group, panel, lower, part, own)

    def write_part(
        self, group: Group, panel: str, rows: Range, right: str, counts: tuple[int, ...]
    ) -> None:
        b, spec = self.b, self.spec
        size, ways = self.vector.bytes, len(spec.downs)
        with b.loop(*rows, hint="lower") as lower:
            part = b.plus(b.times(lower, ways), right)
            places = [q * spec.part_bytes for q in spec.quarters]
            source = b.offset(self.tiles, b.entry(places, part))
            down = b.entry(spec.downs, lower)
            at = {}
            for name in (*spec.epilogue.operands, *spec.epilogue.outputs):
                pointer = group.at[name]
                if spec.epilogue.operands.get(name) != "scalar":
                    step = self.across(name)
                    along = b.times(right, spec.part * step)
                    pointer = b.offset(pointer, b.plus(along, b.times(panel, spec.vectors * step)))
                if spec.epilogue.is_full(name):
                    pointer = b.offset(pointer, b.times(down, spec.memory[name].row))
                at[name] = pointer
            with b.loop(self.skipped(group, lower), group.pairs, hint="r") as row:
                place = b.offset(source, b.times(row, spec.vectors * size))
                for n, count in enumerate(counts):
                    if count:
                        value = self.vector.load(b, b.offset(place, n * size))
                        self.emit(at, value, row, n, count % spec.lanes)

    def skipped(self, group: Group, lower: str) -> str:
        """1 in the first group of a part whose first row is that of the part before, too."""
        b = self.b
        if not any(self.spec.shares):
            return "0"
        begins = b.let(f"icmp eq i64 {group.low}, 0")
        shares = b.entry([int(shares) for shares in self.spec.shares], lower)
        return b.let(f"select i1 {begins}, i64 {shares}, i64 0")

    def across(self, name: str) -> int:
        """Bytes from one vector of an operand's or an output's columns to the next."""
        return self.vector.bytes

    def emit(self, at: Mapping[str, str], value: str, row: str, n: int, masked: int) -> None:
        """The epilogue of vector n of a panel, in a row of the group."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            pointer = at[name]
            if spec.epilogue.operands.get(name) == "scalar":
                return pointer
            if spec.epilogue.is_full(name):
                pointer = b.offset(pointer, b.times(row, spec.memory[name].row))
            return b.offset(pointer, n * self.across(name))

        spec.epilogue.write(b, self.target, self.vector, value, place, masked)
