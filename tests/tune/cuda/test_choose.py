"""Choosing GPU kernels: by rank without a GPU, by time with one, from the cache after that."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planck.codegen.triton.code import Cubin, TritonCode
from planck.device.cuda.library import Call
from planck.errors import BuildError, CudaError, DeviceMemoryError, LibraryError
from planck.plan.check import check_plan
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.target import GENERIC
from planck.tune.cache import TimingCache
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.choose import Found, choose
from planck.tune.cuda.clock import Trial
from tests.tune.cuda.pretending import TARGET, Called, Compilers, Pretence, Timer, Timing, kernel

US = {f"tile{n}": us for n, us in enumerate((10.0, 9.0, 4.0, 4.2, 30.0))}


def chosen(found: Found) -> Choice:
    (answer,) = found.answers.values()
    assert isinstance(answer, Choice)
    return answer


def run(tactic: Pretence, timer: Timer | None, path: Path | None = None, **how: object) -> Found:
    cache = TimingCache.open(path, TARGET)
    return choose([kernel()], [tactic], Compilers(tactic), cache, clock=timer, **how)  # type: ignore[arg-type]


def test_without_a_gpu_the_first_offer_is_taken_and_nothing_else_compiled() -> None:
    tactic = Pretence()
    compilers = Compilers(tactic)
    found = choose([kernel()], [tactic], compilers, TimingCache.open(None, TARGET), clock=None)
    assert chosen(found).config == {"tile": 0}
    assert chosen(found).timings[0].us == 0.0
    assert len(compilers.submitted) == 1
    assert not found.rivals


def test_the_fastest_is_taken_and_those_near_it_are_rivals() -> None:
    found = run(Pretence(), Timer(US), level=4)
    assert chosen(found).config == {"tile": 2}
    assert [row.us for row in chosen(found).timings] == [4.0, 4.2, 9.0, 10.0, 30.0]
    assert [w.config for w in found.rivals[kernel().key]] == [{"tile": 3}]


def test_the_first_offer_stays_where_a_rival_is_no_more_than_noise_faster() -> None:
    us = {f"tile{n}": us for n, us in enumerate((10.0, 9.95, 20.0, 20.0))}
    found = run(Pretence(), Timer(us), level=2)
    assert chosen(found).config == {"tile": 0}


@pytest.mark.parametrize("level", [0, 3])
def test_what_does_not_compile_or_fit_is_passed_over(level: int) -> None:
    found = run(Pretence(broken=(0,), huge=(2,)), Timer(US), level=level)
    assert chosen(found).config == {"tile": 3 if level else 1}
    refused = [row.refused for row in chosen(found).timings if row.refused]
    assert "it does not compile" in refused
    assert len(refused) == (2 if level else 1)


def test_where_nothing_compiles_the_kernel_is_refused() -> None:
    found = run(Pretence(broken=tuple(range(5))), None)
    (answer,) = found.answers.values()
    assert isinstance(answer, No)
    assert "does not compile" in answer.reason


def test_a_second_build_times_nothing_and_chooses_the_same(tmp_path: Path) -> None:
    path, timer = tmp_path / "timings", Timer(US)
    first, second = (run(Pretence(), timer, path, level=4) for _ in range(2))
    assert len(timer.trials) == 1
    assert chosen(first).timings == chosen(second).timings
    assert [w.config for w in second.rivals[kernel().key]] == [{"tile": 3}]


def test_rivals_are_found_again_though_the_cache_orders_names(tmp_path: Path) -> None:
    """Nothing is timed for the second network that has this kernel; its graph is settled anew."""
    configs = tuple({"tile": n, "bm": 1} for n in range(3))
    timer = Timer({f"tile{n}_bm1": us for n, us in enumerate((9.0, 4.0, 4.2))})
    first, second = (
        run(Pretence(configs=configs), timer, tmp_path / "timings", level=4) for _ in range(2)
    )
    assert len(timer.trials) == 1
    for found in (first, second):
        assert [w.config["tile"] for w in found.rivals[kernel().key]] == [2]


def test_a_way_that_the_gpu_fails_in_is_named_and_never_tried_again(tmp_path: Path) -> None:
    path, timer = tmp_path / "timings", Timer(US, faulty="tile2")
    with pytest.raises(CudaError, match="the GPU failed while a kernel") as caught:
        run(Pretence(), timer, path, level=4)
    assert "{'tile': 2}" in caught.value.at
    assert "CUDA_ERROR_LAUNCH_FAILED" in caught.value.know
    assert "left out from now on" in caught.value.try_
    found = run(Pretence(), timer, path, level=4)
    assert chosen(found).config == {"tile": 3}
    refused = [row for row in chosen(found).timings if row.refused]
    assert [row.config for row in refused] == [{"tile": 2}]
    again = run(Pretence(), timer, path, level=4)
    assert chosen(again).timings == chosen(found).timings


def test_a_higher_level_times_what_a_lower_one_left_out(tmp_path: Path) -> None:
    path, timer = tmp_path / "timings", Timer(US)
    assert chosen(run(Pretence(), timer, path, level=1)).config == {"tile": 1}
    assert chosen(run(Pretence(), timer, path, level=4)).config == {"tile": 2}


def test_other_triggers_of_the_fastest_are_rivals_for_the_graph() -> None:
    """They are not timed: alone, they say nothing."""
    configs = (
        *({"tile": n, "trigger": 2} for n in range(3)),
        *({"tile": n, "trigger": t} for n in range(3) for t in (0, 3)),
    )
    us = {f"tile{n}_trigger2": us for n, us in enumerate((9.0, 4.0, 8.0))}
    found = run(Pretence(configs=configs), Timer(us), level=1)
    assert chosen(found).config == {"tile": 1, "trigger": 2}
    assert [w.config["trigger"] for w in found.rivals[kernel().key]] == [0, 3]


@pytest.mark.parametrize("cold", [False, True])
def test_a_trial_is_a_plan_whose_launches_read_weights_of_their_own_if_cold(cold: bool) -> None:
    timer = Timer(US)
    run(Pretence(), timer, level=2, cold=cold)
    (trial,) = timer.trials
    check_plan(trial.plan)
    assert set(timer.cold) == {cold}
    weights = {
        (step.arguments[1].space, step.arguments[1].offset_bytes) for step in trial.plan.steps
    }
    assert len(weights) == (24 if cold else 1)  # of all ways, which pack alike
    assert len(trial.plan.weights) == 8 * 16 * 4
    assert len(trial.copies) == len(weights) - 1
    assert {step.launch.grid for step in trial.plan.steps if step.launch} == {4}
    (fill,) = trial.fills
    assert fill[1].size == 16 * 16  # what x lies in


def test_without_a_gpu_what_was_fastest_on_one_is_taken(tmp_path: Path) -> None:
    run(Pretence(), Timer(US), tmp_path / "cache", level=4)
    tactic = Pretence()
    compilers = Compilers(tactic)
    cache = TimingCache.open(tmp_path / "cache", replace(TARGET, machine=GENERIC))
    found = choose([kernel()], [tactic], compilers, cache, clock=None)
    assert chosen(found).config == {"tile": 2}
    assert len(compilers.submitted) == 1
    other = Pretence(configs=({"tile": 0}, {"tile": 3}, {"tile": 1}))  # no longer offers it
    found = choose([kernel()], [other], Compilers(other), cache, clock=None)
    assert chosen(found).config == {"tile": 3}


def test_what_was_timed_is_kept_when_the_build_is_ended(tmp_path: Path) -> None:
    """As by Ctrl-C, in the second of two kernels."""

    class Ended(Timer):
        def open(self, trial: Trial) -> Timing:
            if self.trials:
                raise KeyboardInterrupt
            return super().open(trial)

    tactic, both = Pretence(), [kernel(), kernel(7)]
    cache = TimingCache.open(tmp_path / "cache", TARGET)
    with pytest.raises(KeyboardInterrupt):
        choose(both, [tactic], Compilers(tactic), cache, clock=Ended(US))
    assert len(TimingCache.open(tmp_path / "cache", TARGET).entries) == 1


class Small(Timer):
    """A GPU with memory for so many ways at a time."""

    def open(self, trial: Trial) -> Timing:
        if len(set(trial.plan.symbols)) > 2:
            raise DeviceMemoryError("the GPU's memory is used up")
        return super().open(trial)


def test_ways_that_do_not_fit_together_are_timed_apart(tmp_path: Path) -> None:
    timer = Small(US)
    assert chosen(run(Pretence(), timer, level=4)).config == {"tile": 2}
    assert [len(set(trial.plan.symbols)) for trial in timer.trials] == [2, 1, 2]
    with pytest.raises(CudaError, match="the GPU failed") as caught:
        run(Pretence(), Small(US, faulty="tile3"), tmp_path / "cache", level=4)
    assert "pretence {'tile': 3}" in caught.value.at


def test_when_time_is_over_nothing_more_is_compiled() -> None:
    tactic = Pretence(broken=(0,))
    compilers = Waiting(tactic)
    cache = TimingCache.open(None, TARGET)
    found = choose([kernel()], [tactic], compilers, cache, clock=Timer(US), level=4, seconds=0.0)
    assert chosen(found).config == {"tile": 1}
    assert compilers.waited_for == [0, 1]


class Waiting(Compilers):
    """Tells which tiles somebody waited for."""

    def __init__(self, tactic: Pretence) -> None:
        super().__init__(tactic)
        self.waited_for: list[int] = []

    def submit(self, code: TritonCode) -> Future[Cubin]:
        made = super().submit(code)
        number = int(code.symbol.rpartition("tile")[2])

        class Told(Future[Cubin]):
            def result(_, timeout: float | None = None) -> Cubin:  # noqa: N805
                self.waited_for.append(number)
                return made.result(timeout)

        return Told()


def test_when_time_is_over_first_offers_are_taken() -> None:
    timer = Timer(US)
    assert chosen(run(Pretence(), timer, seconds=-1.0)).config == {"tile": 0}
    assert not timer.trials


def test_all_that_a_library_offers_is_timed_and_never_compiled() -> None:
    ours, theirs = Pretence(), Called(configs=tuple({"algorithm": n} for n in range(4)))
    compilers = Compilers(ours)
    us = {**US, **{f"algorithm{n}": us for n, us in enumerate((5.0, 4.5, 3.0, 3.1))}}
    timer, cache = Timer(us), TimingCache.open(None, TARGET)
    found = choose([kernel()], [theirs, ours], compilers, cache, clock=timer, level=1)
    assert chosen(found).config == {"algorithm": 2}
    assert chosen(found).cubin is None
    assert len(compilers.submitted) == 2  # what level 1 times of ours
    assert [w.config for w in found.rivals[kernel().key]] == [{"algorithm": 3}]
    (trial,) = timer.trials
    assert trial.plan.workspace_bytes == 512
    warm = choose([kernel()], [theirs, ours], compilers, cache, clock=timer, level=1)
    assert chosen(warm).config == {"algorithm": 2}
    assert len(timer.trials) == 1
    without = choose([kernel()], [theirs, ours], compilers, cache, clock=None)
    assert chosen(without).config == {"tile": 1}  # the fastest of ours that was timed


def test_what_a_library_cannot_make_is_refused_and_not_tried_again() -> None:
    class Unmade(Called):
        def build(self, kernel: Kernel, config: Config) -> Any:
            self.built = [*getattr(self, "built", ()), config["algorithm"]]
            if config["algorithm"] == 1:
                raise BuildError("cudnnBackendFinalize failed")
            return super().build(kernel, config)

    ours, theirs = Pretence(), Unmade(configs=tuple({"algorithm": n} for n in range(3)))
    timer, cache = (
        Timer({**US, "algorithm0": 9.0, "algorithm2": 1.0}),
        TimingCache.open(None, TARGET),
    )
    for _ in range(2):
        found = choose([kernel()], [ours, theirs], Compilers(ours), cache, clock=timer, level=3)
        assert chosen(found).config == {"algorithm": 2}
    assert theirs.built == [0, 1, 2, 2]
    assert len(timer.trials) == 1


class Failing(Timer):
    """A GPU on which a library's calls fail."""

    def open(self, trial: Trial) -> Timing:
        self.trials.append(trial)
        return FailingTiming(self, trial)


class FailingTiming(Timing):
    def capture(self, steps: Sequence[int]) -> list[str]:
        if isinstance(self.trial.plan.steps[steps[0]].launch, Call):
            raise LibraryError("cublasLtMatmul failed", know="CUBLAS_STATUS_NOT_SUPPORTED")
        return super().capture(steps)

    def __exit__(self, *_: object) -> None:
        self.timer.live = 0


def test_calls_that_fail_are_refused_and_the_others_timed() -> None:
    ours, theirs = Pretence(), Called(configs=({"algorithm": 0}, {"algorithm": 1}))
    timer, cache = Failing(US), TimingCache.open(None, TARGET)
    found = choose([kernel()], [ours, theirs], Compilers(ours), cache, clock=timer, level=4)
    assert chosen(found).config == {"tile": 2}
    refused = [row for row in chosen(found).timings if row.refused]
    assert {row.refused for row in refused} == {
        "cublasLtMatmul failed: CUBLAS_STATUS_NOT_SUPPORTED"
    }
    assert len(refused) == 2
    assert len(timer.trials) == 2
