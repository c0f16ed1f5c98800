"""Winograd convolution: a kernel that multiplies less, by bilinear algorithms nested over two axes.

The output is cut into tiles, numbered through the whole batch, and the tiles into groups that fill
the registers of one matrix product. A unit of work is some neighbouring groups by some panels of
output channels, and needs nothing of another unit:

    for its tiles, for blocks of input channels:   transform a window of pixels    -> V, scratch
    for its panels:
        for planes, for groups:   sum over positions of V[position] times weights  -> M, scratch
        for its tiles, for blocks of the panel:    transform back, epilogue, store

Where several units need the same tiles, the threads may share V: then they transform tiles by
turns, and each begins with its units when all tiles are there (`codegen/sharing.py`).

V is [position][group][block][tile][lane], so that the product reads its broadcasts from one place
and its weights in the order in which they lie. Tiles that meet the border are read from a patch in
scratch, with zeros around what there is. At stride 1 each position has its plane of M; at others
several share one, see `bilinear.py`.
"""

from __future__ import annotations

from planck.codegen.llvm import function
from planck.codegen.sharing import Sharing
from planck.codegen.tables import TableBuilder
from planck.codegen.winograd_product import Products
from planck.codegen.winograd_read import Reader
from planck.codegen.winograd_spec import Winograd
from planck.codegen.winograd_write import Writing
from planck.plan.model import COUNTERS
from planck.target import Target


def write(target: Target, symbol: str, spec: Winograd) -> str:
    """The module of one Winograd convolution kernel."""
    b = TableBuilder()
    base = b.arguments(spec.arguments)
    reader = Reader(target, spec, b, base)
    products = Products(target, spec, b, base)
    writing = Writing(target, spec, b, base)
    if spec.shared:
        sharing = Sharing(target, b, base[COUNTERS], spec.tiles)
        with sharing.claims() as tile:
            reader.one(tile)
        sharing.wait()
    with b.loop("%begin", "%end") as unit:
        # Neighbouring units share panels of weights rather than pixels.
        strip = b.let(f"urem i64 {unit}, {spec.strips}") if spec.strips > 1 else "0"
        part = b.let(f"udiv i64 {unit}, {spec.strips}") if spec.parts > 1 else "0"
        begin, end = b.share(spec.all_groups, strip, spec.strips)
        if not spec.shared:
            with b.loop(begin, end) as group:
                reader.group(group, begin)
        with b.loop(*b.share(spec.panels, part, spec.parts)) as panel:
            products.panel(panel, begin, end)
            with b.loop(begin, end) as group:
                writing.group(panel, group, begin)
    if spec.shared:
        sharing.leave(spec.units)
    b.do("ret void")
    return function(target, symbol, b)
