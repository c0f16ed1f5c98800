"""Scattering the other way round: every element of the result looks for the updates that meet it.

So elements are independent, nothing is written twice, updates of one element are combined in their
order, tile by tile, and the last one wins where they are not combined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, lanes, unravel, wide
from planck.codegen.triton.scalar import plain, register
from planck.codegen.triton.text import Text, power_of_two
from planck.dtypes import DType

BLOCK: Final = 128  # elements of a block
MOST: Final = 32  # updates beside each other
SLICES: Final = 32  # of a block, where whole ones are written, and updates beside each other
MOST_WHOLE: Final = 128
PART: Final = 128  # elements of a slice that a block writes
_COMBINE: Final = {"add": "_sum", "mul": "_product", "max": "_most", "min": "_least"}


@dataclass(frozen=True, slots=True)
class Scatter:
    """One kernel.

    axis:  along which ScatterElements' indices count; None: they are tuples, as ScatterND's
    """

    symbol: str
    x: Tensor
    indices: Tensor
    updates: Tensor
    out: Tensor
    axis: int | None
    reduction: str
    dependent: bool


def write(own: Scatter) -> TritonCode:
    if own.axis is None and own.reduction == "none":
        return _write_slices(own)
    x, updates = own.x, own.updates
    t = Text(own.dependent)
    grid = lanes(t, x.size, BLOCK)
    t("at = at[:, None]", "there = there[:, None]")
    place = unravel(t, "at", x.dims, "x")
    count = own.indices.dims[own.axis] if own.axis is not None else _tuples(own.indices)
    width = min(MOST, power_of_two(max(count, 1)))
    t(f"whole = tl.zeros([{BLOCK}, {width}], tl.int32)")
    t.wait()
    t.trigger()
    t(f"own = {x.load(t, place, 'there')}")
    combine = _COMBINE.get(own.reduction)
    dtype = wide(x.dtype)
    if combine:
        t.functions.need(combine)
        neutral = (
            f"tl.full([{BLOCK}, {width}], {_neutral(own.reduction, dtype)}, {register(dtype)})"
        )
        t(f"neutral = {neutral}", "made = neutral")
    else:
        t("last = whole - 1")
    with _updates(t, count, width):
        meets, where = (_elements if own.axis is not None else _tuple)(t, own, place, count, "u")
        t(f"meets = {meets}")
        if combine:
            t(f"value = tl.where(meets, {updates.load(t, where, 'meets')}, neutral)")
            t(f"made = {combine}(made, value)")
        else:
            t("last = tl.where(meets, u, last)")
    if combine:
        t(f"made = {combine}(own, tl.reduce(made, 1, {combine}, keep_dims=True))")
    else:
        t("last = tl.max(last, 1, keep_dims=True)")
        _, where = _elements(t, own, place, count, "last")
        t(f"value = {updates.load(t, where, 'there & (last >= 0)')}")
        t("made = tl.where(last >= 0, value, own)")
    own.out.store(t, place, "made", "there")
    return t.finish(own.symbol, grid, 4, 2)


def _write_slices(own: Scatter) -> TritonCode:
    """Whole slices look for their last update, and are then copied by parts."""
    x, depth = own.x, own.indices.dims[-1]
    t = Text(own.dependent)
    slices, long = math.prod(x.dims[:depth]), math.prod(x.dims[depth:])
    height = min(SLICES, power_of_two(slices))
    part = min(PART, power_of_two(long))
    parts = -(-long // part)
    count = _tuples(own.indices)
    width = min(MOST_WHOLE, power_of_two(max(count, 1)))
    t(f"at = tl.program_id(0) // {parts} * {height} + tl.arange(0, {height})[:, None]")
    t(f"there = at < {slices}", f"whole = tl.zeros([{height}, {width}], tl.int32)")
    place = unravel(t, "at", x.dims[:depth], "x")
    t(f"inner = tl.program_id(0) % {parts} * {part} + tl.arange(0, {part})[None, :]")
    t.wait()
    t.trigger()
    t("last = whole - 1")
    with _updates(t, count, width):
        meets, _ = _tuple(t, own, place, count, "u")
        t(f"last = tl.where({meets}, u, last)")
    t("last = tl.max(last, 1, keep_dims=True)", f"here = there & (inner < {long})")
    rest = unravel(t, "inner", x.dims[depth:], "y")
    t(f"span = tl.zeros([{height}, {part}], tl.int32)")
    full = [f"{place[0]} + span", *place[1:], *rest]
    t(f"own = {x.load(t, full, 'here & (last < 0)')}")
    tuple_ = unravel(t, "last", own.indices.dims[:-1], "last_")
    where = [f"{tuple_[0]} + span", *tuple_[1:], *rest]
    t(f"value = {own.updates.load(t, where, 'here & (last >= 0)')}")
    own.out.store(t, full, "tl.where(last >= 0, value, own)", "here")
    return t.finish(own.symbol, -(-slices // height) * parts, 4, 2)


@contextmanager
def _updates(t: Text, count: int, width: int) -> Iterator[None]:
    """All updates' numbers `u`, some at a time."""
    t(f"for start in range(0, {count}, {width}):")
    t.indent += 1
    t(f"u = start + tl.arange(0, {width})[None, :]")
    yield
    t.indent -= 1


def _tuples(indices: Tensor) -> int:
    return indices.size // indices.dims[-1]


def _elements(t: Text, own: Scatter, place: list[str], count: int, u: str) -> tuple[str, list[str]]:
    """Whether update number u of each element's line meets it, and where it lies."""
    axis = own.axis
    assert axis is not None
    at_u = "u + whole" if u == "u" else u
    where = [*place[:axis], at_u, *place[axis + 1 :]]
    dims = own.indices.dims
    inside = [f"(({at}) < {n})" for k, (at, n) in enumerate(zip(where, dims, strict=True))
              if k != axis and n < own.x.dims[k]]  # fmt: skip
    mask = " & ".join(["there", f"({u} < {count})", *inside])
    if u != "u":
        return "", where
    t(f"known = {mask}", f"index = {own.indices.load(t, where, 'known')}")
    t(f"index = tl.where(index < 0, index + {own.x.dims[axis]}, index)")
    return f"known & (index == {place[axis]})", where


def _tuple(t: Text, own: Scatter, place: list[str], count: int, u: str) -> tuple[str, list[str]]:
    """Whether update number u meets each element, and where in its slice the element lies."""
    depth, outer = own.indices.dims[-1], own.indices.dims[:-1]
    tuple_ = unravel(t, u, outer, f"{u}_")
    hits = [f"({u} < {count}) & there"]
    for k in range(depth):
        t(f"index = {own.indices.load(t, [*tuple_, str(k)], f'{u} < {count}')}")
        t(f"hit{k} = tl.where(index < 0, index + {own.x.dims[k]}, index) == {place[k]}")
        hits.append(f"hit{k}")
    return " & ".join(hits), [f"{tuple_[0]} + whole", *tuple_[1:], *place[depth:]]


def _neutral(reduction: str, dtype: DType) -> str:
    """What changes no result."""
    if reduction in ("add", "mul"):
        number = int(reduction == "mul")
        return plain(float(number) if dtype.is_float else number)
    low = reduction == "max"
    if dtype.is_float:
        return plain(float("-inf") if low else float("inf"))
    bits = dtype.bits - (dtype.kind == "i")
    least = -(1 << bits) if dtype.kind == "i" else 0
    return plain(least if low else (1 << bits) - 1)
