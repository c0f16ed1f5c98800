"""Places that channels share: which loop goes inside, and that results stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

from planck.dtypes import Array
from planck.ir.graph import Op
from planck.loops.lower import Nest
from planck.loops.share import share
from planck.ops.movement import Gather
from planck.ops.nn import GridSample, Resize
from planck.tactics.loops import Loops, nests_of
from planck.target import Target
from tests.loops.running import TARGETS, Maker, kernel, run


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def loops(op: Op, *arrays: Array) -> tuple[Nest, Nest]:
    """An operator's loops, and these with a run of steps inside."""
    m = Maker(**{f"x{k}": a for k, a in enumerate(arrays)})
    graph = m.graph(m(op, *m.inputs.values()))
    (nest,) = nests_of(kernel(graph, Target("avx2")), 8)
    return nest, share(nest)


def inner(op: Op, *arrays: Array) -> tuple[int, int]:
    """Extents of the last two loops."""
    *_, (_, outer), (_, last) = loops(op, *arrays)[1].loops
    return outer, last


def test_a_run_of_channels_is_inside() -> None:
    op, grid = GridSample("linear", "zeros", False), draw(1, 20, 30, 2)
    assert inner(op, draw(1, 32, 9, 9), grid) == (600, 8)
    assert inner(op, draw(1, 18, 9, 9), grid) == (600, 6)
    assert inner(op, draw(1, 5, 9, 9), grid) == (600, 5)
    assert inner(op, draw(1, 17, 9, 9), grid) == (600, 17)
    assert inner(op, draw(1, 37, 9, 9), grid) == (37, 600)


def test_plain_rows_stay_as_they_are() -> None:
    nearest = Resize("nearest", (1, 8, 20, 20), (1.0, 1.0, 2.0, 2.0))
    cases = loops(Gather(0), draw(50, 64), np.arange(20)), loops(nearest, draw(1, 8, 10, 10))
    assert all(before is after for before, after in cases)


GRIDS = [
    GridSample(mode, padding, align)
    for mode in ("nearest", "linear", "cubic")
    for padding in ("zeros", "border", "reflection")
    for align in (False, True)
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("op", GRIDS, ids=str)
def test_grids(target: Target, op: GridSample) -> None:
    for n, c in ((7, 3), (1, 5), (2, 17), (1, 8), (1, 24)):
        x, grid = draw(n, c, 7, 9), draw(n, 5, 11, 2)
        m = Maker(x=x, grid=grid)
        graph = m.graph(m(op, m["x"], m["grid"]))
        for threads in (1, 3):
            (got,) = run(graph, {"x": x, "grid": grid}, target, threads=threads)
            want = op.reference(x, grid)[0]
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("op", GRIDS, ids=str)
def test_places_that_are_no_numbers_read_nothing_else(target: Target, op: GridSample) -> None:
    x, usual = draw(1, 32, 15, 64), draw(1, 17, 33, 2)
    grid = usual.copy()
    grid[0, ::2, ::3] = np.nan
    grid[0, 1::2, ::3] = np.inf
    grid[0, 1::2, 1::3] = -1e30
    m = Maker(x=x, grid=grid)
    (got,) = run(m.graph(m(op, m["x"], m["grid"])), {"x": x, "grid": grid}, target)
    same = (grid == usual).all(axis=-1)[0]
    want = op.reference(x, usual)[0]
    np.testing.assert_allclose(got[:, :, same], want[:, :, same], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_resizes(target: Target, mode: str) -> None:
    for n, c in ((7, 3), (1, 5), (2, 17), (1, 16)):
        x = draw(n, c, 7, 9)
        for height, width in ((14, 18), (5, 23)):
            op = Resize(mode, (n, c, height, width), (1.0, 1.0, height / 7, width / 9))
            m = Maker(x=x)
            (got,) = run(m.graph(m(op, m["x"])), {"x": x}, target, threads=2)
            np.testing.assert_allclose(got, op.reference(x)[0], rtol=1e-4, atol=2e-5)


def test_avx512_compiles() -> None:
    x, grid = draw(1, 8, 7, 9), draw(1, 5, 11, 2)
    m = Maker(x=x, grid=grid)
    graph = m.graph(m(GridSample("linear", "zeros", False), m["x"], m["grid"]))
    assert Loops().build(kernel(graph, Target("avx512")), {}).llvm
