"""Two levels of Strassen's multiplication: the products of codegen/strassen.py are done by it too.

A, B and C are cut into 4 x 4 parts. Each of the seven outer products has seven inner ones, with
lefts and slabs made of outer ones as those are made of A and B:

    for units [begin, end), by product of the batch, group of rows, block of panels:
        for the seven outer products, for chunks of the depth:
            the inner products' lefts: sums of sums of A                                -> scratch
            for panels of the block:
                where the right side is a difference, its four slabs                    -> scratch
                for strips of rows:
                    for the seven inner products:
                        inner accumulators += rows of a left times slab                 -> scratch
                    what they end with + the outer source's                        -> outer goal
                    epilogue and store of the quarter of C that is ready, if one is

L2 holds the lefts of an outer product and chunk, while all panels pass, and L1 a strip's inner
accumulators; the outer ones come by 14 times for each chunk, a quarter of them at a time. A product
of chunks is a sum of products, so a chunk starts from the goal of the one before.

B is packed as 4 slabs of 4 slabs. Of the seven outer right sides three are differences, made once
for each group of rows; inner differences are made as operands are loaded, as with one level.

The rows of a part are i, i + d, i + D and i + D + d for D = floor(M / 2), d = floor((M - D) / 2);
where that makes a row the last of one part and the first of the next, it is written once.
"""

from __future__ import annotations

from dataclasses import dataclass

from planck.codegen.llvm import function
from planck.codegen.microkernel import prefetch
from planck.codegen.strassen import StrassenWriter, Tile
from planck.codegen.strassen_spec import (
    COMBINE_BEFORE,
    PRODUCTS,
    QUARTERS,
    READY,
    RIGHT,
    SLABS,
    TERMS,
    W,
    Y,
    Z,
)
from planck.codegen.strassen_twice_spec import FETCHED_BY_PLUS, Twice
from planck.codegen.strassen_write import Group
from planck.codegen.tables import TableBuilder
from planck.target import Target


def write(target: Target, symbol: str, spec: Twice) -> str:
    """The module of one kernel."""
    b = TableBuilder()
    TwiceWriter(target, spec, b).kernel()
    return function(target, symbol, b)


@dataclass(frozen=True, slots=True)
class _Block:
    """A panel of an outer product and chunk.

    stage:         which product and chunk, counted together
    panel:         its number in the whole, and in the block
    slabs:         the right side
    tiles:         the accumulators, of all strips
    source, goal:  bytes to those of the product, of four parts
    fetched:       what to bring to L2 meanwhile
    """

    stage: str
    panel: str
    number: str
    slabs: str
    tiles: str
    source: str
    goal: str
    fetched: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Strip:
    """A strip: its number in the group and its rows, also as a group, and its lefts."""

    own: str
    size: int
    rows: Group
    lefts: str


