"""What the parts of a Winograd kernel share: numbering of tiles, places of pixels, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planck.codegen.microkernel import Vector
from planck.codegen.tables import Memory, TableBuilder
from planck.codegen.winograd_spec import Winograd
from planck.plan.model import WORKSPACE
from planck.target import Target


@dataclass(slots=True)
class Place:
    """A tile in its batch: the image, and its row and column among the tiles."""

    image: str
    row: str
    column: str


class Tiles:
    """Base of the writers of a kernel's parts.

    base:  the kernel's arguments
    v, m:  transformed inputs and products, in scratch unless they are shared; patch and half: of
           one tile
    """

    def __init__(
        self, target: Target, spec: Winograd, b: TableBuilder, base: dict[str, str]
    ) -> None:
        self.target, self.spec, self.b, self.base = target, spec, b, base
        self.vector = Vector.of(target)
        self.v = base[WORKSPACE] if spec.shared else "%scratch"
        self.m = b.offset("%scratch", spec.m_at)
        self.patch = b.offset("%scratch", spec.patch_at)
        self.half = b.offset("%scratch", spec.half_at)

    def group_range(self, group: str) -> tuple[str, str]:
        """First tile of a group, and how many it has: sizes differ by one at most."""
        b, spec = self.b, self.spec
        small, larger = divmod(spec.tiles, spec.all_groups)
        first = b.times(group, small)
        if not larger:
            return first, str(small)
        extra = b.smaller(group, larger)
        test = b.let(f"icmp slt i64 {group}, {larger}")
        return b.plus(first, extra), b.let(f"select i1 {test}, i64 {small + 1}, i64 {small}")

    def place(self, tile: str) -> Place:
        b = self.b
        down, along = self.spec.grid
        image = b.let(f"udiv i64 {tile}, {down * along}")
        rest = b.let(f"urem i64 {tile}, {down * along}")
        row = b.let(f"udiv i64 {rest}, {along}")
        column = b.let(f"urem i64 {rest}, {along}")
        return Place(image, row, column)

    def at(self, pointer: str, memory: Memory, row: str, column: str) -> str:
        """A pixel, row or column possibly outside."""
        b = self.b
        return b.offset(b.offset(pointer, b.times(row, memory.row)), b.times(column, memory.column))

    def opaque(self, number: int) -> str:
        """A number that LLVM does not know: it would write a loop's body out as often."""
        return self.b.let(f'call i64 asm "", "=r,0"(i64 {number})')

    def gather(self, pointer: str, step: int, count: int) -> list[str]:
        """Some vectors, some bytes apart."""
        b = self.b
        return [self.vector.load(b, b.offset(pointer, i * step)) for i in range(count)]

    def spread(self, values: Sequence[str], pointer: str, step: int) -> None:
        for i, value in enumerate(values):
            self.vector.store(self.b, value, self.b.offset(pointer, i * step))
