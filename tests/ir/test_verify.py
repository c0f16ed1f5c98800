"""The verifier names what is wrong, where, and after which pass; the interpreter checks inputs."""

from dataclasses import dataclass

import numpy as np
import pytest

from planck.errors import GraphError, InputError, ShapeError
from planck.ir.graph import Op
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify


@dataclass(frozen=True)
class Add(Op):
    def infer(self, a, b):
        if a.shape != b.shape:
            raise ShapeError("shapes differ")
        return (a,)

    def reference(self, a, b):
        return (a + b,)


@dataclass(frozen=True)
class Split(Op):
    def infer(self, a):
        return (a, a)

    def reference(self, a):
        return a, -a


@dataclass(frozen=True)
class Liar(Op):
    def infer(self, a):
        return (a,)

    def reference(self, a):
        return (a.astype(np.float64),)


def read(body, weights=None):
    return parse(f'graph "g"(%x: f32[2]) {{ {body} }}', weights, (Add, Split, Liar))


def test_good_graph_runs():
    graph = read(
        """weight %w: f32[2] = [1.0, 2.0]
        %a: f32[2], %b: f32[2] = Split(%x)
        %c: f32[2] = Add(%a, %w)
        %d: f32[2] = Add(%c, %c)
        return %d, %x, %w"""
    )
    verify(graph)
    results = interpret(graph, {"x": np.array([3, 5], np.float32)})
    assert {name: array.tolist() for name, array in results.items()} == {
        "d": [8, 14],
        "x": [3, 5],
        "w": [1, 2],
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%y: f32[3] = Add(%x, %x) return %y", r"%y: f32\[3\] should be f32\[2\]"),
        ("%y: f64[2] = Add(%x, %x) return %y", r"should be f32\[2\]"),
        ("%y: f32[2] = Split(%x) return %y", "Split has 2 outputs, not 1"),
        ("weight %w: f32[3] = ? %y: f32[2] = Add(%x, %w) return %y", "Add refuses.*shapes differ"),
    ],
)
def test_types_are_checked(body, message):
    with pytest.raises(GraphError, match=message):
        verify(read(body))


def test_order_and_names_are_checked():
    good = read("%a: f32[2] = Add(%x, %x) %b: f32[2] = Add(%a, %a) return %b")
    with pytest.raises(GraphError, match="%a is used before it is defined after swap") as caught:
        verify(good.with_(nodes=good.nodes[::-1]), "swap", ("first", "second"))
    assert ">> %b: f32[2] = Add(%a, %a)" in str(caught.value)
    assert "passes before: first, second" in str(caught.value)
    with pytest.raises(GraphError, match="%a is defined twice"):
        verify(good.with_(nodes=good.nodes[:1] * 2))
    with pytest.raises(GraphError, match="%b is used before"):
        verify(good.with_(nodes=good.nodes[:1]))
    with pytest.raises(GraphError, match="weight %w: f32"):
        verify(read("weight %w: f32[2] = ? return %w").with_(weights={"w": np.zeros(3)}))


def test_inputs_are_checked():
    graph = read("return %x")
    for inputs, message in (
        ({}, r"input %x: f32\[2\] is missing"),
        ({"x": np.zeros(3, np.float32)}, r"was given float32\[3\]"),
        ({"x": np.zeros(2)}, "was given float64"),
        ({"x": np.zeros(2, np.float32), "y": np.zeros(1)}, "has no input 'y'"),
    ):
        with pytest.raises(InputError, match=message):
            interpret(graph, inputs)


def test_a_wrong_reference_is_named():
    graph = read('%y: f32[2] = Liar(%x)  # from "m:/liar"\n return %y')
    with pytest.raises(GraphError, match="Liar gave float64") as caught:
        interpret(graph, {"x": np.zeros(2, np.float32)})
    assert caught.value.at == "m:/liar"