class TwiceWriter(StrassenWriter):
    """What is different where products are done by seven products again."""

    spec: Twice

    def __init__(self, target: Target, spec: Twice, b: TableBuilder) -> None:
        super().__init__(target, spec, b)

    def unit(self, unit: str) -> None:
        b, spec = self.b, self.spec
        self.inner = b.offset(self.zeros, spec.tile_bytes)
        self.slabs = b.offset(self.inner, 4 * spec.tile_bytes)
        self.outer = b.offset(self.slabs, SLABS * spec.slab_bytes)
        group = self.group(b.let(f"udiv i64 {unit}, {spec.blocks}"))
        low = b.times(b.let(f"urem i64 {unit}, {spec.blocks}"), spec.across)
        high = b.smaller(b.plus(low, str(spec.across)), spec.panels)
        with b.loop(0, len(PRODUCTS) * spec.chunks, hint="stage") as stage:
            self.make_lefts(stage, group)
            with b.loop(low, high, hint="panel") as panel:
                block = self.block(stage, panel, low, high)
                for own, size in self.strips(group):
                    rows = self.strip_of(group, own, size)
                    lefts = b.offset(self.lefts[0], b.times(own, spec.rows * spec.row_bytes))
                    self.multiply_strip(block, _Strip(own, size, rows, lefts))

    def strip_of(self, group: Group, own: str, size: int) -> Group:
        """A strip as a group of its own."""
        b, memory = self.b, self.spec.memory
        first = b.times(own, self.spec.rows)
        at = {
            name: b.offset(place, b.times(first, memory[name].row)) if name in memory else place
            for name, place in group.at.items()
        }
        return Group(b.plus(group.low, own), "", str(size), at[self.spec.a], at)

    # The sums of A

    def make_lefts(self, stage: str, group: Group) -> None:
        """The inner products' lefts of an outer product and a chunk; each outer has own code."""
        b, spec = self.b, self.spec
        made = b.label("made")
        product = b.let(f"udiv i64 {stage}, {spec.chunks}")
        chunk = b.let(f"urem i64 {stage}, {spec.chunks}")
        start = b.offset(group.a, b.times(chunk, spec.depth * 4))
        for number, (left, _, _) in enumerate(PRODUCTS):
            own, other = b.label("left"), b.label("other")
            b.branch_if(b.let(f"icmp eq i64 {product}, {number}"), own, other)
            b.block(own)
            with b.loop(0, group.pairs, hint="r") as row:
                self.sum_parts(left, start, row)
            b.branch(made)
            b.block(other)
        b.branch(made)
        b.block(made)

    def sum_parts(self, left: int, start: str, row: str) -> None:
        """A row of each part of A to a row of each inner left."""
        b, spec, lanes = self.b, self.spec, self.spec.lanes
        from_ = b.offset(start, b.times(row, spec.memory[spec.a].row))
        to = b.offset(self.lefts[0], b.times(row, spec.row_bytes))
        with b.loop(0, spec.depth // lanes, hint="k") as k:
            self.sum_parts_vector(left, from_, to, b.times(k, self.vector.bytes))
        if spec.depth % lanes:  # once more for the last vector, some of it for a second time
            self.sum_parts_vector(left, from_, to, str((spec.depth - lanes) * 4))

    def sum_parts_vector(self, left: int, from_: str, to: str, at: str) -> None:
        b, spec = self.b, self.spec
        from_, to = b.offset(from_, at), b.offset(to, at)
        a11, a12, a21, a22 = (
            self.outer_left(left, from_, row, column) for row in range(2) for column in range(2)
        )
        values = self.lefts_of(a11, a12, a21, a22)
        for number, (inner, _, _) in enumerate(PRODUCTS):
            self.vector.store(b, values[inner], b.offset(to, number * spec.left_bytes))

    def outer_left(self, left: int, from_: str, row: int, column: int) -> str:
        """A vector of an inner quarter of an outer left; the row below comes to L1 meanwhile."""
        b, spec = self.b, self.spec
        row_bytes, total = spec.memory[spec.a].row, ""
        for sign, down, right in TERMS[left]:
            rows = spec.downs[2 * down + row] * row_bytes
            place = b.offset(from_, rows + (2 * right + column) * (spec.k // 4) * 4)
            prefetch(b, b.offset(place, row_bytes), 1)
            value = self.vector.load(b, place)
            what = "fadd" if sign > 0 else "fsub"
            total = b.let(f"{what} {self.vector.kind} {total}, {value}") if total else value
        return total

    # The products

    def block(self, stage: str, panel: str, low: str, high: str) -> _Block:
        b, spec = self.b, self.spec
        size = 4 * spec.tile_bytes
        stages = [(p, chunk) for p in PRODUCTS for chunk in range(spec.chunks)]
        sources = [(goal if chunk else source or 0) * size for (_, source, goal), chunk in stages]
        goals = [goal * size for (_, _, goal), _ in stages]
        number = b.let(f"sub nsw i64 {panel}, {low}")
        after = b.plus(panel, "1")
        wraps = b.let(f"icmp eq i64 {after}, {high}")
        after = b.let(f"select i1 {wraps}, i64 {low}, i64 {after}")
        coming = b.plus(stage, b.let(f"zext i1 {wraps} to i64"))
        return _Block(
            stage=stage,
            panel=panel,
            number=number,
            slabs=self.outer_right(stage, panel),
            tiles=b.offset(self.outer, b.times(number, 16 * spec.strips * spec.tile_bytes)),
            source=b.entry(sources, stage),
            goal=b.entry(goals, stage),
            fetched=self.packed(coming, after),
        )

    def multiply_strip(self, block: _Block, strip: _Strip) -> None:
        b = self.b
        self.tiles = b.offset(block.tiles, b.times(strip.own, 16 * self.spec.tile_bytes))
        with b.loop(0, len(PRODUCTS), hint="product") as product:
            with self.combining(product):
                self.combine_inner(block, strip.size)
            self.tile(self.inner_product(product, block, strip), strip.own, strip.size)
        self.finish_strip(block, strip)

    def inner_product(self, product: str, block: _Block, strip: _Strip) -> Tile:
        b, size = self.b, self.spec.tile_bytes
        source, goal = (b.entry([(p[i] or 0) * size for p in PRODUCTS], product) for i in (1, 2))
        last = b.let(f"icmp sge i64 {product}, {COMBINE_BEFORE}")
        zero = b.let(f"icmp eq i64 {product}, 0")
        outer_source, outer_goal = self.outer_source(block, goal), self.outer_goal(block, goal)
        return Tile(
            left=b.offset(strip.lefts, b.times(product, self.spec.left_bytes)),
            right=self.right(product, block.slabs, self.fetched(product, block)),
            source=self.either(zero, self.zeros, b.offset(self.inner, source)),
            goal=self.either(last, outer_goal, b.offset(self.inner, goal)),
            plus=self.either(last, outer_source, self.zeros),
            soon=(outer_source, outer_goal),
        )

    def outer_source(self, block: _Block, part: str) -> str:
        """Where a part of the outer product starts from."""
        b = self.b
        first = b.let(f"icmp eq i64 {block.stage}, 0")
        return self.either(first, self.zeros, b.offset(self.tiles, b.plus(block.source, part)))

    def outer_goal(self, block: _Block, part: str) -> str:
        return self.b.offset(self.tiles, self.b.plus(block.goal, part))

    def either(self, test: str, yes: str, no: str) -> str:
        return self.b.let(f"select i1 {test}, ptr {yes}, ptr {no}")

    def packed(self, stage: str, panel: str) -> tuple[str, str]:
        """The packed slabs of an outer product, and those to take off, or the same."""
        b, spec = self.b, self.spec
        of_panel = SLABS * spec.slab_bytes
        at = b.offset(self.base[spec.b], b.times(panel, of_panel))
        stages = [(right, chunk) for right in RIGHT for chunk in range(spec.chunks)]
        places = [
            tuple(
                ((plus if own is None else own) * spec.chunks + chunk) * spec.panels * of_panel
                for own in (plus, minus)
            )
            for (plus, minus), chunk in [*stages, stages[0]]  # the next unit's first is the last
        ]
        plus, minus = (
            b.offset(at, b.entry(offsets, stage)) for offsets in zip(*places, strict=True)
        )
        return plus, minus

    def outer_right(self, stage: str, panel: str) -> str:
        """The slabs of an outer product: as they are packed, or made here."""
        b, spec, bytes_ = self.b, self.spec, self.vector.bytes
        plus, minus = self.packed(stage, panel)
        same = b.let(f"icmp eq ptr {plus}, {minus}")
        make, ready = b.label("make"), b.label("ready")
        b.branch_if(same, ready, make)
        b.block(make)
        with b.loop(0, spec.slab_bytes // bytes_, hint="i") as i:
            at = b.times(i, SLABS * bytes_)
            for n in range(SLABS):
                place = b.plus(at, str(n * bytes_))
                x, y = (self.vector.load(b, b.offset(side, place)) for side in (plus, minus))
                value = b.let(f"fsub {self.vector.kind} {x}, {y}")
                self.vector.store(b, value, b.offset(self.slabs, place))
        b.branch(ready)
        b.block(ready)
        return self.either(same, plus, self.slabs)

    def fetched(self, product: str, block: _Block) -> str:
        """What to bring to L2 beside an inner product, of the slabs that come next."""
        b, size = self.b, self.spec.slab_bytes
        plus = b.let(f"icmp slt i64 {product}, {FETCHED_BY_PLUS}")
        shares = [i * size for i in range(FETCHED_BY_PLUS)]
        others = len(PRODUCTS) - FETCHED_BY_PLUS
        shares += [i * SLABS * size // others for i in range(others)]
        return b.offset(self.either(plus, *block.fetched), b.entry(shares, product))

    def combine_inner(self, block: _Block, size: int) -> None:
        """C22 = Z + W - Y, added to the outer source."""
        b, spec = self.b, self.spec
        z, w, y = (b.offset(self.inner, q * spec.tile_bytes) for q in (Z, W, Y))
        part = str(Y * spec.tile_bytes)
        source, goal = self.outer_source(block, part), self.outer_goal(block, part)
        self.combine((z, w, source), y, goal, str(size * spec.vectors))

    def finish_strip(self, block: _Block, strip: _Strip) -> None:
        """Write the quarter of C that is ready."""
        b, spec = self.b, self.spec
        combine, write, done = b.label("outer"), b.label("write"), b.label("finished")
        ready = [-1] * (len(PRODUCTS) * spec.chunks)
        for product, number in READY.items():
            ready[(product + 1) * spec.chunks - 1] = number
        quarter = b.entry(ready, block.stage)
        test = b.label("test")
        b.branch_if(b.let(f"icmp sge i64 {quarter}, 0"), test, done)
        b.block(test)
        b.branch_if(b.let(f"icmp eq i64 {quarter}, {QUARTERS.index(Y)}"), combine, write)
        b.block(combine)
        size = 4 * spec.tile_bytes
        z, w, y = (b.offset(self.tiles, q * size) for q in (Z, W, Y))
        self.combine((z, w), y, y, str(size // self.vector.bytes))
        b.branch(write)
        b.block(write)
        lower, right = (b.entry(parts, quarter) for parts in ((0, 0, 2, 2), (0, 2, 0, 2)))
        columns = (right, b.plus(right, "2"))
        self.write_panel(strip.rows, block.panel, (lower, b.plus(lower, "2")), columns)
        b.branch(done)
        b.block(done)
