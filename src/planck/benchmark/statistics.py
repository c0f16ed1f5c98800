"""What is told of measured times: percentiles, throughput, and how two plans compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planck.dtypes import Array

USUAL: Final = (90.0, 95.0, 99.0)
RESAMPLES: Final = 2000
COVERAGE: Final = 95.0  # per cent


@dataclass(frozen=True, slots=True)
class Latency:
    """How long inferences took.

    percentiles:  milliseconds by per cent, linear between neighbours as NumPy's
    """

    runs: int
    min_ms: float
    mean_ms: float
    median_ms: float
    percentiles: dict[float, float]

    def row(self) -> dict[str, float]:
        """Milliseconds by heading: min, mean, median, p90, ..."""
        return {
            "min": self.min_ms,
            "mean": self.mean_ms,
            "median": self.median_ms,
            **{f"p{p:g}": ms for p, ms in self.percentiles.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values: runs, min_ms, ..., p99_ms."""
        return {"runs": self.runs, **{f"{key}_ms": ms for key, ms in self.row().items()}}


def latency_of(times_us: Array, percentiles: Sequence[float] = ()) -> Latency:
    """The latency of times_us[runs]; percentiles beside the usual 90, 95 and 99."""
    times_ms = times_us / 1e3
    wanted = sorted({*USUAL, *percentiles})
    return Latency(
        len(times_ms),
        float(np.min(times_ms)),
        float(np.mean(times_ms)),
        float(np.median(times_ms)),
        {p: float(np.percentile(times_ms, p)) for p in wanted},
    )


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one plan takes as another.

    ratio:      median over the rounds of (median of one) / (median of the other)
    low, high:  the interval that covers it in 95 % of bootstrap samples of the rounds
    """

    ratio: float
    low: float
    high: float
    rounds: int

    def surely_above(self, limit: float) -> bool:
        """Whether the whole interval lies above the limit: noise alone does not get there."""
        return self.low > limit

    def __str__(self) -> str:
        return f"{self.ratio:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


def ratio_of(one: Sequence[Array], other: Sequence[Array], seed: int = 0) -> Ratio:
    """The ratio of two plans that took turns.

    one, other:  times_us[runs] of each round. What slows the machine for a while slows both halves
                 of a round, so rounds are compared, and resampled, as pairs.
    """
    pairs = zip(one, other, strict=True)
    ratios = np.array([np.median(a) / np.median(b) for a, b in pairs])
    picks = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    medians = np.median(ratios[picks], axis=1)
    low, high = np.percentile(medians, [50 - COVERAGE / 2, 50 + COVERAGE / 2])
    return Ratio(float(np.median(ratios)), float(low), float(high), len(ratios))
