"""Runs little graphs through the loop generator, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import TensorType, strides_of
from planck.refusal import No
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.loops import Loops
from planck.target import Target, host
from tests.codegen.native import Native

ISAS = {"portable": ("portable",), "avx2": ("portable", "avx2")}
ISAS["avx512"] = (*ISAS["avx2"], "avx512")
TARGETS = [Target(isa) for isa in ISAS.get(host().isa, ())]


class Maker:
    """Builds a graph by calling operators on values."""

    def __init__(self, **inputs: Array) -> None:
        self.arrays = inputs
        self.inputs = {
            name: Value(name, TensorType(a.shape, from_numpy(a.dtype)))
            for name, a in inputs.items()
        }
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Value:
        return self.inputs[name]

    def constant(self, array: Any) -> Value:
        array = np.asarray(array)
        value = Value(f"w{len(self.weights)}", TensorType(array.shape, from_numpy(array.dtype)))
        self.weights[value.name] = array
        return value

    def __call__(self, op: Op, *inputs: Value) -> Value:
        types = op.infer(*(v.type for v in inputs))
        made = tuple(Value(f"t{len(self.nodes)}_{k}", t) for k, t in enumerate(types))
        self.nodes.append(Node(op, inputs, made))
        return made[0]

    def graph(self, *outputs: Value) -> Graph:
        return Graph("test", tuple(self.inputs.values()), tuple(self.nodes), outputs, self.weights)


def reblock(graph: Graph, blocks: Mapping[str, int]) -> Graph:
    """The graph with some values channel-blocked."""

    def change(v: Value) -> Value:
        return Value(v.name, v.type.with_block(blocks.get(v.name, 0)))

    nodes = tuple(
        Node(n.op, tuple(map(change, n.inputs)), tuple(map(change, n.outputs))) for n in graph.nodes
    )
    return graph.with_(
        inputs=tuple(map(change, graph.inputs)),
        nodes=nodes,
        outputs=tuple(map(change, graph.outputs)),
    )


def kernel(
    graph: Graph, target: Target, threads: int = 1, gaps: Mapping[str, int] | None = None
) -> Kernel:
    """gaps: elements left free after each outermost row of an operand."""
    operands = {}
    for v in (*graph.inputs, *graph.outputs):
        strides = strides_of(v.type.physical)
        extra = (gaps or {}).get(v.name, 0)
        if extra and len(strides) > 1:
            strides = (strides[0] + extra, *strides[1:])
        operands[v.name] = Operand(v.type, strides)
    return Kernel(graph, operands, frozenset(), target, threads)


def lay(array: Array, operand: Operand, block: int) -> Array:
    """A logical array as its operand lies in memory; what is not an element is NaN (or 77)."""
    junk: Any = np.nan if array.dtype.kind == "f" else 77
    flat = np.full(max(operand.span, 0) if array.size else 0, junk, array.dtype)
    view(flat, operand, block, array.shape)[...] = array
    return flat


def view(flat: Array, operand: Operand, block: int, shape: Sequence[int]) -> Any:
    extents = operand.type.physical if block else shape
    strides = [s * flat.itemsize for s in operand.strides]
    physical: Array = np.ndarray(tuple(extents), flat.dtype, flat, strides=strides)
    return _Blocked(physical, shape) if block else physical


class _Blocked:
    """A channel-blocked array that reads and writes as a logical one."""

    def __init__(self, physical: Array, shape: Sequence[int]) -> None:
        self.physical, self.shape = physical, tuple(shape)

    def __setitem__(self, _: Any, array: Array) -> None:
        block, c = self.physical.shape[-1], self.shape[1]
        for k in range(c):
            self.physical[:, k // block, ..., k % block] = array[:, k]

    def logical(self) -> Array:
        block, c = self.physical.shape[-1], self.shape[1]
        parts = [self.physical[:, k // block, ..., k % block] for k in range(c)]
        return np.stack(parts, axis=1)


def run(
    graph: Graph, arrays: Mapping[str, Array], target: Target, *, threads: int = 1,
    gaps: Mapping[str, int] | None = None, split: bool = True,
) -> list[Array]:  # fmt: skip
    """The outputs of a graph as one kernel. Tiles run in two calls where there are several."""
    work = kernel(graph, target, threads, gaps)
    tactic = Loops()
    offers = tactic.offers(work)
    assert not isinstance(offers, No), offers.reason
    code = tactic.build(work, offers[0])
    native = Native(target, code.llvm, code.level)
    memory = [lay(arrays[v.name], work.operands[v.name], v.type.block) for v in graph.inputs]
    for v in graph.outputs:
        empty = np.zeros(v.type.dims, v.type.dtype.numpy)
        memory.append(lay(empty, work.operands[v.name], v.type.block))
    middle = code.tiles // 2 if split else 0
    for begin, end in ((middle, code.tiles), (0, middle)):
        if begin < end:
            native.call(code.symbol, memory, begin, end, code.scratch_bytes)
    results = []
    for v, flat in zip(graph.outputs, memory[len(graph.inputs) :], strict=True):
        found = view(flat, work.operands[v.name], v.type.block, v.type.dims)
        results.append(found.logical() if isinstance(found, _Blocked) else np.array(found))
    return results
