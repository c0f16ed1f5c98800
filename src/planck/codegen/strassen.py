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

from dataclasses import dataclass

from planck.codegen.llvm import function
from planck.codegen.matmul import batch_offset
from planck.codegen.microkernel import LINE_BYTES, Ahead, Steps, accumulate
from planck.codegen.strassen_spec import (
    A11,
    A12,
    A22,
    COMBINE_BEFORE,
    FETCH,
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
class _Right:
    """The right side of a product: a slab of B, or slab - minus.

    differs:  which of the two, a bit at run time
    fetched:  what to bring to L2 meanwhile
    """

    slab: str
    minus: str
    differs: str
    fetched: str


@dataclass(frozen=True, slots=True)
class _Product:
    """One of the seven: goal = source + left * right; zero: whether the source is zeros instead."""

    left: str
    right: _Right
    zero: str
    source: str
    goal: str


class StrassenWriter(Writing):
    """Writes a kernel: the products of quarters, and by `Writing` what comes of them."""

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = {
            name: b.load("ptr", b.offset("%args", 8 * i), 8)
            for i, name in enumerate(spec.arguments)
        }
        self.lefts = [b.offset("%scratch", i * spec.left_bytes) for i in range(spec.lefts)]
        self.zeros = b.offset("%scratch", spec.lefts * spec.left_bytes)
        self.tiles = b.offset(self.zeros, spec.tile_bytes)
        for i in range(spec.rows * spec.vectors):
            place = b.offset(self.zeros, i * self.vector.bytes)
            self.vector.store(b, "zeroinitializer", place)
        with b.loop("%begin", "%end") as unit:
            self.unit(unit)
        b.do("ret void")

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
        self.write_panel(group, panel)

    def group(self, number: str) -> Group:
        b, spec = self.b, self.spec
        product = b.let(f"udiv i64 {number}, {spec.groups}")
        number = b.let(f"urem i64 {number}, {spec.groups}")
        low = b.times(number, spec.strips)
        high = self.least(b.plus(low, str(spec.strips)), spec.all_strips)
        row = b.times(low, spec.rows)
        end = self.least(b.times(high, spec.rows), spec.pairs)
        at = {}
        for name, pointer in self.base.items():
            if name in spec.memory:
                memory = spec.memory[name]
                pointer = b.offset(pointer, batch_offset(b, spec.batch, memory, product))
                pointer = b.offset(pointer, b.times(row, memory.row))
            at[name] = pointer
        return Group(low, high, b.let(f"sub nsw i64 {end}, {row}"), at[spec.a], at)

    def least(self, value: str, most: int) -> str:
        b = self.b
        return b.call("i64", "llvm.smin.i64", ("i64", value), ("i64", str(most)))

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
        b, kind, right = self.b, self.vector.kind, self.spec.depth * 4
        (a11, a12), (a21, a22) = (
            (self.vector.load(b, row), self.vector.load(b, b.offset(row, far))) for row in rows
        )
        s1 = b.let(f"fadd {kind} {a21}, {a22}")
        s2 = b.let(f"fsub {kind} {s1}, {a11}")
        s3 = b.let(f"fsub {kind} {a11}, {a21}")
        s4 = b.let(f"fsub {kind} {a12}, {s2}")
        pairs = ((s1, s2), (s3, s4), (a11, a12), (a22,))
        for place, pair in zip(places, pairs[: len(places)], strict=True):
            for i, value in enumerate(pair):
                self.vector.store(b, value, b.offset(b.offset(place, at), i * right))

    # The seven products

    def multiply(self, group: Group, panel: str) -> None:
        b, spec = self.b, self.spec
        panel_at = b.offset(self.base[spec.b], b.times(panel, SLABS * spec.slab_bytes))
        tiles = spec.strips * spec.tile_bytes
        with b.loop(0, len(PRODUCTS), hint="product") as product:
            self.combine_at(product, group)
            source = b.offset(
                self.tiles, b.entry([(s or 0) * tiles for _, s, _ in PRODUCTS], product)
            )
            goal = b.offset(self.tiles, b.entry([g * tiles for _, _, g in PRODUCTS], product))
            zero = b.let(f"icmp eq i64 {product}, 0")
            right = self.right(product, panel_at)
            work = _Product(self.left(product, group), right, zero, source, goal)
            whole = spec.pairs // spec.rows
            with b.loop(group.low, self.least(group.high, whole), hint="strip") as strip:
                self.strip(strip, group, work, spec.rows)
            if whole < spec.all_strips:
                first = b.call("i64", "llvm.smax.i64", ("i64", group.low), ("i64", str(whole)))
                with b.loop(first, group.high, hint="strip") as strip:
                    last = spec.pairs % spec.rows
                    self.strip(strip, group, work, last)

    def right(self, product: str, panel: str) -> _Right:
        """What a product multiplies from the right."""
        b, size = self.b, self.spec.slab_bytes
        weights = b.offset(panel, b.entry([plus * size for plus, _ in RIGHT], product))
        minus = b.offset(panel, b.entry([(minus or 0) * size for _, minus in RIGHT], product))
        fetched = b.offset(panel, b.entry([slab * size for slab in FETCH], product))
        differs = b.entry([int(minus is not None) for _, minus in RIGHT], product)
        return _Right(weights, minus, b.let(f"icmp ne i64 {differs}, 0"), fetched)

    def left(self, product: str, group: Group) -> str:
        """The first row of what a product multiplies from the left."""
        b, spec = self.b, self.spec
        right, down = spec.depth * 4, self.spec.down * spec.row_bytes
        starts = self.lefts if spec.copies else [*self.lefts, group.a]
        places = {
            S1: (0, 0), S2: (0, right), S3: (1, 0), S4: (1, right),
            A11: (2, 0), A12: (2, right), A22: (3, 0) if spec.copies else (2, down + right),
        }  # fmt: skip
        rows = [places[a] for a, _, _ in PRODUCTS]
        base = b.entry([which for which, _ in rows], product)
        start = starts[0]
        for which, pointer in enumerate(starts[1:], 1):
            test = b.let(f"icmp eq i64 {base}, {which}")
            start = b.let(f"select i1 {test}, ptr {pointer}, ptr {start}")
        return b.offset(start, b.entry([offset for _, offset in rows], product))

    def strip(self, strip: str, group: Group, work: _Product, size: int) -> None:
        """One strip of a product: with a slab of B, or with the difference of two."""
        b, right = self.b, work.right
        own = b.let(f"sub nsw i64 {strip}, {group.low}")
        two, one, done = b.label("two"), b.label("one"), b.label("stripdone")
        b.branch_if(right.differs, two, one)
        for block, minus in ((two, right.minus), (one, "")):
            b.block(block)
            self.tile(own, work, size, minus)
            b.branch(done)
        b.block(done)

    def tile(self, own: str, work: _Product, size: int, minus: str) -> None:
        """accumulators = source + rows of A or S times B."""
        b, spec, bytes_, right = self.b, self.spec, self.vector.bytes, work.right.slab
        tile = b.times(own, spec.tile_bytes)
        source = b.offset(work.source, tile)
        source = b.let(f"select i1 {work.zero}, ptr {self.zeros}, ptr {source}")
        count = size * spec.vectors
        acc = [self.vector.load(b, b.offset(source, i * bytes_)) for i in range(count)]
        a = b.offset(work.left, b.times(own, spec.rows * spec.row_bytes))
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
        goal = b.offset(work.goal, tile)
        for i, value in enumerate(acc):
            self.vector.store(b, value, b.offset(goal, i * bytes_))

    def combine_at(self, product: str, group: Group) -> None:
        """Y = Z + W - Y, once both are there and before they are added to."""
        b, spec = self.b, self.spec
        combine, done = b.label("combine"), b.label("combined")
        b.branch_if(b.let(f"icmp eq i64 {product}, {COMBINE_BEFORE}"), combine, done)
        b.block(combine)
        tiles = spec.strips * spec.tile_bytes
        with b.loop(0, b.times(group.pairs, spec.vectors), hint="i") as i:
            here = b.offset(self.tiles, b.times(i, self.vector.bytes))
            y, z, w = (self.vector.load(b, b.offset(here, q * tiles)) for q in (Y, Z, W))
            both = b.let(f"fadd {self.vector.kind} {z}, {w}")
            c22 = b.let(f"fsub {self.vector.kind} {both}, {y}")
            self.vector.store(b, c22, b.offset(here, Y * tiles))
        b.branch(done)
        b.block(done)
