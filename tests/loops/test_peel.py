"""Borders apart from interiors: where loops are cut, and that nothing else comes of it."""

from __future__ import annotations

import numpy as np
import pytest

from planck.dtypes import Array
from planck.ir.graph import Op
from planck.loops.peel import pieces
from planck.ops.movement import Concat, Pad, Slice, Trilu
from planck.ops.nn import Pool
from planck.tactics.loops import Loops, nests_of
from planck.target import Target
from tests.loops.running import TARGETS, Maker, kernel, run

Pads = tuple[int, ...]


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def cuts(op: Op, *shapes: tuple[int, ...]) -> list[int]:
    """Extents of the parts of the innermost loop."""
    m = Maker(**{f"x{k}": np.zeros(s, np.float32) for k, s in enumerate(shapes)})
    graph = m.graph(m(op, *m.inputs.values()))
    (nest,) = nests_of(kernel(graph, Target("avx2")), 8)
    assert nest.vector is not None
    return [part.extent(nest.vector) for part in pieces(nest)]


def pool(
    kind: str, size: int, stride: int, pads: Pads, dilation: int = 1, ceil: bool = False
) -> Op:
    rank = len(pads) // 2
    return Pool(kind, (size,) * rank, (stride,) * rank, pads, (dilation,) * rank, ceil)


def test_windows_are_cut_at_their_borders() -> None:
    assert cuts(pool("max", 3, 2, (1, 1, 1, 1)), (1, 3, 112, 112)) == [1, 55]
    assert cuts(pool("average", 3, 1, (1, 1, 1, 1)), (1, 3, 56, 56)) == [1, 54, 1]
    assert cuts(pool("max", 3, 1, (2, 2), 2), (2, 3, 40)) == [2, 36, 2]


def test_padding_is_cut_where_it_turns() -> None:
    shape = (1, 3, 20, 30)
    assert cuts(Pad((0, 0, 2, 3, 0, 0, 2, 4), "reflect"), shape) == [3, 30, 4]
    assert cuts(Pad((0, 0, 2, 3, 0, 0, 2, 4), "edge"), shape) == [3, 30, 4]
    assert cuts(Pad((0, 0, 2, 3, 0, 0, 2, 4), "wrap"), shape) == [3, 30, 4]
    assert cuts(Concat(1), (64, 4), (64, 80)) == [4, 80]


def test_what_is_not_certain_for_most_of_a_loop_stays_whole() -> None:
    assert cuts(Trilu(True, 0), (64, 64)) == [64]
    assert cuts(pool("max", 25, 1, (12, 12, 12, 12)), (1, 3, 20, 20)) == [20]
    assert cuts(pool("max", 2, 2, (0, 0, 0, 0)), (1, 3, 20, 20)) == [10]
    assert cuts(Slice((0, 1), (7, 9), (1, 2)), (7, 20)) == [9]


POOLS = [
    ("max", 3, 2, (1, 1, 1, 1), 1, False),
    ("max", 3, 2, (0, 0, 1, 1), 1, True),
    ("max", 3, 2, (1, 0, 0, 1), 2, True),
    ("max", 2, 3, (1, 1, 0, 1), 1, True),
    ("max", 5, 1, (2, 2, 2, 2), 1, False),
    ("max", 5, 1, (4, 3, 4, 2), 1, False),
    ("average", 3, 1, (1, 1, 1, 1), 1, False),
    ("average", 3, 2, (1, 1, 1, 1), 1, True),
    ("average", 3, 3, (2, 0, 1, 2), 2, False),
    ("lp", 3, 2, (1, 1, 0, 1), 1, False),
    ("max", 3, 2, (1, 1), 1, True),
    ("average", 3, 1, (1, 1), 1, False),
    ("max", 3, 2, (1, 1, 1, 1, 1, 1), 1, False),
]
SHAPES = [(7, 3, 9, 23), (1, 5, 14, 14), (2, 17, 7, 41), (1, 2, 6, 70)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pools(target: Target, case: tuple[str, int, int, Pads, int, bool]) -> None:
    op, rank = pool(*case), len(case[3]) // 2
    for n, c, *image in SHAPES:
        shape = {1: image[1:], 2: image, 3: (6, *image)}[rank]
        x = draw(n, c, *shape)
        m = Maker(x=x)
        for threads in (1, 3):
            (got,) = run(m.graph(m(op, m["x"])), {"x": x}, target, threads=threads)
            np.testing.assert_allclose(got, op.reference(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_window_with_nan_has_nan(target: Target) -> None:
    x = draw(1, 3, 12, 40)
    x[0, 1, ::5, ::7] = np.nan
    op = pool("max", 3, 2, (1, 1, 1, 1))
    m = Maker(x=x)
    (got,) = run(m.graph(m(op, m["x"])), {"x": x}, target)
    np.testing.assert_array_equal(got, op.reference(x)[0])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float64], ids=str)
def test_pools_of_other_numbers(target: Target, dtype: type) -> None:
    x = (draw(2, 3, 11, 37) * 40).astype(dtype)
    op = pool("max", 3, 2, (1, 1, 1, 1))
    m = Maker(x=x)
    (got,) = run(m.graph(m(op, m["x"])), {"x": x}, target)
    np.testing.assert_array_equal(got, op.reference(x)[0])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap", "constant"])
@pytest.mark.parametrize("pads", [(0, 0, 3, 3, 0, 0, 3, 3), (0, 1, 0, 2, 0, 0, 5, 9)], ids=str)
def test_pads(target: Target, mode: str, pads: Pads) -> None:
    for shape in ((7, 3, 9, 23), (1, 5, 8, 10), (2, 17, 6, 65)):
        x = draw(*shape)
        more = (np.float32(2),) if mode == "constant" else ()
        op = Pad(pads, mode)
        m = Maker(x=x)
        graph = m.graph(m(op, m["x"], *map(m.constant, more)))
        for threads in (1, 3):
            (got,) = run(graph, {"x": x}, target, threads=threads)
            np.testing.assert_array_equal(got, op.reference(x, *more)[0])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.int64], ids=str)
def test_every_other_element_ends_with_the_last(target: Target, dtype: type) -> None:
    x = (draw(1, 5, 33) * 40).astype(dtype)
    op = Slice((0, 0, 0), (1, 5, 17), (1, 1, 2))
    m = Maker(x=x)
    (got,) = run(m.graph(m(op, m["x"])), {"x": x}, target)
    np.testing.assert_array_equal(got, x[..., ::2])


def test_avx512_compiles() -> None:
    m = Maker(x=draw(1, 3, 20, 60))
    work = kernel(m.graph(m(pool("max", 3, 2, (1, 1, 1, 1)), m["x"])), Target("avx512"))
    code = Loops().build(work, {})
    assert "llvm.maximum" in code.llvm
