"""Transposed convolution against ONNX Runtime: strides, pads, dilations, groups; all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from planck.ops.nn import ConvTranspose
from planck.tactics.direct import Transposed

# batch, channels, outputs, image, kernel, strides, pads, dilations, output padding, groups
SHAPES = [
    (1, 32, 16, (5, 7), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    (3, 17, 5, (6, 5), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1), 1),
    (1, 16, 40, (4, 9), (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0), 1),
    (1, 5, 3, (6, 4), (3, 2), (3, 1), (0, 1, 1, 0), (1, 2), (0, 0), 1),
    (2, 32, 32, (4, 5), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (0, 0), 4),
    (1, 16, 16, (3, 4), (2, 2), (3, 3), (0, 0, 0, 0), (1, 1), (1, 0), 1),
    (2, 20, 9, (13,), (4,), (2,), (1, 1), (1,), (0,), 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_onnx_runtime(case: Any, shape: Any) -> None:
    n, c, m, image, kernel, strides, pads, dilations, extra, groups = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(c, m // groups, *kernel, scale=0.3)
    b = case.constant(m)
    node = onnx.helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], kernel_shape=kernel, strides=strides, pads=pads,
        dilations=dilations, output_padding=extra, group=groups,
    )  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    feeds = {"x": case.arrays["v0"], "w": case.arrays["v1"], "b": case.arrays["v2"]}
    inputs = [value(name, 1, array.shape) for name, array in feeds.items()]
    graph = onnx.helper.make_graph([node], "transposed", inputs, [value("y", 1, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    model.ir_version = 9
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    op = ConvTranspose(strides, pads, dilations, groups, extra)
    y = case.node(op, [x, w, b], want.shape, block=True)
    z = case.pointwise("silu", y)
    want = want / (1 + np.exp(-want.astype(np.float64)))
    tactic, kern = Transposed(), case.kernel(z, threads=2)
    for config in tactic.offers(kern)[:2]:
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))
