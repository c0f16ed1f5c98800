"""Conversion between dtypes, as ONNX Cast defines it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from planck import dtypes
from planck.dtypes import Array, DType, from_numpy

# The largest finite value of each float8.
LARGEST: Final = {dtypes.f8e4m3: 448.0, dtypes.f8e5m2: 57344.0}


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
            return _to_float8(array, to, saturate)
        if to.bits == 4:
            return _to_nibble(array, to)
        if given.is_float and to.is_integer:
            wide = array if given.bits >= 32 else array.astype(np.float32)
            return _truncate(wide, to)
        if given.bits in (4, 8) and given.is_float and to.is_float:
            return array.astype(np.float32).astype(to.numpy)
        return array.astype(to.numpy)


def _truncate(array: Array, to: DType) -> Array:
    """Floats toward zero; what is out of an integer's range is undefined, here it wraps."""
    if to.kind == "u" and to.bits == 64:
        return np.where(
            array < 0, array.astype(np.int64).astype(np.uint64), array.astype(np.uint64)
        )
    return array.astype(np.int64).astype(to.numpy)


def _to_nibble(array: Array, to: DType) -> Array:
    """The low four bits of the integer: int4 and uint4 wrap like all integers."""
    whole = array.astype(np.float32) if from_numpy(array.dtype).is_float else array
    bits = whole.astype(np.int64) & 15
    return np.where((bits > 7) & (to.kind == "i"), bits - 16, bits).astype(to.numpy)


def _to_float8(array: Array, to: DType, saturate: bool) -> Array:
    wide = array.astype(np.float32)
    rounded = wide.astype(to.numpy)
    if not saturate:
        return rounded
    largest = LARGEST[to]
    over = np.isinf(rounded.astype(np.float32)) | (np.isnan(rounded.astype(np.float32)))
    over &= ~np.isnan(wide)
    return np.where(over, np.copysign(np.float32(largest), wide), wide).astype(to.numpy)


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
