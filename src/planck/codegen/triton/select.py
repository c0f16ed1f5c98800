"""Selecting: the next few of a list in order, by one block, without sorting the list.

Elements are keys of 64 bits, the smaller the earlier, all different: a number's order above its
place. Passes over the list take its elements modulo `GROUPS` together. At least n elements are no
larger than the n-th least of their groups' minima, and hardly more are where n is a small part of
the groups. So two passes do, one for the minima and one to take what is below the limit that they
give. Where that is too much (the first elements all lie in few groups) further passes halve the
limits in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from planck.codegen.triton.text import Text

COMPARED: Final = 16  # keys that a thread compares with others at once
WARP: Final = 32
LEAST: Final = -(1 << 63)  # the least key that there may be
NOTHING: Final = (1 << 63) - 1  # behind all keys


def write_select(
    t: Text, load: Callable[[], None], number: str, groups: int, least: str, most: int
) -> None:
    """Write the keys of at least `least`, at most `most` elements to `chosen`: `total` in all.

    They are the first from `begin` on, `left` of which are before `stop`: those before `end`, which
    is found. `least` is no more than `left`. They lie in the order in which threads come to
    `tally`: another each time and in each block, so blocks must share no `chosen`.

    load:    writes `key`, the keys of the elements `at`; NOTHING of those that are not there
    number:  of the list's elements
    groups:  elements of a tile of it
    """
    t("floor, end = begin, stop", f"if left > {most}:")
    t.indent += 1
    t(f"minima = tl.full([{groups}], {NOTHING}, tl.int64)")
    with tiles(t, number, groups):
        load()
        t(f"minima = tl.minimum(minima, tl.where(key >= begin, key, {NOTHING}))")
    t("floor = tl.min(minima, 0)")  # room for a third more elements than there are minima
    write_limit(t, "end", "minima", "floor", least, str(most - most // 4))
    t.indent -= 1
    t("low, high = floor, stop", f"total = left * 0 + {most + 1}", "going = total > 0")
    t("while going:")
    t.indent += 1
    t("tl.debug_barrier()", "tl.store(tally, 0)", "tl.debug_barrier()")
    with tiles(t, number, groups):
        load()
        t("good = (key >= begin) & (key < end)")
        t('slot = tl.atomic_add(tally + at * 0, 1, mask=good, sem="relaxed")')
        t(f"tl.store(chosen + slot, key, mask=good & (slot < {most}))")
    t("tl.debug_barrier()", 'total = tl.load(tally, cache_modifier=".cg").to(tl.int32)')
    t(f"high = tl.where(total > {most}, end, high)")
    t(f"low = tl.where(total < {least}, end, low)")
    t(f"going = (total > {most}) | (total < {least})")
    t(f"end = tl.where(going, {_middle('low', 'high')}, end)")
    t.indent -= 1
    t("tl.debug_barrier()")


def write_limit(t: Text, name: str, keys: str, floor: str, least: str, most: str) -> None:
    """Lower a limit until at most `most` of some keys are before it, but at least `least`.

    Where there are fewer, it ends behind the last; it ends beside a key where `most` is less.
    """
    t(f"top = tl.max(tl.where({keys} < {NOTHING}, {keys}, {LEAST}), 0)")
    t(f"{name} = tl.minimum({name}, top + 1)")
    t(f"bottom = {floor}", f"going = bottom + 1 < {name}", "while going:")
    t.indent += 1
    t(f"middle = {_middle('bottom', name)}", f"before = tl.sum(({keys} < middle).to(tl.int32), 0)")
    t(f"enough = before >= {least}")
    t("bottom = tl.where(enough, bottom, middle)", f"{name} = tl.where(enough, middle, {name})")
    t(f"going = (bottom + 1 < {name}) & ((before < {least}) | (before > {most}))")
    t.indent -= 1


def write_ranks(t: Text, rows: int, warps: int) -> None:
    """Write `rank`, how many of the chosen are before each of them, `own`, which are `rows`."""
    width = max(COMPARED * WARP * warps // rows, 1)
    t(f"i = tl.arange(0, {rows})[:, None]")
    t(f"own = tl.load(chosen + i, mask=i < total, other={NOTHING})")
    t(f"count = tl.zeros([{rows}, {width}], tl.int32)", f"for start in range(0, total, {width}):")
    t.indent += 1
    t(f"j = start + tl.arange(0, {width})[None, :]")
    t(f"other = tl.load(chosen + j, mask=j < total, other={NOTHING})")
    t("count += (other < own).to(tl.int32)")
    t.indent -= 1
    t("rank = tl.sum(count, 1, keep_dims=True)")


@contextmanager
def tiles(t: Text, number: str, groups: int) -> Iterator[None]:
    t(f"for start in range(0, {number}, {groups}):")
    t.indent += 1
    t(f"at = start + tl.arange(0, {groups})")
    yield
    t.indent -= 1


def _middle(low: str, high: str) -> str:
    """Between two numbers of 64 bits, whose sum may be too large."""
    return f"({low} >> 1) + ({high} >> 1) + ({low} & {high} & 1)"
