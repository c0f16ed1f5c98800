"""Boxes of a non-maximum suppression: their corners, what overlaps, the rows of those that stay.

A block has the boxes of an image and class (`sorted_boxes.py`); the last block to be done puts the
rows of all blocks one behind the other. What a box overlaps is computed without fused products, to
be the same as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.operand import Tensor
from planck.codegen.triton.scalar import plain
from planck.codegen.triton.text import Text, power_of_two

AXES: Final = ("y", "x")


@dataclass(frozen=True, slots=True)
class NonMaxSuppression:
    """One kernel. most: boxes of an image and class, no more than there are"""

    symbol: str
    boxes: Tensor
    scores: Tensor
    rows: Tensor
    count: Tensor
    most: int
    overlap: float
    lowest: float
    centred: bool
    dependent: bool


def write_overlap(t: Text, own: NonMaxSuppression, other: str) -> None:
    """Write `over`: which boxes overlap others too much, whose coordinates' names end so."""
    for axis in AXES:
        low = f"tl.maximum({axis}_low, {axis}_low{other})"
        high = f"tl.minimum({axis}_high, {axis}_high{other})"
        t(f"{axis}_shared = tl.maximum({high} - {low}, 0.0)")
        t(f"{axis}_size = {axis}_high - {axis}_low")
        t(f"{axis}_size{other} = {axis}_high{other} - {axis}_low{other}")
    t("shared = libdevice.mul_rn(y_shared, x_shared)")
    t(f"union = libdevice.mul_rn(y_size{other}, x_size{other}) + libdevice.mul_rn(y_size, x_size)")
    t("union = union - shared")
    if own.overlap >= 0:  # what does not meet is not divided: zeros are not for div.rn's fast path
        t("meet = shared > 0", "union = tl.where(meet, union, 1.0)")
        quotient = "tl.div_rn(tl.where(meet, shared, 1.0), union)"
        t(f"over = meet & ({quotient} > {plain(own.overlap)})")
    else:
        t(f"over = tl.div_rn(shared, union) > {plain(own.overlap)}")


def write_corners(t: Text, own: NonMaxSuppression, box: str, suffix: str, mask: str) -> None:
    """Write the least and the largest coordinates of boxes: y_low, x_high ..."""
    for axis, first, second in (("y", 0, 2), ("x", 1, 3)):
        for name, k in (("a", first), ("b", second)):
            at = own.boxes.at(t, ["image", box, str(k)])
            masked = f", mask={mask}, other=0" if mask else ""
            value = t.functions.widened(f"tl.load({at}{masked})", own.boxes.dtype)
            t(f"{name}{suffix} = ({value}).to(tl.float32)")
        if own.centred:
            half = f"b{suffix} * 0.5"
            t(f"a{suffix}, b{suffix} = a{suffix} - {half}, a{suffix} + {half}")
        ends = f"(a{suffix}, b{suffix})"
        t(f"{axis}_low{suffix} = tl.minimum{ends}", f"{axis}_high{suffix} = tl.maximum{ends}")


def write_no_rows(t: Text, own: NonMaxSuppression, tile: int) -> None:
    """Each block writes -1 to as many rows as it can have boxes."""
    size = 3 * own.most
    t(f"for start in range(0, {size}, {tile}):")
    t.indent += 1
    t(f"each = start + tl.arange(0, {tile})", f"at = block * {size} + each")
    own.rows.store(t, ["at // 3", "at % 3"], "(at * 0 - 1)", f"each < {size}")
    t.indent -= 1


def write_rows(t: Text, own: NonMaxSuppression, pairs: int, tile: int) -> None:
    """The last block writes the rows of all, and how many there are."""
    counters = t.count(1)
    t("tl.store(counts + block, number)", "tl.debug_barrier()")
    t(f'done = tl.atomic_add({counters}, 1, sem="acq_rel", scope="gpu")')
    t(f"if done == {pairs - 1}:")
    t.indent += 1
    t("tl.debug_barrier()")
    _gather(t, own, pairs, tile)
    t(f"tl.store({counters}, 0)")
    t.indent -= 1


def _gather(t: Text, own: NonMaxSuppression, pairs: int, tile: int) -> None:
    classes, blocks = own.scores.dims[1], power_of_two(pairs)
    width = max(tile // blocks, 1)
    fresh = 'other=0, cache_modifier=".cg"'
    t(f"pair = tl.arange(0, {blocks})[:, None]")
    t(f"each = tl.load(counts + pair, mask=pair < {pairs}, {fresh}).to(tl.int32)")
    t("before = tl.cumsum(each, 0) - each", "all = tl.sum(tl.sum(each, 0), 0)")
    own.count.store(t, ["0"], "all.to(tl.int64)", "block >= 0")
    t("longest = tl.max(tl.max(each, 0), 0)", f"first = kept - block * {own.most}")
    t(f"for start in range(0, longest, {width}):")
    t.indent += 1
    t(f"place = start + tl.arange(0, {width})[None, :]", "there = place < each")
    t(f"box = tl.load(first + pair * {own.most} + place, mask=there, {fresh})")
    t("row, pair_of = before + place, pair + place * 0")
    for k, value in enumerate((f"pair_of // {classes}", f"pair_of % {classes}", "box")):
        own.rows.store(t, ["row", str(k)], f"({value})", "there")
    t.indent -= 1
