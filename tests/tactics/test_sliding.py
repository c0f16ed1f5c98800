"""Depthwise convolution against float64 NumPy, pooling against ONNX Runtime; all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from planck.ops.nn import Conv, Pool
from planck.tactics.sliding import Depthwise, Grouped, Pooling

# batch, channels, image, kernel, strides, pads, dilations
DEPTHWISE = [
    (1, 32, (9, 14), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    (3, 17, (15, 11), (3, 3), (2, 2), (0, 1, 1, 2), (1, 1)),
    (1, 5, (8, 20), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
    (7, 3, (7, 7), (7, 7), (2, 1), (3, 3, 3, 3), (1, 1)),
    (1, 24, (13, 30), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    (2, 20, (33,), (3,), (1,), (1, 1), (1,)),
]
# batch, channels, image, kernel, strides, pads, kind, ceil, count the padding
POOLS = [
    (1, 17, (14, 31), (3, 3), (2, 2), (1, 1, 1, 1), "max", False, False),
    (3, 5, (9, 9), (2, 2), (2, 2), (0, 0, 0, 0), "max", True, False),
    (1, 32, (20, 13), (5, 5), (1, 1), (2, 2, 2, 2), "max", False, False),
    (1, 20, (12, 17), (3, 3), (2, 2), (1, 1, 1, 1), "average", False, False),
    (7, 3, (12, 17), (3, 2), (2, 1), (1, 0, 1, 1), "average", False, True),
    (1, 16, (8, 8), (2, 2), (2, 2), (0, 0, 0, 0), "average", False, False),
    (1, 16, (10, 10), (3, 3), (2, 2), (1, 1, 1, 1), "average", True, True),
    (2, 20, (33,), (4,), (3,), (1, 1), "max", False, False),
]


@pytest.mark.parametrize("shape", DEPTHWISE, ids=str)
def test_depthwise(case: Any, convolve: Any, shape: Any) -> None:
    n, c, image, kernel, strides, pads, dilations = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(c, 1, *kernel)
    b = case.constant(c)
    want = convolve(case.arrays["v0"], case.arrays["v1"], strides, pads, dilations, c)
    residual = case.input(*want.shape, block=True)
    want = want + case.arrays["v2"].reshape(-1, *[1] * len(image)) + case.arrays[residual.name]
    want = want / (1 + np.exp(-want))
    y = case.node(Conv(strides, pads, dilations, c), [x, w, b], want.shape, block=True)
    z = case.pointwise("silu", case.pointwise("add", y, residual))
    tactic, kern = Depthwise(), case.kernel(z, threads=2)
    for config in tactic.offers(kern)[:2]:
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


# batch, channels, channels of a group, image, kernel, strides, pads, dilations
GROUPED = [
    (1, 32, 8, (9, 14), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    (3, 40, 8, (15, 11), (3, 3), (2, 2), (0, 1, 1, 2), (1, 1)),
    (1, 20, 4, (8, 20), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
    (2, 6, 2, (7, 17), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    (1, 12, 4, (5, 6), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    (2, 20, 2, (33,), (3,), (1,), (1, 1), (1,)),
]


@pytest.mark.parametrize("shape", GROUPED, ids=str)
def test_groups(case: Any, convolve: Any, shape: Any) -> None:
    n, c, each, image, kernel, strides, pads, dilations = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(c, each, *kernel, scale=0.2)
    b = case.constant(c)
    want = convolve(case.arrays["v0"], case.arrays["v1"], strides, pads, dilations, c // each)
    residual = case.input(*want.shape, block=True)
    want = want + case.arrays["v2"].reshape(-1, *[1] * len(image)) + case.arrays[residual.name]
    want = want / (1 + np.exp(-want))
    y = case.node(Conv(strides, pads, dilations, c // each), [x, w, b], want.shape, block=True)
    z = case.pointwise("silu", case.pointwise("add", y, residual))
    tactic, kern = Grouped(), case.kernel(z, threads=2)
    offers = tactic.offers(kern)
    if each >= case.target.lanes:
        assert "do not divide" in str(offers)
        return
    for config in offers[:2]:
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


@pytest.mark.parametrize("shape", POOLS, ids=str)
def test_pool(case: Any, shape: Any) -> None:
    n, c, image, kernel, strides, pads, kind, ceil, include_pad = shape
    x = case.input(n, c, *image, block=True)
    attributes: dict[str, Any] = {} if kind == "max" else {"count_include_pad": int(include_pad)}
    node = onnx.helper.make_node(
        "MaxPool" if kind == "max" else "AveragePool", ["x"], ["y"], kernel_shape=kernel,
        strides=strides, pads=pads, ceil_mode=int(ceil), **attributes,
    )  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "pool", [value("x", 1, [n, c, *image])], [value("y", 1, None)]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (want,) = session.run(None, {"x": case.arrays["v0"]})
    op = Pool(kind, kernel, strides, pads, (1,) * len(image), ceil, include_pad)
    y = case.node(op, [x], want.shape, block=True)
    z = case.pointwise("add", y, case.constant(1, c, *[1] * len(image)))
    want = want + case.arrays["v1"]
    tactic, kern = Pooling(), case.kernel(z, threads=2)
    for config in tactic.offers(kern)[:2]:
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=str(config))
