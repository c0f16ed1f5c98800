"""Elementwise nodes against ONNX Runtime, over opsets and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from planck.errors import PlanckError
from planck.frontends.onnx import read
from tests.frontends.onnx.against import model, one

RNG = np.random.default_rng(1)


def floats(*shape: int, low: float = -2, high: float = 2) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


UNARY = (
    "Abs", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Neg", "Reciprocal", "Round", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh", "Relu", "HardSwish", "Mish",
    "Identity",
)  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    one(op, floats(3, 5))


@pytest.mark.parametrize("op", ["Acos", "Asin", "Atan", "Atanh", "Asinh", "Log", "Sqrt"])
def test_unary_of_the_unit_range(op: str) -> None:
    one(op, floats(3, 5, low=0.05, high=0.95))


@pytest.mark.parametrize("opset", [7, 13, 21])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Less", "Greater"])
def test_binary_broadcasts(op: str, opset: int) -> None:
    low = 0.1 if op == "Pow" else -2
    one(op, floats(2, 3, 5, low=low), floats(3, 1), opset=opset)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_binary_of_integers(op: str, dtype: type) -> None:
    a, b = RNG.integers(-9, 9, (4, 5)), RNG.integers(1, 5, 5)
    one(op, a.astype(dtype), b.astype(dtype))


@pytest.mark.parametrize("op", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(op: str) -> None:
    one(op, RNG.integers(0, 99, (4, 5)).astype(np.int32), RNG.integers(0, 99, 5).astype(np.int32))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(direction: str) -> None:
    a = RNG.integers(0, 255, (4, 5)).astype(np.uint8)
    one("BitShift", a, np.arange(5, dtype=np.uint8), direction=direction)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    one(op, RNG.random((4, 5)) > 0.5, RNG.random(5) > 0.5)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("LeakyRelu", {}),
        ("Elu", {"alpha": 0.7}),
        ("Selu", {}),
        ("Celu", {"alpha": 1.7}),
        ("HardSigmoid", {"alpha": 0.3}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("Shrink", {"lambd": 0.6, "bias": 0.1}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
    ],
    ids=str,
)
def test_activations(op: str, attributes: dict[str, float]) -> None:
    one(op, floats(3, 5), **attributes)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic(op: str, count: int) -> None:
    one(op, *(floats(3, 5) for _ in range(count)), opset=13)


@pytest.mark.parametrize(
    ("base", "exponent"), [("f4", "i4"), ("f4", "f8"), ("i4", "f4"), ("i4", "i8"), ("f8", "i8")]
)
def test_powers_of_mixed_dtypes(base: str, exponent: str) -> None:
    one("Pow", np.array([1, 2, 3, 4]).astype(base), np.array([0, 1, 2, 3]).astype(exponent))


def test_floats_modulo() -> None:
    one("Mod", floats(3, 5), floats(5, low=0.5), fmod=1)


@pytest.mark.parametrize("given", [(None, None), (-1, None), (None, 1), (-1, 1)], ids=str)
def test_clip(given: tuple[float | None, float | None]) -> None:
    bounds = {k: None if n is None else np.float32(n) for k, n in enumerate(given, 1)}
    while bounds and bounds[max(bounds)] is None:
        bounds.pop(max(bounds))
    one("Clip", floats(3, 5), constants=bounds)
    names = {n: float(v) for n, v in zip(("min", "max"), given, strict=True) if v is not None}
    one("Clip", floats(3, 5), opset=7, **names)


@pytest.mark.parametrize(("negative", "positive"), [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_is_inf(negative: int, positive: int) -> None:
    x = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    one("IsInf", x, detect_negative=negative, detect_positive=positive)


def test_where_broadcasts() -> None:
    one("Where", RNG.random((3, 1)) > 0.5, floats(2, 1, 5), floats(5))


CODES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}
CODES |= {10: np.float16, 11: np.float64}


@pytest.mark.parametrize("to", sorted(CODES))
@pytest.mark.parametrize("source", sorted(CODES))
def test_casts(source: int, to: int) -> None:
    x = np.array([0, 1, 2.75, 99]).astype(CODES[source])
    one("Cast", x, to=to)
    one("CastLike", x, np.zeros(1, CODES[to]))


@pytest.mark.parametrize(
    ("op", "attributes"), [("BitShift", {"direction": "UP"}), ("Gelu", {"approximate": "sin"})]
)
def test_wrong_attributes_are_refused(op: str, attributes: dict[str, str]) -> None:
    x = np.ones(3, np.uint8 if op == "BitShift" else np.float32)
    names = ["x", "x"][: 2 if op == "BitShift" else 1]
    node = helper.make_node(op, names, ["y"], **attributes)
    with pytest.raises(PlanckError):
        read(model([node], {"x": x}, ["y"], 20))
