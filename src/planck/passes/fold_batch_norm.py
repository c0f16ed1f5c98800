"""Fold batch normalisation and constant scales and shifts into weights and biases.

BatchNorm -> mul + add;  Conv + mul + add -> Conv with other weights and bias
"""

from __future__ import annotations

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.nn import BatchNorm, Conv, ConvTranspose, MatMul
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner, is_pointwise, pair, per_axis
from planck.refusal import No


@rule(BatchNorm)
def batch_norm(view: View, node: Node) -> Patch | No:
    """batch_norm(x, scale, bias, mean, var) -> x * s + t, with constants of one number a channel"""
    assert isinstance(node.op, BatchNorm)
    x = node.inputs[0]
    arrays = [view.weight(value) for value in node.inputs[1:]]
    known = [array.astype(np.float64) for array in arrays if array is not None]
    if len(known) < 4:
        return No("scale, bias, mean or variance is no constant")
    scale, bias, mean, var = known
    factor = scale / np.sqrt(var + node.op.epsilon)
    shift = bias - mean * factor
    shape = (-1, *(1,) * (x.type.rank - 2)) if x.type.rank > 1 else (-1,)
    patch = view.patch()
    dtype = x.type.dtype.numpy
    scaled = patch(
        Pointwise("mul"), x, patch.weight(factor.reshape(shape).astype(dtype), "bn_scale")
    )
    shifted = patch(
        Pointwise("add"), scaled, patch.weight(shift.reshape(shape).astype(dtype), "bn_shift")
    )
    return patch.replace(node.outputs[0], shifted)


@rule(Pointwise)
def after(view: View, node: Node) -> Patch | No:
    """conv(x, w, b) * s + t -> conv(x, w * s, b * s + t); matmul(x, w) * s -> matmul(x, w * s)"""
    found = _scale_and_shift(view, node)
    if found is None:
        return SKIP
    x, constant, kind = found
    linear = view.producer(x)
    if linear is None or not isinstance(linear.op, (Conv, ConvTranspose, MatMul)):
        return SKIP
    if not view.once(x):
        return No("the result before scaling is used elsewhere")
    if x.type.shape != node.outputs[0].type.shape:
        return No("the constant broadcasts the result to a larger shape")
    if isinstance(linear.op, MatMul):
        return _after_matmul(view, node, linear, constant, kind)
    factors = per_axis(constant, x.type.rank, 1, x.type.dims[1])
    if factors is None:
        return No("the constant varies along other axes than channels")
    w, b = view.weight(linear.inputs[1]), _bias(view, linear)
    if w is None or b is None:
        return No("weights or bias are no constants")
    scale, shift = _as_affine(kind, factors)
    patch = view.patch()
    new_w = linear.inputs[1]
    if kind not in ("add", "sub"):
        new_w = patch.weight(_scaled(linear.op, w, scale), linear.inputs[1].name)
    new_b = patch.weight((b * scale + shift).astype(w.dtype), f"{linear.inputs[1].name}_bias")
    return patch.replace(node.outputs[0], patch(linear.op, linear.inputs[0], new_w, new_b))


def _scale_and_shift(view: View, node: Node) -> tuple[Value, Array, str] | None:
    """(x, constant, kind) of x*c, x+c, x-c, x/c, and of c-x as "from"."""
    if not is_pointwise(node, "mul", "add", "sub", "div"):
        return None
    found = pair(node, view)
    if found is None or not found[0].type.dtype.is_float:
        return None
    assert isinstance(node.op, Pointwise)
    x, c = found
    array = view.weight(c)
    assert array is not None
    if c == node.inputs[1]:
        return x, array, node.op.fn
    kinds = {"mul": "mul", "add": "add", "sub": "from"}
    return (x, array, kinds[node.op.fn]) if node.op.fn in kinds else None


def _as_affine(kind: str, c: Array) -> tuple[Array, Array]:
    """(scale, shift), f64, of one operation with a constant."""
    one, zero = np.ones_like(c), np.zeros_like(c)
    with np.errstate(all="ignore"):
        return {
            "mul": (c, zero),
            "div": (1 / c, zero),
            "add": (one, c),
            "sub": (one, -c),
            "from": (-one, c),
        }[kind]


def _bias(view: View, linear: Node) -> Array | None:
    """The bias as f64, zeros where there is none; None if it is no constant."""
    if len(linear.inputs) < 3:
        return np.zeros(linear.outputs[0].type.dims[1])
    found = view.weight(linear.inputs[2])
    return None if found is None else found.astype(np.float64)


