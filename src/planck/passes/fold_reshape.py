"""Drop the reshapes that files put around a matrix product because theirs takes two axes only."""

from __future__ import annotations

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Reshape
from planck.ops.nn import MatMul
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner
from planck.passes.remove_noops import reshapes, same_shape
from planck.refusal import No


@rule(MatMul)
def below_matmul(view: View, node: Node) -> Patch | No:
    """matmul(reshape(x, [m, k]), w) ... reshape -> reshape(matmul(x, w)) ... reshape

    The product works on the leading axes of x, or on those of the reshape that follows.
    """
    assert isinstance(node.op, MatMul)
    a, w = node.inputs
    out = node.outputs[0]
    reshape = inner(view, a, Reshape)
    if reshape is None or node.op.transpose_a or a.type.rank != 2 or w.type.rank != 2:
        return SKIP
    x = reshape.inputs[0]
    following = _next_reshape(view, out)
    if following is None:
        return No("no reshape follows")
    shape = following.outputs[0].type.dims
    patch = view.patch()
    if x.type.rank <= 2 or x.type.dims[-1] != a.type.dims[-1]:
        if len(shape) <= 2 or shape[-1] != out.type.dims[-1]:
            return SKIP
        x = patch(Reshape((*shape[:-1], a.type.dims[-1])), x)
    return patch.replace(out, patch(Reshape(out.type.dims), patch(node.op, x, w)))


@rule(Pointwise)
def below_pointwise(view: View, node: Node) -> Patch | No:
    """f(reshape(x), constants along the last axis) ... reshape -> reshape(f(x, constants))"""
    found = [k for k, value in enumerate(node.inputs) if inner(view, value, Reshape)]
    if len(found) != 1:
        return SKIP
    y = node.inputs[found[0]]
    producer = view.producer(y)
    assert producer is not None
    x, out = producer.inputs[0], node.outputs[0]
    if y.type.shape != out.type.shape or not x.type.rank or not y.type.rank:
        return SKIP
    same_last = x.type.dims[-1] == y.type.dims[-1]
    for k, value in enumerate(node.inputs):
        if k != found[0] and not (value.type.rank == 0 or (value.type.rank == 1 and same_last)):
            return SKIP
    if _next_reshape(view, out) is None:
        return No("no reshape follows")
    inputs = [x if k == found[0] else value for k, value in enumerate(node.inputs)]
    patch = view.patch()
    return patch.replace(out, patch(Reshape(out.type.dims), patch(node.op, *inputs)))


def _next_reshape(view: View, value: Value) -> Node | None:
    """The reshape at the end of a chain of pointwise nodes with constants, each used once."""
    while view.once(value):
        user = view.users(value)[0]
        if isinstance(user.op, Reshape):
            return user
        others = [v for v in user.inputs if v != value]
        if not isinstance(user.op, Pointwise) or any(
            view.weight(v) is None or v.type.rank > 1 for v in others
        ):
            return None
        value = user.outputs[0]
    return None


RULES = (same_shape, reshapes, below_matmul, below_pointwise)


def fold_reshape(graph: Graph) -> Graph:
    """Let matrix products work on the axes that the model has."""
    return rewrite(graph, RULES)
