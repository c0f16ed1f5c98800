"""Regions put together: one of several that read each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Namer, Node, Value
from planck.ops.region import Region


def joined(parts: Sequence[Node], title: str) -> Node:
    """Regions, in an order in which they may run, as one.

    What one of them reads of another nobody else reads: it is no output any more.
    """
    read = {v.name for node in parts for v in node.inputs}
    made = {v.name for node in parts for v in node.outputs}
    inputs = {v.name: v for node in parts for v in node.inputs if v.name not in made}
    outputs = tuple(v for node in parts for v in node.outputs if v.name not in read)
    namer = Namer(iter([*inputs, *made]))
    weights: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in parts:
        assert isinstance(node.op, Region)
        inner = node.op.graph
        names = boundary(node)
        for name, array in inner.weights.items():
            same = name in weights and np.array_equal(weights[name], array)
            names[name] = name if same else namer(name)
            weights[names[name]] = array

        def renamed(value: Value, names: dict[str, str] = names) -> Value:
            if value.name not in names:
                names[value.name] = namer(value.name)
            return Value(names[value.name], value.type)

        nodes += [
            Node(n.op, tuple(map(renamed, n.inputs)), tuple(map(renamed, n.outputs)), n.origin)
            for n in inner.nodes
        ]
    inner = Graph(title, tuple(inputs.values()), tuple(nodes), outputs, weights)
    origin = tuple(dict.fromkeys(name for node in parts for name in node.origin))
    return Node(Region(inner), tuple(inputs.values()), outputs, origin)


def boundary(node: Node) -> dict[str, str]:
    """A region's inner names of its inputs and outputs -> the outer ones."""
    assert isinstance(node.op, Region)
    inner = node.op.graph
    pairs = zip((*inner.inputs, *inner.outputs), (*node.inputs, *node.outputs), strict=True)
    return {own.name: outer.name for own, outer in pairs}
