"""Non-maximum suppression in the order of scores: a block for each image and class.

The block lists the boxes whose score is above the lowest. While half of the list overlaps its best
box, as a sample tells, that one stays and they leave: so it ends where a network found few objects,
each many times.

From what is left it selects some hundreds at a time (`select.py`). These are compared with all
boxes that stay already, and what is left of them, in order and a few at a time, with each other.
Who stays of the few is found by steps: at first all do, and each step takes out what overlaps one
before it that stays. The first k boxes are right after k steps, and nothing changes any more once
all are: most often after two or three. Where many of the few overlap others, the rest of those
selected is compared with what stays before the next few; where most of those selected do, so is
what is left of the list.
"""

from __future__ import annotations

from typing import Final

from planck.codegen.triton.boxes import (
    NonMaxSuppression,
    write_corners,
    write_no_rows,
    write_overlap,
    write_rows,
)
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.scalar import plain
from planck.codegen.triton.select import LEAST, NOTHING, WARP, tiles, write_ranks, write_select
from planck.codegen.triton.text import Text, power_of_two
from planck.codegen.triton.topk import write_key
from planck.dtypes import f32, i64

TILE: Final = 1024  # boxes that a pass over the list looks at together
GROUPS: Final = 4096  # of the list in a pass that selects
MOST: Final = 512  # boxes that are selected at once
FEW: Final = 64  # that are compared with each other
LAST: Final = 8  # boxes of a list that are not worth selecting from
SPARED: Final = 3  # times the few: what must fall of those selected for comparing them at once
PAIRS: Final = 8  # of boxes that a thread compares at once
THINNING: Final = 4  # boxes that stay, with which the list is compared at once


def workspace(pairs: int, boxes: int, most: int) -> int:
    """How many numbers of 64 bits the kernel needs."""
    return pairs * (boxes + 2 * _chosen(boxes) + most + 2)


def _chosen(boxes: int) -> int:
    """How many are selected at once."""
    return min(MOST, max(power_of_two(boxes), FEW))


