"""A gather at known, evenly spaced places is a slice, and a slice is a view: no kernel at all."""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Graph, Node
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Gather, Reshape, Slice
from planck.refusal import No


@rule(Gather)
def gathers(view: View, node: Node) -> Patch | No:
    """gather of one place, or of evenly spaced places -> reshape(slice(x))"""
    assert isinstance(node.op, Gather)
    x, out = node.inputs[0], node.outputs[0]
    indices = view.weight(node.inputs[1])
    if indices is None or not indices.size or indices.ndim > 1:
        return SKIP
    axis, dims = node.op.axis % x.type.rank, x.type.dims
    places = [int(i) + (dims[axis] if i < 0 else 0) for i in indices.reshape(-1)]
    step = places[1] - places[0] if len(places) > 1 else 1
    if step == 0 or places != list(range(places[0], places[0] + step * len(places), step)):
        return No("the places are not evenly spaced")
    if not 0 <= min(places) <= max(places) < dims[axis]:
        return No("a place is outside")
    part_of_axis = (places[0], len(places), step)
    own = [part_of_axis if k == axis else (0, n, 1) for k, n in enumerate(dims)]
    patch = view.patch()
    starts, sizes, steps = zip(*own, strict=True)
    part = patch(Slice(starts, sizes, steps), x)
    return patch.replace(out, part if indices.ndim else patch(Reshape(out.type.dims), part))


RULES: Final = (gathers,)


def gather_to_slice(graph: Graph) -> Graph:
    """Apply RULES everywhere."""
    return rewrite(graph, RULES)
