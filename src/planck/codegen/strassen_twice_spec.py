"""Two levels of Strassen's multiplication: a product with all decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.microkernel import LINE_BYTES
from planck.codegen.strassen_spec import PRODUCTS, QUARTERS, SLABS, Strassen

# Inner products beside which slabs of the coming panel are fetched; beside the others, those that
# are taken off them.
FETCHED_BY_PLUS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Twice(Strassen):
    """A product by two levels, with everything decided; k is a multiple of 4 * chunks.

    chunks:  that the depth is cut into
    blocks:  that the panels are cut into; a unit has one
    """

    chunks: int
    blocks: int

    @property
    def upper(self) -> int:
        """Rows of the upper half."""
        return -(-self.m // 2)

    @property
    def pairs(self) -> int:
        """Rows of a part."""
        return -(-self.upper // 2)

    @property
    def downs(self) -> tuple[int, ...]:
        outer, inner = self.m - self.upper, self.upper - self.pairs
        return (0, inner, outer, outer + inner)

    @property
    def shares(self) -> tuple[bool, ...]:
        inner = self.upper % 2 == 1
        return (False, inner, self.m % 2 == 1, inner)

    @property
    def quarters(self) -> tuple[int, ...]:
        return tuple(
            QUARTERS[2 * (row // 2) + column // 2] * 4 + QUARTERS[2 * (row % 2) + column % 2]
            for row in range(4)
            for column in range(4)
        )

    @property
    def depth(self) -> int:
        return self.k // 4 // self.chunks

    @property
    def across(self) -> int:
        """Panels of a block."""
        return -(-self.panels // self.blocks)

    @property
    def units(self) -> int:
        return self.products * self.groups * self.blocks

    @property
    def grain(self) -> int:
        return 1

    @property
    def levels(self) -> int:
        return 2

    @property
    def packed_bytes(self) -> int:
        return SLABS * self.chunks * self.panels * SLABS * self.slab_bytes

    @property
    def row_bytes(self) -> int:
        """Of a left: an odd number of lines, so that rows do not share a set of L1."""
        return (-(-self.depth * 4 // LINE_BYTES) | 1) * LINE_BYTES

    @property
    def left_bytes(self) -> int:
        """Of an inner product."""
        return self.strips * self.rows * self.row_bytes

    @property
    def lefts(self) -> int:
        return len(PRODUCTS)

    @property
    def part_bytes(self) -> int:
        return self.tile_bytes

    @property
    def scratch_bytes(self) -> int:
        tiles = 1 + 4 + 16 * self.strips * self.across
        slabs = SLABS * self.slab_bytes
        return self.lefts * self.left_bytes + tiles * self.tile_bytes + slabs
