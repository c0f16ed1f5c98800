"""How far each step is from what the machine could do, and what holds it back.

A step's limit is the largest of several times: its arithmetic at the peak rate, which is bfloat16's
for a step that multiplies pairs of those, and for each level
of the memory the bytes that come from it, or from beyond it, at that level's rate.

    weights      come from the smallest level that holds all weights of the plan: they are read
                 once an inference, so what does not fit has been pushed out by the others
    activations  come from the smallest level that holds what the step reads and writes

Every operand counts once, as read: a limit is what no code for this algorithm could beat, not
what code has to take. Private caches (L1, L2) count with those of all threads for activations, and
with one for weights, which every thread may need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from planck.benchmark.limits import Level, Limits
from planck.plan.model import Plan, Step
from planck.runtime.profile import Profile
from planck.runtime.table import table

ARITHMETIC: Final = "arithmetic"
UNKNOWN: Final = "unknown"  # a step that says neither its arithmetic nor its bytes
WORST: Final = 3
_PRIVATE: Final = ("L1", "L2")


@dataclass(frozen=True, slots=True)
class StepRoof:
    """One step against its limit.

    us:          the least time of several runs, as limits are; share of the sum of all steps
    flops:       what the tactic does, for Winograd less than the operator's
    pairs:       whether its arithmetic are products of pairs of bfloat16
    limit_us:    what the machine would need at the least; 0 where nothing is known of the step
    limited_by:  "arithmetic" or the level whose bytes take longest: "L1", "L2", "L3", "memory"
    """

    number: int
    name: str
    tactic: str
    us: float
    share: float
    flops: int
    bytes: int
    limit_us: float
    limited_by: str
    pairs: bool = False

    @property
    def gflops_per_s(self) -> float:
        return self.flops / self.us / 1e3 if self.us else 0.0

    @property
    def gbytes_per_s(self) -> float:
        return self.bytes / self.us / 1e3 if self.us else 0.0

    @property
    def times_limit(self) -> float:
        """Its time over its limit; 0 where there is none."""
        return self.us / self.limit_us if self.limit_us else 0.0

    @property
    def gain_us(self) -> float:
        """What running at its limit would save."""
        return max(self.us - self.limit_us, 0.0)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, with what follows from them."""
        derived = ("gflops_per_s", "gbytes_per_s", "times_limit", "gain_us")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


@dataclass(frozen=True, slots=True)
class Roofline:
    """A plan's steps against the machine's limits; print it for a table.

    total_us:  the sum of the steps' times
    """

    name: str
    limits: Limits
    steps: tuple[StepRoof, ...]
    total_us: float

    @property
    def limit_us(self) -> float:
        """The sum of the steps' limits."""
        return sum(step.limit_us for step in self.steps)

    @property
    def times_limit(self) -> float:
        return self.total_us / self.limit_us if self.limit_us else 0.0

    def worst(self, count: int = WORST) -> tuple[StepRoof, ...]:
        """The steps that would gain most at their limit, the most first."""
        ranked = sorted(self.steps, key=lambda step: -step.gain_us)
        return tuple(step for step in ranked[:count] if step.gain_us > 0)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "limits": self.limits.to_json(),
            "total_us": self.total_us,
            "limit_us": self.limit_us,
            "times_limit": self.times_limit,
            "worst": [step.number for step in self.worst()],
            "steps": [step.to_json() for step in self.steps],
        }

    def __str__(self) -> str:
        head = ("step", "name", "tactic", "us", "%", "GFLOP/s", "GB/s", "limit us", "limit", "x")
        rows = [
            (
                str(s.number),
                s.name,
                s.tactic,
                f"{s.us:.1f}",
                f"{100 * s.share:.1f}",
                f"{s.gflops_per_s:.1f}",
                f"{s.gbytes_per_s:.1f}",
                f"{s.limit_us:.1f}",
                s.limited_by,
                f"{s.times_limit:.2f}",
            )
            for s in self.steps
        ]
        threads = f"{self.limits.threads} thread{'s' if self.limits.threads > 1 else ''}"
        lines = [
            table(head, rows),
            f"limits of {threads}: {self.limits}",
            f"{self.name}: {self.total_us:.1f} us, {self.times_limit:.2f} x the sum of the limits",
            *(_told(step, self.total_us) for step in self.worst()),
        ]
        return "\n".join(lines)


def _told(step: StepRoof, total_us: float) -> str:
    return (
        f"  step {step.number}, {step.name} ({step.tactic}): {step.gain_us:.1f} us to gain,"
        f" {100 * step.gain_us / total_us:.1f} % of the whole;"
        f" {step.times_limit:.2f} x its limit, which is {_sentence(step.limited_by)}"
    )


def _sentence(limited_by: str) -> str:
    return limited_by if limited_by in (ARITHMETIC, UNKNOWN) else f"reading from {limited_by}"


def roofline_of(plan: Plan, profile: Profile, limits: Limits) -> Roofline:
    """Each step's limit beside its measured time.

    limits:  of as many threads as the profile was taken with
    """
    whole_us = sum(step.min_us for step in profile.steps)
    weights = _source(limits, len(plan.weights), shared=True)
    rows = []
    for step, timed in zip(plan.steps, profile.steps, strict=True):
        flops = step.work_flops or step.flops
        limit_us, limited_by = _limit(step, flops, limits, weights)
        rows.append(
            StepRoof(
                timed.number, step.name, step.tactic, timed.min_us, timed.min_us / (whole_us or 1),
                flops, step.bytes, limit_us, limited_by, step.pairs,
            )
        )  # fmt: skip
    return Roofline(plan.name, limits, tuple(rows), whole_us)


def _limit(step: Step, flops: int, limits: Limits, weights: int) -> tuple[float, str]:
    """Microseconds, and what takes them."""
    activations = _source(limits, step.bytes, shared=False)
    peak = (step.pairs and limits.pairs_gflops) or limits.peak_gflops
    times = [(flops / peak / 1e3, ARITHMETIC)]
    for number, level in enumerate(limits.levels):
        through = step.weight_bytes if weights >= number else 0
        through += step.bytes - step.weight_bytes if activations >= number else 0
        times.append((through / level.gbytes_per_s / 1e3, level.name))
    limit_us, limited_by = max(times, key=lambda row: row[0])
    return limit_us, limited_by if limit_us else UNKNOWN


def _source(limits: Limits, bytes_: int, shared: bool) -> int:
    """The number of the smallest level that holds so many bytes.

    shared:  every thread may need all of them, so that a private cache has to hold them alone
    """
    levels: Sequence[Level] = limits.levels
    for number, level in enumerate(levels):
        private = level.name in _PRIVATE and level.bytes
        if level.holds(bytes_ * limits.threads if shared and private else bytes_):
            return number
    return len(levels) - 1
