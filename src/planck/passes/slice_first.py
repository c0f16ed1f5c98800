"""Slices of a function of what is only moved come before the function.

    %t = Transpose(%x)                       %t = Transpose(%x)
    %s = Pointwise(%t, fn="sigmoid")         %b = Slice(%t)    %c = Slice(%t)
    %b = Slice(%s)    %c = Slice(%s)    ->   %y = Pointwise(%b, fn="sigmoid")
                                             %z = Pointwise(%c, fn="sigmoid")

A loop kernel then makes each part where it is wanted, with what follows, as in the heads of YOLOv5
whose boxes and scores part behind a sigmoid. Behind a convolution the function is its epilogue, and
the parts are views of what it writes: there it stays.
"""

from __future__ import annotations

from itertools import pairwise

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Slice, Transpose
from planck.ops.pointwise import Cast, Pointwise
from planck.refusal import No


@rule(Pointwise, Cast)
def before_function(view: View, node: Node) -> Patch | No:
    """slices of f(transpose(x)) -> f(slices of transpose(x))"""
    out = node.outputs[0]
    users = view.users(out)
    if len(node.inputs) != 1 or not users or not all(isinstance(u.op, Slice) for u in users):
        return SKIP
    if view.is_output(out):
        return No("the whole is an output of the graph")
    if not _moved(view, node.inputs[0]):
        return No("the kernel that makes its operand can apply the function as well")
    if not _disjoint([user.op for user in users if isinstance(user.op, Slice)], out):
        return No("the slices have elements in common, or are not of one axis")
    patch = view.patch()
    for user in users:
        patch.replace(user.outputs[0], patch(node.op, patch(user.op, node.inputs[0])))
    return patch


def _moved(view: View, value: Value) -> bool:
    """Whether a value is a transpose, or functions of one that nothing else reads."""
    node = view.producer(value)
    if node is None or isinstance(node.op, Transpose):
        return node is not None
    alone = isinstance(node.op, Pointwise | Cast) and len(node.inputs) == 1 and view.once(value)
    return alone and _moved(view, node.inputs[0])


def _disjoint(slices: list[Slice], value: Value) -> bool:
    """Whether slices cut one axis into parts that do not overlap."""
    shape = value.type.dims
    cuts = {axis for op in slices for axis, n in enumerate(op.sizes) if n != shape[axis]}
    if len(cuts) != 1 or any(step != 1 for op in slices for step in op.steps):
        return False
    (axis,) = cuts
    ranges = sorted((op.starts[axis], op.starts[axis] + op.sizes[axis]) for op in slices)
    return all(a[1] <= b[0] for a, b in pairwise(ranges))


RULES = (before_function,)


def slice_first(graph: Graph) -> Graph:
    """Let slices come before functions of what is only moved."""
    return rewrite(graph, RULES)
