"""Reductions against float64 NumPy, over odd shapes, no axes and no elements; bodies alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planck import dtypes
from planck.dtypes import DTYPES
from planck.errors import DTypeError, ShapeError
from planck.ops.reduce import KINDS, ArgReduce, Reduce
from tests.ops.bodies import by_body, type_of

RNG = np.random.default_rng(5)
WANTED = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "l1": lambda x, **how: np.sum(np.abs(x), **how),
    "l2": lambda x, **how: np.sqrt(np.sum(x * x, **how)),
    "sum_square": lambda x, **how: np.sum(x * x, **how),
    "log_sum": lambda x, **how: np.log(np.sum(x, **how)),
    "log_sum_exp": lambda x, **how: np.log(np.sum(np.exp(x), **how)),
}
SHAPE = (2, 3, 5)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (0, 1, 2), ()], ids=str)
@pytest.mark.parametrize("kind", sorted(WANTED))
def test_floats_against_numpy(kind: str, axes: tuple[int, ...], keep: bool) -> None:
    x = RNG.uniform(0.2, 2, SHAPE).astype(np.float32)
    op = Reduce(kind, axes, keep)
    (found,) = op.reference(x)
    assert type_of(found) == op.infer(type_of(x))[0]
    wanted = WANTED[kind](x.astype(np.float64), axis=axes, keepdims=keep)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    # the body adds 30 numbers in float32: an error of 30 half ulps at most
    np.testing.assert_allclose(by_body(op, x), found, rtol=4e-6)


NUMBERS = [d for d in DTYPES if d.kind in "fiu" and d.bits >= 8 and d is not dtypes.f8e8m0]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("kind", sorted(WANTED))
def test_every_dtype(kind: str, dtype: dtypes.DType) -> None:
    x = RNG.integers(1, 3, (3, 4)).astype(dtype.numpy)
    op = Reduce(kind, (1,))
    (found,) = op.reference(x)
    assert type_of(found) == op.infer(type_of(x))[0]
    close = np.testing.assert_allclose if dtype.is_float else np.testing.assert_array_equal
    close(by_body(op, x).astype(np.float64), found.astype(np.float64))


def test_bools() -> None:
    x = np.array([[True, False], [True, True]])
    assert Reduce("any", (1,), False).reference(x)[0].tolist() == [True, True]
    assert Reduce("all", (1,), False).reference(x)[0].tolist() == [False, True]
    assert by_body(Reduce("all", (1,), False), x).tolist() == [False, True]


def test_of_no_elements() -> None:
    x = np.zeros((2, 0), np.float32)
    wanted = {"sum": 0, "prod": 1, "max": -np.inf, "min": np.inf, "l1": 0, "l2": 0}
    wanted |= {"sum_square": 0, "log_sum": -np.inf, "log_sum_exp": -np.inf}
    for kind, value in wanted.items():
        assert Reduce(kind, (1,), False).reference(x)[0].tolist() == [value, value], kind
    assert np.isnan(Reduce("mean", (1,)).reference(x)[0]).all()
    small = Reduce("max", (0,)).reference(np.zeros((0, 1), np.int8))[0]
    assert small.tolist() == [[-128]]


def test_log_sum_exp_of_large_and_infinite() -> None:
    x = np.array([[1000.0, 1000.0], [-np.inf, -np.inf], [np.inf, 0.0]], np.float32)
    wanted = [1000 + np.log(2), -np.inf, np.inf]
    op = Reduce("log_sum_exp", (1,), False)
    np.testing.assert_allclose(op.reference(x)[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(by_body(op, x), wanted, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["max", "min"]),
    axis=st.integers(-3, 2),
    keep=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_positions_with_equals(kind: str, axis: int, keep: bool, last: bool, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (3, 4, 2)).astype(np.float32)
    op = ArgReduce(kind, axis, keep, last)
    (found,) = op.reference(x)
    assert type_of(found) == op.infer(type_of(x))[0]
    np.testing.assert_array_equal(by_body(op, x), found)
    best = (np.max if kind == "max" else np.min)(x, axis, keepdims=True)
    places = np.arange(x.shape[axis]).reshape([-1 if k == axis % 3 else 1 for k in range(3)])
    hit = np.where(x == best, places, -1 if last else 99)
    wanted = (np.max if last else np.min)(hit, axis, keepdims=keep)
    np.testing.assert_array_equal(found, wanted)


def test_refusals() -> None:
    x = type_of(np.zeros((2, 3), np.float32))
    with pytest.raises(ShapeError, match="names axis 2"):
        Reduce("sum", (2,)).infer(x)
    with pytest.raises(ShapeError, match="twice"):
        Reduce("sum", (1, -1)).infer(x)
    with pytest.raises(ShapeError, match="no reduction"):
        Reduce("median", (1,)).infer(x)
    with pytest.raises(DTypeError, match="does not take"):
        Reduce("any", (1,)).infer(x)
    assert set(KINDS) == {*WANTED, "any", "all"}
