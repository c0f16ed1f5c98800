"""Percentiles are NumPy's; a ratio's interval holds the true one and tells a real difference."""

from __future__ import annotations

import numpy as np
import pytest

from planck.benchmark.statistics import latency_of, ratio_of


@pytest.mark.parametrize("runs", [1, 2, 7, 1000])
def test_latency_is_what_numpy_says(runs: int) -> None:
    times_us = np.random.default_rng(runs).gamma(2.0, 500.0, runs)
    found = latency_of(times_us, (99.9, 25.0, 90.0))
    assert (found.runs, found.min_ms) == (runs, times_us.min() / 1e3)
    assert found.mean_ms == pytest.approx(times_us.mean() / 1e3)
    assert found.median_ms == pytest.approx(np.median(times_us) / 1e3)
    assert list(found.percentiles) == [25.0, 90.0, 95.0, 99.0, 99.9]
    for percent, ms in found.percentiles.items():
        assert ms == pytest.approx(np.percentile(times_us, percent) / 1e3)


def test_latency_as_json() -> None:
    row = latency_of(np.array([1000.0, 3000.0]), (99.9,)).to_json()
    assert row["runs"] == 2
    assert (row["min_ms"], row["mean_ms"], row["median_ms"]) == (1.0, 2.0, 2.0)
    assert row["p99.9_ms"] == pytest.approx(2.998)


def rounds(scale: float, seed: int, weather: np.ndarray) -> list[np.ndarray]:
    """Rounds of 5 runs; all runs of a round are slowed by the same weather."""
    draw = np.random.default_rng(seed)
    return [w * scale * (1 + 0.02 * draw.standard_normal(5)) for w in weather]


def test_a_ratio_sees_through_weather_that_both_share() -> None:
    weather = np.random.default_rng(0).uniform(100, 1000, 60)
    found = ratio_of(rounds(1.1, 1, weather), rounds(1.0, 2, weather))
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.03
    assert found.rounds == 60
    assert found.surely_above(1.05)
    assert not found.surely_above(1.1)


def test_equal_plans_are_hardly_ever_called_different() -> None:
    weather = np.full(40, 100.0)
    outside = 0
    for seed in range(100):
        found = ratio_of(rounds(1.0, 2 * seed, weather), rounds(1.0, 2 * seed + 1, weather))
        outside += not found.low <= 1.0 <= found.high
    assert outside <= 12  # 5 expected; more than 12 in 1 of 900 tries


def test_a_ratio_as_text() -> None:
    flat = [np.array([2.0]), np.array([2.0])]
    half = [np.array([1.0]), np.array([1.0])]
    assert str(ratio_of(flat, half)) == "2.000 (95 % interval 2.000 to 2.000)"
