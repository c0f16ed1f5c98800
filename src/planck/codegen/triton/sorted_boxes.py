"""Non-maximum suppression in the order of scores: a block for each image and class.

The block lists the boxes whose score is above the lowest, and selects from the list some hundreds
at a time (`select.py`). These are compared with all boxes that stay already, and what is left of
them, in order and a few at a time, with each other. Who stays of the few is found by steps: at
first all do, and each step takes out what overlaps one before it that stays. The first k boxes are
right after k steps, and nothing changes any more once all are: most often after two or three.
Where most of those selected overlap others, most of the list does, and those that stay thin it.
"""

from __future__ import annotations

from typing import Final

from planck.codegen.triton.boxes import (
    NonMaxSuppression,
    write_corners,
    write_overlap,
    write_rows,
)
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.scalar import plain
from planck.codegen.triton.select import LEAST, NOTHING, WARP, write_ranks, write_select
from planck.codegen.triton.text import Text, power_of_two
from planck.codegen.triton.topk import write_key
from planck.dtypes import f32, i64

GROUPS: Final = 4096  # boxes that a pass over the list looks at together
MOST: Final = 512  # boxes that are selected at once
FEW: Final = 64  # that are compared with each other
PAIRS: Final = 8  # of boxes that a thread compares at once
THINNING: Final = 4  # boxes that stay, with which the list is compared at once


def workspace(pairs: int, boxes: int, most: int) -> int:
    """How many numbers of 64 bits the kernel needs."""
    return pairs * (boxes + 2 * _chosen(boxes) + most + 3)


def _chosen(boxes: int) -> int:
    """How many are selected at once."""
    return min(MOST, max(power_of_two(boxes), FEW))


