"""How much a step has to do: its arithmetic, and the bytes that it must read and write."""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.ir.graph import Graph, Node
from planck.ops.region import Region

# Operators that read no more of their first input than they give.
_PICK: Final = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})


def flops(node: Node) -> int:
    """Multiply-adds counted twice, as everyone counts them; pointwise work counts once."""
    nodes = node.op.graph.nodes if isinstance(node.op, Region) else (node,)
    total = 0
    for n in nodes:
        out = n.outputs[0].type.size if n.outputs else 0
        kind = type(n.op).__name__
        if kind == "Conv":
            total += 2 * out * int(np.prod(n.inputs[1].type.dims[1:]))
        elif kind == "ConvTranspose":
            total += 2 * n.inputs[0].type.size * int(np.prod(n.inputs[1].type.dims[1:]))
        elif kind == "MatMul":
            a = n.inputs[0].type.dims
            total += 2 * out * (a[-2] if n.op.attributes()["transpose_a"] else a[-1])
        elif kind == "Attention":
            q, k, v = (x.type.dims for x in n.inputs[:3])
            total += 2 * int(np.prod(q[:-1])) * k[-2] * (q[-1] + v[-1])
        elif kind == "Pool":
            total += out * int(np.prod(n.op.attributes()["kernel"]))
        elif kind in _PICK:
            total += out
        else:
            total += max(out, n.inputs[0].type.size if n.inputs else 0)
    return total


def touched_bytes(graph: Graph, name: str, whole: int) -> int:
    """Bytes of an operand of a kernel that one run must read or write.

    whole:  all of it; less where rows are only picked from it, as from a table of embeddings
    """
    readers = [n for n in graph.nodes if any(v.name == name for v in n.inputs)]
    picked = 0
    for node in readers:
        pick = type(node.op).__name__ in _PICK
        if not pick or any(v.name == name for v in node.inputs[1:]):
            return whole
        picked += node.outputs[0].type.bytes
    return min(picked, whole) if readers else whole


def weight_bytes(graph: Graph) -> int:
    """Of the constants that kernels read, each counted once."""
    constants = {
        value.name: value.type.bytes
        for node in graph.nodes
        if isinstance(node.op, Region)
        for value in node.inputs
        if value.name in graph.weights
    }
    return sum(constants.values())
