"""Pointwise functions in machine code against float64 NumPy, on every x86 ISA and lane count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import Builder, function
from planck.codegen.scalar import emit
from planck.target import Target, host
from tests.codegen.native import Native

ISAS = {"portable": ("portable",), "avx2": ("portable", "avx2")}
ISAS["avx512"] = (*ISAS["avx2"], "avx512")
TARGETS = [Target(isa) for isa in ISAS.get(host().isa, ())]
NUMPY = {"float": np.float32, "double": np.float64, "i32": np.int32, "i64": np.int64, "i8": np.int8}

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# name: (reference, low, high, ulps for float, relative error for double)
UNARY: dict[str, tuple[Any, float, float, float, float]] = {
    "exp": (np.exp, -103, 88.7, 1.5, 4e-16),
    "log": (np.log, 1e-45, 3e38, 1.5, 4e-16),
    "tanh": (np.tanh, -12, 12, 3, 2e-15),
    "erf": (erf, -5, 5, 3, 2e-15),
    "sigmoid": (sigmoid, -80, 80, 3, 2e-15),
    "silu": (lambda x: x * sigmoid(x), -80, 80, 3, 2e-15),
    "softplus": (lambda x: np.logaddexp(0, x), -80, 80, 3, 2e-15),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), -80, 80, 4, 4e-15),
    "sin": (np.sin, -1000, 1000, 1, 1e-12),
    "cos": (np.cos, -1000, 1000, 1, 1e-12),
    "tan": (np.tan, -1.5, 1.5, 1, 2e-15),
    "asin": (np.arcsin, -1, 1, 1, 2e-15),
    "acos": (np.arccos, -1, 0.99, 1, 4e-15),
    "atan": (np.arctan, -20, 20, 1, 2e-15),
    "sinh": (np.sinh, -80, 80, 1, 4e-15),
    "cosh": (np.cosh, -80, 80, 1, 4e-15),
    "asinh": (np.arcsinh, -1e6, 1e6, 1, 4e-15),
    "acosh": (np.arccosh, 1, 1e6, 1, 4e-15),
    "atanh": (np.arctanh, -0.999, 0.999, 1, 4e-15),
    "sqrt": (np.sqrt, 0, 1e9, 0.51, 3e-16),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1e-9, 1e9, 1.5, 5e-16),
    "round": (np.rint, -9.5, 9.5, 0, 0),
    "floor": (np.floor, -9.5, 9.5, 0, 0),
    "ceil": (np.ceil, -9.5, 9.5, 0, 0),
}  # fmt: skip


def run(target: Target, fn: str, kind: str, *arrays: Any, unsigned: bool = False) -> Any:
    """Apply a function of one LLVM type to arrays of the vector's length, many times."""
    count = int(kind[1:].split(" x ")[0]) if kind.startswith("<") else 1
    scalar = kind[1:-1].split(" x ")[1] if count > 1 else kind
    b = Builder()
    result = np.zeros(len(arrays[0]), arrays[0].dtype)
    size = result.itemsize * count
    pointers = [b.load("ptr", b.offset("%args", 8 * k), 8) for k in range(len(arrays) + 1)]
    with b.loop("%begin", "%end") as i:
        at = b.let(f"mul i64 {i}, {size}")
        values = [b.load(kind, b.offset(p, at), 1) for p in pointers[:-1]]
        value = emit(b, fn, values, kind, target, unsigned)
        if fn in ("less", "isnan"):
            mask = f"<{count} x i1>" if count > 1 else "i1"
            to = f"<{count} x i{8 * result.itemsize}>" if count > 1 else f"i{8 * result.itemsize}"
            wide = b.let(f"zext {mask} {value} to {to}")
            b.store(to, wide, b.offset(pointers[-1], at), 1)
        else:
            b.store(kind, value, b.offset(pointers[-1], at), 1)
    b.do("ret void")
    assert scalar in NUMPY
    native = Native(target, function(target, "kernel", b))
    native.call("kernel", [*arrays, result], 0, len(result) // count)
    return result


def samples(low: float, high: float, dtype: Any) -> Any:
    rng = np.random.default_rng(7)
    x = rng.uniform(low, high, 4096)
    x[:1024] *= 10.0 ** rng.uniform(-6, 0, 1024)
    return np.clip(x, low, high).astype(dtype)


def ulps(got: Any, want: Any) -> float:
    spacing = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(got.astype(np.float64) - want) / spacing))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("fn", UNARY)
def test_floats_are_within_their_ulps(target: Target, fn: str) -> None:
    reference, low, high, bound, _ = UNARY[fn]
    x = samples(low, high, np.float32)
    got = run(target, fn, f"<{target.lanes} x float>", x)
    assert ulps(got, reference(x.astype(np.float64))) <= bound


@pytest.mark.parametrize("fn", UNARY)
def test_doubles_are_within_their_error(fn: str) -> None:
    reference, low, high, _, bound = UNARY[fn]
    x = samples(low, high, np.float64)
    want = reference(x.astype(np.longdouble) if fn not in ("erf",) else x)
    got = run(TARGETS[-1], fn, f"<{TARGETS[-1].lanes // 2} x double>", x)
    assert np.max(np.abs(got - want) / np.maximum(np.abs(want), 1e-300)) <= max(bound, 1e-300)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", ["float", "double"])
