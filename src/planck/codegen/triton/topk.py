"""The k largest: every element counts those before it, which is its place if that is below k.

Quadratic, but every comparison is independent of all others, equal elements keep their order
whatever the schedule, and nothing is sorted: 8400 elements are 70 million comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, unravel
from planck.codegen.triton.text import Text, power_of_two
from planck.dtypes import DType

MOST: Final = 128  # elements beside each other in a comparison
_SIGN32: Final = 1 << 31
_SIGN64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class TopK:
    """One kernel. rows: elements of a block that count"""

    symbol: str
    x: Tensor
    values: Tensor
    places: Tensor
    axis: int
    largest: bool
    rows: int
    warps: int
    dependent: bool


def write(own: TopK) -> TritonCode:
    x, axis = own.x, own.axis
    n, k = x.dims[axis], own.values.dims[axis]
    t = Text(own.dependent)
    tiles, width = -(-n // own.rows), min(MOST, power_of_two(n))
    outer = [*x.dims[:axis], 1, *x.dims[axis + 1 :]]
    t("block = tl.program_id(0)", f"row = block // {tiles}")
    t(f"i = block % {tiles} * {own.rows} + tl.arange(0, {own.rows})[:, None]")
    place = unravel(t, "row", outer, "x")
    t.wait()
    t.trigger()
    t(f"own = {x.load(t, _along(place, axis, 'i'), f'i < {n}')}")
    write_key(t, "own", x.dtype, own.largest)
    t(f"count = tl.zeros([{own.rows}, {width}], tl.int32)")
    # Of equals the first wins: all tiles but those around i know which side of it they are.
    begin = f"block % {tiles} * {own.rows} // {width} * {width}"
    around = max(own.rows, width)
    t(f"begin = {begin}", f"end = tl.minimum(begin + {around}, {n})")
    for start, end, first in (
        ("0", "begin", "other_key <= own_key"),
        ("begin", "end", "(other_key < own_key) | ((other_key == own_key) & (j < i))"),
        ("end", str(n), "other_key < own_key"),
    ):
        t(f"for start in range({start}, {end}, {width}):")
        t.indent += 1
        t(f"j = start + tl.arange(0, {width})[None, :]")
        t(f"other = {x.load(t, _along(place, axis, 'j'), f'j < {n}')}")
        write_key(t, "other", x.dtype, own.largest)
        inside = "" if n % width == 0 or start == "0" else f" & (j < {n})"
        t(f"count += (({first}){inside}).to(tl.int32)")
        t.indent -= 1
    t("before = tl.sum(count, 1, keep_dims=True)")
    t(f"chosen = (i < {n}) & (before < {k})")
    own.values.store(t, _along(place, axis, "before"), "own", "chosen")
    own.places.store(t, _along(place, axis, "before"), "i", "chosen")
    return t.finish(own.symbol, tiles * (x.size // n), own.warps, 2)


def _along(place: list[str], axis: int, at: str) -> list[str]:
    return [*place[:axis], at, *place[axis + 1 :]]


def write_key(t: Text, name: str, dtype: DType, largest: bool) -> None:
    """Write `NAME_key`, an integer that is the smaller the earlier an element comes.

    NaN is the largest of all, zeros are equal.
    """
    key = f"{name}_key"
    if dtype.is_float:
        bits, most = ("tl.int64", _SIGN64 - 1) if dtype.bits == 64 else ("tl.int32", _SIGN32 - 1)
        t(f"{key} = {name}.to({bits}, bitcast=True)")
        t(f"{key} = tl.where({name} == 0, 0, tl.where({key} < 0, {key} ^ {most}, {key}))")
        t(f"{key} = tl.where({name} != {name}, {most}, {key})")
    elif dtype.bits == 64:
        t(f"{key} = {name}.to(tl.int64)")
        if dtype.kind == "u":
            t(f"{key} = {key} ^ {-_SIGN64}")
    else:
        shift = f" - {_SIGN32}" if dtype.kind == "u" else ""
        t(f"{key} = ({name}.to(tl.int64){shift}).to(tl.int32)")
    if largest:
        t(f"{key} = ~{key}")
