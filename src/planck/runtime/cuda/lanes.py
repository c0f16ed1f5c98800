"""Lanes: launches in parallel branches of a graph, which fork and join by events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planck.device.cuda.device import Resources
from planck.device.cuda.driver import Handle
from planck.plan.model import Step
from planck.runtime.cuda.libraries import Put


@dataclass(frozen=True, slots=True)
class Entry:
    """A step that is ready to be launched.

    number:     what others' `after` calls it
    dependent:  puts it in a stream as its plan says
    apart:      puts it there so that it begins when what it waits for has ended
    """

    number: int
    step: Step
    dependent: Put
    apart: Put


class Lanes:
    """Streams and events for all branches that steps name."""

    def __init__(self, steps: Sequence[Step], resources: Resources) -> None:
        self._driver = resources.device.driver
        others = max((step.lane for step in steps), default=0)
        self._streams = [resources.stream() for _ in range(others)]
        self._ends = [resources.event() for _ in range(others)]
        self._begin = resources.event() if others else None
        awaited = sorted({number for step in steps for number in step.after})
        self._events = {number: resources.event() for number in awaited}

    def put(self, entries: Sequence[Entry], origin: Handle) -> None:
        """Put launches in a stream that is captured, and in those beside it, which join it again.

        What is behind several launches, or the first of a branch, depends on none of them
        programmatically: it waits for their ends.
        """
        driver, streams = self._driver, [origin, *self._streams]
        if self._begin is not None:
            driver.record(self._begin, origin)
        used: set[int] = set()
        recorded: set[int] = set()
        for entry in entries:
            lane = entry.step.lane
            stream = streams[lane]
            waits = [number for number in entry.step.after if number in recorded]
            for number in waits:
                driver.wait(stream, self._events[number])
            if lane and lane not in used and not waits:
                driver.wait(stream, self._begin)
            follows = lane in used and not waits
            (entry.dependent if follows else entry.apart)(stream)
            used.add(lane)
            if entry.number in self._events:
                driver.record(self._events[entry.number], stream)
                recorded.add(entry.number)
        for lane in sorted(used - {0}):
            driver.record(self._ends[lane - 1], streams[lane])
            driver.wait(origin, self._ends[lane - 1])
