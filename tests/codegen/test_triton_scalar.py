"""Pointwise functions for results of 16 bits, which NumPy runs here in Triton's place."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planck.codegen.triton.scalar import Functions
from planck.dtypes import f32

EXACT = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2)),
}


def short(fn: str, x: Any) -> Any:
    functions = Functions()
    call = functions.call(fn, ["x"], f32, short=True)
    tl = SimpleNamespace(
        abs=np.abs, exp=np.exp, exp2=np.exp2, where=np.where, minimum=np.fmin,
        maximum=lambda a, b, propagate_nan: np.maximum(a, b),
        PropagateNan=SimpleNamespace(ALL=None),
    )  # fmt: skip
    libdevice = SimpleNamespace(fast_dividef=lambda a, b: np.divide(a, b, dtype=np.float32))
    names: dict[str, Any] = {
        "tl": tl, "libdevice": libdevice, "triton": SimpleNamespace(jit=lambda f: f), "x": x,
    }  # fmt: skip
    exec(functions.text, names)
    with np.errstate(over="ignore"):
        return eval(call, names)


@pytest.mark.parametrize("fn", EXACT)
def test_what_is_rounded_to_16_bits_is_exact_enough(fn: str) -> None:
    """A third of half a unit in float16's last place, or its smallest number."""
    x = np.concatenate([np.linspace(-12, 12, 40001), [-60, -1e-6, 0, 1e-6, 60]]).astype(np.float32)
    want = EXACT[fn](x.astype(np.float64))
    got = short(fn, x)
    assert got.dtype == np.float32
    share = 9e-5 if fn == "gelu" else 2e-5
    assert np.all(np.abs(got - want) < share * np.abs(want) + 6e-8 * np.maximum(np.abs(x), 1))


def test_the_largest_numbers_stay_finite() -> None:
    x = np.array([-3e38, 3e38], np.float32)
    for fn, want in (("sigmoid", [0, 1]), ("silu", [0, 3e38]), ("gelu", [0, 3e38])):
        np.testing.assert_allclose(short(fn, x), np.float32(want), atol=1e-20)


def test_gelu_of_every_float16() -> None:
    """Within a fifth of a unit in the last place; rounded, it is the nearest number, or sometimes
    that one's neighbour."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    want = EXACT["gelu"](x.astype(np.float64))
    got = short("gelu", x.astype(np.float32))
    nearest = want.astype(np.float16)
    unit = 2.0 ** (np.maximum(np.frexp(want)[1], -13) - 11)
    assert np.all(np.abs(got - want) < 0.18 * unit)
    assert np.mean(got.astype(np.float16) != nearest) < 0.05


def test_gelu_of_no_number() -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    got = short("gelu", x).astype(np.float16)
    np.testing.assert_array_equal(got, np.array([np.nan, np.inf, 0], np.float16))