def test_one_lane_is_as_right_as_many(target: Target, kind: str) -> None:
    for fn in ("exp", "tanh", "erf", "silu", "mish", "cos"):
        reference, low, high, *_ = UNARY[fn]
        x = samples(low, high, NUMPY[kind])[:64]
        np.testing.assert_allclose(
            run(target, fn, kind, x), reference(x.astype(np.float64)), rtol=4e-7, atol=1e-30
        )


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", ["float", "double"])
def test_exp_is_zero_below_its_denormals(target: Target, kind: str) -> None:
    highest, lanes = (-104.0, target.lanes) if kind == "float" else (-745.2, target.lanes // 2)
    far = np.array([-1e4, -1e9, np.finfo(NUMPY[kind]).min, -np.inf])
    x = np.concatenate([highest * np.linspace(1.0, 3.0, 4092), far]).astype(NUMPY[kind])
    assert not run(target, "exp", f"<{lanes} x {kind}>", x).any()


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 88.8, 1e38, -1e38, -104.5, 1e-45]
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", ["float", "double"])
def test_special_values(target: Target, kind: str) -> None:
    x = np.concatenate([SPECIAL, SPECIAL[:4]]).astype(NUMPY[kind])
    lanes = target.lanes if kind == "float" else target.lanes // 2
    plain = {
        "exp": np.exp, "log": np.log, "tanh": np.tanh, "erf": erf, "sigmoid": sigmoid,
        "sinh": np.sinh, "cosh": np.cosh, "sin": np.sin, "atan": np.arctan, "asin": np.arcsin,
        "acosh": np.arccosh, "asinh": np.arcsinh, "atanh": np.arctanh, "round": np.rint,
        "floor": np.floor, "ceil": np.ceil, "sign": np.sign, "relu": lambda v: np.maximum(v, 0),
    }  # fmt: skip
    for fn, reference in plain.items():
        want = reference(x.astype(np.float64)).astype(x.dtype)
        got = run(target, fn, f"<{lanes} x {kind}>", x)
        close = np.isclose(got, want, rtol=3e-7, atol=1.5e-36, equal_nan=True)
        if fn == "sin":
            close |= np.abs(x) > 1e6
        assert close.all(), (fn, x[~close], got[~close], want[~close])
    for fn in ("silu", "mish", "gelu", "gelu_tanh", "softplus"):
        got = run(target, fn, f"<{lanes} x {kind}>", x)
        assert abs(got[3]) < 1e-30, fn  # -inf
        assert got[2] == np.inf, fn
        assert np.isnan(got[4]), fn


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_gelu_is_right_absolutely(target: Target) -> None:
    x = samples(-12, 12, np.float32)
    wide = x.astype(np.float64)
    inner = np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)
    for fn, want in {
        "gelu": wide * (1 + erf(wide / np.sqrt(2))) / 2,
        "gelu_tanh": wide * (1 + np.tanh(inner)) / 2,
    }.items():
        got = run(target, fn, f"<{target.lanes} x float>", x)
        np.testing.assert_allclose(got, want, rtol=4e-7, atol=4e-7)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_powers_and_remainders(target: Target) -> None:
    rng = np.random.default_rng(3)
    specials = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.0, -2.0, 3.0, 0.5, -3.0]
    x, y = (a.ravel().astype(np.float32) for a in np.meshgrid(specials, specials[::-1]))
    more = rng.uniform(-20, 20, (2, 1024)).astype(np.float32)
    x, y = np.concatenate([x, more[0]]), np.concatenate([y, more[1]])
    x, y = x[: len(x) // 16 * 16], y[: len(y) // 16 * 16]
    kind = f"<{target.lanes} x float>"
    for fn, reference in {"pow": np.power, "fmod": np.fmod, "mod": np.mod}.items():
        want = reference(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
        got = run(target, fn, kind, x, y)
        close = np.isclose(got, want, rtol=3e-7, atol=1e-44, equal_nan=True)
        assert close.all(), (fn, x[~close], y[~close], got[~close], want[~close])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kind", ["i8", "i32", "i64"])
def test_integer_division_never_traps(target: Target, kind: str) -> None:
    lowest = int(np.iinfo(NUMPY[kind]).min)
    x, y = (
        a.ravel().astype(NUMPY[kind])
        for a in np.meshgrid([7, -7, lowest, 0, 5, 1, -1, 100], [0, -1, 1, 3, -3, lowest, 7, 100])
    )
    lanes = f"<{target.lanes} x {kind}>"
    nonzero = y != 0
    exact = [int(a) // int(b) if b else 0 for a, b in zip(x, y, strict=True)]
    wrapped = [(q - lowest) % (-2 * lowest) + lowest for q in exact]
    np.testing.assert_array_equal(run(target, "floordiv", lanes, x, y), wrapped)
    for fn, reference in {"mod": np.mod, "fmod": np.fmod}.items():
        want = np.where(nonzero, reference(x, np.where(nonzero, y, 1)), 0)
        np.testing.assert_array_equal(run(target, fn, lanes, x, y), want)
    np.testing.assert_array_equal(
        run(target, "div", "<4 x i32>", *(np.array([v] * 4, np.int32) for v in (-7, 2))), [-3] * 4
    )


def test_comparisons_give_masks_and_unsigned_is_told() -> None:
    x = np.array([-1, 1, 2, 3], np.int32)
    y = np.array([1, 1, 5, 2], np.int32)
    target = TARGETS[0]
    np.testing.assert_array_equal(run(target, "less", "<4 x i32>", x, y), [1, 0, 1, 0])
    np.testing.assert_array_equal(
        run(target, "less", "<4 x i32>", x, y, unsigned=True), [0, 0, 1, 0]
    )
