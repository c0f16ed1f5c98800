"""Rounding to 24 bits against the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.codegen.float24 import narrow

LARGEST = float(np.finfo(np.float32).max)


def widened(array: Any) -> Any:
    """What the three bytes mean, as float32."""
    bits = np.zeros((*array.shape[:-1], 4), np.uint8)
    bits[..., 1:] = array
    return bits.view("<f4")[..., 0]


def nearest(array: Any) -> Any:
    """To 16 bits of significand, ties to even; of normal numbers that stay finite."""
    fraction, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, 16)), exponent - 16)


def test_rounds_to_nearest_even() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0x00800000, 0x7F000000, 100_000, np.uint32)
    bits[:5000] = bits[:5000] & 0xFFFFFF00 | 0x80  # ties
    array = bits.view(np.float32) * random.choice([-1, 1], bits.size).astype(np.float32)
    got = widened(narrow(array))
    np.testing.assert_array_equal(got, nearest(array))
    assert (np.abs(got.astype(np.float64) - array) <= 2.0**-16 * np.abs(array)).all()


def test_denormals_err_by_half_a_unit() -> None:
    bits = np.random.default_rng(0).integers(0, 0x00800000, 10_000, np.uint32)
    got = widened(narrow(bits.view(np.float32))).view(np.uint32)
    assert (np.abs(got.astype(np.int64) - bits) <= 0x80).all()


@pytest.mark.parametrize("number", [0.0, -0.0, np.inf, -np.inf, 1.0, -2.5])
def test_keeps_what_24_bits_hold(number: float) -> None:
    array = np.array([number], np.float32)
    assert widened(narrow(array)).tobytes() == array.tobytes()


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFF8000FF, 0x7FC00000])
def test_keeps_nan(bits: int) -> None:
    array = np.array([bits], np.uint32).view(np.float32)
    assert np.isnan(widened(narrow(array))).all()


@pytest.mark.parametrize("number", [LARGEST, -LARGEST])
def test_the_largest_numbers_stay_finite(number: float) -> None:
    got = float(widened(narrow(np.array([number], np.float32)))[0])
    assert np.isfinite(got)
    assert abs(got / number - 1) < 2.0**-15
