"""Whole networks without a GPU: plans whose kernels Triton's interpreter runs, on a fake driver.

What is compared with NumPy's float32 is all of it: passes, layout, placement, packing, arguments,
kernels, and the runtime that launches them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import planck
from bench import models
from planck.codegen.triton.code import TritonCode
from planck.frontends import read
from planck.ir.interpret import interpret as interpret_graph
from planck.runtime.cuda.engine import CudaEngine
from tests.device.fake_cuda import FakeDriver

pytest.importorskip("triton", reason="Triton is not installed")

from tests.tactics.triton.interpreting import interpret

# Sums of float32 in another order; activations and weights rounded to 11 bits, layer after layer.
TOLERANCES = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 5e-2, "bf16": 2e-1}  # tf32 rounds weights only
CASES = (
    ("mlp", "fp32"), ("mlp", "fp16"), ("mlp", "bf16"), ("squeezenet", "tf32"),
    ("squeezenet", "fp16"), ("yolov4_tiny", "fp16"), ("bert_base", "fp16"), ("vit_b16", "fp32"),
    ("mobilenet_v2", "fp16"), ("yolov8n", "fp16"), ("yolov5s", "fp32"), ("resnet50", "fp16"),
    ("unet", "fp16"), ("lstm", "fp16"),
)  # fmt: skip


def kernel_of(code: TritonCode) -> Callable[..., None]:
    def run(*arrays: Any) -> None:
        own: Any = [
            SimpleNamespace(
                address=(begin := array.ctypes.data), span=(begin, begin + array.nbytes)
            )
            for array in arrays
        ]
        interpret(code, dict(zip(code.arguments, own, strict=True)))

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_network(name: str, precision: str, codes: dict[str, TritonCode]) -> None:
    model = models.build(name, small=True)
    plan = planck.build(model, target="cuda:sm_90", precision=precision).plan
    assert all(step.symbol for step in plan.steps)
    driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
    feed = models.inputs(model)
    with CudaEngine(plan, driver) as engine:
        got = engine(feed)
    graph = read(model)
    own = {v.name: feed[graph.names.get(v.name, v.name)] for v in graph.inputs}
    for key, want in interpret_graph(graph, own).items():
        if want.dtype == np.float32:
            scale = float(np.abs(want).max()) or 1.0
            error = float(np.abs(got[graph.names.get(key, key)] - want).max()) / scale
            assert error <= TOLERANCES[precision]


def test_large_products_in_tensor_maps(codes: dict[str, TritonCode]) -> None:
    """Their maps are encoded for each set of pointers, and again for another."""
    rng = np.random.default_rng(0)
    first, last = (rng.standard_normal(s, np.float32) / 12 for s in ((136, 200), (200, 72)))
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "first"], ["a"]),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("MatMul", ["b", "last"], ["y"]),
    ]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (264, size))
        for name, size in (("x", 136), ("y", 72))
    ]
    weights = [onnx.numpy_helper.from_array(w, n) for w, n in ((first, "first"), (last, "last"))]
    graph = onnx.helper.make_graph(nodes, "large", ports[:1], ports[1:], weights)
    plan = planck.build(onnx.helper.make_model(graph), target="cuda:sm_90", precision="fp16").plan
    assert sum(bool(s.launch and s.launch.tensors) for s in plan.steps) == 2
    driver = FakeDriver({symbol: kernel_of(code) for symbol, code in codes.items()})
    with CudaEngine(plan, driver) as engine:
        for _ in range(2):
            x = rng.standard_normal((264, 136), np.float32)
            want = np.maximum(x @ first, 0) @ last
            assert np.abs(engine(x)["y"] - want).max() <= 5e-3 * np.abs(want).max()
