"""The ways to choose boxes and the largest k, on a driver that interprets the kernels."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from bench import cuda_selecting
from planck.codegen.triton.code import Cubin, TritonCode
from planck.device.cuda.device import Device
from planck.ops.movement import TopK
from planck.ops.nn import NonMaxSuppression
from planck.tactics.triton.single import Single
from planck.target import Target, gpu_target
from tests.device.fake_cuda import FakeDriver, cubin

pytest.importorskip("triton", reason="Triton is not installed")

from tests.compiler.cuda.test_whole import kernel_of

CASES = {
    "boxes": (NonMaxSuppression(5, 0.5, 0.1), partial(cuda_selecting.scattered, 1, 1, 20, 30, 9)),
    "largest": (TopK(-1, 9), partial(cuda_selecting.normal, 100)),
}
Found = dict[str, list[str]]


def pretended(code: TritonCode, target: Target) -> Cubin:
    return Cubin(cubin(code.symbol), 128, 1024)


def spoilt(run: Callable[..., None], spoil: Callable[..., None]) -> Callable[..., None]:
    def both(*arrays: Any) -> None:
        run(*arrays)
        spoil(*arrays)

    return both


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """What is wrong with each way of the cases; `spoil` changes what a kernel writes."""
    for name, number in (("RUNS", 1), ("REPLAYS", 1), ("LAUNCHES", 2)):
        monkeypatch.setattr(cuda_selecting, name, number)
    monkeypatch.setattr(cuda_selecting, "cases", lambda: CASES)
    monkeypatch.setattr(cuda_selecting, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(cuda_selecting, "compile_cubin", pretended)

    def run(spoil: Callable[..., None] = lambda *_: None) -> Found:
        driver = FakeDriver()
        device = Device(driver)
        target = gpu_target(device.properties)
        for op, make in CASES.values():
            kernel: Any = cuda_selecting.kernel_of(op, make(), target)
            for config in Single().offers(kernel) or ():
                code = Single().build(kernel, config)
                driver.kernels[code.symbol] = spoilt(kernel_of(code), spoil)
        found: Found = {}
        for name, _, trial, us in cuda_selecting.rows([], device):
            assert us >= 0
            found.setdefault(name, []).extend(trial.wrong)
        del device, trial
        gc.collect()
        driver.finish()
        return found

    return run


@pytest.mark.slow
def test_ways_are_right(measured: Callable[..., Found]) -> None:
    assert measured() == {case: [] for case in CASES}


@pytest.mark.slow
def test_what_differs_is_told(measured: Callable[..., Found]) -> None:
    def spoil(*arrays: Any) -> None:
        np.asarray(arrays[1])[:1] += 1

    found = measured(spoil)
    assert all("differ" in line or "counters" in line for lines in found.values() for line in lines)
    assert found["largest"]
