"""Composed expressions, run in NumPy, give what the graph's references give."""

from __future__ import annotations

import numpy as np
import pytest

from planck.ir.interpret import interpret
from planck.loops.build import axis, compose
from planck.loops.evaluate import evaluate
from planck.ops.convert import convert
from planck.ops.functions import FUNCTIONS
from tests.loops.test_operators import CASES
from tests.loops.test_random import Random


@pytest.mark.parametrize("name", CASES)
def test_bodies_equal_references(name: str) -> None:
    m, output = CASES[name]()
    _check(m.graph(output), m.arrays)


@pytest.mark.parametrize("seed", range(40))
def test_composed_graphs_equal_references(seed: int) -> None:
    drawn = Random(seed)
    _check(drawn.graph(1 + seed % 5), drawn.maker.arrays)


def _check(graph: object, arrays: dict[str, np.ndarray]) -> None:
    want = interpret(graph, arrays)  # type: ignore[arg-type]
    functions = {name: function.apply for name, function in FUNCTIONS.items()}
    for value, expr in zip(graph.outputs, compose(graph), strict=True):  # type: ignore[attr-defined]
        shape = value.type.dims
        names = tuple(map(axis, range(len(shape))))
        got = evaluate(expr, shape, names, arrays, functions, convert)
        scale = max(1.0, float(np.nanmax(np.abs(want[value.name]), initial=1.0)))
        np.testing.assert_allclose(got, want[value.name], rtol=2e-5, atol=2e-6 * scale)
