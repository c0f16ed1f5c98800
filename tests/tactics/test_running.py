"""Running sums and products on the CPU against the operator's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.dtypes import Array, DType
from planck.ops.movement import Cumulative
from planck.refusal import No
from planck.tactics.loops import Loops
from planck.tactics.running import Accumulating
from planck.target import Target, host
from tests.loops.running import Maker, kernel
from tests.loops.test_dtypes import draw
from tests.tactics.conftest import run_kernel

TYPES = [dtypes.f32, dtypes.f64, dtypes.bf16, dtypes.f16, dtypes.i64, dtypes.i32, dtypes.u8]


def check(op: Cumulative, x: Array, target: Target | None = None, gaps: Any = None) -> None:
    m = Maker(x=x)
    m(op, m["x"])
    work = kernel(m.graph(*m.nodes[0].outputs), target or host(), gaps=gaps)
    assert Accumulating().offers(work) == ({},)
    assert isinstance(Loops().offers(work), No)
    found = run_kernel(work, Accumulating(), {}, {"x": x})["t0_0"]
    np.testing.assert_array_equal(found, op.reference(x)[0])


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types(dtype: DType, axis: int, target: Target) -> None:
    check(Cumulative("sum", axis), draw(dtype, (3, 17, 5)), target)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["sum", "prod"])
def test_ways(kind: str, reverse: bool, exclusive: bool) -> None:
    for axis in (0, -1):
        check(Cumulative(kind, axis, exclusive, reverse), draw(dtypes.f32, (5, 2, 7)))


@pytest.mark.parametrize("beside", [1, 2, 7, 31, 32, 33, 65, 130])
def test_lines_side_by_side(beside: int) -> None:
    """Vectors of lines, the last of which may take some once more."""
    check(Cumulative("sum", 1), draw(dtypes.f32, (7, 3, beside)))


def test_views() -> None:
    x = draw(dtypes.f32, (5, 9, 17))
    for axis in range(3):
        check(Cumulative("sum", axis), x, gaps={"x": 3, "t0_0": 5})


def test_long_lines_stay_exact() -> None:
    x = np.random.default_rng(0).standard_normal((1, 20000)).astype(np.float32)
    check(Cumulative("sum", 1), x)


def test_nothing() -> None:
    m = Maker(x=np.zeros((0, 3), np.float32))
    m(Cumulative("sum", 0), m["x"])
    refusal = Accumulating().offers(kernel(m.graph(*m.nodes[0].outputs), host()))
    assert isinstance(refusal, No)
