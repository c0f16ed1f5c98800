"""Measured times of each step, and how they are shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from planck.dtypes import Array
from planck.plan.model import Plan
from planck.runtime.table import table


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step's time, median and least of several runs."""

    number: int
    name: str
    tactic: str
    us: float
    min_us: float
    flops: int
    bytes: int

    @property
    def gflops_per_s(self) -> float:
        return self.flops / self.us / 1e3 if self.us else 0.0

    @property
    def gbytes_per_s(self) -> float:
        return self.bytes / self.us / 1e3 if self.us else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of an inference goes; print it for a table.

    total_us:  median of whole runs, as their caller sees them
    host_us:   of it, what is no step's: checking arguments, binding, entering native code
    """

    steps: tuple[StepTime, ...]
    runs: int
    threads: int
    total_us: float
    host_us: float

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        total = sum(step.us for step in self.steps) or 1.0
        rows = [
            (
                str(s.number),
                s.name,
                s.tactic,
                f"{s.us:.1f}",
                f"{100 * s.us / total:.1f}",
                f"{s.gflops_per_s:.1f}",
                f"{s.gbytes_per_s:.1f}",
            )
            for s in self.steps
        ]
        head = ("step", "name", "tactic", "us", "%", "GFLOP/s", "GB/s")
        foot = f"{self.total_us:.1f} us, median of {self.runs} runs, {self.threads} threads"
        return f"{table(head, rows)}\n{foot}"


def profile_of(plan: Plan, times_us: Array, totals_us: Array, threads: int) -> Profile:
    """The profile of times_us[runs, steps] and totals_us[runs]."""
    middle, least = np.median(times_us, axis=0), np.min(times_us, axis=0)
    steps = tuple(
        StepTime(
            number, s.name, s.tactic, float(middle[number]), float(least[number]), s.flops, s.bytes
        )
        for number, s in enumerate(plan.steps)
    )
    # On a GPU, steps that are timed one by one can take longer than all of them together.
    host_us = max(float(np.median(totals_us - times_us.sum(axis=1))), 0.0)
    return Profile(steps, len(totals_us), threads, float(np.median(totals_us)), host_us)
