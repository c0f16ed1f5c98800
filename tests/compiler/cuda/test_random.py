"""Random networks, built for a GPU and interpreted, compute what they do in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import planck
from bench.fuzz.networks import error, expected, network
from planck.runtime.cuda.engine import CudaEngine
from tests.device.fake_cuda import FakeDriver

pytest.importorskip("triton", reason="Triton is not installed")

from tests.compiler.cuda.test_whole import kernel_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "first", "most"), [("fp32", 1000, 1e-4), ("fp16", 2000, 3e-2)]
)
def test_networks(
    precision: str,
    first: int,
    most: float,
    codes: dict[str, Any],
) -> None:
    for seed in range(first, first + 25):
        model, feed = network(seed)
        codes.clear()
        plan = planck.build(model, target="cuda:sm_90", precision=precision, accuracy=None).plan
        assert all(step.symbol for step in plan.steps), f"seed {seed}"
        driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
        with CudaEngine(plan, driver) as engine:
            got = {name: np.array(array) for name, array in engine(feed).items()}
        assert error(got, expected(model, feed)) <= most, f"seed {seed}"
