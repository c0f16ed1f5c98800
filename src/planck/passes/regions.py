"""Regions: of nodes that become one kernel, and of other regions that read each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Namer, Node, Value
from planck.ops.pointwise import Pointwise
from planck.ops.region import Region


def region(nodes: Sequence[Node], leaving: Set[str], known: Mapping[str, Array]) -> Node:
    """One region of nodes, in an order in which they may run.

    leaving:  the values that something outside reads
    known:    constants that become a part of it, as far as it reads them
    """
    makes = {v.name for n in nodes for v in n.outputs}
    outside = {v.name: v for n in nodes for v in n.inputs if v.name not in makes}
    weights = {name: known[name] for name in outside if name in known}
    inputs = tuple(v for name, v in outside.items() if name not in weights)
    outputs = tuple(v for n in nodes for v in n.outputs if v.name in leaving)
    inner = Graph(_title(nodes), inputs, tuple(nodes), outputs, weights)
    origin = tuple(dict.fromkeys(o for n in nodes for o in n.origin))
    return Node(Region(inner), inputs, outputs, origin)


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


def ordered(nodes: list[Node]) -> tuple[Node, ...]:
    """Nodes in an order in which they can run, as near to the given one as that allows."""
    producer = {v.name: i for i, n in enumerate(nodes) for v in n.outputs}
    done: set[int] = set()
    result: list[Node] = []
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            at = stack[-1]
            if at in done:
                stack.pop()
                continue
            waiting = [
                p for v in nodes[at].inputs if (p := producer.get(v.name)) is not None
                and p not in done
            ]  # fmt: skip
            if waiting:
                stack.extend(waiting)
                continue
            done.add(at)
            result.append(nodes[at])
            stack.pop()
    return tuple(result)


def _title(nodes: Sequence[Node]) -> str:
    names = [n.op.fn if isinstance(n.op, Pointwise) else type(n.op).__name__ for n in nodes]
    return "_".join(names[:6]).lower() + ("_more" if len(names) > 6 else "")
