"""Which steps of a network may run side by side: regions between waists, and lanes in them.

A waist is a step that all before it lead to, and all behind it come from. Between two waists a
region's steps are dealt to lanes, each a branch of the CUDA graph:

    conv1 -> conv2 -> conv3 -> concat        lane 0: conv1 conv2 conv3     concat
      \\-> pool ----------------/             lane 1:       pool

Only data makes a step wait: nothing that a region touches is placed in memory that it touches
otherwise (`Places`), and each lane has a workspace and counters of its own (`Assembly`). A value is
written once, so writers of one buffer, the parts of a concat, do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planck.compiler.place import Placement, Spot
from planck.compiler.split import Launch
from planck.ir.graph import Value

LANES: Final = 4  # at most side by side: more branches than a GPU has room for


@dataclass(frozen=True, slots=True)
class Fork:
    """A region that runs in lanes.

    span:  its steps, and the waist that joins them, if there is one
    ways:  each step's lane and what it waits for besides, in order
    """

    span: range
    ways: tuple[tuple[int, tuple[int, ...]], ...]


def forks(placement: Placement, launches: Sequence[Launch], us: Sequence[float]) -> list[Fork]:
    """All regions with more than one lane.

    us:  how long each step takes, or anything like it
    """
    needs = needed(placement, launches)
    found = []
    for span, joined in _regions(needs):
        made = _deal(span, joined, needs, us)
        if any(lane for lane, _ in made.ways):
            found.append(made)
    return found


def needed(placement: Placement, launches: Sequence[Launch]) -> list[frozenset[int]]:
    """The steps before that each reads from, by number."""
    writers: dict[str, list[tuple[int, Value]]] = {}
    needs = []
    for number, launch in enumerate(launches):
        own = set()
        for value in launch.node.inputs:
            if (spot := placement.spots.get(value.name)) is None:
                continue
            for writer, written in writers.get(spot.root, ()):
                if _meet(spot, value, placement.spots[written.name], written):
                    own.add(writer)
        needs.append(frozenset(own))
        for value in launch.node.outputs:
            writers.setdefault(placement.spots[value.name].root, []).append((number, value))
    return needs


def _meet(one: Spot, value: Value, other: Spot, written: Value) -> bool:
    """Whether two values of one buffer may share an element."""
    ends = []
    for spot, own in ((one, value), (other, written)):
        extents = own.type.physical
        if 0 in extents:
            return False
        last = sum((e - 1) * s for e, s in zip(extents, spot.strides, strict=True))
        ends.append((spot.offset, spot.offset + last + 1, extents[-1] if extents else 1))
    (begin, end, width), (first, last, wide) = ends
    if end <= first or last <= begin:
        return False
    # Columns of rows that have one stride: the parts of a concat.
    outer = [
        s
        for spot, own in ((one, value), (other, written))
        for s, extent in zip(spot.strides[:-1], own.type.physical[:-1], strict=True)
        if extent > 1
    ]
    pitch = min(outer, default=0)
    whole = pitch and all(s % pitch == 0 for s in outer)
    if not whole or one.strides[-1:] != (1,) or other.strides[-1:] != (1,):
        return True
    a, b = begin % pitch, first % pitch
    return a + width > pitch or b + wide > pitch or (a < b + wide and b < a + width)


def _regions(needs: Sequence[frozenset[int]]) -> list[tuple[range, bool]]:
    """Runs of steps between waists, and whether a waist joins them, which is then their last."""
    before: list[set[int]] = []
    for own in needs:
        before.append(set(own).union(*(before[n] for n in own)))
    behind = [sum(number in earlier for earlier in before) for number in range(len(needs))]
    waists = [
        number
        for number, earlier in enumerate(before)
        if len(earlier) == number and behind[number] == len(needs) - 1 - number
    ]
    found = []
    for left, right in zip([-1, *waists], [*waists, len(needs)], strict=True):
        if right - left > 2:  # at least two steps between them
            joined = right < len(needs)
            found.append((range(left + 1, right + joined), joined))
    return found


def _deal(span: range, joined: bool, needs: Sequence[frozenset[int]], us: Sequence[float]) -> Fork:
    """Lanes for a region: a step goes behind what it reads, or begins a lane, or fills one."""
    inner = range(span.start, span.stop - joined)
    tails: list[int] = []  # the last step of each lane
    free_us: list[float] = []  # when each lane would be done
    done_us: dict[int, float] = {}
    lane_of: dict[int, int] = {}
    ways = []
    for step in inner:
        own = {n for n in needs[step] if n in inner}
        ready = max((done_us[n] for n in own), default=0.0)
        behind = [lane for lane, tail in enumerate(tails) if tail in own]
        if behind:
            lane = max(behind, key=lambda lane: free_us[lane])
        elif idle := [lane for lane in range(len(tails)) if free_us[lane] <= ready and own]:
            lane = max(idle, key=lambda lane: free_us[lane])
        elif len(tails) < LANES:
            lane = len(tails)
            tails.append(-1)
            free_us.append(0.0)
        else:
            lane = min(range(LANES), key=lambda lane: free_us[lane])
        after = {n for n in own if lane_of[n] != lane}
        if lane and tails[lane] < 0 and span.start and not after:
            after = {span.start - 1}
        ways.append((lane, tuple(sorted(after))))
        done_us[step] = free_us[lane] = max(ready, free_us[lane]) + us[step]
        tails[lane], lane_of[step] = step, lane
    if joined:
        ways.append((0, tuple(sorted(tails[1:]))))
    return Fork(span, tuple(ways))
