"""One level of Strassen's multiplication, in Winograd's form: row-major A and C, constant B.

A, B and C are cut into quarters, and seven products of quarters do for the eight:

    S1 = A21 + A22   S2 = S1 - A11   S3 = A11 - A21   S4 = A12 - S2
    T1 = B12 - B11   T2 = B22 - T1   T3 = B22 - B12   T4 = T2 - B21

    X = A11 B11        C11 = X + A12 B21          C12 = Z + S4 B22
    Y = X + S2 T2      Z = Y + S1 T1              C21 = W - A22 T4
                       W = Y + S3 T3              C22 = Z + W - Y

Every line of the second part is a product added to what is there already, so that the sums of C
cost a load of the accumulators each. B is packed as B11, T2, B22 and B21: no product needs B12, and
of these four the other three are differences:

    T1 = B22 - T2    T3 = T2 - B11    -T4 = B21 - T2

They are made as the operands are loaded, for every strip of rows anew: a subtraction has time
beside the multiply-adds. The sums of A are made for a group of rows:

    for units [begin, end), by product of the batch, group of rows, panel:
        at the first unit of a group:      S1, S2, S3, S4                             -> scratch
        for the seven products:
            for strips of rows:            accumulators += rows of A or S times panel -> scratch
        for the quarters, for rows:        epilogue and store

Where the rows of A lie so that they share a set of L1, A is copied to scratch beside its sums.

The rows of a pair are i and i + floor(M / 2). If M is odd, the one in the middle has a place in
both halves, and is written from the upper one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from planck.codegen.llvm import function
from planck.codegen.matmul import batch_offset
from planck.codegen.microkernel import LINE_BYTES, Ahead, Steps, accumulate, prefetch
from planck.codegen.strassen_spec import (
    A11,
    A12,
    A22,
    COMBINE_BEFORE,
    FETCH,
    PAIRS,
    PRODUCTS,
    RIGHT,
    S1,
    S2,
    S3,
    S4,
    SLABS,
    Strassen,
    W,
    Y,
    Z,
)
from planck.codegen.strassen_write import Group, Writing
from planck.codegen.tables import TableBuilder
from planck.target import Target


def write(target: Target, symbol: str, spec: Strassen) -> str:
    """The module of one kernel."""
    b = TableBuilder()
    StrassenWriter(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(frozen=True, slots=True)
class Right:
    """The right side of a product: a slab of B, or slab - minus.

    differs:  which of the two, a bit at run time
    fetched:  what to bring to L2 meanwhile
    """

    slab: str
    minus: str
    differs: str
    fetched: str


@dataclass(frozen=True, slots=True)
class Tile:
    """A strip of one of the seven products: goal = source + rows of left * right (+ plus).

    soon:  tiles that will be read next, and come from further than L2
    """

    left: str
    right: Right
    source: str
    goal: str
    plus: str = ""
    soon: tuple[str, ...] = ()


class StrassenWriter(Writing):
    """Writes a kernel: the products of quarters, and by `Writing` what comes of them."""

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = b.arguments(spec.arguments)
        self.lefts = [b.offset("%scratch", i * spec.left_bytes) for i in range(spec.lefts)]
        self.zeros = b.offset("%scratch", spec.lefts * spec.left_bytes)
        self.tiles = b.offset(self.zeros, spec.tile_bytes)
        self.clear(self.zeros, str(spec.rows * spec.vectors))
        with b.loop("%begin", "%end") as unit:
            self.unit(unit)
        b.do("ret void")

    def clear(self, place: str, count: str) -> None:
        """Zeros in a number of vectors."""
        b = self.b
        with b.loop(0, count, hint="i") as i:
            here = b.offset(place, b.times(i, self.vector.bytes))
            self.vector.store(b, "zeroinitializer", here)

    def unit(self, unit: str) -> None:
        b, spec = self.b, self.spec
        panel = b.let(f"urem i64 {unit}, {spec.panels}")
        group = self.group(b.let(f"udiv i64 {unit}, {spec.panels}"))
        new, ready = b.label("new"), b.label("ready")
        first = b.let(f"icmp eq i64 {panel}, 0")
        begins = b.let(f"icmp eq i64 {unit}, %begin")
        b.branch_if(b.let(f"or i1 {first}, {begins}"), new, ready)
        b.block(new)
        self.sum_rows(group)
        b.branch(ready)
        b.block(ready)
        self.multiply(group, panel)
        self.write_panel(group, panel, ("0", "2"), ("0", "2"))

    def group(self, number: str) -> Group:
        b, spec = self.b, self.spec
        product = b.let(f"udiv i64 {number}, {spec.groups}")
        number = b.let(f"urem i64 {number}, {spec.groups}")
        low = b.times(number, spec.strips)
        high = b.smaller(b.plus(low, str(spec.strips)), spec.all_strips)
        row = b.times(low, spec.rows)
        end = b.smaller(b.times(high, spec.rows), spec.pairs)
        at = {}
        for name, pointer in self.base.items():
            if name in spec.memory:
                memory = spec.memory[name]
                pointer = b.offset(pointer, batch_offset(b, spec.batch, memory, product))
                pointer = b.offset(pointer, b.times(row, memory.row))
            at[name] = pointer
        return Group(low, high, b.let(f"sub nsw i64 {end}, {row}"), at[spec.a], at)

    # The sums of A

    def sum_rows(self, group: Group) -> None:
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        row_bytes = spec.memory[spec.a].row
        with b.loop(0, group.pairs, hint="r") as row:
            upper = b.offset(group.a, b.times(row, row_bytes))
            lower = b.offset(upper, self.spec.down * row_bytes)
            across = b.times(row, spec.row_bytes)
            places = [b.offset(place, across) for place in self.lefts]
            with b.loop(0, spec.depth // lanes, hint="k") as k:
                self.sum_row(upper, lower, places, b.times(k, self.vector.bytes))
            if spec.depth % lanes:  # once more for the last vector, some of it for a second time
                self.sum_row(upper, lower, places, str((spec.depth - lanes) * 4))

    def sum_row(self, upper: str, lower: str, places: list[str], at: str) -> None:
        """A vector of a pair of rows that lie as the quarters do."""
        rows = (self.b.offset(upper, at), self.b.offset(lower, at))
        self.sum_vector(rows, self.spec.depth * 4, places, at)

    def sum_vector(self, rows: tuple[str, str], far: int, places: list[str], at: str) -> None:
        """Sums of a vector of each quarter; the right quarters' lie so many bytes further on."""
        b, right = self.b, self.spec.depth * 4
        (a11, a12), (a21, a22) = (
            (self.vector.load(b, row), self.vector.load(b, b.offset(row, far))) for row in rows
        )
        values = self.lefts_of(a11, a12, a21, a22)
        for place, pair in zip(places, PAIRS[: len(places)], strict=True):
            for i, left in enumerate(pair):
                self.vector.store(b, values[left], b.offset(b.offset(place, at), i * right))

    def lefts_of(self, a11: str, a12: str, a21: str, a22: str) -> dict[int, str]:
        """What the products multiply from the left, of a vector of each quarter."""
        b, kind = self.b, self.vector.kind
        s1 = b.let(f"fadd {kind} {a21}, {a22}")
        s2 = b.let(f"fsub {kind} {s1}, {a11}")
        s3 = b.let(f"fsub {kind} {a11}, {a21}")
        s4 = b.let(f"fsub {kind} {a12}, {s2}")
        return {A11: a11, A12: a12, A22: a22, S1: s1, S2: s2, S3: s3, S4: s4}

    # The seven products

    def multiply(self, group: Group, panel: str) -> None:
        b, spec = self.b, self.spec
        panel_at = b.offset(self.base[spec.b], b.times(panel, SLABS * spec.slab_bytes))
        with b.loop(0, len(PRODUCTS), hint="product") as product:
            with self.combining(product):
                z, w, y = (b.offset(self.tiles, q * spec.part_bytes) for q in (Z, W, Y))
                self.combine((z, w), y, y, b.times(group.pairs, spec.vectors))
            source, goal = (
                b.offset(
                    self.tiles, b.entry([(p[i] or 0) * spec.part_bytes for p in PRODUCTS], product)
                )
                for i in (1, 2)
            )
            zero = b.let(f"icmp eq i64 {product}, 0")
            fetched = b.offset(
                panel_at, b.entry([slab * spec.slab_bytes for slab in FETCH], product)
            )
            left, right = self.left(product, group), self.right(product, panel_at, fetched)
            for own, size in self.strips(group):
                at = b.times(own, spec.tile_bytes)
                first = b.let(f"select i1 {zero}, ptr {self.zeros}, ptr {b.offset(source, at)}")
                rows = b.offset(left, b.times(own, spec.rows * spec.row_bytes))
                self.tile(Tile(rows, right, first, b.offset(goal, at)), own, size)

    def right(self, product: str, panel: str, fetched: str) -> Right:
        """What a product multiplies from the right, of the slabs of a panel."""
        b, size = self.b, self.spec.slab_bytes
        weights = b.offset(panel, b.entry([plus * size for plus, _ in RIGHT], product))
        minus = b.offset(panel, b.entry([(minus or 0) * size for _, minus in RIGHT], product))
        differs = b.entry([int(minus is not None) for _, minus in RIGHT], product)
        return Right(weights, minus, b.let(f"icmp ne i64 {differs}, 0"), fetched)

    def left(self, product: str, group: Group) -> str:
        """The first row of what a product multiplies from the left."""
        b, spec = self.b, self.spec
        right, starts = spec.depth * 4, self.lefts
        places = {
            left: (which, i * right)
            for which, pair in enumerate(PAIRS)
            for i, left in enumerate(pair)
        }
        if not spec.copies:
            starts = [*starts, group.a]
            places[A22] = (2, spec.down * spec.row_bytes + right)
        rows = [places[a] for a, _, _ in PRODUCTS]
        base = b.entry([which for which, _ in rows], product)
        start = starts[0]
        for which, pointer in enumerate(starts[1:], 1):
            test = b.let(f"icmp eq i64 {base}, {which}")
            start = b.let(f"select i1 {test}, ptr {pointer}, ptr {start}")
        return b.offset(start, b.entry([offset for _, offset in rows], product))

    def strips(self, group: Group) -> Iterator[tuple[str, int]]:
        """Loops over the strips of a group, by their rows: what is left of the rows has own code.

        gives: a strip's number in the group, and its rows; what is written next is the loop's body
        """
        b, spec = self.b, self.spec
        whole = spec.pairs // spec.rows
        with b.loop(group.low, b.smaller(group.high, whole), hint="strip") as strip:
            yield b.let(f"sub nsw i64 {strip}, {group.low}"), spec.rows
        if whole < spec.all_strips:
            with b.loop(b.larger(group.low, whole), group.high, hint="strip") as strip:
                yield b.let(f"sub nsw i64 {strip}, {group.low}"), spec.pairs % spec.rows

    def tile(self, work: Tile, own: str, size: int) -> None:
        """The tile of a strip: with a slab of B, or with the difference of two."""
        b, right = self.b, work.right
        two, one, done = b.label("two"), b.label("one"), b.label("stripdone")
        b.branch_if(right.differs, two, one)
        for block, minus in ((two, right.minus), (one, "")):
            b.block(block)
            self.multiply_tile(work, own, size, minus)
            b.branch(done)
        b.block(done)

    def multiply_tile(self, work: Tile, own: str, size: int, minus: str) -> None:
        """goal = source + rows of A or S times B (+ plus)."""
        b, spec, bytes_, right, a = self.b, self.spec, self.vector.bytes, work.right.slab, work.left
        count = size * spec.vectors
        acc = [self.vector.load(b, b.offset(work.source, i * bytes_)) for i in range(count)]
        for place in work.soon:
            for i in range(0, count * bytes_, LINE_BYTES):
                prefetch(b, b.offset(place, i), 1)
        rest = spec.depth % spec.unroll
        share = b.times(own, spec.depth // spec.unroll * spec.ahead * LINE_BYTES)
        ahead = Ahead(b.offset(work.right.fetched, share), spec.ahead)
        for steps, unroll in ((spec.depth - rest, spec.unroll), (rest, 1)):
            if not steps:
                continue
            shape = Steps(self.vector, spec.vectors, 4, spec.vectors * bytes_, unroll)
            rows = [(i, a, i * spec.row_bytes) for i in range(size)]
            fetched = ahead if unroll == spec.unroll else None
            acc = accumulate(b, shape, acc, rows, right, steps, fetched, minus)
            done = steps * spec.vectors * bytes_
            a, right = b.offset(a, steps * 4), b.offset(right, done)
            minus = b.offset(minus, done) if minus else ""
        if work.plus:
            values = [self.vector.load(b, b.offset(work.plus, i * bytes_)) for i in range(count)]
            acc = [
                b.let(f"fadd {self.vector.kind} {x}, {y}") for x, y in zip(acc, values, strict=True)
            ]
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset(work.goal, i * bytes_))

    @contextmanager
    def combining(self, product: str) -> Iterator[None]:
        """What is written inside happens once Z and W are there, before they are added to."""
        b = self.b
        combine, done = b.label("combine"), b.label("combined")
        b.branch_if(b.let(f"icmp eq i64 {product}, {COMBINE_BEFORE}"), combine, done)
        b.block(combine)
        yield
        b.branch(done)
        b.block(done)

    def combine(self, plus: Sequence[str], minus: str, goal: str, count: str) -> None:
        """goal = sum - minus, of a number of vectors."""
        b, kind, bytes_ = self.b, self.vector.kind, self.vector.bytes
        with b.loop(0, count, hint="i") as i:
            at = b.times(i, bytes_)
            first, *others = (self.vector.load(b, b.offset(p, at)) for p in plus)
            for value in others:
                first = b.let(f"fadd {kind} {first}, {value}")
            less = self.vector.load(b, b.offset(minus, at))
            self.vector.store(b, b.let(f"fsub {kind} {first}, {less}"), b.offset(goal, at))
