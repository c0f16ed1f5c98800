"""Whole networks whose products a library runs: chosen by a clock that pretends, run on fakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import models
from planck.compiler.cuda.build import compile_cuda
from planck.compiler.cuda.sources import tactics_of
from planck.compiler.options import Options
from planck.compiler.stages import run_stages
from planck.device.cuda.device import Device
from planck.device.cuda.library import (
    CUBLASLT,
    CUDNN,
    LIBRARIES,
    Algorithm,
    Call,
    Convolution,
    Problem,
    Product,
)
from planck.errors import BuildError, LibraryError
from planck.frontends import read
from planck.ir.interpret import interpret as interpret_graph
from planck.plan.check import check_plan
from planck.plan.format import load_plan, save_plan
from planck.plan.model import Plan
from planck.runtime.cuda.engine import CudaEngine
from planck.tactics.library.cublaslt import CublasLt
from planck.tactics.library.cudnn import Cudnn
from planck.tactics.triton import TACTICS
from planck.tune.cuda.clock import GpuClock
from tests.compiler.cuda.test_whole import TOLERANCES, kernel_of
from tests.device.fake_cuda import FakeDriver
from tests.device.fake_library import VERSION, FakeLibrary, missing
from tests.tune.cuda.pretending import TARGET, Timer, Timing


class Asked:
    """A source of as many algorithms as the fake library has."""

    def __init__(self, version: int = VERSION, count: int = 3) -> None:
        self.version = version
        self._library = FakeLibrary(FakeDriver(), version, count)

    def algorithms(self, product: Problem) -> Sequence[Algorithm]:
        return [self._library.algorithm(product, n) for n in range(self._library.count)]

    def complete(self, product: Problem, algorithm: Algorithm) -> Algorithm:
        return algorithm


class Partial(Timer):
    """A clock that likes a library's second algorithm, and then Planck's own kernels."""

    def open(self, trial: Any) -> PartialTiming:
        self.trials.append(trial)
        return PartialTiming(self, trial)


class PartialTiming(Timing):
    def capture(self, steps: Sequence[int]) -> list[Any]:
        self.timer.live += 1
        return [self.trial.plan.steps[n].launch for n in steps]

    def run_us(self, graph: list[Any], cold: bool) -> float:
        return sum(self._us(launch) for launch in graph)

    def _us(self, launch: Any) -> float:
        return (
            5.0 if not isinstance(launch, Call) else 1.0 + abs(launch.workspace_bytes - 256) / 1000
        )


def built(
    name: str, precision: str, version: int = VERSION, cache: Path | None = None,
    clock: Timer | None = None, count: int = 3, library: str = CUBLASLT,
) -> Plan:  # fmt: skip
    given = read(models.build(name, small=True))
    options = Options(TARGET, precision, level=3, timing_cache=cache, accuracy=0.0)
    tactics = (*TACTICS, {CUBLASLT: CublasLt, CUDNN: Cudnn}[library](Asked(version, count)))
    graph = run_stages(given, options)
    return compile_cuda(given, graph, options, clock or Partial({}), tactics)


def calls(plan: Plan) -> list[Call]:
    return [step.launch for step in plan.steps if isinstance(step.launch, Call)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision", "library"),
    [
        ("bert_base", "fp16", CUBLASLT),
        ("mlp", "bf16", CUBLASLT),
        ("resnet50", "fp16", CUBLASLT),
        ("resnet50", "fp16", CUDNN),
        ("yolov5s", "fp16", CUDNN),
    ],
)
def test_a_network(name: str, precision: str, library: str, codes: dict[str, Any]) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    plan = built(name, precision, library=library)
    check_plan(plan)
    kind = Convolution if library == CUDNN else Product
    assert {type(call.product) for call in calls(plan)} == {kind}
    assert {call.workspace_bytes for call in calls(plan)} == {256}
    assert plan.workspace_bytes >= 256
    driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
    fake = FakeLibrary(driver)
    graph = read(models.build(name, small=True))
    feed = models.inputs(models.build(name, small=True))
    own = {v.name: feed[graph.names.get(v.name, v.name)] for v in graph.inputs}
    with CudaEngine(plan, driver, fake.open) as engine:
        got = engine(feed)
    for key, want in interpret_graph(graph, own).items():
        scale = float(np.abs(want).max()) or 1.0
        error = float(np.abs(got[graph.names.get(key, key)] - want).max()) / scale
        assert error <= TOLERANCES[precision]
    del got  # outputs outlive the engine
    fake.finish()
    driver.finish()


@pytest.mark.usefixtures("codes")
@pytest.mark.parametrize(("name", "library"), [("mlp", CUBLASLT), ("resnet50", CUDNN)])
def test_a_plan_file_keeps_its_calls(name: str, library: str, tmp_path: Path) -> None:
    plan = built(name, "fp16", library=library)
    save_plan(plan, tmp_path / "mlp.plan")
    found = load_plan(tmp_path / "mlp.plan", any_target=True)
    assert found.steps == plan.steps
    assert calls(found)


@pytest.mark.usefixtures("codes")
def test_calls_need_no_workspace() -> None:
    plan = built("mlp", "fp16", count=1)
    check_plan(plan)
    assert {call.workspace_bytes for call in calls(plan)} == {0}
    assert not [at for step in plan.steps if isinstance(step.launch, Call)
                for at in step.arguments if at.space == "workspace"]  # fmt: skip


@pytest.mark.usefixtures("codes")
def test_a_plan_runs_only_where_its_library_is() -> None:
    plan = built("mlp", "fp16")
    driver = FakeDriver()
    with pytest.raises(LibraryError, match="the plan calls cublaslt") as caught:
        CudaEngine(plan, driver, missing)
    assert "tactic_sources=()" in caught.value.try_
    with pytest.raises(LibraryError, match="another version of cublaslt") as caught:
        CudaEngine(plan, driver, FakeLibrary(driver, version=120_805).open)
    assert "13.1.0 in the plan, 12.8.5 here" in caught.value.know
    driver.finish()


@pytest.mark.usefixtures("codes")
def test_another_version_of_a_library_is_timed_again(tmp_path: Path) -> None:
    times = []
    for version in (VERSION, VERSION, VERSION + 1):
        clock = Partial({})
        plan = built("mlp", "fp16", version, tmp_path / "timings", clock)
        assert {call.version for call in calls(plan)} == {version}
        times.append(len(clock.trials))
    assert times[1] == 0 < times[2] <= times[0]


def test_libraries_are_off_where_nothing_is_timed_and_refuse_where_they_were_asked_for() -> None:
    assert tuple(tactics_of(Options(TARGET), None)) == TACTICS
    assert tuple(tactics_of(Options(TARGET, libraries=()), None)) == TACTICS
    asked = tactics_of(Options(TARGET, libraries=("cublaslt",)), None)[-1]
    assert isinstance(asked, CublasLt)
    asked = tactics_of(Options(TARGET, libraries=("cudnn",)), None)[-1]
    assert isinstance(asked, Cudnn)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_not_here_is_an_error_only_if_it_was_named(name: str) -> None:
    clock = GpuClock(Device(FakeDriver()), missing)
    left_out = tactics_of(Options(TARGET), clock)
    assert [tactic.name for tactic in left_out[-2:]] == list(LIBRARIES)
    with pytest.raises(LibraryError, match="not on this machine"):
        tactics_of(Options(TARGET, libraries=(name,)), clock)


def test_a_source_that_nobody_knows() -> None:
    from planck.compiler.api import options_of

    with pytest.raises(BuildError, match="'cutlass'"):
        options_of("cuda:sm_90", "fp16", 1, 0, None, None, tactic_sources=["cutlass"])


def test_a_processor_has_no_library_of_gpus() -> None:
    from planck.compiler.api import options_of

    with pytest.raises(BuildError, match="libraries of GPUs, and the target is"):
        options_of("cpu", "fp32", 1, 0, None, None, tactic_sources=["cublaslt"])
    assert options_of("cpu", "fp32", 1, 0, None, None, tactic_sources=[]).libraries == ()
