"""ONNX's backend tests as plans for GPUs: Triton's interpreter runs them, on a fake driver.

All of them pass that way, and `python -m bench.cuda_nodes` runs them on a GPU. Here are a sample,
and those with empty tensors and images of one pixel. Kernels take their time to compile; what
comes before them is done for all.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import NoReturn

import pytest

from planck import onnx_backend
from planck.compiler.options import Options
from planck.compiler.stages import run_stages
from planck.ir.graph import Graph
from planck.plan.model import Plan
from planck.runtime import Engine
from planck.runtime.cuda.engine import CudaEngine
from tests.conformance.backend import cases, listed, outcome
from tests.device.fake_cuda import FakeDriver
from tests.frontends.onnx.chosen import BODIES, HELD, given, model
from tests.frontends.onnx.test_counted import check
from tests.tactics.triton.conftest import H100

pytest.importorskip("triton", reason="Triton is not installed")

from tests.compiler.cuda.conftest import codes  # noqa: F401
from tests.compiler.cuda.test_whole import kernel_of

SAMPLE = (
    "node/test_col2im", "node/test_tril_zero", "node/test_split_zero_size_splits_opset13",
    "node/test_top_k_negative_axis", "node/test_scatternd_multiply", "node/test_roialign_mode_max",
    "node/test_scatter_elements_with_reduction_min", "node/test_det_nd",
    "node/test_cast_FLOAT_to_FLOAT8E4M3FN", "node/test_cast_UINT4_to_FLOAT",
    "node/test_nonmaxsuppression_two_batches", "node/test_dequantizelinear_e5m2",
    "node/test_causal_conv_with_state_kernel_size_one",
)  # fmt: skip


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, codes: dict) -> None:  # type: ignore[type-arg] # noqa: F811
    def engine(plan: Plan) -> Engine:
        if not plan.target.is_cuda:
            return Engine(plan)
        driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
        return CudaEngine(plan, driver)

    monkeypatch.setattr(onnx_backend, "engine_or_plan", engine)


class StagedError(Exception):
    """All that comes before kernels is done."""


@pytest.mark.slow
def test_all_up_to_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(graph: Graph, options: Options) -> NoReturn:
        run_stages(graph, options)
        raise StagedError

    monkeypatch.setattr(onnx_backend, "compile_graph", stop)
    for name in filterfalse(listed, cases()):
        why = outcome(name, f"cuda:{H100.isa}", run=False).why
        assert why.startswith(StagedError.__name__), (name, why)


def test_a_sample(pretended: None) -> None:
    """What ONNX expects comes out, but where unsupported.txt says that it does not."""
    for name in (*SAMPLE, *sorted(cases())[::101]):
        found = outcome(name, f"cuda:{H100.isa}")
        assert bool(found.why) == listed(name), (name, found.why)
        assert not found.reference, name


@pytest.mark.parametrize("name", BODIES)
def test_nodes_behind_boxes(pretended: None, name: str) -> None:
    outputs, body = BODIES[name]
    for held in (HELD[0], HELD[-1]):
        check(model(outputs, body, held), given(body), f"cuda:{H100.isa}")
