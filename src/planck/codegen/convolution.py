"""Direct convolution: output tiles that stay in registers while taps and channels stream past.

A unit of work is one panel of output channels by one group of tiles of one image. Inside it:

    for strips of rows, strips of columns:            a tile: rows x columns x vectors accumulators
        for blocks of input channels:
            for each body, for its taps:              table-driven; a body is a subset of pixels
                for k in the block, unrolled:         broadcast x[pixel, k], multiply by w[k, :]
        epilogue and store

Taps that fall outside the image are left out of the tables. What is left near a border is taken by
bodies that cover fewer pixels, and where these would be too many by one that reads zeros instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import Builder, function
from planck.codegen.microkernel import Carried, Steps, Vector, accumulate
from planck.codegen.tiling import Axis
from planck.target import Target

# Bodies of one tile shape before the rest shares one that selects its pixels at run time; each costs
# about 10 ms of compile time and 2 kB of code.
MAX_BODIES: Final = 5
LINE_BYTES: Final = 64
MAX_PREFETCH: Final = 8  # lines at each tap

Pixels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Byte strides of a blocked operand."""

    batch: int
    block: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with everything decided.

    blocks:       blocks of output channels
    channels:     input channels in each input block: lanes, or all of them for a row-major input
    k_bytes:      from one of these channels to the next
    in_blocks:    whole input blocks that a panel reads
    tail:         channels in one further block that is not whole; 0 for none
    starts:       first input block of each panel (grouped convolutions); empty: always 0
    taps:         filter positions in all, and along a row
    vectors:      output blocks in a panel; the last panel has what is left
    chunk:        input blocks accumulated before going to the next tile; 0 for all
    groups:       parts that the strips of rows and of columns are divided into
    panel_first:  neighbouring units share a panel rather than pixels
    arguments:    names in the order of the pointer table; weights and bias by these two names
    """

    batch: int
    blocks: int
    channels: int
    k_bytes: int
    in_blocks: int
    tail: int
    starts: tuple[int, ...]
    taps: tuple[int, int]
    rows: Axis
    columns: Axis
    vectors: int
    unroll: int
    chunk: int
    groups: tuple[int, int]
    panel_first: bool
    arguments: tuple[str, ...]
    x: str
    weights: str
    bias: str
    memory: Mapping[str, Memory]
    epilogue: Epilogue

    @property
    def panels(self) -> int:
        return -(-self.blocks // self.vectors)

    @property
    def units(self) -> int:
        return self.batch * self.panels * self.groups[0] * self.groups[1]

    def scratch_bytes(self, target: Target) -> int:
        tile = self.rows.sizes[0] * self.columns.sizes[0] * self.vectors
        return 0 if self.epilogue.cheap else tile * target.vector_bytes


def write(target: Target, symbol: str, spec: Convolution) -> str:
    """The module of one convolution kernel."""
    b = Builder()
    _Writer(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of one tile shape: pixel subsets, and for each class and body its taps.

    taps:  (row shift, column shift, tap number, pixels)
    """

    subsets: tuple[Pixels, ...]
    selecting: bool  # the last body takes the pixels of each tap from a table
    lists: tuple[tuple[tuple[tuple[int, int, int, Pixels], ...], ...], ...]


def bodies(spec: Convolution, height: int, width: int) -> Bodies:
    """Sort the taps of all classes (row case, column case) of a tile shape into few bodies."""
    whole = tuple(range(height * width))
    classes = [
        [
            (r.shift, c.shift, r.index * spec.taps[1] + c.index,
             tuple(y * width + x for y in r.pixels for x in c.pixels))
            for r in rows for c in columns
        ]
        for rows in spec.rows.cases[height] for columns in spec.columns.cases[width]
    ]  # fmt: skip
    used = Counter(pixels for taps in classes for *_, pixels in taps)
    others = [pixels for pixels, _ in used.most_common() if pixels != whole]
    selecting = len(others) >= MAX_BODIES and spec.k_bytes == 4
    subsets = [whole, *(others[: MAX_BODIES - 2] if selecting else others)]
    place = {pixels: i for i, pixels in enumerate(subsets)}
    if selecting:
        subsets.append(whole)
    last = len(subsets) - 1
    lists = tuple(
        tuple(
            tuple(tap for tap in taps if place.get(tap[3], last) == body)
            for body in range(len(subsets))
        )
        for taps in classes
    )
    return Bodies(tuple(subsets), selecting, lists)


