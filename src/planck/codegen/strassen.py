"""One level of Strassen's multiplication, in Winograd's form: row-major A and C, constant B.

A, B and C are cut into quarters, and seven products of quarters do for the eight:

    S1 = A21 + A22   S2 = S1 - A11   S3 = A11 - A21   S4 = A12 - S2
    T1 = B12 - B11   T2 = B22 - T1   T3 = B22 - B12   T4 = T2 - B21

    X = A11 B11        C11 = X + A12 B21          C12 = Z + S4 B22
    Y = X + S2 T2      Z = Y + S1 T1              C21 = W - A22 T4
                       W = Y + S3 T3              C22 = Z + W - Y

Every line of the second part is a product added to what is there already, so that the sums of C
cost a load of the accumulators each. The sums of B are made when it is packed, those of A by the
call, for a group of rows at a time:

    for units [begin, end), by product of the batch, group of rows, panel:
        at the first unit of a group:      S1, S2, S3, S4                             -> scratch
        for the seven products:
            for strips of rows:            accumulators += rows of A or S times panel -> scratch
        for the quarters, for rows:        epilogue and store

The rows of a pair are i and i + floor(M / 2). If M is odd, the one in the middle has a place in
both halves, and is written from the upper one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import function
from planck.codegen.matmul import Matrix, batch_offset
from planck.codegen.microkernel import LINE_BYTES, Ahead, Steps, Vector, accumulate
from planck.codegen.tables import TableBuilder
from planck.target import Target

X, Y, Z, W = range(4)  # the accumulators of a panel, each a row of vectors for each pair of rows

# The products, in the order in which they are done: what A is, and the accumulators that
# the product starts from (none: zeros) and goes to.
A11, A12, A22, S1, S2, S3, S4 = range(7)
PRODUCTS: Final = (
    (A11, None, X),
    (S2, X, Y),
    (A12, X, X),
    (S1, Y, Z),
    (S3, Y, W),
    (S4, Z, Z),
    (A22, W, W),
)
COMBINE_BEFORE: Final = 5  # Y becomes C22 before Z and W become C12 and C21
QUARTERS: Final = (X, Z, W, Y)  # C11, C12, C21, C22


@dataclass(frozen=True, slots=True)
class Strassen:
    """A product with everything decided.

    batch:        extents of the batch axes; operands that broadcast have stride 0 there
    m, k, n:      k is even
    rows:         pairs of rows in a strip, at most
    strips:       in a group of rows
    vectors:      of a panel; a unit multiplies two of them, one of each half of the columns
    ahead:        lines of the next product's B to prefetch in each trip of the innermost loop
    claims:       that the units are divided into; each makes its own sums of A
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    rows: int
    strips: int
    vectors: int
    unroll: int
    ahead: int
    claims: int
    arguments: tuple[str, ...]
    a: str
    b: str
    memory: Mapping[str, Matrix]
    epilogue: Epilogue
    lanes: int

    @property
    def pairs(self) -> int:
        """Of rows."""
        return -(-self.m // 2)

    @property
    def depth(self) -> int:
        """Of the products of quarters."""
        return self.k // 2

    @property
    def half(self) -> int:
        """Vectors in a half of the columns; the right half may end before."""
        columns = -(-self.n // self.lanes)
        return -(-columns // 2)

    @property
    def panels(self) -> int:
        return -(-self.half // self.vectors)

    @property
    def all_strips(self) -> int:
        return -(-self.pairs // self.rows)

    @property
    def groups(self) -> int:
        return -(-self.all_strips // self.strips)

    @property
    def products(self) -> int:
        return math.prod(self.batch)

    @property
    def units(self) -> int:
        return self.products * self.groups * self.panels

    @property
    def grain(self) -> int:
        """Units of a claim."""
        return -(-self.units // self.claims)

    @property
    def slab_bytes(self) -> int:
        """B of one product of a unit."""
        return self.depth * self.vectors * self.lanes * 4

    @property
    def row_bytes(self) -> int:
        """From one row to the next, of A and of its sums alike."""
        return self.memory[self.a].row

    @property
    def sum_bytes(self) -> int:
        """S1 and S2 of a group, side by side in its rows; as many again for S3 and S4."""
        return self.strips * self.rows * self.row_bytes

    @property
    def tile_bytes(self) -> int:
        """The accumulators of a strip."""
        return self.rows * self.vectors * self.lanes * 4

    @property
    def scratch_bytes(self) -> int:
        sums = 2 * -(-self.sum_bytes // LINE_BYTES) * LINE_BYTES
        return sums + (4 * self.strips + 1) * self.tile_bytes


def write(target: Target, symbol: str, spec: Strassen) -> str:
    """The module of one kernel."""
    b = TableBuilder()
    StrassenWriter(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(slots=True)
class Group:
    """A group of rows of one product of the batch.

    low, high:  its strips, in the whole product
    pairs:      of rows in it
    a:          its first row
    at:         its first row, or the first row of the whole where an operand has no rows
    """

    low: str
    high: str
    pairs: str
    a: str
    at: dict[str, str]


class StrassenWriter:
    def __init__(self, target: Target, spec: Strassen, b: TableBuilder) -> None:
        self.target, self.spec, self.b = target, spec, b
        self.vector = Vector(target.lanes)

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        self.base = {
            name: b.load("ptr", b.offset("%args", 8 * i), 8)
            for i, name in enumerate(spec.arguments)
        }
        sums = -(-spec.sum_bytes // LINE_BYTES) * LINE_BYTES
        self.sums = ("%scratch", b.offset("%scratch", sums))
        self.zeros = b.offset("%scratch", 2 * sums)
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

    @property
    def down(self) -> int:
        """Rows from the upper to the lower row of a pair."""
        return self.spec.m - self.spec.pairs

    # The sums of A

    def sum_rows(self, group: Group) -> None:
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        down = self.down * spec.row_bytes
        with b.loop(0, group.pairs, hint="r") as row:
            across = b.times(row, spec.row_bytes)
            upper = b.offset(group.a, across)
            lower = b.offset(upper, down)
            sums = [b.offset(place, across) for place in self.sums]
            with b.loop(0, spec.depth // lanes, hint="k") as k:
                self.sum_vector(upper, lower, sums, b.times(k, self.vector.bytes))
            if spec.depth % lanes:  # once more for the last vector, some of it for a second time
                self.sum_vector(upper, lower, sums, str((spec.depth - lanes) * 4))

    def sum_vector(self, upper: str, lower: str, sums: list[str], at: str) -> None:
        b, kind, right = self.b, self.vector.kind, self.spec.depth * 4
        upper, lower = b.offset(upper, at), b.offset(lower, at)
        a11, a12 = self.vector.load(b, upper), self.vector.load(b, b.offset(upper, right))
        a21, a22 = self.vector.load(b, lower), self.vector.load(b, b.offset(lower, right))
        s1 = b.let(f"fadd {kind} {a21}, {a22}")
        s2 = b.let(f"fsub {kind} {s1}, {a11}")
        s3 = b.let(f"fsub {kind} {a11}, {a21}")
        s4 = b.let(f"fsub {kind} {a12}, {s2}")
        for place, pair in zip(sums, ((s1, s2), (s3, s4)), strict=True):
            for i, value in enumerate(pair):
                self.vector.store(b, value, b.offset(b.offset(place, at), i * right))

    # The seven products

    def multiply(self, group: Group, panel: str) -> None:
        b, spec = self.b, self.spec
        right = b.offset(self.base[spec.b], b.times(panel, len(PRODUCTS) * spec.slab_bytes))
        tiles = spec.strips * spec.tile_bytes
        with b.loop(0, len(PRODUCTS), hint="product") as product:
            self.combine_at(product, group)
            left = self.left(product, group)
            slab = b.offset(right, b.times(product, spec.slab_bytes))
            source = b.offset(
                self.tiles, b.entry([(s or 0) * tiles for _, s, _ in PRODUCTS], product)
            )
            goal = b.offset(self.tiles, b.entry([g * tiles for _, _, g in PRODUCTS], product))
            zero = b.let(f"icmp eq i64 {product}, 0")
            whole = spec.pairs // spec.rows
            with b.loop(group.low, self.least(group.high, whole), hint="strip") as strip:
                self.strip(strip, group, left, slab, (zero, source, goal), spec.rows)
            if whole < spec.all_strips:
                first = b.call("i64", "llvm.smax.i64", ("i64", group.low), ("i64", str(whole)))
                with b.loop(first, group.high, hint="strip") as strip:
                    last = spec.pairs % spec.rows
                    self.strip(strip, group, left, slab, (zero, source, goal), last)

    def left(self, product: str, group: Group) -> str:
        """The first row of what a product multiplies from the left."""
        b, spec = self.b, self.spec
        right, down = spec.depth * 4, self.down * spec.row_bytes
        places = {
            A11: (0, 0), A12: (0, right), A22: (0, down + right),
            S1: (1, 0), S2: (1, right), S3: (2, 0), S4: (2, right),
        }  # fmt: skip
        rows = [places[a] for a, _, _ in PRODUCTS]
        base = b.entry([which for which, _ in rows], product)
        start = self.sums[1]
        for which, pointer in ((1, self.sums[0]), (0, group.a)):
            test = b.let(f"icmp eq i64 {base}, {which}")
            start = b.let(f"select i1 {test}, ptr {pointer}, ptr {start}")
        return b.offset(start, b.entry([offset for _, offset in rows], product))

    def strip(
        self, strip: str, group: Group, left: str, right: str,
        tiles: tuple[str, str, str], size: int,
    ) -> None:  # fmt: skip
        """accumulators = source + rows of A or S times B."""
        b, spec, bytes_ = self.b, self.spec, self.vector.bytes
        zero, source, goal = tiles
        own = b.let(f"sub nsw i64 {strip}, {group.low}")
        tile = b.times(own, spec.tile_bytes)
        source = b.offset(source, tile)
        source = b.let(f"select i1 {zero}, ptr {self.zeros}, ptr {source}")
        count = size * spec.vectors
        acc = [self.vector.load(b, b.offset(source, i * bytes_)) for i in range(count)]
        a = b.offset(left, b.times(own, spec.rows * spec.row_bytes))
        rest = spec.depth % spec.unroll
        share = b.times(own, spec.depth // spec.unroll * spec.ahead * LINE_BYTES)
        ahead = Ahead(b.offset(b.offset(right, spec.slab_bytes), share), spec.ahead)
        for steps, unroll in ((spec.depth - rest, spec.unroll), (rest, 1)):
            if not steps:
                continue
            shape = Steps(self.vector, spec.vectors, 4, spec.vectors * bytes_, unroll)
            rows = [(i, a, i * spec.row_bytes) for i in range(size)]
            fetched = ahead if unroll == spec.unroll else None
            acc = accumulate(b, shape, acc, rows, right, steps, fetched)
            a, right = b.offset(a, steps * 4), b.offset(right, steps * spec.vectors * bytes_)
        goal = b.offset(goal, tile)
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

    # The quarters of C

    def write_panel(self, group: Group, panel: str) -> None:
        """The epilogue, for the quarters one after the other; panels at an edge have own code."""
        b, spec = self.b, self.spec
        cases: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for number in range(spec.panels):
            first = number * spec.vectors
            left = self.lanes_of(first, spec.half)
            right = self.lanes_of(spec.half + first, 2 * spec.half)
            cases.setdefault((left, right), []).append(number)
        *others, inner = sorted(cases, key=lambda counts: len(cases[counts]))
        written = b.label("written")
        for counts in others:
            for number in cases[counts]:
                edge, other = b.label("edge"), b.label("other")
                b.branch_if(b.let(f"icmp eq i64 {panel}, {number}"), edge, other)
                b.block(edge)
                self.write_halves(group, panel, counts)
                b.branch(written)
                b.block(other)
        self.write_halves(group, panel, inner)
        b.branch(written)
        b.block(written)

    def lanes_of(self, first: int, end: int) -> tuple[int, ...]:
        """Lanes to write of each vector of a panel: from vector `first` on, in a half to `end`."""
        spec = self.spec
        return tuple(
            max(0, min(spec.lanes, spec.n - i * spec.lanes)) if i < end else 0
            for i in range(first, first + spec.vectors)
        )

    def write_halves(self, group: Group, panel: str, counts: tuple[tuple[int, ...], ...]) -> None:
        """The left and the right half, as one loop if they are alike."""
        if counts[0] == counts[1]:
            with self.b.loop(0, 2, hint="half") as half:
                self.write_half(group, panel, half, counts[0])
            return
        for number, own in enumerate(counts):
            self.write_half(group, panel, str(number), own)

    def write_half(self, group: Group, panel: str, half: str, counts: tuple[int, ...]) -> None:
        b, spec = self.b, self.spec
        size = self.vector.bytes
        with b.loop(0, 2, hint="lower") as lower:
            quarter = b.plus(b.times(lower, 2), half)
            tiles = spec.strips * spec.tile_bytes
            source = b.offset(self.tiles, b.entry([q * tiles for q in QUARTERS], quarter))
            down = b.times(lower, self.down)
            at = {}
            for name in (*spec.epilogue.operands, *spec.epilogue.outputs):
                pointer = group.at[name]
                if spec.epilogue.operands.get(name) != "scalar":
                    step = self.across(name)
                    right = b.times(half, spec.half * step)
                    pointer = b.offset(pointer, b.plus(right, b.times(panel, spec.vectors * step)))
                if self.has_rows(name):
                    pointer = b.offset(pointer, b.times(down, spec.memory[name].row))
                at[name] = pointer
            with b.loop(self.skipped(group, lower), group.pairs, hint="r") as row:
                place = b.offset(source, b.times(row, spec.vectors * size))
                for n, count in enumerate(counts):
                    if count:
                        value = self.vector.load(b, b.offset(place, n * size))
                        self.emit(at, value, row, n, count % spec.lanes)

    def skipped(self, group: Group, lower: str) -> str:
        """1 in the lower half of the first group if its first row is the upper half's last."""
        b = self.b
        if self.spec.m % 2 == 0:
            return "0"
        begins = b.let(f"icmp eq i64 {group.low}, 0")
        return b.let(f"select i1 {begins}, i64 {lower}, i64 0")

    def has_rows(self, name: str) -> bool:
        epilogue = self.spec.epilogue
        return name in epilogue.outputs or epilogue.operands.get(name) == "full"

    def across(self, name: str) -> int:
        """Bytes from one vector of an operand's or an output's columns to the next."""
        return self.vector.bytes

    def emit(self, at: Mapping[str, str], value: str, row: str, n: int, masked: int) -> None:
        """The epilogue of vector n of a panel, in a row of the group."""
        b, spec = self.b, self.spec

        def place(name: str) -> str:
            down = b.times(row, spec.memory[name].row)
            return b.offset(b.offset(at[name], down), n * self.across(name))

        def load(name: str) -> str:
            kind = spec.epilogue.operands[name]
            if kind == "scalar":
                return self.vector.broadcast(b, at[name])
            where = place(name) if kind == "full" else b.offset(at[name], n * self.vector.bytes)
            if masked:
                return self.vector.masked_load(b, where, masked)
            return self.vector.load(b, where)

        results = spec.epilogue.apply(b, value, load, self.vector.kind, self.target)
        for name, result in zip(spec.epilogue.outputs, results, strict=True):
            if masked:
                self.vector.masked_store(b, result, place(name), masked)
            else:
                self.vector.store(b, result, place(name))