def write(own: NonMaxSuppression, warps: int) -> TritonCode:
    images, classes, boxes = own.scores.dims
    pairs, chosen = images * classes, _chosen(boxes)
    tile, groups = (min(most, power_of_two(boxes)) for most in (TILE, GROUPS))
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
    ):
        t(f"{name} = {space} + {begin}" + (f" + block * {each}" if each else ""))
        begin += pairs * max(each, 1)
    t.wait()
    t.trigger()
    write_no_rows(t, own, tile)
    _list(t, own, boxes, tile)
    _peel(t, own, tile)
    t(f"begin = (block * 0).to(tl.int64) + {LEAST}", f"stop = begin * 0 + {NOTHING}")
    t("thin, left = number, listed")  # how many are kept that nothing of the list overlaps
    t(f"running = (left > 0) & (number < {own.most})", "while running:")
    t.indent += 1
    t(f"least = tl.minimum(left, {chosen // 4})")
    write_select(t, lambda: _load(t), "listed", groups, "least", chosen)
    _order(t, chosen, warps)
    t("first, known, rest = block * 0, thin, total", "held, due = number, number > thin")
    t("some = rest > 0", "while some:")
    t.indent += 1
    t("if due:")
    t.indent += 1
    _compare(t, own, "all", chosen, "known", "number", PAIRS * WARP * warps // chosen)
    t("slot = tl.cumsum(free_all.to(tl.int32), 0) - 1", "rest = tl.sum(free_all.to(tl.int32), 0)")
    t("tl.debug_barrier()", "tl.store(order + slot, mine_all, mask=free_all)")
    t("tl.debug_barrier()", "first, known = block * 0, number")
    t.indent -= 1
    t("had = number", "if first < rest:")
    t.indent += 1
    _take(t, own)
    t.indent -= 1
    t(f"first += {FEW}", f"some = (first < rest) & (number < {own.most})")
    t(f"due = ({FEW} - number + had) * (rest - first) > {SPARED * FEW * FEW}")
    t.indent -= 1
    t("begin = end", "left -= total", f"running = (left > 0) & (number < {own.most})")
    t("if running & (2 * (number - held) < total):")
    t.indent += 1
    _thin(t, own, PAIRS * WARP * warps // THINNING)
    t("left = listed", "thin = tl.where(thin == held, number, thin)")
    t.indent -= 1
    t.indent -= 1
    write_rows(t, own, pairs, groups)
    return t.finish(own.symbol, pairs, warps, 2)


def _list(t: Text, own: NonMaxSuppression, boxes: int, tile: int) -> None:
    """Write the keys of the scores above the lowest, `listed` in all; the first is `top`."""
    _tops(t, tile)
    t("listed = block * 0", f"for start in range(0, {boxes}, {tile}):")
    t.indent += 1
    t(f"at = start + tl.arange(0, {tile})", f"there = at < {boxes}")
    t(f"score = ({own.scores.load(t, ['image', 'kind', 'at'], 'there')}).to(tl.float32)")
    write_key(t, "score", f32, largest=True)
    t(f"good = there & (score > {plain(own.lowest)})")
    t("place = listed + tl.cumsum(good.to(tl.int32), 0) - 1")
    t("key = (score_key.to(tl.int64) << 32) | at", "tl.store(list + place, key, mask=good)")
    t("listed += tl.sum(good.to(tl.int32), 0)")
    _top(t, "good")
    t.indent -= 1
    t("top = tl.min(tops, 0)", "tl.debug_barrier()")


def _tops(t: Text, tile: int) -> None:
    t(f"tops = tl.full([{tile}], {NOTHING}, tl.int64)")


def _top(t: Text, good: str) -> None:
    t(f"tops = tl.minimum(tops, tl.where({good}, key, {NOTHING}))")


def _peel(t: Text, own: NonMaxSuppression, tile: int) -> None:
    """Keep the first of the list, and take out of it what overlaps that one, while half does."""
    t("number = block * 0", "peeling = listed > 0", "while peeling:")
    t.indent += 1
    t("last = (top & 0x7FFFFFFF).to(tl.int32)")
    write_corners(t, own, "last", "_last", "")
    t(f"at = (tl.arange(0, {tile}).to(tl.int64) * listed // {tile}).to(tl.int32)")
    _meet(t, own)
    t(f"peeling = (2 * tl.sum(over.to(tl.int32), 0) >= {tile}) | (listed <= {LAST})")
    t("if peeling:")
    t.indent += 1
    _tops(t, tile)
    t("peeled = block * 0")
    with tiles(t, "listed", tile):
        _meet(t, own)
        t("free = (at < listed) & (key != top) & (over == 0)")
        t("place = peeled + tl.cumsum(free.to(tl.int32), 0) - 1")
        t("tl.debug_barrier()", "tl.store(list + place, key, mask=free)")
        t("peeled += tl.sum(free.to(tl.int32), 0)")
        _top(t, "free")
    t("tl.store(kept + number, last)", "number += 1", "listed, top = peeled, tl.min(tops, 0)")
    t(f"peeling = (listed > 0) & (number < {own.most})", "tl.debug_barrier()")
    t.indent -= 1
    t.indent -= 1


def _meet(t: Text, own: NonMaxSuppression) -> None:
    """Write `over`: which elements `at` of the list overlap the box `last`."""
    _load(t)
    t("mine = (key & 0x7FFFFFFF).to(tl.int32)")
    write_corners(t, own, "mine", "", "at < listed")
    write_overlap(t, own, "_last")


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
    """Take out of the list what is before `begin`, and what overlaps those kept from `held` on."""
    t("thinned = block * 0", f"for tile in range(0, listed, {boxes}):")
    t.indent += 1
    t(f"at = tile + tl.arange(0, {boxes})")
    _load(t)
    t("free_rest = (key >= begin) & (at < listed)", "mine_rest = (key & 0x7FFFFFFF).to(tl.int32)")
    write_corners(t, own, "mine_rest[None, :]", "_rest", "free_rest[None, :]")
    _free(t, own, "rest", boxes, "held", "number", THINNING)
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
