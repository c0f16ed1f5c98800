"""The k largest: every element counts those before it, which is its place if that is below k.

Quadratic, but every comparison is independent of all others, equal elements keep their order
whatever the schedule, and nothing is sorted: 8400 elements are 70 million comparisons.

Of many elements a block first selects those that count (`select.py`), and compares no others: the
first k, or its part of all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, unravel
from planck.codegen.triton.select import (
    LEAST,
    NOTHING,
    tiles,
    write_limit,
    write_ranks,
    write_select,
)
from planck.codegen.triton.text import Text, power_of_two
from planck.dtypes import DType, i64

MOST: Final = 128  # elements beside each other in a comparison
GROUPS: Final = 4096  # elements that a pass of a selection looks at together
_SIGN32: Final = 1 << 31
_SIGN64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class TopK:
    """One kernel."""

    symbol: str
    x: Tensor
    values: Tensor
    places: Tensor
    axis: int
    largest: bool
    warps: int
    dependent: bool


@dataclass(frozen=True, slots=True)
class ComparedTopK(TopK):
    """One that compares all elements with each other. rows: elements of a block that count"""

    rows: int


def write(own: ComparedTopK) -> TritonCode:
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


@dataclass(frozen=True, slots=True)
class SelectedTopK(TopK):
    """One that orders no more elements than it must.

    most:   elements that are chosen at once, and then ordered
    parts:  blocks of a row; each chooses elements of its own, between limits that are the same
            parts of a sample. One takes the first k at once, which are no more than `most`
    """

    most: int
    parts: int


def workspace(blocks: int, most: int) -> int:
    """How many numbers of 64 bits a selection needs."""
    return blocks * (most + 1)


def write_selected(own: SelectedTopK) -> TritonCode:
    x, axis, most, parts = own.x, own.axis, own.most, own.parts
    n, k = x.dims[axis], own.values.dims[axis]
    t = Text(own.dependent)
    grid = parts * (x.size // n)
    t("block = tl.program_id(0)", f"row, part = block // {parts}, block % {parts}")
    t(f"chosen = {t.workspace(workspace(grid, most), i64)} + block * {most + 1}")
    t(f"tally = chosen + {most}")
    outer = unravel(t, "row", [*x.dims[:axis], 1, *x.dims[axis + 1 :]], "x")
    t(f"left = block * 0 + {n}", f"begin = (block * 0).to(tl.int64) + {LEAST}")
    t(f"stop = begin * 0 + {NOTHING}")
    t.wait()
    t.trigger()

    def load() -> None:
        t(f"there = at < {n}", f"value = {x.load(t, _along(outer, axis, 'at'), 'there')}")
        write_key(t, "value", x.dtype, own.largest)
        t(f"key = tl.where(there, (value_key.to(tl.int64) << 32) | at, {NOTHING})")

    groups = min(max(GROUPS, 2 * most), power_of_two(n))
    if parts == 1:
        write_select(t, load, str(n), groups, str(k), most)
        _write_found(t, own, outer, "rank")
        return t.finish(own.symbol, grid, own.warps, 2)
    _between(t, load, n, parts, groups)
    t(f"running = (left > 0) & (first < {k})", "while running:")
    t.indent += 1
    t(f"least = tl.minimum(left, {most // 4})")
    write_select(t, load, str(n), groups, "least", most)
    _write_found(t, own, outer, "first + rank")
    t("begin, first, left = end, first + total, left - total")
    t(f"running = (left > 0) & (first < {k})")
    t.indent -= 1
    return t.finish(own.symbol, grid, own.warps, 2)


def _between(t: Text, load: Callable[[], None], n: int, parts: int, groups: int) -> None:
    """Write the limits of a block's part, `left` in it and `first`, how many are before it."""
    t(f"at = (tl.arange(0, {groups}).to(tl.int64) * {n} // {groups}).to(tl.int32)")
    load()
    t("sample = key", "lowest = tl.min(sample, 0)")
    spare = groups // (8 * parts)
    for name, part, other in (
        ("begin", "part", f"part > 0, limit, {LEAST}"),
        ("stop", "(part + 1)", f"part < {parts - 1}, limit, {NOTHING}"),
    ):
        t(f"limit = lowest * 0 + {NOTHING}", f"quantile = ({part} * {groups}) // {parts}")
        write_limit(t, "limit", "sample", "lowest", "quantile", f"quantile + {spare}")
        t(f"{name} = tl.where({other})")
    t("first = block * 0")
    with tiles(t, str(n), groups):
        load()
        t("first += tl.sum((key < begin).to(tl.int32), 0)")
        t("left -= tl.sum(((key < begin) | ((key >= stop) & there)).to(tl.int32), 0)")


def _write_found(t: Text, own: SelectedTopK, outer: list[str], place: str) -> None:
    """Order the chosen, and write what belongs to the first k."""
    x, axis = own.x, own.axis
    write_ranks(t, own.most, own.warps)
    t("source = own.to(tl.int32)", f"place = {place}")
    t(f"fits = (i < total) & (place < {own.values.dims[axis]})")
    t(f"found = {x.load(t, _along(outer, axis, 'source'), 'fits')}")
    own.values.store(t, _along(outer, axis, "place"), "found", "fits")
    own.places.store(t, _along(outer, axis, "place"), "source", "fits")


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
