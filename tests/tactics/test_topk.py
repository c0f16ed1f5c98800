"""The largest k of lines on the CPU against the operator's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.codegen.topk import DTYPES
from planck.dtypes import Array, DType, f8e4m3
from planck.ops.movement import TopK
from planck.refusal import No
from planck.tactics.topk import Largest
from planck.target import Target
from tests.loops.running import Maker, kernel
from tests.loops.test_dtypes import draw
from tests.tactics.conftest import run_kernel

LONG = np.random.default_rng(0)
LINES = np.stack(
    [
        LONG.standard_normal(3001),
        np.arange(3001),
        -np.arange(3001),
        LONG.integers(0, 3, 3001),
        np.zeros(3001),
    ]
).astype(np.float32)


def check(op: TopK, x: Array, target: Target, gaps: Any = None) -> None:
    m = Maker(x=x)
    m(op, m["x"])
    work = kernel(m.graph(*m.nodes[0].outputs), target, gaps=gaps)
    assert Largest().offers(work) == ({},)
    found = run_kernel(work, Largest(), {}, {"x": x})
    for name, want in zip(("t0_0", "t0_1"), op.reference(x), strict=True):
        np.testing.assert_array_equal(found[name].view(_bits(want)), want.view(_bits(want)))


def _bits(array: Array) -> str:
    return f"u{array.dtype.itemsize}"


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types(dtype: DType, largest: bool, target: Target) -> None:
    x = draw(dtype, (3, 37, 2))
    x[:, 5:9] = x[:, 20:24]  # equals
    check(TopK(1, 11, largest), x, target)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_special_numbers(dtype: str, target: Target) -> None:
    x = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, -np.nan, 0, 1e-7] * 9, dtype)
    for largest in (True, False):
        check(TopK(0, 90, largest), x, target)


@pytest.mark.parametrize("k", [1, 7, 65, 300, 3001])
def test_lines(k: int, target: Target) -> None:
    """Whatever order elements come in, and however often the list is full."""
    check(TopK(1, k), LINES, target)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 31, 33, 63, 65, 130])
def test_lengths(count: int, target: Target) -> None:
    check(TopK(1, max(count // 5, 1)), LINES[:, -count:].copy(), target)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_views(axis: int, target: Target) -> None:
    """Lines with gaps between them, and parts of a concatenation as results."""
    x = np.random.default_rng(5).standard_normal((5, 9, 17)).astype(np.float32)
    check(TopK(axis, 4), x, target, {"x": 3, "t0_0": 5, "t0_1": 7})


@pytest.mark.parametrize(
    ("op", "x", "why"),
    [
        (TopK(0, 0), np.zeros(3, np.float32), "nothing"),
        (TopK(1, 2), np.zeros((0, 3), np.float32), "nothing"),
        (TopK(0, 1), np.zeros(3, f8e4m3.numpy), "not f8e4m3"),
    ],
)
def test_refusals(op: TopK, x: Array, why: str, target: Target) -> None:
    m = Maker(x=x)
    m(op, m["x"])
    refusal = Largest().offers(kernel(m.graph(*m.nodes[0].outputs), target))
    assert isinstance(refusal, No)
    assert why in refusal.reason
