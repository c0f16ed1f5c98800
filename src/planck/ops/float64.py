"""Runs a graph by its operators' references with every float32 kept as float64: what is true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planck.dtypes import Array, f32
from planck.ir.graph import Graph, Node, Value
from planck.ops.control import If, Loop
from planck.ops.region import Region


def interpret_float64(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph, those of float32 as float64.

    inputs:  arrays by value name, of the graph's shapes; float32 or float64 where it says f32
    gives:   arrays by value name; values are dropped after their last use
    raises:  IndexError, ValueError where integer inputs are no indices of what they index

    The bodies of If and Loop run in the dtypes that they state.
    """
    known: dict[str, Array] = {**graph.weights, **inputs}
    last = {value.name: k for k, node in enumerate(graph.nodes) for value in node.inputs}
    kept = {value.name for value in graph.outputs}
    for k, node in enumerate(graph.nodes):
        results = _run(node, tuple(_wide(known[value.name]) for value in node.inputs))
        for value, result in zip(node.outputs, results, strict=True):
            known[value.name] = _wide(np.asarray(result))
        for value in (*node.inputs, *node.outputs):
            if last.get(value.name, k) == k and value.name not in kept:
                known.pop(value.name, None)
    return {value.name: _wide(known[value.name]) for value in graph.outputs}


def _run(node: Node, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    if isinstance(node.op, Region):
        inner = node.op.graph
        names = (value.name for value in inner.inputs)
        results = interpret_float64(inner, dict(zip(names, arrays, strict=True)))
        return tuple(results[value.name] for value in inner.outputs)
    if isinstance(node.op, If | Loop):
        arrays = tuple(map(_as_stated, node.inputs, arrays))
    with np.errstate(all="ignore"):
        return node.op.reference(*arrays)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _as_stated(value: Value, array: Array) -> Array:
    return array.astype(np.float32) if value.type.dtype is f32 else array
