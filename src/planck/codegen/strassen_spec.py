"""What Strassen's multiplication is made of: its products, how B lies, and one with all decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.matmul import Product
from planck.codegen.microkernel import LINE_BYTES

X, Y, Z, W = range(4)  # the accumulators of a panel, each a row of vectors for each pair of rows

# The products, in the order in which they are done: what A is, and the accumulators that the
# product starts from (none: zeros) and goes to. In this order few slabs of B are at work at a time.
A11, A12, A22, S1, S2, S3, S4 = range(7)
PRODUCTS: Final = (
    (A11, None, X),
    (S2, X, Y),
    (S3, Y, W),
    (S1, Y, Z),
    (S4, Z, Z),
    (A12, X, X),
    (A22, W, W),
)
# What the lefts are made of: a sign, and a quarter of A by row and column.
TERMS: Final = {
    A11: ((1, 0, 0),),
    A12: ((1, 0, 1),),
    A22: ((1, 1, 1),),
    S1: ((1, 1, 0), (1, 1, 1)),
    S2: ((1, 1, 0), (1, 1, 1), (-1, 0, 0)),
    S3: ((1, 0, 0), (-1, 1, 0)),
    S4: ((1, 0, 0), (1, 0, 1), (-1, 1, 0), (-1, 1, 1)),
}
# How they lie in scratch, two side by side; those that are no sums only where A is copied.
PAIRS: Final = ((S1, S2), (S3, S4), (A11, A12), (A22,))
WAY_BYTES: Final = 4096  # of a level-1 cache: rows a multiple of it apart fall into one set
COMBINE_BEFORE: Final = 4  # Y becomes C22 before Z and W become C12 and C21
QUARTERS: Final = (X, Z, W, Y)  # C11, C12, C21, C22
# The quarter of C, by its number in QUARTERS, that a product leaves ready: C22 is, as Z + W - Y,
# before Z and W are added to.
READY: Final = {
    COMBINE_BEFORE - 1: QUARTERS.index(Y),
    **{n: QUARTERS.index(PRODUCTS[n][2]) for n in range(COMBINE_BEFORE, len(PRODUCTS))},
}

# The slabs that a panel of B is packed as, and what each product multiplies from the right: a slab,
# or one minus another.
B11, T2, B22, B21 = range(4)
SLABS: Final = 4
RIGHT: Final = (
    (B11, None),
    (T2, None),
    (T2, B11),  # T3
    (B22, T2),  # T1
    (B22, None),
    (B21, None),
    (B21, T2),  # -T4
)
DIFFERENCES: Final = sum(minus is not None for _, minus in RIGHT)
# The slab to fetch beside each product; one after the last is the next panel's first.
FETCH: Final = (T2, B22, B22, B21, B21, SLABS, SLABS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strassen(Product):
    """A product with everything decided; k is even.

    rows:     pairs of rows in a strip, at most
    strips:   in a group of rows
    vectors:  of a panel; a unit multiplies two of them, one of each half of the columns
    claims:   that the units are divided into; each makes its own sums of A
    """

    strips: int
    claims: int

    @property
    def pairs(self) -> int:
        """Of rows."""
        return -(-self.m // 2)

    @property
    def down(self) -> int:
        """Rows from the upper to the lower row of a pair."""
        return self.m - self.pairs

    @property
    def depth(self) -> int:
        """Of the products of quarters."""
        return self.k // 2

    @property
    def downs(self) -> tuple[int, ...]:
        """The first row of each part of C."""
        return (0, self.down)

    @property
    def shares(self) -> tuple[bool, ...]:
        """Whether the first row of a part is the last one of the part before."""
        return (False, self.m % 2 == 1)

    @property
    def quarters(self) -> tuple[int, ...]:
        """Where the accumulators of each part of C lie, row by row."""
        return QUARTERS

    @property
    def part(self) -> int:
        """Vectors in each of the parts that columns are cut into; the last may end before."""
        return -(-self.columns // len(self.downs))

    @property
    def width(self) -> int:
        """Columns, with those past the last one."""
        return len(self.downs) * self.part * self.lanes

    @property
    def panels(self) -> int:
        return -(-self.part // self.vectors)

    @property
    def all_strips(self) -> int:
        return -(-self.pairs // self.rows)

    @property
    def groups(self) -> int:
        return -(-self.all_strips // self.strips)

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
    def levels(self) -> int:
        """How often products are made of seven."""
        return 1

    @property
    def packed_bytes(self) -> int:
        """B as it is packed."""
        return self.panels * SLABS * self.slab_bytes

    @property
    def copies(self) -> bool:
        """Whether A is copied beside its sums, as the rows of A fall into one set of L1."""
        return self.memory[self.a].row % WAY_BYTES == 0

    @property
    def row_bytes(self) -> int:
        """From one row to the next of what is multiplied from the left, A or copies, and sums."""
        row = self.memory[self.a].row
        return 2 * self.depth * 4 + LINE_BYTES if self.copies else row

    @property
    def left_bytes(self) -> int:
        """S1 and S2 of a group, or another pair of quarters, side by side in its rows."""
        bytes_ = self.strips * self.rows * self.row_bytes
        return -(-bytes_ // LINE_BYTES) * LINE_BYTES

    @property
    def lefts(self) -> int:
        """Pairs of quarters in scratch."""
        return 4 if self.copies else 2

    @property
    def tile_bytes(self) -> int:
        """The accumulators of a strip."""
        return self.rows * self.vectors * self.lanes * 4

    @property
    def part_bytes(self) -> int:
        """The accumulators of a panel of a group, for one part of C."""
        return self.strips * self.tile_bytes

    @property
    def scratch_bytes(self) -> int:
        tiles = (4 * self.strips + 1) * self.tile_bytes
        return self.lefts * self.left_bytes + tiles
