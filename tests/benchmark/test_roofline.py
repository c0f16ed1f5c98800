"""Limits worked out by hand for a tiny plan; the text that tells them; the picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from planck.benchmark import picture
from planck.benchmark.limits import MEMORY, Level, Limits
from planck.benchmark.picture import PLOT, Box, draw
from planck.benchmark.roofline import Roofline, StepRoof, roofline_of
from planck.plan.model import Plan, Step
from planck.runtime.profile import profile_of
from tests.runtime.kernels import chain

# 100 operations a nanosecond; L1, L2, L3, memory give 80, 40, 20, 10 bytes a nanosecond.
LIMITS = Limits(
    1,
    100.0,
    (
        Level("L1", 1000, 80.0),
        Level("L2", 10_000, 40.0),
        Level("L3", 100_000, 20.0),
        Level(MEMORY, 0, 10.0),
    ),
)


def step(name: str, tactic: str = "direct", **fields: int) -> Step:
    return Step(name, tactic, "code", (), (), (), **fields)


def plan_of(*steps: Step, weights: int = 0) -> Plan:
    plan, _ = chain(1)
    return replace(plan, name="tiny", steps=steps, weights=bytes(weights))


def limit_of(one: Step, weights: int = 0, limits: Limits = LIMITS) -> tuple[float, str]:
    plan = plan_of(one, weights=weights)
    profile = profile_of(plan, np.full((1, 1), 50.0), np.array([60.0]), limits.threads)
    (row,) = roofline_of(plan, profile, limits).steps
    return row.limit_us, row.limited_by


@pytest.mark.parametrize(
    ("bytes_", "weight_bytes", "all_weights", "flops", "expected"),
    [
        # Arithmetic: 2e6 / 100 a ns.
        (800, 0, 0, 2_000_000, (20.0, "arithmetic")),
        # What a step touches comes from the smallest level that holds it.
        (800, 0, 0, 0, (800 / 80e3, "L1")),
        (8_000, 0, 0, 0, (8_000 / 40e3, "L2")),
        (80_000, 0, 0, 0, (80_000 / 20e3, "L3")),
        (800_000, 0, 0, 0, (800_000 / 10e3, "memory")),
        # Weights come from where all of the plan's weights fit.
        (900, 600, 9_000, 0, (600 / 40e3, "L2")),
        (900, 600, 90_000, 0, (600 / 20e3, "L3")),
        (900, 600, 900_000, 0, (600 / 10e3, "memory")),
        # Few weights from memory, many activations that pass L2 with them: what takes longer.
        (9_500, 500, 900_000, 0, (9_500 / 40e3, "L2")),
        (0, 0, 0, 0, (0.0, "unknown")),
    ],
)
def test_limits_by_hand(
    bytes_: int, weight_bytes: int, all_weights: int, flops: int, expected: tuple[float, str]
) -> None:
    one = step("a", bytes=bytes_, weight_bytes=weight_bytes, flops=flops)
    us, by = limit_of(one, all_weights)
    assert (us, by) == (pytest.approx(expected[0]), expected[1])


def test_the_arithmetic_is_what_the_tactic_does() -> None:
    assert limit_of(step("a", flops=9_000_000, work_flops=4_000_000))[0] == pytest.approx(40.0)


def test_pairs_of_bfloat16_have_a_peak_of_their_own() -> None:
    """But for Winograd's products beside them, and on a machine that has none."""
    fast = replace(LIMITS, pairs_gflops=200.0)
    assert limit_of(step("a", flops=2_000_000, pairs=True), 0, fast)[0] == pytest.approx(10.0)
    assert limit_of(step("a", flops=2_000_000), 0, fast)[0] == pytest.approx(20.0)
    assert limit_of(step("a", flops=2_000_000, pairs=True))[0] == pytest.approx(20.0)
    assert str(fast).startswith("100 GFLOP/s, bfloat16 200; GB/s")


def test_the_picture_has_a_roof_for_pairs_where_a_step_multiplies_them() -> None:
    plain = tiny()
    limits = replace(LIMITS, pairs_gflops=200.0)
    conv, *others = plain.steps
    both = replace(plain, limits=limits, steps=(replace(conv, pairs=True), *others))
    assert "arithmetic of bfloat16 200 GFLOP/s" in draw(both)
    assert "arithmetic 100 GFLOP/s" in draw(both)
    assert draw(replace(plain, limits=limits)) == draw(plain)


def test_a_private_cache_holds_shared_weights_only_once() -> None:
    """Two threads have twice the L2 for what they divide, not for what both need."""
    two = replace(
        LIMITS,
        threads=2,
        levels=(*LIMITS.levels[:1], Level("L2", 20_000, 40.0), *LIMITS.levels[2:]),
    )
    assert limit_of(step("a", bytes=19_000), 0, two)[1] == "L2"
    assert limit_of(step("a", bytes=9_000, weight_bytes=9_000), 10_000, two)[1] == "L2"
    assert limit_of(step("a", bytes=9_000, weight_bytes=9_000), 10_001, two)[1] == "L3"


