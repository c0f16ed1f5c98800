"""Blocks of networks that nobody tuned for: how many kernels they take, and what those compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

import planck
from bench import models
from planck.runtime.cuda.engine import CudaEngine
from tests.compiler.cuda.unseen import UNSEEN, model
from tests.device.fake_cuda import FakeDriver

pytest.importorskip("triton", reason="Triton is not installed")

from tests.compiler.cuda.test_whole import TOLERANCES, kernel_of


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("block", "kernels"), UNSEEN, ids=lambda x: getattr(x, "__name__", ""))
def test_a_block(
    block: Callable[..., Any],
    kernels: int,
    precision: str,
    codes: dict[str, Any],
) -> None:
    network = model(block)
    plan = planck.build(network, target="cuda:sm_90", precision=precision).plan
    assert all(step.symbol for step in plan.steps)
    if precision == "fp16":
        assert len(plan.steps) <= kernels, [step.name for step in plan.steps]
    feed = models.inputs(network)
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (want,) = session.run(["y"], feed)
    driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
    with CudaEngine(plan, driver) as engine:
        got = engine(feed)["y"]
    assert np.abs(got - want).max() <= TOLERANCES[precision] * np.abs(want).max()


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block, _ in UNSEEN], ids=lambda block: block.__name__)
def test_a_block_on_a_processor(block: Callable[..., Any]) -> None:
    network = model(block)
    engine = planck.build(network, optimization_level=0, threads=1)
    assert not engine.inspect().reference_steps
    feed = models.inputs(network)
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (want,) = session.run(["y"], feed)
    assert np.abs(engine(feed)["y"] - want).max() <= 1e-4 * np.abs(want).max()