@dataclass(slots=True)
class _Unit:
    """Where one unit of work reads and writes."""

    vectors: int
    panel: str
    weights: str
    x: str
    bases: dict[str, str]
    group: tuple[str, str]
    first: str = ""  # i1 conditions of the chunk; empty without chunks
    last: str = ""
    block_begin: str = "0"
    block_end: str = ""


@dataclass(slots=True)
class _Tile:
    """One tile: what it reads, and what else lies beside its result."""

    height: int
    width: int
    x: str
    at: dict[str, str]
    row_case: str
    column_case: str
    ahead: str = ""  # bytes into a tap's weights from where this tile prefetches


class _Writer:
    def __init__(self, target: Target, spec: Convolution, b: Builder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector(target.lanes)
        self.tables: dict[tuple[int, ...], str] = {}

    def table(self, hint: str, values: list[int]) -> str:
        """A constant table, written once for equal contents."""
        key = tuple(values)
        if key not in self.tables:
            self.tables[key] = self.b.table(f"{hint}{len(self.tables)}", values)
        return self.tables[key]

    def entry(self, hint: str, values: list[int], index: str) -> str:
        """values[index] at run time; a literal where all are equal."""
        if len(set(values)) == 1:
            return str(values[0])
        b = self.b
        place = b.let(f"getelementptr i64, ptr {self.table(hint, values)}, i64 {index}", "p")
        return b.load("i64", place, 8)

    def times(self, value: str, factor: int) -> str:
        if value == "0" or factor == 0:
            return "0"
        if value.lstrip("-").isdigit():
            return str(int(value) * factor)
        return self.b.let(f"mul nsw i64 {value}, {factor}")

    # The unit of work

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = {
            name: b.load("ptr", b.offset("%args", 8 * i), 8)
            for i, name in enumerate(spec.arguments)
        }
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
        b, spec, size = self.b, self.spec, self.vector.bytes
        blocks = spec.in_blocks + bool(spec.tail)
        slab = blocks * spec.taps[0] * spec.channels * spec.vectors * size
        weights = b.offset(self.base[spec.weights], self.times(panel, slab))
        bases = {}
        for name, pointer in self.base.items():
            if name == spec.x:
                memory = spec.memory[name]
                x = b.offset(pointer, self.times(image, memory.batch))
                if spec.starts:
                    start = self.entry("starts", list(spec.starts), panel)
                    x = b.offset(x, self.times(start, memory.block))
            if name in spec.memory and (name != spec.x or name in spec.epilogue.operands):
                memory = spec.memory[name]
                moved = b.offset(pointer, self.times(image, memory.batch))
                bases[name] = b.offset(moved, self.times(panel, spec.vectors * memory.block))
            elif name == spec.bias or spec.epilogue.operands.get(name) == "channel":
                bases[name] = b.offset(pointer, self.times(panel, spec.vectors * size))
            elif name in spec.epilogue.operands:
                bases[name] = pointer
        unit = _Unit(vectors, panel, weights, x, bases, group, block_end=str(spec.in_blocks))
        self.chunks(unit)

    def chunks(self, unit: _Unit) -> None:
        b, spec = self.b, self.spec
        if not spec.chunk:
            self.strips(unit)
            return
        count = max(1, -(-spec.in_blocks // spec.chunk))
        with b.loop(0, count) as c:
            unit.first = b.let(f"icmp eq i64 {c}, 0")
            unit.last = b.let(f"icmp eq i64 {c}, {count - 1}")
            unit.block_begin = self.times(c, spec.chunk)
            end = b.let(f"add nsw i64 {unit.block_begin}, {spec.chunk}")
            unit.block_end = b.let(f"select i1 {unit.last}, i64 {spec.in_blocks}, i64 {end}")
            self.strips(unit)

    def strips(self, unit: _Unit) -> None:
        """The loops over a group's strips of rows and columns, one nest for each tile shape."""
        b, spec = self.b, self.spec
        for height in spec.rows.sizes:
            rows = spec.rows.of_size(height)
            with b.loop(*self.share(len(rows), unit.group[0], spec.groups[0])) as r:
                row = [
                    self.entry("rows", [getattr(s, field) for s in rows], r)
                    for field in ("at_in", "at_out", "case")
                ]
                for width in spec.columns.sizes:
                    columns = spec.columns.of_size(width)
                    with b.loop(*self.share(len(columns), unit.group[1], spec.groups[1])) as c:
                        column = [
                            self.entry("columns", [getattr(s, field) for s in columns], c)
                            for field in ("at_in", "at_out", "case")
                        ]
                        tile = self.tile_at(unit, height, width, row, column)
                        tile.ahead = self.prefetch_place(r, c, len(columns), unit.vectors)
                        self.tile(unit, tile)

    def share(self, count: int, group: str, groups: int) -> tuple[str, str]:
        """The range of count strips that belongs to a group."""
        if groups == 1:
            return "0", str(count)
        b = self.b
        after = b.let(f"add nsw i64 {group}, 1")
        return (
            b.let(f"udiv i64 {self.times(group, count)}, {groups}"),
            b.let(f"udiv i64 {self.times(after, count)}, {groups}"),
        )

    def tile_at(
        self, unit: _Unit, height: int, width: int, row: list[str], column: list[str]
    ) -> _Tile:
        b, spec = self.b, self.spec
        memory = spec.memory[spec.x]
        x = b.offset(unit.x, self.times(row[0], memory.row))
        x = b.offset(x, self.times(column[0], memory.column))
        at = {}
        for name, pointer in unit.bases.items():
            if name in spec.memory:
                own = spec.memory[name]
                moved = b.offset(pointer, self.times(row[1], own.row))
                pointer = b.offset(moved, self.times(column[1], own.column))
            at[name] = pointer
        return _Tile(height, width, x, at, row[2], column[2])

    def prefetch_place(self, row: str, column: str, columns: int, vectors: int) -> str:
        """Bytes into a tap's weights of the next panel that this tile brings to L2; "" for none."""
        share = self.prefetch_lines(vectors)
        if not share:
            return ""
        number = self.b.let(f"add nsw i64 {self.times(row, columns)}, {column}")
        return self.times(number, share * LINE_BYTES)

    def prefetch_lines(self, vectors: int) -> int:
        """Lines of the next panel at each tap: the tiles of a unit share them."""
        spec = self.spec
        tiles = len(spec.rows.strips) * len(spec.columns.strips)
        tiles //= spec.groups[0] * spec.groups[1]
        lines = spec.channels * vectors * self.vector.bytes // LINE_BYTES
        if tiles > lines or spec.panels == 1 or vectors != spec.vectors or spec.k_bytes != 4:
            return 0
        return min(MAX_PREFETCH, -(-lines // max(1, tiles)))

    # The tile

    def tile(self, unit: _Unit, tile: _Tile) -> None:
        b, spec = self.b, self.spec
        acc = self.initial(unit, tile)
        kinds = [self.vector.kind] * len(acc)
        shape = bodies(spec, tile.height, tile.width)
        if spec.in_blocks == 1 and not spec.chunk:
            acc = self.block(unit, tile, shape, acc, "0", spec.channels)
        elif spec.in_blocks:
            with Carried(b, unit.block_begin, unit.block_end, kinds, acc) as loop:
                loop.values = self.block(
                    unit, tile, shape, loop.values, loop.counter, spec.channels
                )
            acc = loop.values
        if spec.tail:
            trips = b.let(f"zext i1 {unit.last} to i64") if unit.last else "1"
            with Carried(b, 0, trips, kinds, acc) as loop:
                loop.values = self.block(
                    unit, tile, shape, loop.values, str(spec.in_blocks), self.tail_count(unit)
                )
            acc = loop.values
        if not unit.last:
            self.finish(unit, tile, acc)
            return
        final, partial, done = b.label("final"), b.label("partial"), b.label("tiledone")
        b.branch_if(unit.last, final, partial)
        b.block(partial)
        for i, pointer in enumerate(self.partials(unit, tile)):
            self.vector.store(b, acc[i], pointer)
        b.branch(done)
        b.block(final)
        self.finish(unit, tile, acc)
        b.branch(done)
        b.block(done)

    def tail_count(self, unit: _Unit) -> int | str:
        """Channels in the last block that a panel reads."""
        spec = self.spec
        if not spec.starts:
            return spec.tail
        last = max(spec.starts)
        counts = [spec.tail if start == last else spec.channels for start in spec.starts]
        return self.entry("tails", counts, unit.panel)

    def initial(self, unit: _Unit, tile: _Tile) -> list[str]:
        """Accumulators before the first (or the next) chunk: the bias, or what was stored."""
        b, spec = self.b, self.spec
        pixels = tile.height * tile.width
        start = ["zeroinitializer"] * unit.vectors
        if spec.bias:
            start = [
                self.vector.load(b, b.offset(tile.at[spec.bias], n * self.vector.bytes))
                for n in range(unit.vectors)
            ]
        if not unit.first:
            return start * pixels
        fresh, stored, go = b.label("fresh"), b.label("stored"), b.label("go")
        b.branch_if(unit.first, fresh, stored)
        b.block(stored)
        loaded = [self.vector.load(b, pointer) for pointer in self.partials(unit, tile)]
        b.branch(go)
        b.block(fresh)
        b.branch(go)
        b.block(go)
        return [
            b.let(f"phi {self.vector.kind} [ {first}, %{fresh} ], [ {later}, %{stored} ]")
            for first, later in zip(start * pixels, loaded, strict=True)
        ]

    def partials(self, unit: _Unit, tile: _Tile) -> list[str]:
        """Where sums wait between chunks: in the first output."""
        b, name = self.b, self.spec.epilogue.outputs[0]
        memory = self.spec.memory[name]
        return [
            b.offset(tile.at[name], self.pixel(memory, i, tile.width) + n * memory.block)
            for i in range(tile.height * tile.width)
            for n in range(unit.vectors)
        ]

    def pixel(self, memory: Memory, number: int, width: int) -> int:
        y, x = divmod(number, width)
        spec = self.spec
        return y * spec.rows.out_step * memory.row + x * spec.columns.out_step * memory.column

    def block(
        self, unit: _Unit, tile: _Tile, shape: Bodies, acc: list[str], block: str, count: int | str
    ) -> list[str]:
        """All taps of one block of input channels."""
        b, spec = self.b, self.spec
        x = b.offset(tile.x, self.times(block, spec.memory[spec.x].block))
        per_tap = spec.channels * unit.vectors * self.vector.bytes
        weights = b.offset(unit.weights, self.times(block, spec.taps[0] * per_tap))
        columns = len(spec.columns.cases[tile.width])
        number = self.times(tile.row_case, columns)
        if tile.column_case != "0":
            number = b.let(f"add nsw i64 {number}, {tile.column_case}")
        begins: list[list[int]] = []
        flat: list[tuple[int, int, int, Pixels]] = []
        for taps in shape.lists:
            row = []
            for listed in taps:
                row.append(len(flat))
                flat.extend(listed)
            begins.append([*row, len(flat)])
        memory = spec.memory[spec.x]
        offsets = [dy * memory.row + dx * memory.column for dy, dx, _, _ in flat]
        places = [tap * per_tap for _, _, tap, _ in flat]
        bits = [sum(1 << i for i in pixels) for *_, pixels in flat]
        for body, pixels in enumerate(shape.subsets):
            selecting = shape.selecting and body == len(shape.subsets) - 1
            begin = self.entry("begin", [row[body] for row in begins], number)
            end = self.entry("end", [row[body + 1] for row in begins], number)
            if begin == end or not flat:
                continue
            kinds = [self.vector.kind] * (len(pixels) * unit.vectors)
            slots = [i * unit.vectors + n for i in pixels for n in range(unit.vectors)]
            with Carried(b, begin, end, kinds, [acc[s] for s in slots]) as loop:
                inner = list(acc)
                for slot, value in zip(slots, loop.values, strict=True):
                    inner[slot] = value
                place = self.entry("places", places, loop.counter)
                here = b.offset(x, self.entry("offsets", offsets, loop.counter))
                mask = self.entry("bits", bits, loop.counter) if selecting else ""
                if body == 0 and tile.ahead:
                    self.prefetch(unit, b.offset(weights, place), tile.ahead)
                rows = self.pixels(tile, pixels, here, mask)
                inner = self.steps(unit, inner, rows, b.offset(weights, place), count)
                loop.values = [inner[s] for s in slots]
            for slot, value in zip(slots, loop.values, strict=True):
                acc[slot] = value
        return acc

    def pixels(self, tile: _Tile, pixels: Pixels, x: str, mask: str) -> list[tuple[int, str, int]]:
        """Rows of the microkernel: each pixel's pointer and displacement."""
        b, spec = self.b, self.spec
        memory = spec.memory[spec.x]
        rows = []
        for i in pixels:
            y, column = divmod(i, tile.width)
            shift = y * spec.rows.in_step * memory.row
            shift += column * spec.columns.in_step * memory.column
            if not mask:
                rows.append((i, x, shift))
                continue
            bit = b.let(f"and i64 {mask}, {1 << i}")
            test = b.let(f"icmp ne i64 {bit}, 0")
            zeros = self.table("zeros", [0] * (self.vector.bytes // 8))
            chosen = b.let(f"select i1 {test}, ptr {b.offset(x, shift)}, ptr {zeros}")
            rows.append((i, chosen, 0))
        return rows

    def steps(
        self,
        unit: _Unit,
        acc: list[str],
        rows: list[tuple[int, str, int]],
        weights: str,
        count: int | str,
    ) -> list[str]:
        spec, size = self.spec, self.vector.bytes
        whole = isinstance(count, int) and count % spec.unroll == 0
        unroll = spec.unroll if whole else 1
        shape = Steps(self.vector, unit.vectors, spec.k_bytes, unit.vectors * size, unroll)
        return accumulate(self.b, shape, acc, rows, weights, count)

    def prefetch(self, unit: _Unit, weights: str, ahead: str) -> None:
        b, spec = self.b, self.spec
        blocks = spec.in_blocks + bool(spec.tail)
        slab = blocks * spec.taps[0] * spec.channels * unit.vectors * self.vector.bytes
        place = b.offset(b.offset(weights, slab), ahead)
        for line in range(self.prefetch_lines(unit.vectors)):
            pointer = b.offset(place, line * LINE_BYTES)
            b.call("void", "llvm.prefetch.p0", ("ptr", pointer), ("i32", "0"), ("i32", "2"), ("i32", "1"))  # fmt: skip

    # The epilogue

    def finish(self, unit: _Unit, tile: _Tile, acc: list[str]) -> None:
        """Epilogue and store: straight from registers if cheap, else in a loop over the pixels."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        if spec.epilogue.cheap:
            for i in range(tile.height * tile.width):
                for n in range(unit.vectors):
                    value = acc[i * unit.vectors + n]
                    self.emit(tile, value, n, lambda memory, i=i: self.pixel(memory, i, tile.width))
            return
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset("%scratch", i * size))
        with b.loop(0, tile.height, hint="y") as y, b.loop(0, tile.width, hint="x") as x:
            number = b.let(f"add nsw i64 {self.times(y, tile.width)}, {x}")
            source = b.offset("%scratch", self.times(number, unit.vectors * size))

            def at(memory: Memory) -> str:
                down = self.times(y, spec.rows.out_step * memory.row)
                along = self.times(x, spec.columns.out_step * memory.column)
                return b.let(f"add nsw i64 {down}, {along}")

            for n in range(unit.vectors):
                self.emit(tile, self.vector.load(b, b.offset(source, n * size)), n, at)

    def emit(self, tile: _Tile, value: str, n: int, at: Callable[[Memory], int | str]) -> None:
        """The epilogue of one vector: block n of the panel, at a pixel."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            memory = spec.memory[name]
            return b.offset(b.offset(tile.at[name], at(memory)), n * memory.block)

        def load(name: str) -> str:
            kind = spec.epilogue.operands[name]
            if kind == "scalar":
                return self.vector.broadcast(b, tile.at[name])
            if kind == "channel":
                return self.vector.load(b, b.offset(tile.at[name], n * self.vector.bytes))
            return self.vector.load(b, place(name))

        results = spec.epilogue.apply(b, value, load, self.vector.kind, self.target)
        for name, result in zip(spec.epilogue.outputs, results, strict=True):
            self.vector.store(b, result, place(name))
