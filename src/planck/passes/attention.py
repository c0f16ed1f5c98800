"""Recognise scaled dot-product attention, so that scores never go to memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Broadcast, Reshape, Transpose
from planck.ops.nn import Attention, MatMul, Softmax
from planck.ops.pointwise import Pointwise
from planck.passes.match import constant, inner, inner_pointwise, like, pair, product
from planck.refusal import No

# Float32 scores added to this are this: keys that are hidden from a query weigh alike, be they all.
HIDDEN: Final = -1e9
HIDDEN_SOMEWHERE: Final = -1e4  # weighs nothing beside a key that is seen


@rule(MatMul)
def attention(view: View, node: Node) -> Patch | No:
    """matmul(softmax(matmul(q * c, transpose(k)) * s + mask), v) -> attention(q, k, v, mask)

    where(seen, scores, -1e9) is scores + where(seen, 0, -1e9). Scores that are reshaped to take a
    mask of some of the heads, as shifted windows are, keep those axes.
    """
    assert isinstance(node.op, MatMul)
    softmax, safe = _softmax(view, node.inputs[0])
    if softmax is None or node.op.transpose_a:
        return SKIP
    assert isinstance(softmax.op, Softmax)
    logits = softmax.inputs[0]
    if softmax.op.axis % logits.type.rank != logits.type.rank - 1:
        return No("the softmax is not over the last axis")
    patch = view.patch()
    scores, mask, lead = _reshaped(view, patch, logits)
    if scores is None:
        return No("the softmax is not over scores of a matrix product that are used once")
    product_node, scale = scores
    assert isinstance(product_node.op, MatMul)
    if product_node.op.transpose_a:
        return No("queries are transposed")
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
    inputs = [q, k, v]
    if lead is not None:
        inputs = [patch(Reshape((*lead, *x.type.dims[-2:])), x) for x in inputs]
    if mask is not None:
        inputs.append(mask)
    done = patch(Attention(scale=scale * q_scale * k_scale, causal=False), *inputs)
    if lead is not None:
        done = patch(Reshape(node.outputs[0].type.dims), done)
    if safe:
        zero = patch.weight(like(done, 0.0), "zero")
        done = patch(Pointwise("select"), patch(Pointwise("isnan"), done), zero, done)
    if done.type != node.outputs[0].type:
        return No("the result has another shape than attention's")
    return patch.replace(node.outputs[0], done)


def _softmax(view: View, value: Value) -> tuple[Node | None, bool]:
    """(softmax, whether 0 stands where it is NaN) of where(isnan(softmax), 0, softmax)."""
    choosing = inner_pointwise(view, value, "select")
    if choosing is None:
        return inner(view, value, Softmax), False
    condition, zero, weights = choosing.inputs
    test = inner_pointwise(view, condition, "isnan")
    softmax = view.producer(weights)
    fits = test is not None and test.inputs == (weights,) and constant(view, zero) == 0
    if not fits or softmax is None or not isinstance(softmax.op, Softmax):
        return None, False
    return (softmax, True) if view.uses(weights) == 2 else (None, False)


def _reshaped(
    view: View, patch: Patch, logits: Value
) -> tuple[tuple[Node, float] | None, Value | None, tuple[int, ...] | None]:
    """_masked, and the leading axes where it is reshape(reshape(masked scores) + constant)."""
    whole = inner(view, logits, Reshape)
    adding = inner_pointwise(view, whole.inputs[0], "add") if whole else None
    found = pair(adding, view) if adding else None
    split = inner(view, found[0], Reshape) if found else None
    if found is None or split is None or split.inputs[0].type != logits.type:
        scores, mask = _masked(view, patch, logits)
        return scores, mask, None
    own, more = found[0].type.dims, view.weight(found[1])
    scores, mask = _masked(view, patch, split.inputs[0])
    bias: Array | None = np.zeros((), np.float32) if mask is None else view.weight(mask)
    parted = own[-3:] == logits.type.dims[-3:] and logits.type.rank == 4
    if more is None or bias is None or not parted or (bias.ndim > 3 and bias.shape[0] > 1):
        return None, None, None
    total = more + bias.reshape(bias.shape[-3:])
    return scores, patch.weight(total.astype(more.dtype), "mask"), own[:-2]


def _masked(
    view: View, patch: Patch, logits: Value
) -> tuple[tuple[Node, float] | None, Value | None]:
    """((matmul, scale), mask) of matmul(...) * scale + mask."""
    found = _scores(view, logits)
    if found is not None:
        return found, None
    choosing = inner_pointwise(view, logits, "select")
    if choosing is not None:
        return _chosen(view, patch, choosing)
    adding = inner_pointwise(view, logits, "add")
    if adding is None:
        return None, None
    for scores, mask in (adding.inputs, adding.inputs[::-1]):
        found = _scores(view, scores)
        if found is not None and scores.type == logits.type:
            return found, mask
    return None, None


def _chosen(view: View, patch: Patch, node: Node) -> tuple[tuple[Node, float] | None, Value | None]:
    """((matmul, scale), mask) where keys that are not seen get a number instead of their score."""
    seen, *either = node.inputs
    logits = node.outputs[0]
    for scores, other in (either, either[::-1]):
        found, number = _scores(view, scores), constant(view, other)
        if found is None or scores.type != logits.type or number is None:
            continue
        if number > (HIDDEN if view.weight(seen) is None else HIDDEN_SOMEWHERE):
            continue
        zero, low = (patch.weight(like(logits, x), "mask") for x in (0.0, number))
        pair = (zero, low) if scores == either[0] else (low, zero)
        return found, patch(Pointwise("select"), seen, *pair)
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


@rule(Attention)
def causal(view: View, node: Node) -> Patch | No:
    """attention(q, k, v, zeros and -1e9 above the diagonal) -> attention(q, k, v, causal=True)"""
    assert isinstance(node.op, Attention)
    if len(node.inputs) != 4 or node.op.causal:
        return SKIP
    mask = view.weight(node.inputs[3])
    queries, keys = node.inputs[0].type.dims[-2], node.inputs[1].type.dims[-2]
    if mask is None or queries != keys or mask.shape[-2:] != (queries, keys):
        return SKIP
    seen = np.tri(queries, dtype=bool)
    if (mask[..., seen] != 0).any() or (mask[..., ~seen] > HIDDEN).any():
        return No("it hides other keys than the later ones")
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(replace(node.op, causal=True), *node.inputs[:3]))


@rule(Attention)
def shared_heads(view: View, node: Node) -> Patch | No:
    """attention(q, k, v) of keys and values that several heads have in common, and read as often

    k = reshape(broadcast(x: [N, G, 1, L, D], [N, G, H / G, L, D]), [N, H, L, D])  ->  x itself
    """
    assert isinstance(node.op, Attention)
    q, *shared = node.inputs[:3]
    sources = [_repeated(view, value) for value in shared]
    if any(source is None for source in sources):
        return SKIP
    (k, times), (v, same) = (source for source in sources if source is not None)
    if times != same:
        return No("keys are shared by other heads than values")
    if len(node.inputs) > 3 and not all(n == 1 for n in node.inputs[3].type.dims[:-2]):
        return No("the mask is another one for each head")
    out, patch = node.outputs[0], view.patch()
    groups = (*k.type.dims[:2], times)
    queries = patch(Reshape((*groups, *q.type.dims[2:])), q)
    mask = [patch(Reshape(m.type.dims[-2:]), m) for m in node.inputs[3:]]
    done = patch(node.op, queries, k, v, *mask)
    return patch.replace(out, patch(Reshape(out.type.dims), done))


def _repeated(view: View, value: Value) -> tuple[Value, int] | None:
    """(x, n) where a value [N, G * n, L, D] is x [N, G, 1, L, D], each of G heads n times."""
    reshape = inner(view, value, Reshape)
    many = inner(view, reshape.inputs[0], Broadcast) if reshape else None
    if many is None or many.inputs[0].type.rank != 5 or value.type.rank != 4:
        return None
    (x,), (n, groups, times, *rest) = many.inputs, many.outputs[0].type.dims
    fits = x.type.dims == (n, groups, 1, *rest) and value.type.dims == (n, groups * times, *rest)
    return (x, times) if fits else None


RULES = (attention, causal, shared_heads)


def fuse_attention(graph: Graph) -> Graph:
    """One attention where a file has two matrix products and a softmax."""
    return rewrite(graph, RULES)