def write(own: NonMaxSuppression, warps: int) -> TritonCode:
    images, classes, boxes = own.scores.dims
    pairs, groups, chosen = images * classes, min(GROUPS, power_of_two(boxes)), _chosen(boxes)
    t = Text(own.dependent)
    space = t.workspace(workspace(pairs, boxes, own.most), i64)
    t("block = tl.program_id(0)", f"image = block // {classes}", f"kind = block % {classes}")
    begin = 0
    for name, each in (
        ("list", boxes),  # keys
        ("chosen", chosen),  # keys
        ("order", chosen),  # boxes
        ("kept", own.most),  # boxes
        ("tally", 1),
        ("counts", 0),
        ("starts", 0),
    ):
        t(f"{name} = {space} + {begin}" + (f" + block * {each}" if each else ""))
        begin += pairs * max(each, 1)
    t.wait()
    t.trigger()
    _list(t, own, boxes, groups)
    t(f"begin = (block * 0).to(tl.int64) + {LEAST}", f"stop = begin * 0 + {NOTHING}")
    t("number = block * 0", "left = listed")
    t(f"running = (left > 0) & (number < {own.most})", "while running:")
    t.indent += 1
    t(f"least = tl.minimum(left, {chosen // 4})")
    write_select(t, lambda: _load(t), "listed", groups, "least", chosen)
    _order(t, chosen, warps)
    t("first, known, rest = block * 0, number, total")
    _compare(t, own, "all", chosen, "0", "known", PAIRS * WARP * warps // chosen)
    t("slot = tl.cumsum(free_all.to(tl.int32), 0) - 1", "rest = tl.sum(free_all.to(tl.int32), 0)")
    t("tl.debug_barrier()", "tl.store(order + slot, mine_all, mask=free_all)")
    t("tl.debug_barrier()", f"some = (first < rest) & (number < {own.most})", "while some:")
    t.indent += 1
    _take(t, own)
    t(f"first += {FEW}", f"some = (first < rest) & (number < {own.most})")
    t.indent -= 1
    t("begin = end", "left -= total", f"running = (left > 0) & (number < {own.most})")
    t("if running & (2 * (number - known) < total):")
    t.indent += 1
    _thin(t, own, PAIRS * WARP * warps // THINNING)
    t("left = listed")
    t.indent -= 1
    t.indent -= 1
    write_rows(t, own, pairs, groups, i64)
    return t.finish(own.symbol, pairs, warps, 2)


def _list(t: Text, own: NonMaxSuppression, boxes: int, groups: int) -> None:
    """Write the keys of the scores above the lowest, `listed` in all."""
    t("listed = block * 0", f"for start in range(0, {boxes}, {groups}):")
    t.indent += 1
    t(f"at = start + tl.arange(0, {groups})", f"there = at < {boxes}")
    t(f"score = ({own.scores.load(t, ['image', 'kind', 'at'], 'there')}).to(tl.float32)")
    write_key(t, "score", f32, largest=True)
    t(f"good = there & (score > {plain(own.lowest)})")
    t("place = listed + tl.cumsum(good.to(tl.int32), 0) - 1")
    t("tl.store(list + place, (score_key.to(tl.int64) << 32) | at, mask=good)")
    t("listed += tl.sum(good.to(tl.int32), 0)")
    t.indent -= 1
    t("tl.debug_barrier()")


def _load(t: Text) -> None:
    t(f"key = tl.load(list + at, mask=at < listed, other={NOTHING})")


def _order(t: Text, chosen: int, warps: int) -> None:
    """Write the boxes chosen in order."""
    write_ranks(t, chosen, warps)
    t("tl.store(order + rank, own & 0x7FFFFFFF, mask=i < total)", "tl.debug_barrier()")


def _take(t: Text, own: NonMaxSuppression) -> None:
    """Add those of the boxes from `first` on that stay to `kept`."""
    _compare(t, own, "few", FEW, "known", "number", FEW)
    t(f"j = first + tl.arange(0, {FEW})[:, None]")
    _overlap(t, own, "few", "order", "rest")
    t("over = over & (j < first + lane_few[None, :])")
    t("stays, going = free_few, rest > 0", "while going:")
    t.indent += 1
    t("then = free_few & (tl.max((over & stays[:, None]).to(tl.int32), 0) == 0)")
    t("going = tl.max((then != stays).to(tl.int32), 0) > 0", "stays = then")
    t.indent -= 1
    t("place = number + tl.cumsum(stays.to(tl.int32), 0) - 1")
    t(f"tl.store(kept + place, mine_few, mask=stays & (place < {own.most}))")
    t(f"number = tl.minimum(number + tl.sum(stays.to(tl.int32), 0), {own.most})")
    t("tl.debug_barrier()")


def _compare(
    t: Text, own: NonMaxSuppression, name: str, boxes: int, begin: str, end: str, width: int
) -> None:
    """Write `mine_NAME`, boxes of the order from `first` on; which of them are `free_NAME`.

    That is whether they overlap none of those that are kept from `begin` to `end`.
    """
    t(f"lane_{name} = tl.arange(0, {boxes})", f"free_{name} = first + lane_{name} < rest")
    t(f"mine_{name} = tl.load(order + first + lane_{name}, mask=free_{name}, other=0)")
    write_corners(t, own, f"mine_{name}[None, :]", f"_{name}", f"free_{name}[None, :]")
    _free(t, own, name, boxes, begin, end, width)


def _thin(t: Text, own: NonMaxSuppression, boxes: int) -> None:
    """Take out of the list what is before `begin`, and what overlaps those kept from `known` on."""
    t("thinned = block * 0", f"for tile in range(0, listed, {boxes}):")
    t.indent += 1
    t(f"at = tile + tl.arange(0, {boxes})")
    _load(t)
    t("free_rest = (key >= begin) & (at < listed)", "mine_rest = (key & 0x7FFFFFFF).to(tl.int32)")
    write_corners(t, own, "mine_rest[None, :]", "_rest", "free_rest[None, :]")
    _free(t, own, "rest", boxes, "known", "number", THINNING)
    t("to_rest = thinned + tl.cumsum(free_rest.to(tl.int32), 0) - 1")
    t("tl.debug_barrier()", "tl.store(list + to_rest, key, mask=free_rest)")
    t("thinned += tl.sum(free_rest.to(tl.int32), 0)")
    t.indent -= 1
    t("listed = thinned", "tl.debug_barrier()")


def _free(
    t: Text, own: NonMaxSuppression, name: str, boxes: int, begin: str, end: str, width: int
) -> None:
    """Leave those `free_NAME` that overlap none of those kept from `begin` to `end`."""
    t(f"hit_{name} = tl.zeros([{width}, {boxes}], tl.int1)")
    t(f"for start in range({begin}, {end}, {width}):")
    t.indent += 1
    t(f"j = start + tl.arange(0, {width})[:, None]")
    _overlap(t, own, name, "kept", end)
    t(f"hit_{name} = hit_{name} | over")
    t.indent -= 1
    t(f"free_{name} = free_{name} & (tl.max(hit_{name}.to(tl.int32), 0) == 0)")


def _overlap(t: Text, own: NonMaxSuppression, name: str, among: str, end: str) -> None:
    """Write `over`: which boxes `j` of a list, before its end, overlap which of `mine_NAME`."""
    t(f"box = tl.load({among} + j, mask=j < {end}, other=0)")
    write_corners(t, own, "box", "", f"j < {end}")
    write_overlap(t, own, f"_{name}")
    t(f"over = over & (j < {end})")
