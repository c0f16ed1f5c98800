"""Floats of eight bits and fewer, as machine code: every code read, and floats of all sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.codegen.minifloat import SMALL
from planck.dtypes import DType, f32
from planck.ops.convert import convert
from planck.ops.pointwise import Cast
from planck.target import Target
from tests.loops.running import TARGETS, Maker, run

TYPES = sorted(SMALL, key=str)


def cast(array: Any, to: DType, target: Target, saturate: bool = True) -> Any:
    m = Maker(x=array)
    (got,) = run(m.graph(m(Cast(to, saturate), m["x"])), m.arrays, target)
    return got


def codes(dtype: DType) -> Any:
    """All numbers of a dtype."""
    return np.arange(1 << dtype.bits, dtype=np.uint8).view(dtype.numpy)


def samples(dtype: DType) -> Any:
    """Floats of all sizes, and those beside and between a dtype's numbers."""
    rng = np.random.default_rng(dtype.bits)
    bits = rng.integers(0, 1 << 32, 3000, dtype=np.uint32).view(np.float32)
    near = (rng.standard_normal(3000) * 2.0 ** rng.integers(-20, 20, 3000)).astype(np.float32)
    own = codes(dtype).astype(np.float32)
    own = np.sort(own[np.isfinite(own)])
    half = (own[1:] / 2 + own[:-1] / 2).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45], np.float32)
    ties = [half, np.nextafter(half, 0), half * 1.0001]
    x = np.concatenate([special, bits, near, own, *ties, half[-1:] * 2, half[-1:] * 1.5])
    return x[~np.isnan(x)] if dtype is dtypes.f4e2m1 else x  # it has none


def same(got: Any, want: Any) -> None:
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_code_reads_as_its_value(dtype: DType, target: Target) -> None:
    same(cast(codes(dtype), f32, target), codes(dtype).astype(np.float32))


@pytest.mark.parametrize("saturate", [True, False])
@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_floats_round_as_in_numpy(dtype: DType, target: Target, saturate: bool) -> None:
    x = samples(dtype)
    same(cast(x, dtype, target, saturate), convert(x, dtype, saturate))
