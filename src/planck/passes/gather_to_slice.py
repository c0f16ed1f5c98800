"""A gather at one known index is a slice, and a slice is a view: no kernel at all."""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Graph, Node
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Gather, Reshape, Slice
from planck.refusal import No


@rule(Gather)
def gather_one(view: View, node: Node) -> Patch | No:
    """gather(x, 2, axis=1) -> reshape(slice(x, 2:3 along axis 1))"""
    assert isinstance(node.op, Gather)
    x, index = node.inputs
    array = view.weight(index)
    if array is None or array.size != 1:
        return SKIP
    axis = node.op.axis % x.type.rank
    at = int(array.reshape(()))
    at += x.type.dims[axis] if at < 0 else 0
    starts = tuple(at if k == axis else 0 for k in range(x.type.rank))
    sizes = tuple(1 if k == axis else n for k, n in enumerate(x.type.dims))
    patch = view.patch()
    part = patch(Slice(starts, sizes, (1,) * x.type.rank), x)
    return patch.replace(node.outputs[0], patch(Reshape(node.outputs[0].type.dims), part))


RULES: Final = (gather_one,)


def gather_to_slice(graph: Graph) -> Graph:
    """Apply RULES everywhere."""
    return rewrite(graph, RULES)
