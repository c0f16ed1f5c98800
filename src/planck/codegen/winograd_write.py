"""Winograd's last part: products back to pixels, with the epilogue."""

from __future__ import annotations

from collections.abc import Mapping

from planck.codegen.tables import TableBuilder
from planck.codegen.winograd_spec import Winograd
from planck.codegen.winograd_tiles import Place, Tiles
from planck.codegen.winograd_transform import Transform
from planck.target import Target


class Writing(Tiles):
    """Writes the pixels of a group's tiles from M."""

    def __init__(
        self, target: Target, spec: Winograd, b: TableBuilder, base: dict[str, str]
    ) -> None:
        super().__init__(target, spec, b, base)
        self.down, self.along = (Transform(b, self.vector, axis.write) for axis in spec.axes)

    def group(self, panel: str, group: str, first_group: str) -> None:
        b, spec, size = self.b, self.spec, self.vector.bytes
        first, count = self.group_range(group)
        local = b.let(f"sub nsw i64 {group}, {first_group}")
        m_group = b.offset(self.m, b.times(local, spec.m_group))
        first_block = b.times(panel, spec.vectors)
        blocks = str(spec.vectors)
        if spec.blocks % spec.vectors:
            blocks = b.smaller(blocks, b.let(f"sub nsw i64 {spec.blocks}, {first_block}"))
        with b.loop(0, count) as tile:
            place = self.place(b.plus(first, tile))
            place.row = b.times(place.row, spec.side[0])
            place.column = b.times(place.column, spec.side[1])
            m_tile = b.offset(m_group, b.times(tile, spec.vectors * size))
            left = [
                b.smaller(side, b.let(f"sub nsw i64 {extent}, {start}"))
                for side, extent, start in zip(
                    spec.side, spec.out, (place.row, place.column), strict=True
                )
            ]
            with b.loop(0, blocks) as n:
                block = b.plus(first_block, n)
                bases = {name: self.tile_base(name, place, block) for name in self.base}
                self.block(b.offset(m_tile, b.times(n, size)), left, bases)

    def tile_base(self, name: str, place: Place, block: str) -> str:
        """Where what the epilogue reads and writes at a tile begins."""
        b, spec = self.b, self.spec
        pointer = self.base[name]
        if name in (spec.bias, spec.scales) or spec.epilogue.operands.get(name) == "channel":
            along = spec.lanes * spec.epilogue.dtype(name).bytes
            return b.offset(pointer, b.times(block, along))
        if spec.epilogue.is_full(name):
            memory = spec.memory[name]
            image = b.offset(pointer, b.times(place.image, memory.batch))
            return self.at(
                b.offset(image, b.times(block, memory.block)), memory, place.row, place.column
            )
        return pointer

    def block(self, m: str, left: list[str], bases: Mapping[str, str]) -> None:
        """The pixels of one block, row by row."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        down, along = (axis.sums for axis in spec.axes)
        with b.loop(0, self.opaque(along)) as j:
            column = b.offset(m, b.times(j, spec.m_plane))
            values = self.down.apply(self.gather(column, along * spec.m_plane, down))
            self.spread(values, b.offset(self.half, b.times(j, size)), along * size)
        kind = self.vector.kind
        bias = self.vector.load(b, bases[spec.bias]) if spec.bias else ""
        scale = self.vector.load(b, bases[spec.scales]) if spec.scales else ""
        with b.loop(0, left[0]) as y:
            half = b.offset(self.half, b.times(y, along * size))
            values = self.along.apply(self.gather(half, size, along))
            if scale:
                values = [self.vector.fma(b, v, scale, bias or "zeroinitializer") for v in values]
            elif bias:
                values = [b.let(f"fadd {kind} {v}, {bias}") for v in values]
            rows = {
                name: b.offset(base, b.times(y, spec.memory[name].row))
                if spec.epilogue.is_full(name)
                else base
                for name, base in bases.items()
            }
            self.row(values, left[1], rows)

    def row(self, values: list[str], left: str, bases: Mapping[str, str]) -> None:
        """A row of pixels: from registers if whole and cheap, else through the patch."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        clipped, done = b.label("clipped"), b.label("written")
        if spec.epilogue.cheap:
            whole = b.label("whole")
            b.branch_if(b.let(f"icmp eq i64 {left}, {len(values)}"), whole, clipped)
            b.block(whole)
            for i, value in enumerate(values):
                self.emit(value, bases, str(i))
            b.branch(done)
        else:
            b.branch(clipped)
        b.block(clipped)
        self.spread(values, self.patch, size)
        with b.loop(0, left) as x:
            value = self.vector.load(b, b.offset(self.patch, b.times(x, size)))
            self.emit(value, bases, x)
        b.branch(done)
        b.block(done)

    def emit(self, value: str, bases: Mapping[str, str], x: str) -> None:
        """The epilogue of one vector, at a pixel of its row."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            if not spec.epilogue.is_full(name):
                return bases[name]
            return b.offset(bases[name], b.times(x, spec.memory[name].column))

        spec.epilogue.write(b, self.target, self.vector, value, place)
