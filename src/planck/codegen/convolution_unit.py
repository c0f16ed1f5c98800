"""A direct convolution kernel: units of work, chunks of input channels, strips of pixels."""

from __future__ import annotations

from planck.codegen.convolution import Convolution
from planck.codegen.convolution_tile import Tile, TileWriter, Unit
from planck.codegen.llvm import function
from planck.codegen.tables import TableBuilder
from planck.target import Target


def write(target: Target, symbol: str, spec: Convolution) -> str:
    """The module of one convolution kernel."""
    b = TableBuilder()
    ConvolutionWriter(target, spec, b).kernel()
    return function(target, symbol, b)


class ConvolutionWriter(TileWriter):
    """Writes all that a unit of work does; base: where each argument lies."""

    base: dict[str, str]

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = b.arguments(spec.arguments)
        with b.loop("%begin", "%end") as unit:
            self.unit(unit)
        b.do("ret void")

    def unit(self, unit: str) -> None:
        """Decode the number of a unit and write its panel's code."""
        b, spec = self.b, self.spec
        pixels = spec.groups[0] * spec.groups[1]
        if spec.panel_first:
            panel = b.let(f"udiv i64 {unit}, {spec.batch * pixels}")
            rest = b.let(f"urem i64 {unit}, {spec.batch * pixels}")
        else:
            panel = b.let(f"urem i64 {unit}, {spec.panels}")
            rest = b.let(f"udiv i64 {unit}, {spec.panels}")
        image = b.let(f"udiv i64 {rest}, {pixels}")
        group = b.let(f"urem i64 {rest}, {pixels}")
        row_group = b.let(f"udiv i64 {group}, {spec.groups[1]}")
        column_group = b.let(f"urem i64 {group}, {spec.groups[1]}")
        left = spec.blocks % spec.vectors
        if not left:
            self.panel(spec.vectors, panel, image, (row_group, column_group))
            return
        whole, narrow, done = b.label("whole"), b.label("narrow"), b.label("paneldone")
        test = b.let(f"icmp slt i64 {panel}, {spec.panels - 1}")
        b.branch_if(test, whole, narrow)
        for label, vectors in ((whole, spec.vectors), (narrow, left)):
            b.block(label)
            if vectors == left or spec.panels > 1:
                self.panel(vectors, panel, image, (row_group, column_group))
            b.branch(done)
        b.block(done)

    def panel(self, vectors: int, panel: str, image: str, group: tuple[str, str]) -> None:
        b, spec, size = self.b, self.spec, self.weight_bytes
        blocks = spec.in_blocks + bool(spec.tail)
        slab = blocks * spec.taps[0] * spec.channels * spec.vectors * size
        weights = b.offset(self.base[spec.weights], b.times(panel, slab))
        bases = {}
        parts = {name for name, _ in spec.parts}
        for name, pointer in self.base.items():
            if name in parts:
                continue
            if name == spec.x:
                memory = spec.memory[name]
                x = b.offset(pointer, b.times(image, memory.batch))
                if spec.starts:
                    start = b.entry(list(spec.starts), panel)
                    x = b.offset(x, b.times(start, memory.block))
            if name in spec.memory and (name != spec.x or name in spec.epilogue.operands):
                memory = spec.memory[name]
                moved = b.offset(pointer, b.times(image, memory.batch))
                bases[name] = b.offset(moved, b.times(panel, spec.vectors * memory.block))
            elif name == spec.bias or spec.epilogue.operands.get(name) == "channel":
                along = spec.vectors * self.vector.lanes * spec.epilogue.dtype(name).bytes
                bases[name] = b.offset(pointer, b.times(panel, along))
            elif name in spec.epilogue.operands:
                bases[name] = pointer
        if spec.parts:
            bases[spec.epilogue.outputs[0]] = self.part(panel, image)
        ahead = b.offset(weights, b.times("%direction", slab))
        unit = Unit(vectors, panel, weights, ahead, x, bases, group, block_end=str(spec.in_blocks))
        self.chunks(unit)

    def part(self, panel: str, image: str) -> str:
        """Where a panel of an output that is written in parts lies."""
        b, spec = self.b, self.spec
        chosen = ""
        for name, block in spec.parts:
            memory, first = spec.memory[name], block // spec.vectors
            here = b.offset(self.base[name], b.times(image, memory.batch))
            place = b.offset(here, b.times(panel, spec.vectors * memory.block))
            place = b.offset(place, -block * memory.block)
            if not chosen:
                chosen = place
                continue
            test = b.let(f"icmp sge i64 {panel}, {first}")
            chosen = b.let(f"select i1 {test}, ptr {place}, ptr {chosen}")
        return chosen

    def chunks(self, unit: Unit) -> None:
        b, spec = self.b, self.spec
        if not spec.chunk:
            self.strips(unit)
            return
        count = max(1, -(-spec.in_blocks // spec.chunk))
        next_panel = unit.next_weights
        with b.loop(0, count) as c:
            unit.first = b.let(f"icmp eq i64 {c}, 0")
            unit.last = b.let(f"icmp eq i64 {c}, {count - 1}")
            unit.block_begin = b.times(c, spec.chunk)
            end = b.let(f"add nsw i64 {unit.block_begin}, {spec.chunk}")
            unit.block_end = b.let(f"select i1 {unit.last}, i64 {spec.in_blocks}, i64 {end}")
            block = spec.taps[0] * spec.channels * unit.vectors * self.weight_bytes
            after = b.offset(unit.weights, b.times(end, block))
            unit.next_weights = b.let(f"select i1 {unit.last}, ptr {next_panel}, ptr {after}")
            self.strips(unit)

    def strips(self, unit: Unit) -> None:
        """The loops over a group's strips of rows and columns, one nest for each tile shape."""
        b, spec = self.b, self.spec
        before = 0  # tiles of the shapes written so far
        for height in spec.rows.sizes:
            rows = spec.rows.of_size(height)
            with b.loop(*self.row_range(unit, height)) as r:
                row = [
                    b.entry([getattr(s, field) for s in rows], r)
                    for field in ("at_in", "at_out", "case")
                ]
                for width in spec.columns.sizes:
                    columns = spec.columns.of_size(width)
                    with b.loop(*b.share(len(columns), unit.group[1], spec.groups[1])) as c:
                        column = [
                            b.entry([getattr(s, field) for s in columns], c)
                            for field in ("at_in", "at_out", "case")
                        ]
                        number = b.plus(b.plus(b.times(r, len(columns)), c), str(before))
                        self.tile(unit, self.tile_at(unit, number, height, width, row, column))
                before += len(rows) * len(columns)

    def row_range(self, unit: Unit, height: int) -> tuple[str, str]:
        """Which strips of rows of a height this unit takes."""
        count = len(self.spec.rows.of_size(height))
        return self.b.share(count, unit.group[0], self.spec.groups[0])

    def tile_at(
        self,
        unit: Unit,
        number: str,
        height: int,
        width: int,
        row: list[str],
        column: list[str],
    ) -> Tile:
        b, spec = self.b, self.spec
        memory = spec.memory[spec.x]
        x = b.offset(unit.x, b.times(row[0], memory.row))
        x = b.offset(x, b.times(column[0], memory.column))
        at = {}
        for name, pointer in unit.bases.items():
            if name in spec.memory and name not in spec.nearest:
                own = spec.memory[name]
                moved = b.offset(pointer, b.times(row[1], own.row))
                pointer = b.offset(moved, b.times(column[1], own.column))
            at[name] = pointer
        return Tile(height, width, x, at, row[2], column[2], number, (row[1], column[1]))
