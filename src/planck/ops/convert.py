"""Conversion between dtypes, as ONNX Cast defines it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from planck import dtypes
from planck.dtypes import Array, DType, from_numpy

# The largest finite value of each float that saturates.
LARGEST: Final = {
    dtypes.f8e4m3: 448.0,
    dtypes.f8e5m2: 57344.0,
    dtypes.f8e4m3fnuz: 240.0,
    dtypes.f8e5m2fnuz: 57344.0,
    dtypes.f4e2m1: 6.0,
}


def convert(array: Array, to: DType, saturate: bool = True) -> Array:
    """The array in another dtype.

    saturate:  float8 only: what is out of range becomes the largest finite value, NaN stays
    source:    ONNX operator Cast, its table of special values
    """
    given = from_numpy(array.dtype)
    if given is to:
        return array
    with np.errstate(all="ignore"):
        if given is dtypes.string:
            return _from_text(array, to)
        if to is dtypes.string:
            return _to_text(array)
        if to in LARGEST:
            return _saturated(array, to, saturate)
        if to is dtypes.f8e8m0:
            return _to_power(array)
        if to.is_integer and to.bits < 8:
            return _to_bits(array, to)
        if given.is_float and to.is_integer:
            wide = array if given.bits >= 32 else array.astype(np.float32)
            return _truncate(wide, to)
        if given.is_float and given.bits <= 8:
            return array.astype(np.float32).astype(to.numpy)
        return array.astype(to.numpy)


def _truncate(array: Array, to: DType) -> Array:
    """Floats toward zero; what is out of an integer's range is undefined, here it wraps."""
    if to.kind == "u" and to.bits == 64:
        return np.where(
            array < 0, array.astype(np.int64).astype(np.uint64), array.astype(np.uint64)
        )
    return array.astype(np.int64).astype(to.numpy)


def _to_bits(array: Array, to: DType) -> Array:
    """The low bits of the integer: narrow integers wrap like all integers."""
    whole = array.astype(np.float32) if from_numpy(array.dtype).is_float else array
    bits = whole.astype(np.int64) & ((1 << to.bits) - 1)
    half = 1 << (to.bits - 1)
    return np.where((bits >= half) & (to.kind == "i"), bits - 2 * half, bits).astype(to.numpy)


def _saturated(array: Array, to: DType, saturate: bool) -> Array:
    wide = array.astype(np.float32)
    rounded = wide.astype(to.numpy)
    if not saturate:
        return rounded
    over = ~np.isfinite(rounded.astype(np.float32)) & ~np.isnan(wide)
    return np.where(over, np.copysign(np.float32(LARGEST[to]), wide), wide).astype(to.numpy)


def _to_power(array: Array) -> Array:
    """The next power of two up: 8 bits of exponent, neither sign nor zero, but NaN."""
    mantissa, exponent = np.frexp(np.abs(array.astype(np.float64)))
    power = np.where(mantissa == 0, -127, np.clip(exponent - (mantissa == 0.5), -127, 127))
    power = np.where(np.isinf(mantissa), 127, power)
    return np.where(np.isnan(mantissa), np.nan, np.ldexp(1.0, power)).astype(dtypes.f8e8m0.numpy)


def _from_text(array: Array, to: DType) -> Array:
    if to is dtypes.bool_:
        values: Any = [str(text).lower() not in ("", "0", "false") for text in array.flat]
        return np.array(values, np.bool_).reshape(array.shape)
    if to.is_integer:
        return np.array([int(text) for text in array.flat], to.numpy).reshape(array.shape)
    floats = np.array([float(text) for text in array.flat], np.float64).reshape(array.shape)
    return floats.astype(to.numpy)


def _to_text(array: Array) -> Array:
    """Numbers as ONNX writes them: up to nine digits, "NaN", "INF", "-INF"."""
    special = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}
    result = np.empty(array.shape, object)
    for k, value in enumerate(array.flat):
        text = f"{float(value):.9g}" if from_numpy(array.dtype).is_float else str(value)
        result.flat[k] = special.get(text, text)
    return result
