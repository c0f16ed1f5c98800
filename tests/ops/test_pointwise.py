"""Elementwise functions and casts: against NumPy in float64, ONNX Runtime's rules, and bodies."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from planck import dtypes
from planck.dtypes import BY_NAME, DTYPES
from planck.errors import DTypeError, ShapeError
from planck.ir.types import TensorType
from planck.ops.convert import convert
from planck.ops.pointwise import FUNCTIONS, BitCast, Cast, Pointwise
from tests.ops.bodies import by_body, type_of

RNG = np.random.default_rng(7)
PARAMETERS = {"elu": (0.7,), "selu": (1.6, 1.1), "celu": (0.8,), "hard_sigmoid": (0.2, 0.5)}
PARAMETERS |= {"leaky_relu": (0.1,), "thresholded_relu": (0.3,), "shrink": (0.5, 0.2)}
PARAMETERS |= {"swish": (1.3,)}
MATH = {"erf": math.erf, "asin": math.asin, "tan": math.tan, "floor": math.floor, "exp": math.exp}


def sample(dtype: dtypes.DType, shape: tuple[int, ...], fn: str = "") -> np.ndarray:
    if dtype is dtypes.bool_:
        return RNG.random(shape) > 0.5
    if dtype.is_float:
        low, high = (0.05, 0.95) if fn in ("log", "asin", "acos", "atanh", "pow") else (-3, 3)
        if fn == "acosh":
            low, high = 1.05, 4
        return RNG.uniform(low, high, shape).astype(dtype.numpy)
    if fn.startswith("shift") or fn in ("mod", "fmod", "div", "floordiv", "pow"):
        return RNG.integers(1, 7, shape).astype(dtype.numpy)
    return RNG.integers(-8 if dtype.kind == "i" else 0, 8, shape).astype(dtype.numpy)


def operands(fn: str, dtype: dtypes.DType) -> list[np.ndarray]:
    if fn == "select":
        condition = RNG.random((5, 1)) > 0.5
        return [condition, sample(dtype, (3, 5, 7)), sample(dtype, (7,))]
    if fn in PARAMETERS:
        scalars = [np.array(p).astype(dtype.numpy) for p in PARAMETERS[fn]]
        return [sample(dtype, (3, 5), fn), *scalars]
    shapes = [(3, 1, 5), (2, 5)][: FUNCTIONS[fn].arity]
    return [sample(dtype, shape, fn) for shape in shapes]


CASES = [
    (fn, dtype)
    for fn, function in FUNCTIONS.items()
    for dtype in DTYPES
    if dtype.kind in function.kinds and dtype.kind not in "sc" and dtype.bits >= 8
    if dtype is not dtypes.f8e8m0  # powers of two alone, without zero: a format of scales
]


@pytest.mark.parametrize(("fn", "dtype"), CASES, ids=lambda p: str(p))
def test_reference_fits_infer_and_body(fn: str, dtype: dtypes.DType) -> None:
    arrays = operands(fn, dtype)
    (made,) = Pointwise(fn).infer(*map(type_of, arrays))
    (found,) = Pointwise(fn).reference(*arrays)
    assert type_of(found) == made
    by_its_body = by_body(Pointwise(fn), *arrays)
    wide = np.complex128 if dtype.kind == "c" else np.float64
    np.testing.assert_array_equal(by_its_body.astype(wide), found.astype(wide))


@pytest.mark.parametrize("fn", sorted(MATH))
def test_functions_of_python(fn: str) -> None:
    x = sample(dtypes.f64, (17,), fn)
    (found,) = Pointwise(fn).reference(x)
    np.testing.assert_allclose(found, [MATH[fn](value) for value in x], rtol=1e-15)


def test_activations_by_their_formulas() -> None:
    x = np.linspace(-6, 6, 25)
    sigmoid = 1 / (1 + np.exp(-x))
    soft = np.log1p(np.exp(x))
    wanted = {
        "sigmoid": sigmoid,
        "silu": x * sigmoid,
        "softplus": soft,
        "mish": x * np.tanh(soft),
        "hard_swish": x * np.clip(x / 6 + 0.5, 0, 1),
        "gelu": [value / 2 * (1 + math.erf(value / 2**0.5)) for value in x],
        "softsign": x / (1 + abs(x)),
    }
    for fn, expected in wanted.items():
        np.testing.assert_allclose(Pointwise(fn).reference(x)[0], expected, rtol=1e-12)


def test_large_arguments_stay_finite() -> None:
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    for fn in ("sigmoid", "silu", "softplus", "mish", "gelu", "tanh", "gelu_tanh"):
        assert np.isfinite(Pointwise(fn).reference(x)[0]).all(), fn


def test_integers_divide_toward_zero_and_wrap() -> None:
    a, b = np.array([-7, 7, -7, 7], np.int32), np.array([2, -2, -2, 2], np.int32)
    assert Pointwise("div").reference(a, b)[0].tolist() == [-3, -3, 3, 3]
    assert Pointwise("mod").reference(a, b)[0].tolist() == [1, -1, -1, 1]
    assert Pointwise("fmod").reference(a, b)[0].tolist() == [-1, 1, -1, 1]
    big = np.array([200], np.uint8)
    assert Pointwise("add").reference(big, big)[0].tolist() == [144]
    powers = Pointwise("pow").reference(np.array([2, 1, -1]), np.array([-1, -3, -3]))[0]
    assert powers.tolist() == [0, 1, -1]


def test_shifts_past_the_width() -> None:
    x, by = np.array([-5, 5, -5], np.int8), np.array([9, 9, -1], np.int8)
    assert Pointwise("shift_right").reference(x, by)[0].tolist() == [-1, 0, -1]
    assert Pointwise("shift_left").reference(x, by)[0].tolist() == [0, 0, 0]


def test_refusals_say_what_does_not_fit() -> None:
    f, i = TensorType((2, 3), dtypes.f32), TensorType((2, 4), dtypes.i32)
    with pytest.raises(DTypeError, match="one dtype"):
        Pointwise("add").infer(f, i)
    with pytest.raises(ShapeError, match="broadcast"):
        Pointwise("add").infer(i, TensorType((3,), dtypes.i32))
    with pytest.raises(DTypeError, match="does not take"):
        Pointwise("exp").infer(i)
    with pytest.raises(DTypeError, match="no elementwise function"):
        Pointwise("frobnicate").infer(f)
    with pytest.raises(ShapeError, match="takes 2 inputs"):
        Pointwise("mul").infer(f)
    with pytest.raises(DTypeError, match="condition"):
        Pointwise("select").infer(f, f, f)


PLAIN = [d for d in DTYPES if d.kind in "fiub" and d.bits >= 8 and d is not dtypes.f8e8m0]


@pytest.mark.parametrize("to", PLAIN, ids=str)
@pytest.mark.parametrize("source", PLAIN, ids=str)
def test_casts_keep_small_whole_numbers(source: dtypes.DType, to: dtypes.DType) -> None:
    x = np.array([0, 1, 2, 7]).astype(source.numpy)
    (found,) = Cast(to).reference(x)
    assert found.dtype == to.numpy
    wanted = [0, 1, 1, 1] if dtypes.bool_ in (source, to) else [0, 1, 2, 7]
    assert found.astype(np.float64).tolist() == wanted
    np.testing.assert_array_equal(by_body(Cast(to), x), found)


def test_casts_truncate_wrap_and_saturate() -> None:
    x = np.array([-2.7, 2.7, 300.0], np.float32)
    assert convert(x, dtypes.i32).tolist() == [-2, 2, 300]
    assert convert(np.array([300, -1]), dtypes.u8).tolist() == [44, 255]
    assert convert(np.array([9, -9]), dtypes.i4).astype(int).tolist() == [-7, 7]
    assert convert(np.array([17, -1]), dtypes.u4).astype(int).tolist() == [1, 15]
    huge = np.array([1e6, -1e6, np.inf, np.nan], np.float32)
    eight = convert(huge, dtypes.f8e4m3).astype(np.float32)
    assert eight[:3].tolist() == [448, -448, 448]
    assert np.isnan(eight[3])
    assert np.isnan(convert(huge, dtypes.f8e4m3, saturate=False).astype(np.float32)).all()
    assert np.isinf(convert(huge, dtypes.f8e5m2, saturate=False).astype(np.float32)[:3]).all()


def test_casts_to_powers_of_two_round_up() -> None:
    x = np.array([0, 1, 1.01, 3, 4, np.nan, 1e39], np.float64)
    found = convert(x, dtypes.f8e8m0).astype(np.float64)
    np.testing.assert_array_equal(found, [2.0**-127, 1, 2, 4, 4, np.nan, 2.0**127])


def test_casts_of_text() -> None:
    words = np.array(["1.5", "-2", "NaN"], object)
    assert convert(words[:2], dtypes.f32).tolist() == [1.5, -2]
    assert np.isnan(convert(words[2:], dtypes.bf16).astype(np.float32))[0]
    numbers = np.array([0.25, np.inf, -np.inf], ml_dtypes.bfloat16)
    assert convert(numbers, dtypes.string).tolist() == ["0.25", "INF", "-INF"]
    assert convert(np.array([3, -4]), dtypes.string).tolist() == ["3", "-4"]


def test_bits_read_as_another_dtype() -> None:
    x = np.array([1.0, -2.0], np.float32)
    assert BitCast(dtypes.i32).reference(x)[0].tolist() == [0x3F800000, -0x40000000]
    with pytest.raises(DTypeError, match="BitCast"):
        BitCast(BY_NAME["i64"]).infer(type_of(x))
