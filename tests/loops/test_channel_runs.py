"""Channels of a blocked tensor go to rows in runs, each lane from the right block."""

import numpy as np
import pytest

from planck.ir.interpret import interpret
from planck.ops.movement import Reshape, Slice, Transpose
from planck.ops.pointwise import Pointwise
from planck.tactics.loops import Loops
from planck.target import Target
from tests.loops.running import TARGETS, Maker, kernel, reblock, run


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", [16, 32, 35, 51, 96])
def test_rows_of_channels(target: Target, channels: int) -> None:
    m = Maker(x=draw(2, channels, 3, 5))
    y = m(Pointwise("sigmoid"), m(Transpose((0, 2, 3, 1)), m["x"]))
    graph = reblock(m.graph(y), {"x": target.lanes})
    want = interpret(graph, m.arrays)[y.name]
    (got,) = run(graph, m.arrays, target, threads=2, gaps={"x": 64})
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(("anchors", "each"), [(3, 17), (3, 85), (2, 16), (5, 23)])
def test_parts_of_the_channels(target: Target, anchors: int, each: int) -> None:
    m = Maker(x=draw(2, anchors * each, 3, 5))
    apart = m(Reshape((2, anchors, each, 3, 5)), m["x"])
    part = m(Slice((0, 0, 1, 0, 0), (2, anchors, each - 1, 3, 5), (1,) * 5), apart)
    y = m(Pointwise("neg"), m(Transpose((0, 1, 3, 4, 2)), part))
    graph = reblock(m.graph(y), {"x": target.lanes})
    want = interpret(graph, m.arrays)[y.name]
    (got,) = run(graph, m.arrays, target)
    np.testing.assert_array_equal(got, want)


def test_nothing_is_gathered() -> None:
    target = TARGETS[-1]
    if target.isa == "portable":
        pytest.skip("there are no masked loads")
    m = Maker(x=draw(1, 85, 4, 4))
    y = m(Transpose((0, 2, 3, 1)), m["x"])
    code = Loops().build(kernel(reblock(m.graph(y), {"x": target.lanes}), target), {})
    assert "masked.load" in code.llvm
    assert "gather" not in code.llvm
