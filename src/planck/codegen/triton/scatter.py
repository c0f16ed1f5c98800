"""Scattering the other way round: every element of the result looks for the updates that meet it.

So elements are independent, nothing is written twice, updates of one element are combined in their
order, tile by tile, and the last one wins where they are not combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, lanes, unravel, wide
from planck.codegen.triton.scalar import plain, register
from planck.codegen.triton.text import Text, power_of_two
from planck.dtypes import DType

BLOCK: Final = 128  # elements of a block
MOST: Final = 32  # updates beside each other
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
        t(f"made = own.to({register(dtype)})")
    else:
        t(f"last = tl.full([{BLOCK}, 1], -1, tl.int32)")
    t(f"for start in range(0, {count}, {width}):")
    t.indent += 1
    t(f"u = start + tl.arange(0, {width})[None, :]")
    meets, where = (_elements if own.axis is not None else _tuple)(t, own, place, count, "u")
    t(f"meets = {meets}")
    if combine:
        neutral = (
            f"tl.full([{BLOCK}, {width}], {_neutral(own.reduction, dtype)}, {register(dtype)})"
        )
        t(f"value = {updates.load(t, where, 'meets')}")
        t(f"value = tl.where(meets, value, {neutral})")
        t(f"made = {combine}(made, tl.reduce(value, 1, {combine}, keep_dims=True))")
    else:
        t("last = tl.maximum(last, tl.max(tl.where(meets, u, -1), 1, keep_dims=True))")
    t.indent -= 1
    if not combine:
        _, where = (_elements if own.axis is not None else _tuple)(t, own, place, count, "last")
        t(f"value = {updates.load(t, where, 'there & (last >= 0)')}")
        t("made = tl.where(last >= 0, value, own)")
    own.out.store(t, place, "made", "there")
    return t.finish(own.symbol, grid, 4, 2)


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
    where = [*tuple_, *place[depth:]]
    if u != "u":
        return "", where
    hits = [f"(u < {count}) & there"]
    for k in range(depth):
        t(f"index = {own.indices.load(t, [*tuple_, str(k)], f'u < {count}')}")
        t(f"hit{k} = tl.where(index < 0, index + {own.x.dims[k]}, index) == {place[k]}")
        hits.append(f"hit{k}")
    return " & ".join(hits), [f"{where[0]} + whole", *where[1:]]


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
