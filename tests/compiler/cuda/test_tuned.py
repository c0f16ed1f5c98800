"""Tuned builds for a GPU, timed by a clock that pretends: what is kept, and that it is repeated."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import models
from planck.compiler.cuda.build import compile_cuda
from planck.compiler.options import Options
from planck.compiler.stages import run_stages
from planck.errors import CudaError
from planck.frontends import read
from planck.plan.check import check_plan
from planck.plan.model import Plan
from planck.runtime.report import report
from planck.target import GENERIC
from tests.tune.cuda.pretending import TARGET, Timer, Timing

pytestmark = pytest.mark.usefixtures("codes")


class Dice(Timer):
    """Each function takes a time of its own; in a longer graph another than alone."""

    def __init__(self) -> None:
        super().__init__({})

    def open(self, trial: Any) -> Rolled:
        self.trials.append(trial)
        return Rolled(self, trial)


class Rolled(Timing):
    def run_us(self, graph: list[str], cold: bool) -> float:
        alone = "alone" if len(set(graph)) == 1 else "together"
        digests = (hashlib.sha256(f"{symbol} {alone}".encode()).digest()[0] for symbol in graph)
        return sum(5.0 + digest / 256 for digest in digests)


class Fragile(Dice):
    """The GPU fails in the first kernel that stands in the network's graph in another's place."""

    faulty, first = "", frozenset[str]()

    def open(self, trial: Any) -> Failing:
        self.trials.append(trial)
        return Failing(self, trial)


class Failing(Rolled):
    timer: Fragile

    def run_us(self, graph: list[str], cold: bool) -> float:
        if len(set(graph)) > 1:
            self.timer.first = self.timer.first or frozenset(graph)
            others = sorted(set(graph) - self.timer.first)
            self.timer.faulty = self.timer.faulty or next(iter(others), "")
            if self.timer.faulty in graph:
                self.timer.live = 0
                raise CudaError("cuStreamSynchronize failed", know="CUDA_ERROR_LAUNCH_FAILED")
        return super().run_us(graph, cold)


def built(clock: Dice, cache: Path, level: int = 3, name: str = "squeezenet") -> Plan:
    given = read(models.build(name, small=True))
    options = Options(TARGET, "fp16", level=level, timing_cache=cache, accuracy=0.0)
    return compile_cuda(given, run_stages(given, options), options, clock)


def test_kernels_are_timed_and_then_the_graph(tmp_path: Path) -> None:
    plan = built(Dice(), tmp_path / "timings")
    check_plan(plan)
    assert plan.target.machine == "pretended"
    assert report(plan).tuned
    us = plan.build["graph_us"]
    assert us["after"] < us["before"]
    for step in plan.steps:
        first = plan.build["timings"][step.kernel][0]
        assert (first["tactic"], first["config"]) == (step.tactic, step.config)
        assert step.measured_us == first["us"]


def test_a_build_from_the_cache_times_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    cold, warm = Dice(), Dice()
    first, second = (built(clock, tmp_path / "timings") for clock in (cold, warm))
    assert cold.trials
    assert not warm.trials
    assert first == second


def test_a_build_for_elsewhere_takes_what_was_fastest_on_a_gpu(tmp_path: Path) -> None:
    tuned = built(Dice(), tmp_path / "timings")
    given = read(models.build("squeezenet", small=True))
    for cache, same in ((tmp_path / "timings", True), (None, False)):
        options = Options(
            replace(TARGET, machine=GENERIC), "fp16", timing_cache=cache, accuracy=0.0
        )
        plan = compile_cuda(given, run_stages(given, options), options)
        ways = [[(step.tactic, step.config, step.lane) for step in p.steps] for p in (plan, tuned)]
        assert (ways[0] == ways[1]) == same
        assert not report(plan).tuned
        assert "graph_us" not in plan.build


def test_a_build_whose_time_is_over_says_that_nothing_was_timed(tmp_path: Path) -> None:
    given = read(models.build("squeezenet", small=True))
    options = Options(TARGET, "fp16", accuracy=0.0, seconds=0.0)
    assert not report(compile_cuda(given, run_stages(given, options), options, Dice())).tuned


def test_a_kernel_that_the_gpu_fails_in_is_left_out_of_the_next_build(tmp_path: Path) -> None:
    clock = Fragile()
    with pytest.raises(CudaError, match="the GPU failed while a kernel was timed") as caught:
        built(clock, tmp_path / "timings")
    assert clock.faulty
    assert "build again with this timing cache" in caught.value.try_
    for level in (0, 3):
        plan = built(clock, tmp_path / "timings", level)
        assert clock.faulty not in {step.symbol for step in plan.steps}
    refused = [row for rows in plan.build["timings"].values() for row in rows if "refused" in row]
    assert [row for row in refused if "CUDA_ERROR_LAUNCH_FAILED" in row["refused"]]


def test_a_gpu_that_fails_before_any_rival_is_told(tmp_path: Path) -> None:
    clock = Fragile()
    clock.first, clock.faulty = frozenset("x"), ""
    with pytest.raises(CudaError, match="while the whole network was timed") as caught:
        built(clock, tmp_path / "timings")
    assert "kernels" in caught.value.at
    assert "level 1" in caught.value.try_


def test_level_1_leaves_the_graph_alone(tmp_path: Path) -> None:
    plan = built(Dice(), tmp_path / "timings", level=1)
    assert "graph_us" not in plan.build
    assert all(step.measured_us for step in plan.steps)


def test_level_0_times_nothing_and_says_so(tmp_path: Path) -> None:
    clock = Dice()
    plan = built(clock, tmp_path / "timings", level=0)
    assert not clock.trials
    assert plan.target.machine == "generic"
    assert not report(plan).tuned
