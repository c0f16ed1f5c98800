"""Runs any graph by its operators' NumPy references: slow and sure, the oracle of all tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import GraphError, InputError
from planck.ir.graph import Graph, Node, Value


def interpret(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph.

    inputs:  arrays by value name, of the dtype and shape that the graph states
    gives:   arrays by value name; values are dropped after their last use
    raises:  InputError for missing, unknown or unfit inputs; GraphError when a reference gives
             another type than the graph states
    """
    unknown = sorted(set(inputs) - {value.name for value in graph.inputs})
    if unknown:
        raise InputError(
            f"the graph has no input {unknown[0]!r}",
            at=f"graph {graph.name!r}",
            know="its inputs: " + ", ".join(map(str, graph.inputs)),
        )
    known: dict[str, Array] = dict(graph.weights)
    known.update({value.name: _input(graph, value, inputs) for value in graph.inputs})
    last = {value.name: k for k, node in enumerate(graph.nodes) for value in node.inputs}
    kept = {value.name for value in graph.outputs}
    for k, node in enumerate(graph.nodes):
        known.update(run(node, tuple(known[value.name] for value in node.inputs)))
        for value in (*node.inputs, *node.outputs):
            if last.get(value.name, k) == k and value.name not in kept:
                known.pop(value.name, None)
    return {value.name: known[value.name] for value in graph.outputs}


def run(node: Node, arrays: tuple[Array, ...]) -> dict[str, Array]:
    """One node's outputs by name. raises: GraphError if they are not what the node states"""
    with np.errstate(all="ignore"):
        results = node.op.reference(*arrays)
    found = {}
    for value, result in zip(node.outputs, results, strict=True):
        array = np.asarray(result)
        if not _fits(array, value):
            raise GraphError(
                f"{type(node.op).__name__} gave {array.dtype}{list(array.shape)} for {value}",
                at=", ".join(node.origin) or f"%{value.name}",
                know="inputs: " + ", ".join(map(str, node.inputs)),
            )
        found[value.name] = array
    return found


def _input(graph: Graph, value: Value, inputs: Mapping[str, Array]) -> Array:
    if value.name not in inputs:
        raise InputError(f"input {value} is missing", at=f"graph {graph.name!r}")
    array = np.asarray(inputs[value.name])
    if not _fits(array, value):
        raise InputError(
            f"input {value} was given {array.dtype}{list(array.shape)}", at=f"graph {graph.name!r}"
        )
    return array


def _fits(array: Array, value: Value) -> bool:
    try:
        return from_numpy(array.dtype) is value.type.dtype and array.shape == value.type.dims
    except KeyError:
        return False
