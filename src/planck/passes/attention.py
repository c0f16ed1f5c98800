"""Recognise scaled dot-product attention, so that scores never go to memory."""

from __future__ import annotations

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Transpose
from planck.ops.nn import Attention, MatMul, Softmax
from planck.passes.match import inner, inner_pointwise, product
from planck.refusal import No


@rule(MatMul)
def attention(view: View, node: Node) -> Patch | No:
    """matmul(softmax(matmul(q * c, transpose(k)) * s + mask), v) -> attention(q, k, v, mask)"""
    assert isinstance(node.op, MatMul)
    softmax = inner(view, node.inputs[0], Softmax)
    if softmax is None or node.op.transpose_a:
        return SKIP
    assert isinstance(softmax.op, Softmax)
    logits = softmax.inputs[0]
    if softmax.op.axis % logits.type.rank != logits.type.rank - 1:
        return No("the softmax is not over the last axis")
    scores, mask = _masked(view, logits)
    if scores is None:
        return No("the softmax is not over scores of a matrix product that are used once")
    product_node, scale = scores
    assert isinstance(product_node.op, MatMul)
    if product_node.op.transpose_a:
        return No("queries are transposed")
    patch = view.patch()
    q_scale, q = _unscaled(view, product_node.inputs[0])
    k_scale, k = _unscaled(view, product_node.inputs[1])
    v = node.inputs[1]
    if not product_node.op.transpose_b:
        k = _swapped(patch, k)
    if node.op.transpose_b:
        v = _swapped(patch, v)
    if not (q.type.rank == k.type.rank == v.type.rank >= 3):
        return No("queries, keys and values have other ranks than 3 or 4, or differ in them")
    if not (q.type.dims[:-2] == k.type.dims[:-2] == v.type.dims[:-2]):
        return No("heads are shared: queries have other leading axes than keys or values")
    if mask is not None and mask.type.dtype is not q.type.dtype:
        return No("the mask has another dtype")
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    done = patch(Attention(scale=scale * q_scale * k_scale, causal=False), *inputs)
    if done.type != node.outputs[0].type:
        return No("the result has another shape than attention's")
    return patch.replace(node.outputs[0], done)


def _masked(view: View, logits: Value) -> tuple[tuple[Node, float] | None, Value | None]:
    """((matmul, scale), mask) of matmul(...) * scale + mask."""
    found = _scores(view, logits)
    if found is not None:
        return found, None
    adding = inner_pointwise(view, logits, "add")
    if adding is None:
        return None, None
    for scores, mask in (adding.inputs, adding.inputs[::-1]):
        found = _scores(view, scores)
        if found is not None and scores.type == logits.type:
            return found, mask
    return None, None


def _scores(view: View, value: Value) -> tuple[Node, float] | None:
    found = product(view, value)
    if found.only is None or found.only.type != value.type:
        return None
    node = inner(view, found.only, MatMul)
    return None if node is None else (node, found.factor)


def _unscaled(view: View, value: Value) -> tuple[float, Value]:
    """(c, x) where the value is c * x for a constant c."""
    found = product(view, value)
    if found.only is None or found.only.type != value.type or not np.isfinite(found.factor):
        return 1.0, value
    return found.factor, found.only


def _swapped(patch: Patch, value: Value) -> Value:
    """The value with its last two axes swapped."""
    rank = value.type.rank
    return patch(Transpose((*range(rank - 2), rank - 1, rank - 2)), value)


RULES = (attention,)


def fuse_attention(graph: Graph) -> Graph:
    """One attention where a file has two matrix products and a softmax."""
    return rewrite(graph, RULES)
