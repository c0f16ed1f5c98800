"""One tile of a direct convolution: sums over blocks, taps and channels, then the epilogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from planck.codegen.convolution import Bodies, Convolution, Pixels, bodies
from planck.codegen.microkernel import (
    LINE_BYTES,
    Ahead,
    Carried,
    Steps,
    Vector,
    accumulate,
    prefetch,
)
from planck.codegen.tables import Memory, TableBuilder
from planck.codegen.transpose import transpose
from planck.target import Target

# What is done with a finished vector of sums: its block in the panel, its pixel in the tile.
Use = Callable[[str, int, tuple[str, str]], None]

MOST_AHEAD: Final = 16  # lines to fetch at each tap: more stand in the way of the products


@dataclass(slots=True)
class Unit:
    """Where one unit of work reads and writes."""

    vectors: int
    panel: str
    weights: str
    next_weights: str  # of the chunk, or else the panel, that this thread takes next
    x: str
    bases: dict[str, str]
    group: tuple[str, str]
    first: str = ""  # i1 conditions of the chunk; empty without chunks
    last: str = ""
    block_begin: str = "0"
    block_end: str = ""


@dataclass(slots=True)
class Tile:
    """One tile: what it reads, and what else lies beside its result."""

    height: int
    width: int
    x: str
    at: dict[str, str]
    row_case: str
    column_case: str
    number: str  # of the tile in its panel
    corner: tuple[str, str]  # row and column of its first pixel in the output


class TileWriter:
    """Writes tiles; the base of the writer of whole kernels."""

    def __init__(self, target: Target, spec: Convolution, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector.of(target)
        self.weight_bytes = self.vector.lanes * spec.weight_bytes  # of a vector

    def lines_ahead(self, vectors: int) -> int:
        """Lines of a block of the next panel that each tile of this one fetches; 0 for none.

        The tiles of a panel share them. Where there are many, what the first loads serves the rest.
        """
        spec = self.spec
        tiles = len(spec.rows.strips) * len(spec.columns.strips)
        lines = spec.taps[0] * spec.channels * vectors * self.weight_bytes // LINE_BYTES
        if tiles > lines or spec.panels == 1 or vectors != spec.vectors or spec.k_bytes > 4:
            return 0
        return -(-lines // tiles)

    # The tile

    def tile(self, unit: Unit, tile: Tile) -> None:
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
                    unit, tile, shape, loop.values, str(spec.in_blocks), self.tail_count(unit),
                    self.tail_half(unit),
                )  # fmt: skip
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

    def tail_count(self, unit: Unit) -> int | str:
        """Whole k in the last block that a panel reads."""
        spec = self.spec
        whole = spec.tail - spec.half
        if not spec.starts:
            return whole
        last = max(spec.starts)
        counts = [whole if start == last else spec.channels for start in spec.starts]
        return self.b.entry(counts, unit.panel)

    def tail_half(self, unit: Unit) -> int | str:
        """1 if a pair with one channel follows them."""
        spec = self.spec
        if not spec.half or not spec.starts:
            return int(spec.half)
        last = max(spec.starts)
        return self.b.entry([int(start == last) for start in spec.starts], unit.panel)

    def initial(self, unit: Unit, tile: Tile) -> list[str]:
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

    def partials(self, unit: Unit, tile: Tile) -> list[str]:
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
        self,
        unit: Unit,
        tile: Tile,
        shape: Bodies,
        acc: list[str],
        block: str,
        count: int | str,
        half: int | str = 0,
    ) -> list[str]:
        """All taps of one block of input channels."""
        b, spec = self.b, self.spec
        x = b.offset(tile.x, b.times(block, spec.memory[spec.x].block))
        per_tap = spec.channels * unit.vectors * self.weight_bytes
        weights = b.offset(unit.weights, b.times(block, spec.taps[0] * per_tap))
        columns = len(spec.columns.cases[tile.width])
        number = b.times(tile.row_case, columns)
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
        counts = [row[-1] - row[0] for row in begins]
        first_tap = b.entry([row[0] for row in begins], number)
        share = self.lines_ahead(unit.vectors)
        at_tap = min(MOST_AHEAD, -(-share // max(1, *counts)))  # tiles at a border have fewer taps
        fetched = b.offset(
            unit.next_weights, b.times(self.place(unit, tile, block), share * LINE_BYTES)
        )
        for body, pixels in enumerate(shape.subsets):
            selecting = shape.selecting and body == len(shape.subsets) - 1
            begin = b.entry([row[body] for row in begins], number)
            end = b.entry([row[body + 1] for row in begins], number)
            if begin == end or not flat:
                continue
            kinds = [self.vector.kind] * (len(pixels) * unit.vectors)
            slots = [i * unit.vectors + n for i in pixels for n in range(unit.vectors)]
            with Carried(b, begin, end, kinds, [acc[s] for s in slots]) as loop:
                inner = list(acc)
                for slot, value in zip(slots, loop.values, strict=True):
                    inner[slot] = value
                place = b.entry(places, loop.counter)
                here = b.offset(x, b.entry(offsets, loop.counter))
                mask = b.entry(bits, loop.counter) if selecting else ""
                ahead = None
                if at_tap:
                    tap = b.let(f"sub nsw i64 {loop.counter}, {first_tap}")
                    ahead = Ahead(b.offset(fetched, b.times(tap, at_tap * LINE_BYTES)), at_tap)
                rows = self.pixels(tile, pixels, here, mask)
                inner = self.steps(unit, inner, rows, b.offset(weights, place), count, half, ahead)
                loop.values = [inner[s] for s in slots]
            for slot, value in zip(slots, loop.values, strict=True):
                acc[slot] = value
        return acc

    def place(self, unit: Unit, tile: Tile, block: str) -> str:
        """A number for a block in a tile: all of a panel's, or of a chunk's, in their order."""
        b, spec = self.b, self.spec
        blocks = spec.chunk or spec.in_blocks + bool(spec.tail)
        if unit.block_begin != "0":
            block = b.let(f"sub nsw i64 {block}, {unit.block_begin}")
        return b.plus(b.times(tile.number, blocks), block)

    def pixels(self, tile: Tile, pixels: Pixels, x: str, mask: str) -> list[tuple[int, str, int]]:
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
            zeros = b.numbers([0] * (self.vector.bytes // 8))
            chosen = b.let(f"select i1 {test}, ptr {b.offset(x, shift)}, ptr {zeros}")
            rows.append((i, chosen, 0))
        return rows

    def steps(
        self,
        unit: Unit,
        acc: list[str],
        rows: list[tuple[int, str, int]],
        weights: str,
        count: int | str,
        half: int | str,
        ahead: Ahead | None,
    ) -> list[str]:
        """The k of one tap: whole ones, and a half one where there is one more channel."""
        b, spec, width = self.b, self.spec, unit.vectors * self.weight_bytes
        whole = isinstance(count, int) and count % spec.unroll == 0
        unroll = spec.unroll if whole else 1
        dtype = spec.memory[spec.x].dtype
        shape = Steps(
            self.vector, unit.vectors, spec.k_bytes, width, unroll,
            x=dtype, weights=spec.packed, pairs=spec.pairs,
        )  # fmt: skip
        if ahead:
            trips = max(1, count // unroll) if isinstance(count, int) else 1
            at_once = ahead.lines % trips if isinstance(count, int) else ahead.lines
            for line in range(at_once):
                prefetch(b, b.offset(ahead.pointer, line * LINE_BYTES))
            pointer = b.offset(ahead.pointer, at_once * LINE_BYTES)
            ahead = Ahead(pointer, (ahead.lines - at_once) // trips)
        if count:
            acc = accumulate(b, shape, acc, rows, weights, count, ahead)
        if half:
            place = b.times(str(count), spec.k_bytes)
            rows = [(row, b.offset(pointer, place), shift) for row, pointer, shift in rows]
            weights = b.offset(weights, b.times(str(count), width))
            one = replace(shape, unroll=1, half=True)
            if half == 1:
                return accumulate(b, one, acc, rows, weights, 1)
            kinds = [self.vector.kind] * len(acc)
            with Carried(b, 0, half, kinds, acc) as loop:
                loop.values = accumulate(b, one, loop.values, rows, weights, 1)
            acc = loop.values
        return acc

    # The epilogue

    def finish(self, unit: Unit, tile: Tile, acc: list[str]) -> None:
        """Epilogue and store: straight from registers if cheap, else in a loop over the pixels."""
        if self.spec.planes:
            self.finish_rows(unit, tile, acc)
        else:
            self.each_vector(unit, tile, acc, partial(self.emit, tile))

    def each_vector(self, unit: Unit, tile: Tile, acc: list[str], use: Use) -> None:
        """Use each sum with its block in the panel and its pixel."""
        b, size = self.b, self.vector.bytes
        if self.spec.epilogue.cheap:
            for i, value in enumerate(acc):
                down, along = divmod(i // unit.vectors, tile.width)
                use(value, i % unit.vectors, (str(down), str(along)))
            return
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset("%scratch", i * size))
        with b.loop(0, tile.height, hint="y") as y, b.loop(0, tile.width, hint="x") as x:
            number = b.let(f"add nsw i64 {b.times(y, tile.width)}, {x}")
            source = b.offset("%scratch", b.times(number, unit.vectors * size))
            for n in range(unit.vectors):
                use(self.vector.load(b, b.offset(source, n * size)), n, (y, x))

    def emit(self, tile: Tile, value: str, n: int, pixel: tuple[str, str]) -> None:
        """The epilogue of one vector: block n of the panel, at a pixel."""
        place = partial(self.beside, tile, n, pixel)
        self.spec.epilogue.write(self.b, self.target, self.vector, value, place)

    def beside(self, tile: Tile, n: int, pixel: tuple[str, str], name: str) -> str:
        """Where an operand or an output has what belongs to block n at a pixel."""
        b, spec = self.b, self.spec
        kind = spec.epilogue.operands.get(name)
        if kind == "scalar":
            return tile.at[name]
        if kind == "channel":
            return b.offset(tile.at[name], n * self.vector.lanes * spec.epilogue.dtype(name).bytes)
        if kind == "resized":
            return self.nearest(tile, name, n, pixel)
        memory = spec.memory[name]
        down = b.times(pixel[0], spec.rows.out_step * memory.row)
        along = b.times(pixel[1], spec.columns.out_step * memory.column)
        return b.offset(b.offset(tile.at[name], b.plus(down, along)), n * memory.block)

    def nearest(self, tile: Tile, name: str, n: int, pixel: tuple[str, str]) -> str:
        """Where the neighbour of a pixel lies in an operand that is read resized."""
        b, spec = self.b, self.spec
        steps = (spec.rows.out_step, spec.columns.out_step)
        place = tile.at[name]
        for table, corner, i, step in zip(
            spec.nearest[name], tile.corner, pixel, steps, strict=True
        ):
            place = b.offset(place, b.entry(table, b.plus(corner, b.times(i, step))))
        return b.offset(place, n * spec.memory[name].block)

    # Outputs in rows: the finished tile goes to scratch, and from there transposed to each channel

    def finish_rows(self, unit: Unit, tile: Tile, acc: list[str]) -> None:
        """Epilogue, then store pixels of a channel next to each other."""
        b, spec, size = self.b, self.spec, self.vector.bytes
        most = spec.rows.sizes[0] * spec.columns.sizes[0]
        room = (most + self.vector.lanes) * size  # of a block: lanes are read that no pixel has
        waiting = 0 if spec.epilogue.cheap else most * spec.vectors * size
        done = b.offset("%scratch", waiting)

        def keep(value: str, n: int, pixel: tuple[str, str]) -> None:
            number = b.plus(b.times(pixel[0], tile.width), pixel[1])
            place = b.offset(done, b.times(number, size))
            operands = partial(self.beside, tile, n, pixel)
            results = spec.epilogue.apply(b, self.target, self.vector, value, operands)
            for o, result in enumerate(results):
                self.vector.store(b, result, b.offset(place, (o * spec.vectors + n) * room))

        self.each_vector(unit, tile, acc, keep)
        nobody = b.offset(done, len(spec.planes) * spec.vectors * room)
        with b.loop(0, unit.vectors, hint="n") as block:
            lanes = self.lanes_of(unit, block)
            for o, name in enumerate(spec.epilogue.outputs):
                source = b.offset(b.offset(done, o * spec.vectors * room), b.times(block, room))
                goal = b.offset(tile.at[name], b.times(block, spec.memory[name].block))
                for i in range(tile.height):
                    pixels = b.offset(source, i * tile.width * size)
                    there = b.offset(goal, i * spec.memory[name].row)
                    self.store_row(name, pixels, there, tile.width, lanes, nobody)

    def lanes_of(self, unit: Unit, n: str) -> str:
        """How many channels a block of the panel has; "" if all have all."""
        b, spec = self.b, self.spec
        if spec.last_lanes in (0, self.vector.lanes):
            return ""
        block = b.plus(b.times(unit.panel, spec.vectors), n)
        last = b.let(f"icmp eq i64 {block}, {spec.blocks - 1}")
        return b.let(f"select i1 {last}, i64 {spec.last_lanes}, i64 {self.vector.lanes}")

    def store_row(
        self, name: str, source: str, goal: str, width: int, lanes: str, nobody: str
    ) -> None:
        """width pixels of a block: f32[pixel, lane] -> rows of pixels, one for each channel.

        lanes:   channels that there are; what the others hold goes to nobody
        """
        b, spec, vector = self.b, self.spec, self.vector
        for first in range(0, width, self.vector.lanes):
            places = [
                b.offset(source, (first + i) * vector.bytes) for i in range(self.vector.lanes)
            ]
            columns = transpose(b, [vector.load(b, p) for p in places], vector.kind)
            count = min(self.vector.lanes, width - first)
            for channel, value in enumerate(columns):
                place = b.offset(goal, channel * spec.planes[name] + first * 4)
                if lanes:
                    test = b.let(f"icmp sgt i64 {lanes}, {channel}")
                    place = b.let(f"select i1 {test}, ptr {place}, ptr {nobody}")
                vector.store(b, value, place, count=count)
