"""Timing calls: one after the other, in several threads at once, or two plans in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, BrokenBarrierError
from typing import Final

import numpy as np

from planck.dtypes import Array

Call = Callable[[], object]

SLICE_S: Final = 0.02  # of one plan before it is the other's turn
SLICE_RUNS: Final = 3
LEAST_ROUNDS: Final = 12  # fewer say little about how sure a ratio is


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    warmup:                  calls before, which do not count
    iterations, duration_s:  at least so many calls, and at least so long
    """

    warmup: int = 5
    iterations: int = 50
    duration_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Contender:
    """What is timed in turn with others.

    uncounted:  calls at the start of a slice: the first finds the caches full of another's data,
                and a pipeline must fill
    end:        waits for what the calls have begun, so that it does not run in another's slice
    """

    call: Call
    uncounted: int = 1
    end: Call = lambda: None


@dataclass(frozen=True, slots=True)
class Stream:
    """Times of one stream's calls, and the time from its first to its last."""

    times_us: Array
    elapsed_s: float

    @property
    def calls_per_s(self) -> float:
        return len(self.times_us) / self.elapsed_s


def time_streams(calls: Sequence[Call], effort: Effort) -> list[Stream]:
    """Time all calls at once, each in a thread of its own; a single one in this thread.

    Each goes on until the last has had its share, so that all are measured under full load.
    raises: what a call raises
    """
    done = [False] * len(calls)
    barrier = Barrier(len(calls))

    def stream(number: int) -> Stream:
        call, times = calls[number], []
        try:
            for _ in range(effort.warmup):
                call()
            barrier.wait()
            begin = time.perf_counter()
            while not all(done):
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                times.append(end - start)
                if len(times) >= effort.iterations and end - begin >= effort.duration_s:
                    done[number] = True
        except BaseException:
            done[number] = True
            barrier.abort()
            raise
        return Stream(np.array(times) * 1e6, end - begin)

    if len(calls) == 1:
        return [stream(0)]
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(stream, number) for number in range(len(calls))]
    failures = [error for future in futures if (error := future.exception())]
    for error in sorted(failures, key=lambda e: isinstance(e, BrokenBarrierError)):
        raise error  # the cause first; the others only waited for it
    return [future.result() for future in futures]


def time_in_turn(contenders: Sequence[Contender], effort: Effort) -> list[list[Array]]:
    """Time calls in short slices that alternate; who begins rotates from round to round.

    gives:  times_us[runs] by contender and round
    raises: what a call raises
    """
    for one in contenders:
        for _ in range(effort.warmup):
            one.call()
        one.end()
    found: list[list[Array]] = [[] for _ in contenders]
    runs, spent_s = [0] * len(contenders), [0.0] * len(contenders)
    while (
        len(found[0]) < LEAST_ROUNDS
        or min(runs) < effort.iterations
        or min(spent_s) < effort.duration_s
    ):
        first = len(found[0]) % len(contenders)
        for number in (*range(first, len(contenders)), *range(first)):
            times = _slice(contenders[number])
            found[number].append(times * 1e6)
            runs[number] += len(times)
            spent_s[number] += float(times.sum())
    return found


def _slice(one: Contender) -> Array:
    call = one.call
    for _ in range(one.uncounted):
        call()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < SLICE_RUNS or time.perf_counter() - begin < SLICE_S:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    one.end()
    return np.array(times)
