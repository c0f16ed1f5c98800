"""Compute the same thing once: equal operators of equal inputs, equal weights stored once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ir.text import digest


def common_subexpressions(graph: Graph) -> Graph:
    """Let the first of equal weights and of equal nodes stand for the others.

    A node whose result is an output of the graph stays: outputs are values of their own.
    """
    outputs = {value.name for value in graph.outputs}
    first_of: dict[str, Value] = {}
    same_weight = _equal_weights(graph)
    values = {v.name: v for v in graph.values()}
    for name, first in same_weight.items():
        first_of[name] = values[first]
    seen: dict[tuple[object, ...], int] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(first_of.get(v.name, v) for v in node.inputs)
        if inputs != node.inputs:
            node = replace(node, inputs=inputs)
        key = (type(node.op), node.op, inputs)
        at = seen.setdefault(key, len(nodes))
        if at == len(nodes) or any(value.name in outputs for value in node.outputs):
            nodes.append(node)
            continue
        kept = nodes[at]
        nodes[at] = replace(kept, origin=tuple(dict.fromkeys((*kept.origin, *node.origin))))
        first_of.update((a.name, b) for a, b in zip(node.outputs, kept.outputs, strict=True))
    if not first_of:
        return graph
    gone = set(same_weight)
    weights = {name: array for name, array in graph.weights.items() if name not in gone}
    return graph.with_(nodes=tuple(nodes), weights=weights)


def _equal_weights(graph: Graph) -> dict[str, str]:
    """Weight -> an earlier one with the same dtype, shape and bytes; outputs stay."""
    outputs = {value.name for value in graph.outputs}
    used = {v.name for v in graph.values()}
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, array in graph.weights.items():
        if name in used and name not in outputs:
            alike.setdefault((array.dtype, array.shape, _sample(array)), []).append(name)
    found: dict[str, str] = {}
    for names in alike.values():
        if len(names) > 1:
            first: dict[str, str] = {}
            for name in names:
                kept = first.setdefault(digest(graph.weights[name]), name)
                if kept != name:
                    found[name] = kept
    return found


def _sample(array: Array) -> bytes:
    """A few elements: weights that differ here need no digest."""
    if array.dtype.kind in "OUS":
        return b""
    flat = np.ravel(array)
    return flat[:: max(1, flat.size // 32)].tobytes()
