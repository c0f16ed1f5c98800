"""Single nodes of the neural network family, in odd shapes, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from planck.frontends.onnx import read
from planck.ir.interpret import interpret

RNG = np.random.default_rng(11)
CODES = {"f": TensorProto.FLOAT, "i": TensorProto.INT32, "l": TensorProto.INT64,
         "b": TensorProto.INT8, "B": TensorProto.UINT8}  # fmt: skip


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def check(
    kind: str,
    inputs: list[Any],
    constants: dict[int, Any] | None = None,
    outputs: int = 1,
    opset: int = 17,
    tolerance: float = 1e-5,
    **attributes: Any,
) -> None:
    """One node by Planck and by ONNX Runtime: the same shapes, dtypes and numbers.

    inputs:     arrays; None leaves one out
    constants:  further inputs, by position, that are initialisers
    """
    constants = constants or {}
    count = max([len(inputs) - 1, *constants]) + 1
    names = [
        f"w{i}" if i in constants else f"x{i}" if i < len(inputs) and inputs[i] is not None else ""
        for i in range(count)
    ]
    given = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constants}
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(kind, names, results, **attributes)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info(n, CODES[a.dtype.char], a.shape) for n, a in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [numpy_helper.from_array(a, f"w{i}") for i, a in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, given)
    found = interpret(read(model), given)
    for want, got in zip(expected, found.values(), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("full", [False, True])
def test_recurrent(kind: str, direction: str, full: bool) -> None:
    gates, ways = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind], 1 + (direction == "bidirectional")
    time, batch, width, hidden = 6, 3, 5, 4
    inputs: list[Any] = [normal(time, batch, width)]
    weights = {1: normal(ways, gates * hidden, width), 2: normal(ways, gates * hidden, hidden)}
    states = 2 if kind == "LSTM" else 1
    if full:
        weights[3] = normal(ways, 2 * gates * hidden)
        inputs += [None, None, None, np.array([6, 1, 4], np.int32)]
        inputs += [normal(ways, batch, hidden) for _ in range(states)]
        if kind == "LSTM":
            weights[7] = normal(ways, 3 * hidden)
    more = {"linear_before_reset": 1} if kind == "GRU" and full else {}
    check(kind, inputs, weights, 1 + states, direction=direction, hidden_size=hidden, **more)


def test_recurrent_activations() -> None:
    inputs = [normal(4, 2, 3)]
    weights = {1: normal(1, 9, 3), 2: normal(1, 9, 3)}
    names = ["HardSigmoid", "LeakyRelu"]
    check("GRU", inputs, weights, 2, hidden_size=3, activations=names,
          activation_alpha=[0.3, 0.1], activation_beta=[0.4], clip=0.7)  # fmt: skip
    weights = {1: normal(1, 3, 3), 2: normal(1, 3, 3)}
    check("RNN", inputs, weights, 2, hidden_size=3, activations=["Affine"],
          activation_alpha=[0.3], activation_beta=[0.2])  # fmt: skip


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("groups", "strides", "dilations"), [(1, (2, 1), (1, 2)), (3, (3, 2), (1, 1))]
)
def test_conv(auto_pad: str, groups: int, strides: Any, dilations: Any) -> None:
    x, w = normal(7, 3, 11, 9), normal(6, 3 // groups, 2, 3)
    pads = {"pads": (0, 1, 2, 1)} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
    if auto_pad.startswith("SAME"):
        dilations = (1, 1)  # ONNX Runtime's padding ignores them
    more: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups, **pads}
    check("Conv", [x], {1: w, 2: normal(6)}, **more)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(auto_pad: str, groups: int) -> None:
    x, w = normal(1, 4, 5, 7), normal(4, 3, 3, 2)
    pads: dict[str, Any] = {"pads": (0, 1, 1, 0), "output_padding": (1, 0)}
    more = pads if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
    check("ConvTranspose", [x], {1: w, 2: normal(3 * groups)}, strides=(2, 2), group=groups, **more)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "NOTSET"])
def test_conv_transpose_to_a_shape(auto_pad: str) -> None:
    x, w = normal(1, 4, 5, 7), normal(4, 3, 3, 3)
    check("ConvTranspose", [x], {1: w}, strides=(2, 2), output_shape=(10, 14), auto_pad=auto_pad)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_pools(ceil: int, pads: Any) -> None:
    x = normal(2, 5, 10, 7)
    more = {"kernel_shape": (3, 2), "strides": (2, 3), "pads": pads, "ceil_mode": ceil}
    check("MaxPool", [x], None, 2, **more)
    check("AveragePool", [x], opset=19, **more)
    check("AveragePool", [x], opset=19, count_include_pad=1, **more)
    check("MaxPool", [x], dilations=(2, 1), **more)
    del more["ceil_mode"]
    check("LpPool", [x], p=3, **more)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(7, 3, 5), (1, 17, 4, 3), (2, 3, 2, 3, 4)])
def test_global_pools(kind: str, shape: Any) -> None:
    check(kind, [normal(*shape)])


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, -2])
def test_softmax(kind: str, opset: int, axis: int | None) -> None:
    more = {} if axis is None else {"axis": axis}
    check(kind, [normal(2, 3, 5, 7)], opset=opset, **more)


def test_products() -> None:
    for a, b in (((4,), (4,)), ((3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2))):
        check("MatMul", [normal(*a), normal(*b)])
    check(
        "Gemm", [normal(5, 3), normal(7, 5), normal(3, 1)], transA=1, transB=1, alpha=0.5, beta=2.0
    )
    check("Gemm", [normal(3, 5), normal(5, 7)], alpha=0.5)
    a = RNG.integers(0, 255, (3, 5)).astype(np.uint8)
    b = RNG.integers(-127, 127, (5, 4)).astype(np.int8)
    points = {2: np.uint8(7), 3: RNG.integers(-9, 9, 4).astype(np.int8)}
    check("MatMulInteger", [a, b], points)


def test_norms() -> None:
    x = normal(2, 6, 5, 3)
    stats = {1: normal(6), 2: normal(6), 3: normal(6), 4: np.abs(normal(6))}
    check("BatchNormalization", [x], stats, epsilon=1e-3)
    check("InstanceNormalization", [x], {1: normal(6), 2: normal(6)})
    check("LayerNormalization", [x], {1: normal(5, 3), 2: normal(5, 3)}, 3, axis=2)
    check("LayerNormalization", [x], {1: normal(3)})
    check("LRN", [x], size=3, alpha=0.2)
    check("LpNormalization", [x], axis=1, p=1)
    check("MeanVarianceNormalization", [x], tolerance=1e-4)


def test_quantised() -> None:
    """Weights of seven bits: ONNX Runtime adds pairs of products in 16 where there is no VNNI."""
    x = RNG.integers(0, 255, (1, 3, 7, 5)).astype(np.uint8)
    w = RNG.integers(-64, 64, (4, 3, 3, 3)).astype(np.int8)
    f = np.float32
    scales = {1: f(0.02), 2: np.uint8(120), 4: np.abs(normal(4)) / 50 + f(0.001),
              5: np.zeros(4, np.int8), 6: f(0.3), 7: np.uint8(100),
              8: RNG.integers(-99, 99, 4).astype(np.int32)}  # fmt: skip
    check("QLinearConv", [x], {3: w, **scales}, pads=(1, 1, 1, 1), strides=(2, 1))
    check("ConvInteger", [x], {1: w.astype(np.uint8), 2: np.uint8(120)}, pads=(1, 0, 1, 2))
    y = normal(3, 5) * 4
    check("DynamicQuantizeLinear", [y], None, 3)
    check("QuantizeLinear", [y], {1: f(0.05), 2: np.int8(3)})
    check("QuantizeLinear", [y], {1: np.abs(normal(5)), 2: np.zeros(5, np.uint8)}, axis=1)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
def test_resize(mode: str, coordinates: str) -> None:
    x = normal(1, 3, 7, 5)
    more = {"mode": mode, "coordinate_transformation_mode": coordinates}
    whole, broken = [(1, 1, 2, 3)], [(1, 1, 0.6, 1.7), (1, 1, 0.3, 0.5)]
    # Corners are aligned with the unrounded size in ONNX's tests, the rounded in ONNX Runtime.
    for scales in whole if coordinates == "align_corners" else whole + broken:
        check("Resize", [x], {2: np.array(scales, np.float32)}, tolerance=1e-4, **more)
    check("Resize", [x], {3: np.array((1, 3, 9, 4), np.int64)}, tolerance=1e-4, **more)


@pytest.mark.parametrize(
    ("mode", "how"), [("linear", "antialias"), ("cubic", "antialias"), ("cubic", "exclude_outside")]
)
def test_resize_by_tables(mode: str, how: str) -> None:
    """Weights that depend on the place have no formula, and no step in NumPy."""
    x = normal(2, 3, 17, 11)
    for sizes in ((2, 3, 5, 7), (2, 3, 25, 4)):
        more = {"mode": mode, how: 1}
        check("Resize", [x], {3: np.array(sizes, np.int64)}, 1, 18, 1e-4, **more)
        node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], **more)
        given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
        made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)]
        held = [numpy_helper.from_array(np.array(sizes, np.int64), "s")]
        model = helper.make_model(helper.make_graph([node], "g", given, made, held))
        assert all(node.op.has_body for node in read(model).nodes)


def test_upsample() -> None:
    scales = {1: np.array((1, 1, 2, 3), np.float32)}
    check("Upsample", [normal(1, 3, 4, 5)], scales, opset=9)
    check("Upsample", [normal(1, 3, 4, 5)], scales, opset=9, mode="linear")
    check("Resize", [normal(1, 3, 4, 5)], scales, opset=10, mode="linear")


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
        ("ij,kj,lk->il", ((2, 3), (4, 3), (5, 4))),
        ("...ij,...j->...i", ((2, 3, 4), (2, 4))),
        ("bhqd,bkhd->bhqk", ((1, 2, 3, 4), (1, 5, 2, 4))),
        ("ii->i", ((4, 4),)),
        ("ij,ij", ((3, 4), (3, 4))),
        ("ba,c", ((2, 3), (4,))),
    ],
)
def test_einsum(equation: str, shapes: Any) -> None:
    check("Einsum", [normal(*shape) for shape in shapes], equation=equation)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample(mode: str, padding: str, align: int) -> None:
    x, grid = normal(2, 3, 5, 7), normal(2, 4, 3, 2)
    more = {"mode": mode, "padding_mode": padding, "align_corners": align}
    check("GridSample", [x, grid], opset=16, tolerance=1e-4, **more)


def test_pixels_and_channels() -> None:
    x = normal(1, 12, 3, 5)
    check("DepthToSpace", [x], blocksize=2, mode="DCR")
    check("DepthToSpace", [x], blocksize=2, mode="CRD")
    check("SpaceToDepth", [normal(2, 3, 4, 6)], blocksize=2)
