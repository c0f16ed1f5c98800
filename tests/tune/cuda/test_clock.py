"""The clock on a driver that checks every call: what runs, and what is given back."""

from __future__ import annotations

import gc
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planck.device.cuda.device import Device
from planck.errors import CudaError
from planck.plan.model import Launch, Place, Plan, Step
from planck.target import resolve
from planck.tune.cuda import clock as clock_module
from planck.tune.cuda.clock import GpuClock, Trial, gpu_turn, medians_us
from tests.device.fake_cuda import FakeDriver, cubin

TARGET = resolve("cuda:sm_90")


def plan() -> Plan:
    """Two kernels, y = x + w; the second's weight is a copy in the arena."""

    def step(name: str, weight: Place) -> Step:
        arguments = (Place("arena", 0), weight, Place("arena", 256), Place("counters"))
        return Step(name, "", name, arguments, (), (), launch=Launch(2, 64, 0, dependent=True))

    first, second = cubin("first"), cubin("second")
    return Plan(
        "measure", TARGET, "fp32", 1, (), (), (),
        (step("first", Place("weights", 0)), step("second", Place("arena", 512))),
        1024, first + second, {"first": 0, "second": len(first)},
        np.full(4, 3, np.float32).tobytes(), workspace_bytes=16, counter_bytes=8,
    )  # fmt: skip


def test_a_session_runs_what_it_is_asked_to_and_gives_all_back() -> None:
    seen: list[tuple[str, float]] = []

    def kernel(name: str) -> Any:
        def run(x: Any, w: Any, y: Any, counters: Any) -> None:
            assert not counters[:8].any()
            total = x[:16].view(np.float32) + w[:16].view(np.float32)
            y[:16] = total.view(np.uint8)
            seen.append((name, float(total[0])))

        return run

    driver = FakeDriver({name: kernel(name) for name in ("first", "second")})
    clock = GpuClock(Device(driver))
    trial = Trial(plan(), fills=((0, np.full(4, 2, np.float32)),), copies=((512, 0, 16),))
    with clock.open(trial) as session:
        graph, other = session.capture([0, 1, 0]), session.capture([1])
        session.run_us(graph, cold=True)
        assert seen == [("first", 5.0), ("second", 5.0), ("first", 5.0)]
        assert [launch.dependent for launch in driver.ran] == [False, True, True]
        assert len(medians_us(session, [graph, other], 3, cold=False)) == 2
        assert len(seen) == 3 + 4 * 2 * (3 + 1)  # each run behind another
        session.drop(graph)
        session.drop(other)
    del clock, session
    gc.collect()
    driver.finish()


def test_who_times_on_a_gpu_waits_for_its_turn_and_other_gpus_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "LOCK", tmp_path / "timing.lock")
    driver = FakeDriver({"first": lambda *_: None, "second": lambda *_: None}, gpus=2)
    here, there = (Device(driver, number) for number in range(2))
    begun = threading.Event()

    def time_beside() -> None:
        with GpuClock(here).open(Trial(plan())):
            begun.set()

    other = threading.Thread(target=time_beside)
    with gpu_turn(here), gpu_turn(there):
        other.start()
        assert not begun.wait(0.2)
    assert begun.wait(5)
    other.join()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_captured_is_given_back_where_nobody_dropped_it() -> None:
    driver = FakeDriver({"first": lambda *_: None, "second": lambda *_: None})
    with GpuClock(Device(driver)).open(Trial(replace(plan()))) as session:
        session.capture([0])
    del session
    gc.collect()
    driver.finish()


def test_after_a_gpu_failed_its_session_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver refuses everything then; the first error is told, and others have their turns."""
    monkeypatch.setattr(clock_module, "LOCK", tmp_path / "planck.lock")
    driver = FakeDriver({"first": lambda *_: None, "second": lambda *_: None})
    device, error = Device(driver), CudaError("cuStreamSynchronize failed")

    def refuse(*_: object) -> None:
        raise CudaError("cuGraphExecDestroy failed")

    monkeypatch.setattr(driver, "destroy_executable", refuse)
    for first in (error, None):
        session = GpuClock(device).open(Trial(plan())).__enter__()
        session.capture([0])
        with pytest.raises(CudaError, match="Destroy") if first is None else nullcontext():
            session.__exit__(type(first), first, None)
        with gpu_turn(device):
            pass
