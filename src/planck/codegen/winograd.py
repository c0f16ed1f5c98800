"""Winograd convolution: 3x3 filters at stride 1 with 2.25 to 5.06 times fewer multiplications.

The output is cut into square tiles, numbered through the whole batch, and the tiles into groups
that fill the registers of one matrix product. A unit of work is some neighbouring groups by some
panels of output channels, and needs nothing of another unit:

    for its tiles, for blocks of input channels:      transform (side + 2)^2 pixels    -> V, scratch
    for its panels:
        for the (side + 2)^2 positions, for groups:   V[position] times weights        -> M, scratch
        for its tiles, for blocks of the panel:       transform back, epilogue, store

V is [position][group][block][tile][lane], so that the product reads its broadcasts from one place
and its weights in the order in which they lie. Tiles that meet the border are read from a patch in
scratch, with zeros around what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import function
from planck.codegen.microkernel import LINE_BYTES, Ahead, Carried, Steps, Vector, accumulate, prefetch
from planck.codegen.tables import Memory, TableBuilder
from planck.codegen.winograd_transform import TAPS, Transform
from planck.target import Target


@dataclass(frozen=True, slots=True)
class Winograd:
    """A Winograd convolution with everything decided.

    side:       of an output tile, in pixels
    channels:   of the input
    blocks:     of output channels
    image, out: rows and columns
    pads:       above and to the left
    rows:       most tiles in a group
    vectors:    output blocks in a panel; the packed weights of the last are filled up with zeros
    groups:     of tiles in a unit
    parts:      that the panels are divided into
    run:        input blocks summed before they are added to the others: long sums lose digits
    arguments:  names in the order of the pointer table; weights and bias by these two names
    """

    lanes: int
    side: int
    batch: int
    channels: int
    blocks: int
    image: tuple[int, int]
    out: tuple[int, int]
    pads: tuple[int, int]
    rows: int
    vectors: int
    groups: int
    parts: int
    run: int
    arguments: tuple[str, ...]
    x: str
    weights: str
    bias: str
    memory: Mapping[str, Memory]
    epilogue: Epilogue

    @property
    def window(self) -> int:
        """Side of the input that a tile reads."""
        return self.side + TAPS - 1

    @property
    def positions(self) -> int:
        return self.window**2

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and along an image."""
        return -(-self.out[0] // self.side), -(-self.out[1] // self.side)

    @property
    def tiles(self) -> int:
        return self.batch * self.grid[0] * self.grid[1]

    @property
    def all_groups(self) -> int:
        return -(-self.tiles // self.rows)

    @property
    def panels(self) -> int:
        return -(-self.blocks // self.vectors)

    @property
    def strips(self) -> int:
        """Ranges of groups that units take."""
        return -(-self.all_groups // self.groups)

    @property
    def units(self) -> int:
        return self.strips * self.parts

    @property
    def ahead_bytes(self) -> int:
        """Weights of the next position that a k-step of a group prefetches: groups share them."""
        step = self.vectors * self.lanes * 4
        return -(-step // self.groups // LINE_BYTES) * LINE_BYTES

    @property
    def in_blocks(self) -> int:
        return -(-self.channels // self.lanes)

    # Bytes of scratch

    @property
    def v_group(self) -> int:
        return self.in_blocks * self.rows * self.lanes * 4

    @property
    def v_position(self) -> int:
        return _odd_lines(self.groups * self.v_group)

    @property
    def m_group(self) -> int:
        return self.rows * self.vectors * self.lanes * 4

    @property
    def m_position(self) -> int:
        return _odd_lines(self.groups * self.m_group)

    @property
    def m_at(self) -> int:
        return self.positions * self.v_position

    @property
    def patch_at(self) -> int:
        return self.m_at + self.positions * self.m_position

    @property
    def half_at(self) -> int:
        """What is transformed along one axis."""
        return self.patch_at + self.positions * self.memory[self.x].column

    @property
    def scratch_bytes(self) -> int:
        return self.half_at + self.positions * self.lanes * 4


def _odd_lines(bytes_: int) -> int:
    """At least these bytes, an odd number of cache lines: strides that share no cache set."""
    return (-(-bytes_ // 64) | 1) * 64


def write(target: Target, symbol: str, spec: Winograd) -> str:
    """The module of one Winograd convolution kernel."""
    b = TableBuilder()
    _Writer(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(slots=True)
class _Place:
    """A tile in its batch: the image, and its first output row and column."""

    image: str
    row: str
    column: str


class _Writer:
    def __init__(self, target: Target, spec: Winograd, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector(target.lanes)
        self.transform = Transform(b, self.vector, spec.side)

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = {
            name: b.load("ptr", b.offset("%args", 8 * i), 8)
            for i, name in enumerate(spec.arguments)
        }
        self.v = "%scratch"
        self.m = b.offset("%scratch", spec.m_at)
        self.patch = b.offset("%scratch", spec.patch_at)
        self.half = b.offset("%scratch", spec.half_at)
        with b.loop("%begin", "%end") as unit:
            self.unit(unit)
        b.do("ret void")

    def unit(self, unit: str) -> None:
        """Neighbouring units share panels of weights rather than pixels."""
        b, spec = self.b, self.spec
        strip = b.let(f"urem i64 {unit}, {spec.strips}") if spec.strips > 1 else "0"
        part = b.let(f"udiv i64 {unit}, {spec.strips}") if spec.parts > 1 else "0"
        begin, end = b.share(spec.all_groups, strip, spec.strips)
        with b.loop(begin, end) as group:
            self.read_group(group, begin)
        with b.loop(*b.share(spec.panels, part, spec.parts)) as panel:
            self.multiply(panel, begin, end)
            with b.loop(begin, end) as group:
                self.write_group(panel, group, begin)

    # Tiles and groups

    def group_range(self, group: str) -> tuple[str, str]:
        """First tile of a group, and how many it has: sizes differ by one at most."""
        b, spec = self.b, self.spec
        small, larger = divmod(spec.tiles, spec.all_groups)
        first = b.times(group, small)
        if not larger:
            return first, str(small)
        extra = self.smaller(group, str(larger))
        test = b.let(f"icmp slt i64 {group}, {larger}")
        return b.plus(first, extra), b.let(f"select i1 {test}, i64 {small + 1}, i64 {small}")

    def place(self, tile: str) -> _Place:
        b, spec = self.b, self.spec
        down, along = spec.grid
        image = b.let(f"udiv i64 {tile}, {down * along}")
        rest = b.let(f"urem i64 {tile}, {down * along}")
        row = b.let(f"udiv i64 {rest}, {along}")
        column = b.let(f"urem i64 {rest}, {along}")
        return _Place(image, b.times(row, spec.side), b.times(column, spec.side))

    def at(self, pointer: str, memory: Memory, row: str, column: str) -> str:
        """A pixel, row or column possibly outside."""
        b = self.b
        return b.offset(b.offset(pointer, b.times(row, memory.row)), b.times(column, memory.column))

    def smaller(self, x: str, y: str) -> str:
        return self.b.call("i64", "llvm.smin.i64", ("i64", x), ("i64", y))

    def larger(self, x: str, y: str) -> str:
        return self.b.call("i64", "llvm.smax.i64", ("i64", x), ("i64", y))

    def copy_vector(self, source: str, to: str) -> None:
        self.vector.store(self.b, self.vector.load(self.b, source), to)

    # Into the transformed space

    def read_group(self, group: str, first_group: str) -> None:
        b, spec = self.b, self.spec
        first, count = self.group_range(group)
        local = b.let(f"sub nsw i64 {group}, {first_group}")
        to_group = b.offset(self.v, b.times(local, spec.v_group))
        with b.loop(0, count) as tile:
            place = self.place(b.plus(first, tile))
            to = b.offset(to_group, b.times(tile, self.vector.bytes))
            self.read_tile(place, to)

    def read_tile(self, place: _Place, to: str) -> None:
        """One tile, all blocks of input channels."""
        b, spec = self.b, self.spec
        memory, window = spec.memory[spec.x], spec.window
        image = b.offset(self.base[spec.x], b.times(place.image, memory.batch))
        starts = [b.plus(place.row, str(-spec.pads[0])), b.plus(place.column, str(-spec.pads[1]))]
        lows = [self.larger("0", b.let(f"sub nsw i64 0, {start}")) for start in starts]
        highs = [
            self.smaller(str(window), b.let(f"sub nsw i64 {extent}, {start}"))
            for extent, start in zip(spec.image, starts, strict=True)
        ]
        inside = self.all_equal([*lows, *highs], [0, 0, window, window])
        border, go = b.label("border"), b.label("go")
        b.branch_if(inside, go, border)
        b.block(border)
        with b.loop(0, window * window) as i:
            pixel = b.offset(self.patch, b.times(i, memory.column))
            self.vector.store(b, "zeroinitializer", pixel)
        b.branch(go)
        b.block(go)
        own = self.at(image, memory, *starts)
        base = b.let(f"select i1 {inside}, ptr {own}, ptr {self.patch}")
        row = b.let(f"select i1 {inside}, i64 {memory.row}, i64 {window * memory.column}")
        step = b.let(f"select i1 {inside}, i64 {memory.block}, i64 0")
        with b.loop(0, spec.in_blocks) as block:
            fill, ready = b.label("fill"), b.label("ready")
            b.branch_if(inside, ready, fill)
            b.block(fill)
            source = b.offset(own, b.times(block, memory.block))
            patch = Memory(0, 0, window * memory.column, memory.column)
            with b.loop(lows[0], highs[0]) as y, b.loop(lows[1], highs[1]) as x:
                self.copy_vector(self.at(source, memory, y, x), self.at(self.patch, patch, y, x))
            b.branch(ready)
            b.block(ready)
            x_block = b.offset(base, b.let(f"mul nsw i64 {block}, {step}"))
            to_block = b.offset(to, b.times(block, spec.rows * self.vector.bytes))
            self.read_block(x_block, row, memory.column, to_block)

    def opaque(self, number: int) -> str:
        """A number that LLVM does not know: it would write a loop's body out as often."""
        return self.b.let(f'call i64 asm "", "=r,0"(i64 {number})')

    def all_equal(self, values: list[str], numbers: list[int]) -> str:
        b = self.b
        tests = [
            b.let(f"icmp eq i64 {v}, {number}") for v, number in zip(values, numbers, strict=True)
        ]
        result = tests[0]
        for test in tests[1:]:
            result = b.let(f"and i1 {result}, {test}")
        return result

    def read_block(self, x: str, row: str, column: int, to: str) -> None:
        """window^2 vectors from x, transformed along both axes to the positions of V."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        window = spec.window
        with b.loop(0, self.opaque(window)) as j:
            line = b.offset(x, b.times(j, column))
            lines = [line]
            for _ in range(window - 1):
                lines.append(b.offset(lines[-1], row))
            for line in lines:  # the next tile's
                prefetch(b, b.offset(line, spec.side * column), level=1)
            half = b.offset(self.half, b.times(j, size))
            values = self.transform.forward([self.vector.load(b, line) for line in lines])
            self.spread(values, half, window * size)
        with b.loop(0, self.opaque(window)) as i:
            half = b.offset(self.half, b.times(i, window * size))
            values = self.transform.forward(self.gather(half, size))
            self.spread(values, b.offset(to, b.times(i, window * spec.v_position)), spec.v_position)

    def gather(self, pointer: str, step: int) -> list[str]:
        """window vectors, some bytes apart."""
        b = self.b
        return [self.vector.load(b, b.offset(pointer, i * step)) for i in range(self.spec.window)]

    def spread(self, values: list[str], pointer: str, step: int) -> None:
        for i, value in enumerate(values):
            self.vector.store(self.b, value, self.b.offset(pointer, i * step))

    # The products

    def multiply(self, panel: str, begin: str, end: str) -> None:
        """M[position] = V[position] times the panel's weights, for all positions and groups."""
        b, spec = self.b, self.spec
        slab = spec.channels * spec.vectors * self.vector.bytes
        share = spec.channels * spec.ahead_bytes
        weights = b.offset(self.base[spec.weights], b.times(panel, spec.positions * slab))
        small, larger = divmod(spec.tiles, spec.all_groups)
        bounded = self.smaller(end, str(larger)) if larger else begin
        with b.loop(0, spec.positions) as position:
            w = b.offset(weights, b.times(position, slab))
            v = b.offset(self.v, b.times(position, spec.v_position))
            m = b.offset(self.m, b.times(position, spec.m_position))
            ranges = [(small, self.larger(begin, str(larger)) if larger else begin, end)]
            if larger:
                ranges.insert(0, (small + 1, begin, bounded))
            for count, first, last in ranges:
                with b.loop(first, last) as group:
                    local = b.let(f"sub nsw i64 {group}, {begin}")
                    ahead = b.offset(b.offset(w, slab), b.times(local, share))
                    self.product(
                        count,
                        b.offset(v, b.times(local, spec.v_group)),
                        w,
                        b.offset(m, b.times(local, spec.m_group)),
                        ahead,
                    )

    def product(self, count: int, v: str, w: str, m: str, ahead: str) -> None:
        """One group at one position: count tiles by vectors, in runs of input channels."""
        b, spec = self.b, self.spec
        whole, tail = divmod(spec.channels, spec.lanes)
        runs = -(-whole // spec.run)
        zeros = ["zeroinitializer"] * (count * spec.vectors)
        kinds = [self.vector.kind] * len(zeros)
        if not runs:
            self.spread(self.block(zeros, v, w, "0", tail, ahead), m, self.vector.bytes)
            return
        with b.loop(0, runs) as run:
            begin, end = b.times(run, spec.run), str(whole)
            if runs > 1:
                end = self.smaller(end, b.plus(begin, str(spec.run)))
            with Carried(b, begin, end, kinds, zeros) as loop:
                loop.values = self.block(loop.values, v, w, loop.counter, spec.lanes, ahead)
            acc = loop.values
            if runs == 1 and tail:
                acc = self.block(acc, v, w, str(whole), tail, ahead)
            if runs > 1:
                self.add_up(acc, m, b.let(f"icmp eq i64 {run}, 0"))
            else:
                self.spread(acc, m, self.vector.bytes)
        if runs > 1 and tail:
            self.add_up(self.block(zeros, v, w, str(whole), tail, ahead), m)

    def block(
        self, acc: list[str], v: str, w: str, number: str, channels: int, ahead: str
    ) -> list[str]:
        """One block of input channels."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        width = spec.vectors
        x = b.offset(v, b.times(number, spec.rows * size))
        weights = b.offset(w, b.times(number, spec.lanes * width * size))
        unroll = next(u for u in (4, 2, 1) if channels % u == 0)
        ahead = b.offset(ahead, b.times(number, spec.lanes * spec.ahead_bytes))
        steps = Steps(self.vector, width, 4, width * size, unroll)
        lines = Ahead(ahead, unroll * spec.ahead_bytes // LINE_BYTES)
        rows = [(i, x, i * size) for i in range(len(acc) // width)]
        return accumulate(b, steps, acc, rows, weights, channels, lines)

    def add_up(self, acc: list[str], m: str, first: str = "false") -> None:
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

    # Back to pixels

    def write_group(self, panel: str, group: str, first_group: str) -> None:
        b, spec, size = self.b, self.spec, self.vector.bytes
        first, count = self.group_range(group)
        local = b.let(f"sub nsw i64 {group}, {first_group}")
        m_group = b.offset(self.m, b.times(local, spec.m_group))
        first_block = b.times(panel, spec.vectors)
        blocks = str(spec.vectors)
        if spec.blocks % spec.vectors:
            blocks = self.smaller(blocks, b.let(f"sub nsw i64 {spec.blocks}, {first_block}"))
        with b.loop(0, count) as tile:
            place = self.place(b.plus(first, tile))
            m_tile = b.offset(m_group, b.times(tile, spec.vectors * size))
            left = [
                self.smaller(str(spec.side), b.let(f"sub nsw i64 {extent}, {start}"))
                for extent, start in zip(spec.out, (place.row, place.column), strict=True)
            ]
            with b.loop(0, blocks) as n:
                block = b.plus(first_block, n)
                bases = {name: self.tile_base(name, place, block) for name in self.base}
                self.write_block(b.offset(m_tile, b.times(n, size)), left, bases)

    def tile_base(self, name: str, place: _Place, block: str) -> str:
        """Where what the epilogue reads and writes at a tile begins."""
        b, spec = self.b, self.spec
        pointer = self.base[name]
        if name == spec.bias or spec.epilogue.operands.get(name) == "channel":
            return b.offset(pointer, b.times(block, self.vector.bytes))
        if self.is_image(name):
            memory = spec.memory[name]
            image = b.offset(pointer, b.times(place.image, memory.batch))
            return self.at(
                b.offset(image, b.times(block, memory.block)), memory, place.row, place.column
            )
        return pointer

    def write_block(self, m: str, left: list[str], bases: Mapping[str, str]) -> None:
        """side^2 pixels of one block, row by row."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        window = spec.window
        with b.loop(0, self.opaque(window)) as j:
            column = b.offset(m, b.times(j, spec.m_position))
            values = self.transform.inverse(self.gather(column, window * spec.m_position))
            self.spread(values, b.offset(self.half, b.times(j, size)), window * size)
        bias = self.vector.load(b, bases[spec.bias]) if spec.bias else ""
        with b.loop(0, left[0]) as y:
            half = b.offset(self.half, b.times(y, window * size))
            values = self.transform.inverse(self.gather(half, size))
            if bias:
                values = [b.let(f"fadd {self.vector.kind} {v}, {bias}") for v in values]
            rows = {
                name: b.offset(base, b.times(y, spec.memory[name].row))
                if self.is_image(name)
                else base
                for name, base in bases.items()
            }
            self.write_row(values, left[1], rows)

    def write_row(self, values: list[str], left: str, bases: Mapping[str, str]) -> None:
        """side pixels: from registers if whole and cheap, else through the patch."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        clipped, done = b.label("clipped"), b.label("written")
        if spec.epilogue.cheap:
            whole = b.label("whole")
            b.branch_if(b.let(f"icmp eq i64 {left}, {spec.side}"), whole, clipped)
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
            return b.offset(bases[name], b.times(x, spec.memory[name].column))

        def load(name: str) -> str:
            kind = spec.epilogue.operands[name]
            if kind == "scalar":
                return self.vector.broadcast(b, bases[name])
            return self.vector.load(b, bases[name] if kind == "channel" else place(name))

        results = spec.epilogue.apply(b, value, load, self.vector.kind, self.target)
        for name, result in zip(spec.epilogue.outputs, results, strict=True):
            self.vector.store(b, result, place(name))

    def is_image(self, name: str) -> bool:
        """Whether the epilogue reads or writes it pixel by pixel."""
        epilogue = self.spec.epilogue
        return name in epilogue.outputs or epilogue.operands.get(name) == "full"
