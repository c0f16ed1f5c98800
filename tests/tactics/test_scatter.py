"""Scattering on the CPU against the operators' references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.dtypes import Array, DType
from planck.ir.graph import Op
from planck.ops.movement import ScatterElements, ScatterND
from planck.refusal import No
from planck.tactics.scatter import Scattering
from planck.target import Target, host
from tests.loops.running import Maker, kernel
from tests.loops.test_dtypes import draw
from tests.tactics.conftest import run_kernel

RNG = np.random.default_rng(3)
TYPES = [dtypes.f32, dtypes.f64, dtypes.i64, dtypes.u64, dtypes.i32, dtypes.u8]


def check(
    op: Op, *arrays: Array, target: Target | None = None, threads: int = 1, gaps: Any = None
) -> None:
    given = dict(zip("xiu", arrays, strict=True))
    m = Maker(**given)
    m(op, *m.inputs.values())
    work = kernel(m.graph(*m.nodes[0].outputs), target or host(), threads, gaps)
    assert Scattering().offers(work) == ({},)
    found = run_kernel(work, Scattering(), {}, given)["t0_0"]
    (want,) = op.reference(*arrays)
    np.testing.assert_array_equal(found.view(np.uint8), want.view(np.uint8))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types(dtype: DType, reduction: str, target: Target) -> None:
    """Some places are written more than once."""
    x = draw(dtype, (5, 7, 3))
    elements, updates = RNG.integers(-7, 7, (4, 40, 3)), draw(dtype, (4, 40, 3), seed=3)
    check(ScatterElements(1, reduction), x, elements, updates, target=target)
    tuples = np.stack([RNG.integers(-5, 5, (2, 20)), RNG.integers(-7, 7, (2, 20))], -1)
    check(ScatterND(reduction), x, tuples, draw(dtype, (2, 20, 3), seed=4), target=target)


@pytest.mark.parametrize("dtype", [dtypes.bf16, dtypes.f16, dtypes.bool_, dtypes.f8e4m3], ids=str)
def test_types_that_are_only_moved(dtype: DType) -> None:
    x, updates = draw(dtype, (5, 7)), draw(dtype, (3, 7))
    check(ScatterND(), x, np.array([[4], [0], [4]]), updates)


@pytest.mark.parametrize("reduction", ["add", "max", "min"])
def test_nan(reduction: str) -> None:
    x = np.array([np.nan, 1, -0.0, np.inf], np.float32)
    updates = np.array([1, np.nan, 2, -np.inf], np.float32)
    (want,) = ScatterElements(0, reduction).reference(x, np.arange(4), updates)
    m = Maker(x=x, i=np.arange(4), u=updates)
    m(ScatterElements(0, reduction), *m.inputs.values())
    work = kernel(m.graph(*m.nodes[0].outputs), host())
    found = run_kernel(work, Scattering(), {}, m.arrays)["t0_0"]
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("threads", [2, 3, 40])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_threads(axis: int, threads: int) -> None:
    """Ranges of any axis, whether indices count along it or not."""
    x = draw(dtypes.f32, (5, 37, 6))
    size = x.shape[axis]
    elements = RNG.integers(-size, size, (4, 30, 5))
    check(ScatterElements(axis, "add"), x, elements, draw(dtypes.f32, (4, 30, 5)), threads=threads)
    line = draw(dtypes.f32, (37,))
    check(
        ScatterElements(0), line, RNG.permutation(37)[:9], draw(dtypes.f32, (9,)), threads=threads
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("width", [2, 67])
def test_slices(width: int, depth: int, threads: int) -> None:
    x = draw(dtypes.f32, (5, 3, width))
    tuples = np.stack([RNG.integers(-n, n, 11) for n in x.shape[:depth]], -1).astype(np.int32)
    check(ScatterND(), x, tuples, draw(dtypes.f32, (11, *x.shape[depth:])), threads=threads)


def test_views() -> None:
    x, elements = draw(dtypes.f32, (5, 7, 3)), RNG.integers(0, 7, (5, 7, 3))
    gaps = {"x": 3, "i": 2, "u": 1, "t0_0": 5}
    check(ScatterElements(1), x, elements, draw(dtypes.f32, (5, 7, 3)), gaps=gaps, threads=2)
    tuples = np.array([[1, 2], [4, -1]])
    check(ScatterND("add"), x, tuples, draw(dtypes.f32, (2, 3)), gaps=gaps, threads=2)


def test_what_lies_outside_is_left_out() -> None:
    x, places = np.zeros((4, 2), np.float32), np.array([[7], [-5], [3], [2**40], [-(2**63)]])
    updates = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
    for op, where in ((ScatterND(), places), (ScatterElements(0), np.repeat(places, 2, 1))):
        given = {"x": x, "i": where, "u": updates}
        m = Maker(**given)
        m(op, *m.inputs.values())
        for threads in (1, 3):
            work = kernel(m.graph(*m.nodes[0].outputs), host(), threads)
            found = run_kernel(work, Scattering(), {}, given)["t0_0"]
            np.testing.assert_array_equal(found, [[0, 0]] * 3 + [[5, 6]])


@pytest.mark.parametrize(
    ("op", "arrays", "why"),
    [
        (ScatterND("add"), (np.zeros((3, 2), np.float16), np.zeros((1, 1), int)), "combine f16"),
        (ScatterND(), (np.zeros((3, 2)), np.zeros((1, 0), int)), "no indices"),
        (ScatterND(), (np.zeros((3, 0)), np.zeros((1, 1), int)), "nothing"),
        (ScatterElements(0), (np.zeros((3, 2)), np.zeros((1, 3), int)), "more indices"),
    ],
)
def test_refusals(op: Op, arrays: tuple[Array, Array], why: str) -> None:
    x, indices = arrays
    tail = indices.shape if isinstance(op, ScatterElements) else (1, *x.shape[indices.shape[-1] :])
    m = Maker(x=x, i=indices, u=np.zeros(tail, x.dtype))
    m(op, *m.inputs.values())
    refusal = Scattering().offers(kernel(m.graph(*m.nodes[0].outputs), host()))
    assert isinstance(refusal, No)
    assert why in refusal.reason