def tiny() -> Roofline:
    plan = plan_of(
        step("conv", "winograd", flops=9_000_000, work_flops=4_000_000, bytes=80_000),
        step("gemm", "matmul", flops=1_000_000, bytes=900_000, weight_bytes=890_000),
        step("add", "loops", flops=1_000, bytes=8_000),
        weights=900_000,
    )
    times_us = np.array([[44.0, 178.0, 3.0], [44.0, 178.0, 5.0], [46.0, 178.0, 4.0]])
    return roofline_of(plan, profile_of(plan, times_us, times_us.sum(axis=1) + 2.0, 1), LIMITS)


GOLDEN = """\
step  name  tactic       us     %  GFLOP/s  GB/s  limit us  limit           x
   0  conv  winograd   44.0  19.6     90.9   1.8      40.0  arithmetic   1.10
   1  gemm  matmul    178.0  79.1      5.6   5.1      90.0  memory       1.98
   2  add   loops       3.0   1.3      0.3   2.7       0.2  L2          15.00
limits of 1 thread: 100 GFLOP/s; GB/s: L1 80, L2 40, L3 20, memory 10
tiny: 225.0 us, 1.73 x the sum of the limits
  step 1, gemm (matmul): 88.0 us to gain, 39.1 % of the whole; 1.98 x its limit, which is reading from memory
  step 0, conv (winograd): 4.0 us to gain, 1.8 % of the whole; 1.10 x its limit, which is arithmetic
  step 2, add (loops): 2.8 us to gain, 1.2 % of the whole; 15.00 x its limit, which is reading from L2"""  # noqa: E501


def test_the_report_as_text() -> None:
    assert str(tiny()).splitlines() == GOLDEN.splitlines()


def test_the_report_as_json() -> None:
    found = json.loads(json.dumps(tiny().to_json()))
    assert found["worst"] == [1, 0, 2]
    assert found["times_limit"] == pytest.approx(found["total_us"] / found["limit_us"])
    assert found["limit_us"] == pytest.approx(sum(row["limit_us"] for row in found["steps"]))
    assert found["steps"][1]["gain_us"] == pytest.approx(88.0)
    assert sum(row["share"] for row in found["steps"]) == pytest.approx(1.0)
    assert found["limits"]["levels"][3] == {"name": "memory", "bytes": 0, "gbytes_per_s": 10.0}


# The picture

NAME = "{http://www.w3.org/2000/svg}"


def test_a_picture_has_a_dot_for_each_step_that_can_be_placed() -> None:
    nothing = StepRoof(3, "copy", "reference", 1.0, 0.0, 0, 800, 0.1, "L1")
    report = replace(tiny(), steps=(*tiny().steps, nothing), name='<"tiny" & more>')
    root = ElementTree.fromstring(draw(report))
    titles = [t.text or "" for t in root.iter(f"{NAME}title")]
    assert sorted(t.split()[1] for t in titles) == ["add", "conv", "gemm"]
    texts = ["".join(t.itertext()) for t in root.iter(f"{NAME}text")]
    assert '<"tiny" & more>, 1 thread: 0.23 ms, 1.73 x the sum of the limits' in texts
    assert {"L1 80 GB/s", "memory 10 GB/s", "arithmetic 100 GFLOP/s", "winograd"} <= set(texts)
    assert "1 gemm (matmul): 1.98 x, memory" in texts


def test_a_picture_without_steps_is_one_of_roofs() -> None:
    root = ElementTree.fromstring(draw(replace(tiny(), steps=())))
    assert not list(root.iter(f"{NAME}title"))


@pytest.mark.parametrize("decades", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(8))
def test_labels_stand_free(seed: int, decades: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the plot, apart from each other and from nearly all dots; leaders cross no label."""
    draws = np.random.default_rng(seed)
    steps = tuple(
        StepRoof(
            n, "x" * int(draws.integers(3, 40)), "direct", us=float(us), share=float(us) / 2000,
            flops=int(us * 10 ** (5 - decades * draws.uniform(0, 1))),
            bytes=int(us * 10 ** (4 - decades * draws.uniform(0, 1))),
            limit_us=float(us) / 3, limited_by="arithmetic",
        )
        for n, us in enumerate(draws.uniform(1, 100, 40))
    )  # fmt: skip
    kept: list[picture._Drawing] = []
    original = picture._legend
    monkeypatch.setattr(picture, "_legend", lambda d, c: (kept.append(d), original(d, c)))
    draw(replace(tiny(), steps=steps))
    (drawing,) = kept
    assert len(drawing.leaders) == 3
    worst = drawing.labels[-3:]
    assert all(box.inside(PLOT) for box in worst)
    for number, box in enumerate(worst):
        assert not any(box.meets(other) for other in drawing.labels if other is not box)
        leaders = [leader for n, leader in enumerate(drawing.leaders) if n != number]
        assert not any(leader.meets(box) for leader in leaders)
        assert sum(box.meets(dot) for dot in drawing.dots) <= 2  # of 40


def test_dots_lie_where_their_numbers_say() -> None:
    """One decade of either axis is the same everywhere, and the roof's corner is on the slope."""
    x, y = picture._axes(tiny(), list(tiny().steps))
    assert x.at(100) - x.at(10) == pytest.approx(x.at(10) - x.at(1))
    assert y.at(1) - y.at(10) == pytest.approx(y.at(10) - y.at(100))
    for one in tiny().steps:
        cx, cy, radius = picture._dot(one, x, y)
        assert Box(cx, cy, 0, 0).inside(PLOT)
        assert radius == pytest.approx(max(picture.LARGEST * math.sqrt(one.share), 2.0))
