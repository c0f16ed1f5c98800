"""Non-maximum suppression: a block for each image and class, round after round.

First the block lists the boxes whose score is above the lowest, in their order. Each round goes
through the list, takes out what overlaps the box of the round before, and finds the best that is
left. The last block to be done puts the rows of all of them one behind the other. What a box
overlaps is computed without fused products, to be the same as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor
from planck.codegen.triton.scalar import plain
from planck.codegen.triton.text import Text, power_of_two
from planck.dtypes import DType, f32

MOST: Final = 1024  # boxes of a tile
_NONE: Final = (1 << 31) - 1  # a place behind all others
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


def workspace(pairs: int, boxes: int, most: int) -> int:
    """How many numbers of 32 bits the kernel keeps between its rounds, and for its last block."""
    return pairs * (2 * boxes + most + 2)


def write(own: NonMaxSuppression, warps: int) -> TritonCode:
    images, classes, boxes = own.scores.dims
    pairs, tile = images * classes, min(MOST, power_of_two(boxes))
    t = Text(own.dependent)
    space = t.workspace(workspace(pairs, boxes, own.most))
    t("block = tl.program_id(0)", f"image = block // {classes}", f"kind = block % {classes}")
    t(f"lane = tl.arange(0, {tile})")
    for name, begin in (
        ("left", f"block * {boxes}"),  # scores, -inf of what is out
        ("which", f"{pairs * boxes} + block * {boxes}"),  # their boxes
        ("kept", f"{2 * pairs * boxes} + block * {own.most}"),
        ("counts", str(2 * pairs * boxes + pairs * own.most)),
        ("starts", str(2 * pairs * boxes + pairs * own.most + pairs)),
    ):
        t(f"{name} = {space} + {begin}")
    t.wait()
    t.trigger()
    _list(t, own, boxes, tile)
    _rounds(t, own, tile)
    write_rows(t, own, pairs, tile, f32)
    return t.finish(own.symbol, pairs, warps, 2)


def _list(t: Text, own: NonMaxSuppression, boxes: int, tile: int) -> None:
    """Write the scores above the lowest and their boxes, `listed` in all."""
    t("listed = block * 0", f"for start in range(0, {boxes}, {tile}):")
    t.indent += 1
    t("at = start + lane", f"there = at < {boxes}")
    t(f"score = ({own.scores.load(t, ['image', 'kind', 'at'], 'there')}).to(tl.float32)")
    t(f"good = (there & (score > {plain(own.lowest)})).to(tl.int32)")
    t("place = listed + tl.cumsum(good, 0) - 1")
    t("tl.store(left + place, score, mask=good != 0)")
    t(f"tl.store(which + place, {_bits('at')}, mask=good != 0)")
    t("listed += tl.sum(good, 0)")
    t.indent -= 1
    t("tl.debug_barrier()")


def _rounds(t: Text, own: NonMaxSuppression, tile: int) -> None:
    """Write the boxes that stay, `number` in all."""
    best_of = t.functions.need("_first_most")
    t("number = block * 0", "last = number - 1", "going = listed > 0")
    for axis in AXES:  # nothing overlaps what is nowhere
        t(f'{axis}_low_last = number.to(tl.float32) + float("nan")')
        t(f"{axis}_high_last = {axis}_low_last")
    t("while going:")
    t.indent += 1
    t(f'best = tl.full([{tile}], float("-inf"), tl.float32)')
    t(f"where = tl.full([{tile}], {_NONE}, tl.int32)")
    t(f"for start in range(0, listed, {tile}):")
    t.indent += 1
    t("place = start + lane", "there = place < listed")
    t('score = tl.load(left + place, mask=there, other=float("-inf"))')
    t(f"box = {_number('tl.load(which + place, mask=there, other=0.0)')}")
    write_corners(t, own, "box", "", "there")
    write_overlap(t, own, "_last")
    t("out = over | (place == last)")
    t('score = tl.where(out, float("-inf"), score)')
    t("tl.store(left + place, score, mask=there)")
    t("where = tl.where(score > best, place, where)")
    t("best = tl.where(score > best, score, best)")
    t.indent -= 1
    t(f"top, last = tl.reduce((best, where), 0, {best_of})")
    t('going = top > float("-inf")')
    t("if going:")
    t.indent += 1
    t(f"chosen = {_number('tl.load(which + last)')}")
    write_corners(t, own, "chosen", "_last", "")
    t(f"tl.store(kept + number, {_bits('chosen')})", "number += 1")
    t.indent -= 1
    t(f"going = going & (number < {own.most})")
    t("tl.debug_barrier()")
    t.indent -= 1


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


def write_rows(t: Text, own: NonMaxSuppression, pairs: int, tile: int, dtype: DType) -> None:
    """The last block writes the rows of all, -1 behind them, and how many there are.

    dtype:  of `kept`, `counts` and `starts`; a float's bits are a number
    """
    counters = t.count(1)
    t(f"tl.store(counts + block, {_bits('number', dtype)})", "tl.debug_barrier()")
    t(f'done = tl.atomic_add({counters}, 1, sem="acq_rel", scope="gpu")')
    t(f"if done == {pairs - 1}:")
    t.indent += 1
    t("tl.debug_barrier()")
    _gather(t, own, pairs, tile, dtype)
    t(f"tl.store({counters}, 0)")
    t.indent -= 1


def _gather(t: Text, own: NonMaxSuppression, pairs: int, tile: int, dtype: DType) -> None:
    size, classes = pairs * own.most, own.scores.dims[1]
    fresh = ', cache_modifier=".cg"'
    t(f"pair = tl.arange(0, {power_of_two(pairs)})")
    each = f"tl.load(counts + pair, mask=pair < {pairs}, other=0{fresh})"
    t(f"each = {_number(each, dtype)}", "all = tl.sum(each, 0)")
    t(f"tl.store(starts + pair, {_bits('tl.cumsum(each, 0) - each', dtype)}, mask=pair < {pairs})")
    t("tl.debug_barrier()")
    own.count.store(t, ["0"], "all.to(tl.int64)", "block >= 0")
    t(f"first = kept - block * {own.most}")
    t(f"for start in range(0, {size}, {tile}):")
    t.indent += 1
    t(f"at = start + tl.arange(0, {tile})", f"there = at < {size}", f"pair_of = at // {own.most}")
    sources = {"many": "counts + pair_of", "row": "starts + pair_of", "box": "first + at"}
    for name, where in sources.items():
        t(f"{name} = {_number(f'tl.load({where}, mask=there, other=0{fresh})', dtype)}")
    t(f"own = at % {own.most}", "row = row + own")
    for k, value in enumerate((f"pair_of // {classes}", f"pair_of % {classes}", "box")):
        own.rows.store(t, ["row", str(k)], f"({value})", "there & (own < many)")
        own.rows.store(t, ["at", str(k)], "(at * 0 - 1)", "there & (at >= all)")
    t.indent -= 1


def _bits(number: str, dtype: DType = f32) -> str:
    """A whole number as it is kept, among floats or among numbers of 64 bits."""
    return f"({number}).to(tl.float32, bitcast=True)" if dtype is f32 else number


def _number(bits: str, dtype: DType = f32) -> str:
    return f"{bits}.to(tl.int32, bitcast=True)" if dtype is f32 else f"{bits}.to(tl.int32)"
