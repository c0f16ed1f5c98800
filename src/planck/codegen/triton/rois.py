"""RoiAlign: each element of the result goes through the samples of its bin.

Positions are computed in float64, as how many samples a bin has may hang on the last place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, lanes, unravel, wide
from planck.codegen.triton.scalar import register
from planck.codegen.triton.text import Text

BLOCK: Final = 128
_MOST: Final = 4096  # samples of a bin along one axis
_MARGIN: Final = 1.0  # pixels beyond the border from where nothing is sampled


@dataclass(frozen=True, slots=True)
class RoiAlign:
    """One kernel. sampling: samples a bin and axis; 0: as many as a bin has pixels"""

    symbol: str
    x: Tensor
    regions: Tensor
    images: Tensor
    out: Tensor
    mode: str
    sampling: int
    scale: float
    offset: float
    dependent: bool


def write(own: RoiAlign) -> TritonCode:
    t = Text(own.dependent)
    dtype = wide(own.x.dtype)
    grid = lanes(t, own.out.size, BLOCK)
    place = unravel(t, "at", own.out.dims, "o")
    region, channel, *bins = place
    region = f"{region} + at * 0"
    t.wait()
    t.trigger()
    image = own.images.load(t, [region], "there")  # of no image, perhaps
    t(f"image = tl.minimum(tl.maximum({image}, 0), {own.x.dims[0] - 1})")
    for name, axis, low, high in (("y", 0, 1, 3), ("x", 1, 0, 2)):
        _axis(t, own, name, bins[axis], own.out.dims[2 + axis], (region, low, high))
    t(f"made = tl.full([{BLOCK}], {_start(own.mode)}, {register(dtype)})")
    most = [f"tl.max(tl.where(there, {n}_count, 0), 0)" for n in ("y", "x")]
    counts = [str(own.sampling)] * 2 if own.sampling else most
    t(f"for y_step in range(0, {counts[0]}):")
    t.indent += 1
    _sample(t, "y", own.x.dims[2], register(dtype))
    t(f"for x_step in range(0, {counts[1]}):")
    t.indent += 1
    _sample(t, "x", own.x.dims[3], register(dtype))
    t("taken = there & (y_step < y_count) & (x_step < x_count)")
    terms = []
    for y in ("y_low", "y_high"):
        for x in ("x_low", "x_high"):
            name = f"{y}_{x}"
            value = own.x.load(t, ["image", channel, y, x], "taken")
            t(f"{name} = {value} * ({y}_weight * {x}_weight)")
            terms.append(name)
    if own.mode == "max":
        most_of = t.functions.need("_most")
        best = terms[0]
        for term in terms[1:]:
            best = f"{most_of}({best}, {term})"
        t(f"made = tl.where(taken, {most_of}(made, {best}), made)")
    else:
        t(f"made += tl.where(taken, {' + '.join(terms)}, 0.0)")
    t.indent -= 2
    if own.mode == "avg":
        t(f"made = made / (y_count * x_count).to({register(dtype)})")
    own.out.store(t, place, "made", "there")
    return t.finish(own.symbol, grid, 4, 2)


def _start(mode: str) -> str:
    return 'float("-inf")' if mode == "max" else "0.0"


def _axis(
    t: Text, own: RoiAlign, name: str, bin_: str, bins: int, edges: tuple[str, int, int]
) -> None:
    """Write how many samples each bin has along an axis, where they begin and how far apart."""
    region, low, high = edges
    for end, which in (("low", low), ("high", high)):
        value = own.regions.load(t, [region, str(which)], "there")
        t(f"{name}_{end}_edge = ({value}).to(tl.float64) * {own.scale!r} - {own.offset!r}")
    t(f"{name}_whole = {name}_high_edge - {name}_low_edge")
    if not own.offset:
        t(f"{name}_whole = tl.maximum({name}_whole, 1.0)")
    t(f"{name}_size = {name}_whole / {bins}")
    if own.sampling:
        t(f"{name}_count = tl.full([{BLOCK}], {own.sampling}, tl.int32)")
    else:
        t(f"{name}_count = tl.ceil({name}_size).to(tl.int32)")
        t(f"{name}_count = tl.minimum(tl.maximum({name}_count, 1), {_MOST})")
    t(f"{name}_first = {name}_low_edge + ({bin_} + at * 0).to(tl.float64) * {name}_size")


def _sample(t: Text, name: str, extent: int, kind: str) -> None:
    """Write the two neighbours of a sample along an axis and their weights."""
    t(f"{name}_at = {name}_first + ({name}_step + 0.5) * {name}_size / {name}_count")
    t(f"{name}_out = ({name}_at < {-_MARGIN}) | ({name}_at > {float(extent)})")
    t(f"{name}_at = tl.minimum(tl.maximum({name}_at, 0.0), {float(extent - 1)})")
    t(f"{name}_low = tl.floor({name}_at).to(tl.int32)")
    t(f"{name}_high = tl.minimum({name}_low + 1, {extent - 1})")
    t(f"{name}_rest = {name}_at - {name}_low")
    t(f"{name}_low_weight = tl.where({name}_out, 0.0, 1.0 - {name}_rest).to({kind})")
    t(f"{name}_high_weight = tl.where({name}_out, 0.0, {name}_rest).to({kind})")
