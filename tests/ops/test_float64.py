"""A graph in float64: nothing between its operators rounds to float32."""

from __future__ import annotations

import numpy as np

from bench import models
from planck.compiler.api import read, stage
from planck.dtypes import bool_, f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.interpret import interpret
from planck.ir.types import TensorType
from planck.ops.control import If
from planck.ops.float64 import interpret_float64
from planck.ops.pointwise import Pointwise

X = Value("x", TensorType((3, 5), f32))
ON = Value("on", TensorType((), bool_))


def named(name: str) -> Value:
    return Value(name, X.type)


def exp(x: Value, y: Value) -> Node:
    return Node(Pointwise("exp"), (x,), (y,))


def test_float32_is_kept_as_float64_all_along() -> None:
    y, z = named("y"), named("z")
    nodes = (exp(X, y), Node(Pointwise("add"), (y, X), (z,)))
    graph = Graph("chain", (X, ON), nodes, (z, ON))
    x = np.random.default_rng(0).standard_normal((3, 5))
    found = interpret_float64(graph, {"x": x, "on": np.array(True)})
    np.testing.assert_array_equal(found["z"], np.exp(x) + x)
    assert found["on"].dtype == np.bool_
    narrow = {"x": x.astype(np.float32), "on": np.array(True)}
    assert (interpret_float64(graph, narrow)["z"] != interpret(graph, narrow)["z"]).any()


def test_a_branch_runs_in_its_own_dtype() -> None:
    inner = Graph("branch", (X,), (exp(X, named("y")),), (named("y"),))
    node = Node(If(inner, inner), (ON, named("e")), (named("z"),))
    graph = Graph("branches", (X, ON), (exp(X, named("e")), node), (named("z"),))
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    (z,) = interpret_float64(graph, {"x": x, "on": np.array(False)}).values()
    assert z.dtype == np.float64
    np.testing.assert_allclose(z, np.exp(np.exp(x.astype(np.float64))), rtol=1e-5)


def test_regions_are_evaluated_inside() -> None:
    model = models.build("squeezenet", small=True)
    (x,) = models.inputs(model).values()
    whole, fused = (
        interpret_float64(graph, {graph.inputs[0].name: x})
        for graph in (read(model), stage(model, "layout"))
    )
    for want, got in zip(whole.values(), fused.values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
