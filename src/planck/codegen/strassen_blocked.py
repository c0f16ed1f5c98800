"""Strassen's multiplication on channel-blocked images: 1x1 convolutions; see codegen/strassen.py.

A has a row for each pixel and a column for each input channel, C one for each output channel, and
both lie in blocks of channels. A vector of a row is then a block of a pixel. All left operands
are written to scratch, row-major, so that what reads them is the same as for matrices, and pixels
may be picked from anywhere: strides cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from planck.codegen.llvm import function
from planck.codegen.strassen import StrassenWriter
from planck.codegen.strassen_spec import Strassen
from planck.codegen.strassen_write import Group
from planck.codegen.tables import TableBuilder
from planck.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedStrassen(Strassen):
    """A 1x1 convolution as a product, with everything decided.

    places:  bytes from an image of A to each pixel that has a row
    blocks:  bytes from one block of channels to the next, of A, full operands and outputs
    """

    places: tuple[int, ...]
    blocks: Mapping[str, int]

    @property
    def copies(self) -> bool:
        return True


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
        b, spec = self.b, self.spec
        block, half = spec.blocks[spec.a], spec.depth // spec.lanes
        with b.loop(0, group.pairs, hint="r") as row:
            pair = b.plus(b.times(group.low, spec.rows), row)
            upper = b.offset(group.a, b.entry(spec.places, pair))
            lower = b.offset(group.a, b.entry(spec.places, b.plus(pair, str(spec.down))))
            across = b.times(row, spec.row_bytes)
            places = [b.offset(place, across) for place in self.lefts]
            with b.loop(0, half, hint="k") as k:
                at = b.times(k, block)
                rows = (b.offset(upper, at), b.offset(lower, at))
                self.sum_vector(rows, half * block, places, b.times(k, self.vector.bytes))
