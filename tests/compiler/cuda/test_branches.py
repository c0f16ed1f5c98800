"""Parallel branches: which steps they hold, that they share no memory, and that results stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import models
from planck.compiler.cuda.assemble import Assembly
from planck.compiler.cuda.branches import LANES, _deal, _regions
from planck.compiler.cuda.build import compile_cuda
from planck.compiler.options import Options
from planck.compiler.stages import run_stages
from planck.errors import PlanFormatError
from planck.frontends import read
from planck.plan.check import check_plan
from planck.plan.codec import plan_from_json, plan_to_json
from planck.plan.model import Launch, Place, Plan, Step
from planck.runtime.cuda.engine import CudaEngine
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.plans import chain
from tests.tune.cuda.pretending import TARGET, Timer, Timing

DIAMOND = [{}, {0}, {1}, {0}, {2, 3}, {4}]  # 1 and 2 beside 3, joined by 4


def needs(steps: Any) -> list[frozenset[int]]:
    return [frozenset(own) for own in steps]


def test_a_diamond_is_a_region() -> None:
    assert _regions(needs(DIAMOND)) == [(range(1, 5), True)]
    fork = _deal(range(1, 5), True, needs(DIAMOND), [1.0] * 6)
    assert fork.ways == ((0, ()), (0, ()), (1, (0,)), (0, (3,)))


def test_a_chain_has_no_region() -> None:
    assert _regions(needs([{}, {0}, {1}, {2}])) == []


def test_heads_that_nothing_joins_are_a_region_to_the_end() -> None:
    own = needs([{}, {0}, {1}, {0}, {3}])
    assert _regions(own) == [(range(1, 5), False)]
    assert _deal(range(1, 5), False, own, [1.0] * 5).ways == ((0, ()), (0, ()), (1, (0,)), (1, ()))


def test_what_reads_another_lane_waits_for_it() -> None:
    """Steps 1 and 2 from 0; 3 reads both; 4 reads 2 alone."""
    own = needs([{}, {0}, {0}, {1, 2}, {2}, {3, 4}])
    fork = _deal(range(1, 6), True, own, [1.0] * 6)
    assert fork.ways[:2] == ((0, ()), (1, (0,)))
    lane, after = fork.ways[2]
    assert after == ((2,) if lane == 0 else (1,))


def test_more_branches_than_lanes_share_them() -> None:
    own = needs([{}, *[{0}] * 9, set(range(1, 10))])
    fork = _deal(range(1, 11), True, own, [1.0] * 11)
    assert {lane for lane, _ in fork.ways} == set(range(LANES))


class Wide(Timer):
    """Each kernel takes 10 us; a graph in branches takes half as long."""

    def __init__(self) -> None:
        super().__init__({})

    def open(self, trial: Any) -> Halved:
        self.trials.append(trial)
        return Halved(self, trial)


class Halved(Timing):
    def capture(self, steps: Any) -> Any:
        self.timer.live += 1
        return [self.trial.plan.steps[n] for n in steps]

    def run_us(self, graph: Any, cold: bool) -> float:
        lanes = {step.lane for step in graph}
        return 10.0 * len(graph) / (1 + len(lanes)) - sum(s.lane > 0 for s in graph)


def built(name: str, cache: Path, clock: Timer, precision: str = "fp16") -> Plan:
    given = read(models.build(name, small=True))
    options = Options(TARGET, precision, level=2, timing_cache=cache, accuracy=0.0)
    return compile_cuda(given, run_stages(given, options), options, clock)


@pytest.mark.parametrize("name", ["squeezenet", "yolov4_tiny"])
def test_a_network_runs_in_branches_where_it_is_faster(
    name: str, codes: dict[str, Any], tmp_path: Path
) -> None:
    plan = built(name, tmp_path / "timings", Wide())
    check_plan(plan)
    lanes = {step.lane for step in plan.steps}
    assert len(lanes) > 1
    data = plan_to_json(plan)
    again = plan_from_json(json.dumps(data).encode(), plan.code, plan.weights, b"")
    assert again.steps == plan.steps
    warm = Wide()
    assert built(name, tmp_path / "timings", warm).steps == plan.steps
    assert not warm.trials


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "yolov4_tiny", "yolov5s"])
def test_results_stay_when_what_may_be_first_is_last(
    name: str, codes: dict[str, Any], tmp_path: Path
) -> None:
    """The fake driver runs of all that is ready what was captured last."""
    pytest.importorskip("triton")
    from tests.compiler.cuda.test_whole import kernel_of

    plan = built(name, tmp_path / "timings", Wide())
    assert any(step.lane for step in plan.steps)

    kernels = {symbol: kernel_of(code) for symbol, code in codes.items()}
    feed = models.inputs(models.build(name, small=True))
    straight = tuple(replace(step, lane=0, after=()) for step in plan.steps)
    found = []
    for own in (plan, replace(plan, steps=straight)):
        with CudaEngine(own, FakeDriver(kernels)) as engine:
            found.append(engine(feed))
    for key, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][key])


def test_each_lane_has_a_workspace_and_counters_of_its_own() -> None:
    def step(lane: int) -> Step:
        places = (Place("arena", 64), Place("workspace"), Place("counters"))
        return Step("s", "", "s", places, (), (), launch=Launch(1, 32), lane=lane)

    sizes: Any = SimpleNamespace(workspace_bytes=1000, counters=3)
    steps, room = Assembly._apart(sizes, (step(0), step(2)))
    assert [p.offset_bytes for p in steps[0].arguments] == [64, 0, 0]
    assert [p.offset_bytes for p in steps[1].arguments] == [64, 2048, 512]
    assert room == {"workspace": 3072, "counters": 768}
    assert Assembly._apart(sizes, (step(0),))[1] == {"workspace": 1000, "counters": 12}


@pytest.mark.parametrize(("lane", "after"), [(0, (1,)), (0, (-1,)), (16, ()), (-1, ())])
def test_impossible_branches_are_refused(lane: int, after: tuple[int, ...]) -> None:
    plan, _ = chain(3)
    bad = replace(plan.steps[1], lane=lane, after=after)
    with pytest.raises(PlanFormatError, match="branch"):
        check_plan(replace(plan, steps=(plan.steps[0], bad, plan.steps[2])))