def _scaled(op: Conv | ConvTranspose, w: Array, scale: Array) -> Array:
    """Weights times one number an output channel."""
    if isinstance(op, Conv):
        shape = (-1, *(1,) * (w.ndim - 1))
        return (w * scale.reshape(shape)).astype(w.dtype)
    c, m, *spatial = w.shape  # [C, M/g, *K]
    grouped = w.reshape(op.groups, c // op.groups, m, *spatial)
    shape = (op.groups, 1, m, *(1,) * len(spatial))
    return (grouped * scale.reshape(shape)).reshape(w.shape).astype(w.dtype)


def _after_matmul(view: View, node: Node, linear: Node, constant: Array, kind: str) -> Patch | No:
    assert isinstance(linear.op, MatMul)
    if kind in ("add", "sub"):
        return SKIP  # a bias: the epilogue adds it
    if kind == "from":
        return No("the negated result of a matrix product")
    x, w = linear.inputs
    array = view.weight(w)
    if array is None or array.ndim < 2:
        return No("the matrix is no constant")
    out = node.outputs[0].type
    factors = per_axis(constant, out.rank, out.rank - 1, out.dims[-1])
    if factors is None:
        return No("the constant varies along other axes than the last")
    scale, _ = _as_affine(kind, factors)
    shaped = scale[:, None] if linear.op.transpose_b else scale
    patch = view.patch()
    new_w = patch.weight((array * shaped).astype(array.dtype), w.name)
    return patch.replace(node.outputs[0], patch(linear.op, x, new_w))


@rule(Pointwise)
def scale_past_bias(view: View, node: Node) -> Patch | No:
    """(matmul(x, w) + b) * s -> matmul(x, w) * s + b * s, for constants w, b and s"""
    found = _scale_and_shift(view, node)
    if found is None or found[2] not in ("mul", "div"):
        return SKIP
    biased, factors, kind = found
    adding = inner(view, biased, Pointwise)
    if adding is None or not is_pointwise(adding, "add"):
        return SKIP
    parts = pair(adding, view)
    linear = None if parts is None else inner(view, parts[0], MatMul)
    if linear is None or parts is None or view.weight(linear.inputs[1]) is None:
        return SKIP
    out = node.outputs[0].type
    if per_axis(factors, out.rank, out.rank - 1, out.dims[-1]) is None:
        return SKIP
    if not out.shape == parts[0].type.shape == biased.type.shape:
        return SKIP
    bias = view.weight(parts[1])
    assert bias is not None
    assert isinstance(node.op, Pointwise)
    with np.errstate(all="ignore"):
        moved = bias * factors if kind == "mul" else bias / factors
    patch = view.patch()
    scaled = patch(node.op, parts[0], patch.weight(factors, "scale"))
    new_bias = patch.weight(np.asarray(moved).astype(bias.dtype), parts[1].name)
    return patch.replace(node.outputs[0], patch(Pointwise("add"), scaled, new_bias))


@rule(Conv)
def before(view: View, node: Node) -> Patch | No:
    """conv(x * s, w, b) -> conv(x, w * s, b); conv(x + t, w, b), no padding -> b + sum(w * t)"""
    assert isinstance(node.op, Conv)
    scaling = inner(view, node.inputs[0], Pointwise)
    found = None if scaling is None else _scale_and_shift(view, scaling)
    if found is None:
        return SKIP
    x, constant, kind = found
    if x.type.shape != node.inputs[0].type.shape:
        return No("the constant broadcasts the input to a larger shape")
    factors = per_axis(constant, x.type.rank, 1, x.type.dims[1])
    if factors is None:
        return No("the constant varies along other axes than channels")
    w, b = view.weight(node.inputs[1]), _bias(view, node)
    if w is None or b is None:
        return No("weights or bias are no constants")
    scale, shift = _as_affine(kind, factors)
    if np.any(shift) and any(node.op.pads):
        return No("padding is zero after the shift, not before it")
    m, c = w.shape[:2]  # [M, C/g, *K]
    group_of = np.arange(m) // (m // node.op.groups)
    taps = (1,) * (w.ndim - 2)
    own_scale = scale.reshape(node.op.groups, c)[group_of].reshape(m, c, *taps)
    own_shift = shift.reshape(node.op.groups, c)[group_of].reshape(m, c, *taps)
    wide = w.astype(np.float64)
    bias = b + (wide * own_shift).sum(axis=tuple(range(1, w.ndim)))
    patch = view.patch()
    new_w = patch.weight((wide * own_scale).astype(w.dtype), node.inputs[1].name)
    inputs = [x, new_w]
    if len(node.inputs) > 2 or np.any(bias):
        inputs.append(patch.weight(bias.astype(w.dtype), f"{node.inputs[1].name}_bias"))
    return patch.replace(node.outputs[0], patch(node.op, *inputs))


RULES = (batch_norm, after, scale_past_bias, before)


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold normalisation by constants into the weights beside it."""
    return rewrite(graph, RULES)
