"""Steps whose threads share memory: the same results from any number of threads, run after run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import planck
from planck.plan.model import SHARED

RUNS = 40


def network() -> Any:
    """Two convolutions of many weights on small images: their threads share transformed tiles."""
    random = np.random.default_rng(5)
    weights = {
        name: random.normal(0, 0.03, (96, 96, 3, 3)).astype(np.float32) for name in ("v", "w")
    }
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["y"], pads=[1] * 4),
        helper.make_node("Conv", ["y", "w"], ["z"], pads=[1] * 4),
    ]
    shape = [1, 96, 15, 18]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "shared",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@pytest.fixture(scope="module", name="model")
def _model() -> Any:
    return network()


@pytest.fixture(scope="module", name="engine")
def _engine(model: Any, tmp_path_factory: pytest.TempPathFactory) -> planck.Engine:
    """Saved and loaded, so that the file carries the shared sizes."""
    path = tmp_path_factory.mktemp("sharing") / "shared.plan"
    planck.build(model, threads=2, optimization_level=0).save(path)
    engine = planck.load(path)
    sharing = [s for s in engine.plan.steps if set(SHARED.values()) & set(s.arguments)]
    assert sharing, "no step shares memory: another network is needed here"
    assert engine.plan.workspace_bytes > 0
    assert engine.plan.counter_bytes > 0
    return engine


def wanted(model: Any, x: Any) -> Any:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_results_do_not_depend_on_threads(model: Any, engine: Any, threads: int) -> None:
    random = np.random.default_rng(threads)
    x = random.normal(size=(1, 96, 15, 18)).astype(np.float32)
    want = wanted(model, x)
    with engine.create_execution_context(threads) as context:
        first = context(x)["z"].copy()
        assert np.abs(first - want).max() < 1e-4 * np.abs(want).max()
        for _ in range(RUNS):
            context(random.normal(size=x.shape).astype(np.float32))
            np.testing.assert_array_equal(context(x)["z"], first)


def test_contexts_share_nothing(model: Any, engine: Any) -> None:
    """Several contexts at once, each with workspace and counters of its own."""

    def run(seed: int) -> bool:
        x = np.random.default_rng(seed).normal(size=(1, 96, 15, 18)).astype(np.float32)
        with engine.create_execution_context(2) as context:
            first = context(x)["z"].copy()
            same = all(np.array_equal(context(x)["z"], first) for _ in range(RUNS))
            return same and np.allclose(first, wanted(model, x), atol=1e-4)

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(run, range(3)))


def test_a_build_without_threads_shares_nothing(model: Any, tmp_path: Path) -> None:
    plan = planck.build(model, threads=1, optimization_level=0).plan
    assert not plan.workspace_bytes
    assert not plan.counter_bytes
