"""Winograd's middle part: the matrix products of the transformed space, V times weights to M."""

from __future__ import annotations

from collections.abc import Sequence

from planck.codegen.microkernel import LINE_BYTES, Ahead, Carried, Steps, accumulate
from planck.codegen.winograd_spec import UNROLL
from planck.codegen.winograd_tiles import Tiles

Values = list[str]


class Products(Tiles):
    """Writes the products of a unit's groups with one panel of weights."""

    def panel(self, panel: str, begin: str, end: str) -> None:
        """M[plane] = sum of V[position] times the panel's weights, for all planes and groups."""
        b, spec = self.b, self.spec
        weights = b.offset(self.base[spec.weights], b.times(panel, spec.positions * spec.slab))
        small, larger = divmod(spec.tiles, spec.all_groups)
        bounded = b.smaller(end, larger) if larger else begin
        planes = spec.order
        counts = [len(positions) for _, positions in planes]
        with b.loop(0, len(planes)) as n:
            first = self.number([sum(counts[:i]) for i in range(len(counts))], n)
            count = b.entry(counts, n)
            w = b.offset(weights, b.times(first, spec.slab))
            m = b.offset(self.m, self.number([plane * spec.m_plane for plane, _ in planes], n))
            ranges = [(small, b.larger(begin, larger) if larger else begin, end)]
            if larger:
                ranges.insert(0, (small + 1, begin, bounded))
            for tiles, low, high in ranges:
                with b.loop(low, high) as group:
                    local = b.let(f"sub nsw i64 {group}, {begin}")
                    of_v = b.offset(self.v, b.times(group if spec.shared else local, spec.v_group))
                    of_m = b.offset(m, b.times(local, spec.m_group))
                    self.plane(tiles, local, (first, count), w, of_v, of_m)

    def number(self, values: Sequence[int], index: str) -> str:
        """values[index]: reckoned if they are evenly spaced, else from a table."""
        b = self.b
        step = values[1] - values[0] if len(values) > 1 else 0
        if list(values) == [values[0] + i * step for i in range(len(values))]:
            return b.plus(b.times(index, step), str(values[0]))
        return b.entry(values, index)

    def plane(self, tiles: int, local: str, share: tuple[str, str], w: str, v: str, m: str) -> None:
        """One group's sum of one plane.

        share:  the plane's first position in the order, and how many it has
        w:      the weights of the first
        v:      the group's tiles at position 0
        """
        b, spec = self.b, self.spec
        first, count = share
        order = [position * spec.v_position for _, row in spec.order for position in row]
        # Groups share what lies as many slabs ahead as this plane has.
        ahead = b.offset(w, b.times(count, spec.slab))
        ahead = b.offset(
            ahead, b.times(local, spec.channels // UNROLL * spec.ahead_lines * LINE_BYTES)
        )

        def operands(number: str) -> tuple[str, str, str]:
            at = self.number(order, b.plus(first, number))
            slab = b.times(number, spec.slab)
            return b.offset(v, at), b.offset(w, slab), b.offset(ahead, slab)

        zeros = ["zeroinitializer"] * (tiles * spec.vectors)
        kinds = [self.vector.kind] * len(zeros)
        if spec.run < spec.channels // spec.lanes:
            with b.loop(0, count) as number:
                self.in_runs(zeros, operands(number), m, number)
            return
        if count == "1":
            acc = self.position(zeros, *operands("0"))
        else:
            with Carried(b, 0, count, kinds, zeros) as loop:
                loop.values = self.position(loop.values, *operands(loop.counter))
            acc = loop.values
        self.spread(acc, m, self.vector.bytes)

    def position(self, acc: Values, v: str, w: str, ahead: str) -> Values:
        """All channels of one position added to the sums."""
        whole, tail = divmod(self.spec.channels, self.spec.lanes)
        if whole:
            acc = self.blocks(acc, v, w, ahead, "0", str(whole))
        return self.block(acc, v, w, ahead, str(whole), tail) if tail else acc

    def in_runs(self, zeros: Values, operands: tuple[str, str, str], m: str, number: str) -> None:
        """One position, summed by runs of channels, which are added up in M."""
        b, spec = self.b, self.spec
        whole, tail = divmod(spec.channels, spec.lanes)
        with b.loop(0, -(-whole // spec.run)) as run:
            begin = b.times(run, spec.run)
            end = b.smaller(whole, b.plus(begin, str(spec.run)))
            acc = self.blocks(zeros, *operands, begin, end)
            self.add_up(acc, m, b.let(f"icmp eq i64 {b.plus(run, number)}, 0"))
        if tail:
            self.add_up(self.block(zeros, *operands, str(whole), tail), m)

    def blocks(self, acc: Values, v: str, w: str, ahead: str, begin: str, end: str) -> Values:
        """Whole blocks of input channels."""
        kinds = [self.vector.kind] * len(acc)
        with Carried(self.b, begin, end, kinds, acc) as loop:
            loop.values = self.block(loop.values, v, w, ahead, loop.counter, self.spec.lanes)
        return loop.values

    def block(self, acc: Values, v: str, w: str, ahead: str, number: str, channels: int) -> Values:
        """One block of input channels."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        width = spec.vectors
        x = b.offset(v, b.times(number, spec.rows * size))
        row = width * spec.lanes * spec.packed.bytes
        weights = b.offset(w, b.times(number, spec.lanes * row))
        unroll = next(u for u in (UNROLL, 2, 1) if channels % u == 0)
        steps = Steps(self.vector, width, 4, row, unroll, weights=spec.packed)
        fetched = b.times(number, spec.lanes // UNROLL * spec.ahead_lines * LINE_BYTES)
        lines = Ahead(b.offset(ahead, fetched), spec.ahead_lines * unroll // UNROLL)
        rows = [(i, x, i * size) for i in range(len(acc) // width)]
        return accumulate(b, steps, acc, rows, weights, channels, lines)

    def add_up(self, acc: Values, m: str, first: str = "false") -> None:
        """Add to what earlier runs left; the first finds nothing."""
        b, kind = self.b, self.vector.kind
        fresh, more, done = b.label("fresh"), b.label("more"), b.label("summed")
        b.branch_if(first, fresh, more)
        b.block(fresh)
        self.spread(acc, m, self.vector.bytes)
        b.branch(done)
        b.block(more)
        for i, value in enumerate(acc):
            place = b.offset(m, i * self.vector.bytes)
            total = b.let(f"fadd {kind} {self.vector.load(b, place)}, {value}")
            self.vector.store(b, total, place)
        b.branch(done)
        b.block(done)
