"""Winograd's first part: tiles of pixels into the transformed space."""

from __future__ import annotations

from planck.codegen.microkernel import prefetch
from planck.codegen.tables import Memory, TableBuilder
from planck.codegen.winograd_spec import Winograd
from planck.codegen.winograd_tiles import Place, Tiles
from planck.codegen.winograd_transform import Transform
from planck.target import Target


class Reader(Tiles):
    """Writes the transform of a group's tiles to V."""

    def __init__(
        self, target: Target, spec: Winograd, b: TableBuilder, base: dict[str, str]
    ) -> None:
        super().__init__(target, spec, b, base)
        self.down, self.along = (Transform(b, self.vector, axis.read) for axis in spec.axes)

    def group(self, group: str, first_group: str) -> None:
        b, spec = self.b, self.spec
        first, count = self.group_range(group)
        local = b.let(f"sub nsw i64 {group}, {first_group}")
        to_group = b.offset(self.v, b.times(local, spec.v_group))
        with b.loop(0, count) as tile:
            place = self.place(b.plus(first, tile))
            self.tile(place, b.offset(to_group, b.times(tile, self.vector.bytes)))

    def one(self, tile: str) -> None:
        """A tile by its number in the whole batch, to where the threads share V."""
        b, spec = self.b, self.spec
        small, larger = divmod(spec.tiles, spec.all_groups)
        most = larger * (small + 1)  # tiles of the larger groups
        group = b.let(f"udiv i64 {tile}, {small + 1}")
        local = b.let(f"urem i64 {tile}, {small + 1}")
        if most < spec.tiles:
            rest = b.let(f"sub nsw i64 {tile}, {most}")
            late = b.let(f"icmp sge i64 {tile}, {most}")
            behind = b.plus(b.let(f"udiv i64 {rest}, {small}"), str(larger))
            group = b.let(f"select i1 {late}, i64 {behind}, i64 {group}")
            behind = b.let(f"urem i64 {rest}, {small}")
            local = b.let(f"select i1 {late}, i64 {behind}, i64 {local}")
        to = b.offset(
            b.offset(self.v, b.times(group, spec.v_group)), b.times(local, self.vector.bytes)
        )
        self.tile(self.place(tile), to)

    def tile(self, place: Place, to: str) -> None:
        """One tile, all blocks of input channels."""
        b, spec = self.b, self.spec
        memory, window = spec.memory[spec.x], spec.window
        image = b.offset(self.base[spec.x], b.times(place.image, memory.batch))
        starts = [
            b.plus(b.times(number, step), str(-pad))
            for number, step, pad in zip(
                (place.row, place.column), spec.step, spec.pads, strict=True
            )
        ]
        lows = [b.larger("0", b.let(f"sub nsw i64 0, {start}")) for start in starts]
        highs = [
            b.smaller(size, b.let(f"sub nsw i64 {extent}, {start}"))
            for size, extent, start in zip(window, spec.image, starts, strict=True)
        ]
        inside = self.all_equal([*lows, *highs], [0, 0, *window])
        border, go = b.label("border"), b.label("go")
        b.branch_if(inside, go, border)
        b.block(border)
        with b.loop(0, window[0] * window[1]) as i:
            pixel = b.offset(self.patch, b.times(i, memory.column))
            self.vector.store(b, "zeroinitializer", pixel, memory.dtype)
        b.branch(go)
        b.block(go)
        own = self.at(image, memory, *starts)
        base = b.let(f"select i1 {inside}, ptr {own}, ptr {self.patch}")
        row = b.let(f"select i1 {inside}, i64 {memory.row}, i64 {window[1] * memory.column}")
        step = b.let(f"select i1 {inside}, i64 {memory.block}, i64 0")
        with b.loop(0, spec.in_blocks) as block:
            fill, ready = b.label("fill"), b.label("ready")
            b.branch_if(inside, ready, fill)
            b.block(fill)
            source = b.offset(own, b.times(block, memory.block))
            patch = Memory(0, 0, window[1] * memory.column, memory.column)
            with b.loop(lows[0], highs[0]) as y, b.loop(lows[1], highs[1]) as x:
                value = self.vector.load(b, self.at(source, memory, y, x), memory.dtype)
                self.vector.store(b, value, self.at(self.patch, patch, y, x), memory.dtype)
            b.branch(ready)
            b.block(ready)
            x_block = b.offset(base, b.let(f"mul nsw i64 {block}, {step}"))
            to_block = b.offset(to, b.times(block, spec.rows * self.vector.bytes))
            self.block(x_block, row, memory.column, to_block)

    def all_equal(self, values: list[str], numbers: list[int]) -> str:
        b = self.b
        tests = [
            b.let(f"icmp eq i64 {v}, {number}") for v, number in zip(values, numbers, strict=True)
        ]
        result = tests[0]
        for test in tests[1:]:
            result = b.let(f"and i1 {result}, {test}")
        return result

    def block(self, x: str, row: str, column: int, to: str) -> None:
        """A window of vectors from x, transformed along both axes to the positions of V."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        window, (down, along) = spec.window, (axis.positions for axis in spec.axes)
        with b.loop(0, self.opaque(window[1])) as j:
            lines = [b.offset(x, b.times(j, column))]
            for _ in range(window[0] - 1):
                lines.append(b.offset(lines[-1], row))
            for line in lines:  # the next tile's
                prefetch(b, b.offset(line, spec.step[1] * column), level=1)
            dtype = spec.memory[spec.x].dtype
            values = self.down.apply([self.vector.load(b, line, dtype) for line in lines])
            self.spread(values, b.offset(self.half, b.times(j, size)), window[1] * size)
        with b.loop(0, self.opaque(down)) as i:
            half = b.offset(self.half, b.times(i, window[1] * size))
            values = self.along.apply(self.gather(half, size, window[1]))
            self.spread(values, b.offset(to, b.times(i, along * spec.v_position)), spec.v_position)
