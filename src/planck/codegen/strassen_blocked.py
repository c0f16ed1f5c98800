"""Strassen's multiplication on channel-blocked images: 1x1 convolutions; see codegen/strassen.py.

A has a row for each pixel and a column for each input channel, C one for each output channel, and
both lie in blocks of channels. A vector of a row is then a block of a pixel. All left operands
are written to scratch, row-major, so that what reads them is the same as for matrices, and pixels
may be picked from anywhere: strides cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.llvm import function
from planck.codegen.microkernel import LINE_BYTES
from planck.codegen.strassen import PRODUCTS, Group, Strassen, StrassenWriter
from planck.codegen.tables import TableBuilder
from planck.target import Target

LEFT: Final = len(PRODUCTS)  # operands of a group in scratch


@dataclass(frozen=True, slots=True)
class BlockedStrassen(Strassen):
    """A 1x1 convolution as a product, with everything decided.

    places:  bytes from an image of A to each pixel that has a row
    blocks:  bytes from one block of channels to the next, of A, full operands and outputs
    """

    places: tuple[int, ...]
    blocks: Mapping[str, int]

    @property
    def row_bytes(self) -> int:
        """From one row of a left operand in scratch to the next, so that sets of L1 differ."""
        return self.depth * 4 + LINE_BYTES

    @property
    def sum_bytes(self) -> int:
        """Half of what all left operands of a group take."""
        return -(-LEFT * self.left_bytes // 2)

    @property
    def left_bytes(self) -> int:
        """One left operand of a group."""
        return self.strips * self.rows * self.row_bytes


def write(target: Target, symbol: str, spec: BlockedStrassen) -> str:
    """The module of one kernel."""
    b = TableBuilder()
    BlockedWriter(target, spec, b).kernel()
    return function(target, symbol, b)


class BlockedWriter(StrassenWriter):
    """What is different where A and C lie in blocks."""

    spec: BlockedStrassen

    def __init__(self, target: Target, spec: BlockedStrassen, b: TableBuilder) -> None:
        super().__init__(target, spec, b)

    def across(self, name: str) -> int:
        return self.spec.blocks.get(name, self.vector.bytes)

    def sum_rows(self, group: Group) -> None:
        b, spec, kind = self.b, self.spec, self.vector.kind
        block, half = spec.blocks[spec.a], spec.depth // spec.lanes
        with b.loop(0, group.pairs, hint="r") as row:
            pair = b.plus(b.times(group.low, spec.rows), row)
            upper = b.offset(group.a, b.entry(spec.places, pair))
            lower = b.offset(group.a, b.entry(spec.places, b.plus(pair, str(self.down))))
            goal = b.offset("%scratch", b.times(row, spec.row_bytes))
            with b.loop(0, half, hint="k") as k:
                at = b.times(k, block)
                up, low = b.offset(upper, at), b.offset(lower, at)
                a11, a12 = (self.vector.load(b, b.offset(up, i * half * block)) for i in (0, 1))
                a21, a22 = (self.vector.load(b, b.offset(low, i * half * block)) for i in (0, 1))
                s1 = b.let(f"fadd {kind} {a21}, {a22}")
                s2 = b.let(f"fsub {kind} {s1}, {a11}")
                s3 = b.let(f"fsub {kind} {a11}, {a21}")
                s4 = b.let(f"fsub {kind} {a12}, {s2}")
                place = b.offset(goal, b.times(k, self.vector.bytes))
                for i, value in enumerate((a11, a12, a22, s1, s2, s3, s4)):
                    self.vector.store(b, value, b.offset(place, i * spec.left_bytes))

    def left(self, product: str, group: Group) -> str:
        which = [a * self.spec.left_bytes for a, _, _ in PRODUCTS]
        return self.b.offset("%scratch", self.b.entry(which, product))
