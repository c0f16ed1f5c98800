"""Loop nests -> one kernel: tiles, loops, vectors, stores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from planck.codegen import memory
from planck.codegen.across import Across
from planck.codegen.llvm import Builder, function
from planck.codegen.memory import register
from planck.codegen.reductions import chains
from planck.codegen.terms import Emitter
from planck.dtypes import Array
from planck.loops.lower import EXPENSIVE, Nest, Store
from planck.loops.peel import pieces, undecided
from planck.loops.terms import Term, factor_of, walk
from planck.target import Target

# Nanoseconds of work that one tile should have, and tiles for each thread at most. A claim and a
# hand-over take a fifth of a microsecond. With 12 us, YOLOv4-tiny's copies ran on one thread, 68 us
# of 7,300; with 3 us they take 45 on two (Zen 5).
TILE_NS: Final = 3_000.0
TILES_PER_THREAD: Final = 8
# Registers that make one vector where each lane is a reduction of its own.
WIDE: Final = 4
# Elements at a border that are computed one by one: their windows end at different places.
NARROW: Final = 4
# Estimates for one vector, in nanoseconds: enough to choose tiles by.
_PLAIN_NS, _EXPENSIVE_NS, _LOAD_NS = 0.3, 6.0, 0.8


@dataclass(frozen=True, slots=True)
class Tiling:
    """loops[:depth] are tiles whole, loops[depth] in chunks of `chunk` steps."""

    depth: int
    chunk: int
    tiles: int


def generate(
    symbol: str,
    nests: Sequence[Nest],
    arguments: Sequence[str],
    tables: Mapping[str, Array],
    target: Target,
    threads: int,
) -> tuple[str, int, int]:
    """The LLVM IR of a kernel, its number of tiles, and the bytes of scratch that it needs.

    arguments:  operands in the order of the pointer table
    tables:     operands that are constants written into the module
    """
    b = Builder()
    pointers = {name: _table(b, name, array) for name, array in tables.items()}
    pointers |= b.arguments(arguments)
    first = scratch = 0
    for nest in nests:
        writer = _NestWriter(b, nest, pointers, target)
        tiling = writer.tiling(threads)
        writer.write(tiling, first, alone=len(nests) == 1)
        first += tiling.tiles
        scratch = max(scratch, writer.scratch_bytes)
    b.do("ret void")
    return function(target, symbol, b), first, scratch


def _table(b: Builder, name: str, array: Array) -> str:
    """A constant array as a global of its bytes."""
    text = "".join(f"\\{byte:02X}" for byte in array.tobytes())
    size = array.nbytes
    b.tables.append(f'@{name} = private unnamed_addr constant [{size} x i8] c"{text}", align 64')
    return f"@{name}"


class _NestWriter:
    def __init__(
        self,
        b: Builder,
        nest: Nest,
        pointers: Mapping[str, str],
        target: Target,
    ) -> None:
        self.b, self.nest, self.target = b, nest, target
        lanes = _lanes(nest, target)
        self.pieces = pieces(nest)
        self.chains = 1 if len(self.pieces) > 1 else _chains(nest, lanes, target)
        self.lanes = lanes * self.chains
        self.rows = 1
        self.e = Emitter(b, nest.pool, pointers, target)
        self.e.keep, self.e.shared = nest.keep, nest.shared
        self.pointers = pointers
        if nest.across and nest.vector:
            self.rows = self.lanes = min(
                self.lanes, _power(nest.extent(nest.across)), _power(nest.extent(nest.vector))
            )
            self.e.across = Across(nest.across, nest.vector, self.rows)

    @property
    def scratch_bytes(self) -> int:
        keep = self.nest.keep
        if keep is None:
            return 0
        return keep.steps * keep.value.dtype.bytes * (self.lanes if keep.wide else 1)

    def step(self, name: str) -> int:
        """Elements that one step of a loop covers."""
        if name == self.nest.vector:
            return self.lanes
        return self.rows if name == self.nest.across else 1

    def steps(self, loop: tuple[str, int]) -> int:
        if len(self.pieces) > 1 and loop[0] == self.nest.vector:
            return sum(-(-p.extent(loop[0]) // self._part_lanes(p)) for p in self.pieces)
        return -(-loop[1] // self.step(loop[0]))

    def _part_lanes(self, part: Nest) -> int:
        """Lanes of a part of the loop: none in a narrow border, where every element differs."""
        assert part.vector is not None
        narrow = part.extent(part.vector) <= NARROW and undecided(part)
        return 1 if narrow else _lanes(part, self.target)

    def tiling(self, threads: int) -> Tiling:
        """The tiles; a loop in pieces is never one whose every step is a tile."""
        found = self._tiling(threads)
        if any(name == self.nest.vector for name, _ in self.nest.loops[: found.depth]):
            self.pieces = [self.nest]
            found = self._tiling(threads)
        return found

    def _tiling(self, threads: int) -> Tiling:
        counts = [self.steps(loop) for loop in self.nest.loops]
        work = self._nanoseconds()
        wanted = 1
        if threads > 1:
            wanted = max(1, min(int(work / TILE_NS), TILES_PER_THREAD * threads))
        if wanted == 1 or not counts:
            return Tiling(0, counts[0] if counts else 1, 1)
        whole = 1
        for depth, count in enumerate(counts):
            if whole * count >= wanted or depth == len(counts) - 1:
                parts = min(count, -(-wanted // whole))
                chunk = -(-count // parts)
                return Tiling(depth, chunk, whole * -(-count // chunk))
            whole *= count
        raise AssertionError("unreachable")

    def _nanoseconds(self) -> float:
        """A rough estimate of the whole nest's time on one core."""
        extents = dict(self.nest.loops)
        everywhere = math.prod(self.steps(loop) for loop in self.nest.loops) * self.rows
        everywhere *= self.chains
        total = float(everywhere) * _LOAD_NS * len(self.nest.stores)
        inside: dict[Term, float] = {}
        for term in walk([s.value for s in self.nest.stores]):
            if term.kind == "reduce":
                runs = float(math.prod(extents[n] for n in term.free if n in extents))
                many = math.prod(n for _, n in term.what[1])
                for part in walk(term.args):
                    inside[part] = max(inside.get(part, 0.0), runs * many / self.target.lanes)
        for term in walk([s.value for s in self.nest.stores]):
            runs = inside.get(term, float(everywhere))
            if term.kind == "load":
                total += runs * _LOAD_NS
            elif term.kind == "apply":
                total += runs * (_EXPENSIVE_NS if term.what in EXPENSIVE else _PLAIN_NS)
        return total

    def write(self, tiling: Tiling, first: int, alone: bool) -> None:
        with ExitStack() as stack:
            ends: tuple[str, str] | None = None
            if not (alone and tiling.tiles == 1):
                tile = self._tile_loop(stack, first, tiling.tiles, alone)
                ends = self._open_tile(stack, tile, tiling)
            self._loops(tiling.depth, ends)

    def _tile_loop(self, stack: ExitStack, first: int, tiles: int, alone: bool) -> str:
        b = self.b
        if alone:
            return stack.enter_context(b.loop("%begin", "%end", hint="tile"))
        low = b.larger("%begin", first)
        high = b.smaller("%end", first + tiles)
        tile = stack.enter_context(b.loop(low, high, hint="tile"))
        return b.let(f"sub nsw i64 {tile}, {first}") if first else tile

    def _open_tile(self, stack: ExitStack, tile: str, tiling: Tiling) -> tuple[str, str] | None:
        """The tile's outer variables, and the ends of its part of the next loop."""
        b, loops = self.b, self.nest.loops
        ends = None
        if loops:
            count = self.steps(loops[tiling.depth])
            chunks = -(-count // tiling.chunk)
            part = tile
            if tiling.depth:
                part = b.let(f"urem i64 {tile}, {chunks}") if chunks > 1 else "0"
                tile = b.let(f"udiv i64 {tile}, {chunks}") if chunks > 1 else tile
            begin = b.let(f"mul nsw i64 {part}, {tiling.chunk}")
            end = b.let(f"add nsw i64 {begin}, {tiling.chunk}")
            ends = (begin, b.smaller(end, count))
        for k in reversed(range(tiling.depth)):
            count = self.steps(loops[k])
            index = b.let(f"urem i64 {tile}, {count}") if k else tile
            tile = b.let(f"udiv i64 {tile}, {count}") if k else tile
            self._open(stack, loops[k], index)
        return ends

    def _loops(self, depth: int, ends: tuple[str, str] | None) -> None:
        """The loops from `depth` on; ends: of the first one, in steps."""
        if depth == len(self.nest.loops):
            self._stores()
            return
        if len(self.pieces) == 1 or self.nest.loops[depth][0] != self.nest.vector:
            self._loop(depth, ends)
            return
        nest, lanes, parts = self.nest, self.lanes, self.pieces
        self.pieces, first = [nest], 0
        for part in parts:
            self.nest, self.lanes = part, self._part_lanes(part)
            count = self.steps(part.loops[depth])
            self._loop(depth, ends and self._shared(ends, first, count))
            first += count
        self.nest, self.lanes, self.pieces = nest, lanes, parts

    def _shared(self, ends: tuple[str, str], first: int, count: int) -> tuple[str, str]:
        """What a range of steps has of some of them, counted from the first of those."""
        b = self.b
        begin, end = (b.let(f"sub nsw i64 {at}, {first}") if first else at for at in ends)
        return b.larger(begin, 0) if first else begin, b.smaller(end, count)

    def _loop(self, depth: int, ends: tuple[str, str] | None) -> None:
        loop = self.nest.loops[depth]
        self.e.hoist(self.nest.roots)
        with ExitStack() as stack:
            if ends is None and self.steps(loop) == 1:
                self._open(stack, loop, "0")
            else:
                low, high = ends or ("0", str(self.steps(loop)))
                counter = stack.enter_context(self.b.loop(low, high))
                self._open(stack, loop, counter)
            self._loops(depth + 1, None)

    def _open(self, stack: ExitStack, loop: tuple[str, int], counter: str) -> None:
        """Bind a loop's variable; the last vector overlaps the one before where lanes are over."""
        b, e = self.b, self.e
        name, extent = loop
        step = self.step(name)
        at = counter
        if step > 1 and counter != "0":
            at = b.let(f"mul nsw i64 {counter}, {step}")
            if extent % step:
                at = b.smaller(at, extent - step)
        if name == self.nest.vector:
            stack.enter_context(e.vectorised(name, self.lanes))
        stack.enter_context(e.scope(**{name: at}))
        guard = self.nest.guard
        if guard is not None and e.mask is None and e.is_vector(guard) and guard.free <= e.open:
            e.mask = e.value(guard)

    def _stores(self) -> None:
        e, b, nest = self.e, self.b, self.nest
        if e.across is None or nest.across is None:
            self._row()
            return
        loads = [t for t in walk(nest.roots) if t.kind == "load" and self._transposed(t)]
        first = e.variable(nest.across)
        e.across.start(e, loads)
        for k in range(self.rows):
            e.across.step = k
            at = b.let(f"add nsw i64 {first}, {k}") if k else first
            with e.scope(**{nest.across: at}):
                self._row()

    def _row(self) -> None:
        """All stores of one place, if it is one."""
        b, nest = self.b, self.nest
        skip = ""
        if nest.partial and nest.guard is not None:
            there, skip = b.label("there"), b.label("skip")
            b.branch_if(self.e.value(nest.guard), there, skip)
            b.block(there)
        with self.e.scope():
            for store in nest.stores:
                self._store(store)
        if skip:
            b.branch(skip)
            b.block(skip)

    def _transposed(self, term: Term) -> bool:
        assert self.e.across is not None
        return self.e.is_vector(term) and self.e.across.takes(term)

    def _store(self, store: Store) -> None:
        e = self.e
        pointer = self.pointers[store.operand]
        if e.vector is None:
            value, offset, count = e.value(store.value), e.value(store.offset), 1
        else:
            value, count = e.lanes_value(store.value), e.lanes
            offset = e.start(store.offset)
        memory.write(self.b, value, pointer, offset, store.dtype, count, self.target)


def _lanes(nest: Nest, target: Target) -> int:
    """Lanes of the nest's vectors: those of float32, more where all elements are smaller."""
    if nest.vector is None:
        return 1
    widest = 1
    for term in walk([s.value for s in nest.stores]):
        if term.kind in ("load", "cast", "apply") and not _is_index(term):
            small_float = term.dtype.is_float and term.dtype.bits < 32
            widest = max(widest, 4 if small_float and term.kind != "load" else term.dtype.bytes)
    lanes = target.vector_bytes // min(4, max(widest, 1))
    if any(t.kind == "reduce" and nest.vector in t.free for t in walk(nest.roots)):
        lanes *= WIDE  # neighbouring columns together: memory comes in longer runs
    return min(lanes, _power(nest.extent(nest.vector)))


def _chains(nest: Nest, lanes: int, target: Target) -> int:
    """How many vectors of a nest are written together, for functions that take long."""
    if nest.vector is None or nest.across is not None or lanes != target.lanes:
        return 1
    own = [t for t in walk([s.value for s in nest.stores]) if nest.vector in t.free]
    if any(t.kind == "select" for t in own):
        return 1
    if any(t.kind == "load" and factor_of(t.args[-1], nest.vector) != 1 for t in own):
        return 1
    return chains(own, nest.extent(nest.vector), target)


def _is_index(term: Term) -> bool:
    return term.kind == "apply" and (term.low is not None or register(term.dtype) == "i1")


def _power(extent: int) -> int:
    """The largest power of two up to an extent; 1 for none."""
    return 1 << (max(extent, 1).bit_length() - 1)
