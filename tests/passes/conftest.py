"""`check`: a rewrite's text, before and after, and the numbers of both."""

import numpy as np
import pytest

from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.rewrite import rewrite
from planck.ir.text import canonical, text
from planck.ir.verify import verify


def random_inputs(graph, seed=0):
    """Arrays for a graph's inputs: floats about 1, integers 0 to 4."""
    rng = np.random.default_rng(seed)
    made = {}
    for value in graph.inputs:
        dtype, shape = value.type.dtype, value.type.dims
        if dtype.is_float:
            made[value.name] = rng.standard_normal(shape).astype(dtype.numpy)
        else:
            made[value.name] = rng.integers(0, 2 if dtype.kind == "b" else 5, shape).astype(
                dtype.numpy
            )
    return made


def same_results(before, after, tolerance=1e-5):
    """Whether two graphs give the same outputs for random inputs."""
    inputs = random_inputs(before)
    wanted, found = interpret(before, inputs), interpret(after, inputs)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        scale = max(1.0, float(np.abs(array).max())) if array.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance * scale)


def origins(graph):
    return {name for node in graph.nodes for name in node.origin}


@pytest.fixture
def check():
    """check(rules or pass, before, after): same text but for names and weights, same numbers.

    `after` left out means that nothing may change.
    """

    def checked(rules, before_text, after_text=None, weights=None):
        before = parse(before_text, weights)
        verify(before)
        before = before.with_(
            nodes=tuple(
                type(n)(n.op, n.inputs, n.outputs, n.origin or (f"f:{k}",))
                for k, n in enumerate(before.nodes)
            )
        )
        after = rules(before) if callable(rules) else rewrite(before, rules)
        verify(after, "rewrite")
        wanted = parse(after_text or before_text)
        verify(wanted)
        assert text(canonical(after), values=False) == text(canonical(wanted), values=False)
        assert text(parse(text(after), after.weights)) == text(after)
        same_results(before, after)
        if after.nodes and callable(rules) is False:
            assert origins(after) == origins(before)
        return after

    return checked


@pytest.fixture
def same():
    return same_results
