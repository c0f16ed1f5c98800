"""Runs placed steps in simulated memory: each value where its spot says, NaN in all padding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import as_strided

from planck.compiler.place import Placement
from planck.dtypes import Array
from planck.ir.graph import Graph, Value
from planck.ir.interpret import run


class Memory:
    """The buffers of a placement; what nobody has written is NaN."""

    def __init__(self, graph: Graph, placement: Placement) -> None:
        self.graph, self.placement = graph, placement
        self.buffers = {
            root: np.full(size, 0xFF, np.uint8)
            for root, size in placement.roots.items()
            if root not in graph.weights
        }

    def physical(self, value: Value) -> Array:
        """A view of where a value lies, with its physical extents."""
        spot, dtype = self.placement.spots[value.name], value.type.dtype.numpy
        buffer = self.buffers[spot.root].view(dtype)
        last = spot.offset + sum(
            (n - 1) * s for n, s in zip(value.type.physical, spot.strides, strict=True)
        )
        assert 0 <= spot.offset <= last < len(buffer), f"%{value.name} leaves its buffer"
        strides = tuple(s * dtype.itemsize for s in spot.strides)
        return as_strided(buffer[spot.offset :], value.type.physical, strides)

    def read(self, value: Value) -> Array:
        if value.name in self.graph.weights:
            return self.graph.weights[value.name]
        lying = self.physical(value)
        if not value.type.block:
            return lying.copy()
        n, _, *spatial = value.type.dims
        channels = np.moveaxis(lying, -1, 2).reshape(n, -1, *spatial)
        return channels[:, : value.type.dims[1]].copy()

    def write(self, value: Value, array: Array) -> None:
        """As a kernel may: the lanes past the last channel get anything."""
        lying = self.physical(value)
        if not value.type.block:
            lying[...] = array
            return
        n, channels, *spatial = value.type.dims
        blocks = value.type.physical[1]
        whole = np.zeros((n, blocks * value.type.block, *spatial), array.dtype)
        whole.view(np.uint8)[...] = 0xFF
        whole[:, :channels] = array
        split = whole.reshape(n, blocks, value.type.block, *spatial)
        lying[...] = np.moveaxis(split, 2, -1)


def run_placed(graph: Graph, placement: Placement, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The network's outputs, from where a caller finds them."""
    memory = Memory(graph, placement)
    for value in graph.inputs:
        memory.write(value, inputs[value.name])
    for node in placement.steps:
        found = run(node, tuple(map(memory.read, node.inputs)))
        for value in node.outputs:
            memory.write(value, found[value.name])
    results = {v.name: v for v in graph.outputs}
    roots = {place: root for root, place in placement.spaces.items()}
    for number, value in enumerate(graph.outputs):
        own = memory.buffers[roots["output", number]].view(value.type.dtype.numpy)
        results[value.name] = own.reshape(value.type.dims)
    return results
