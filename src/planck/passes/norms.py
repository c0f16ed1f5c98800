"""Recognise softmax, layer and RMS normalisation that files write out as arithmetic."""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Transpose
from planck.ops.nn import LayerNorm, RMSNorm, Softmax
from planck.ops.pointwise import Pointwise
from planck.ops.reduce import Reduce
from planck.passes.match import (
    channels_first,
    channels_last,
    inner,
    inner_pointwise,
    is_pointwise,
    pair,
    per_axis,
    product,
    total,
)
from planck.refusal import No

CHANNELS: Final = -1  # of the axes of a norm: the second alone


@rule(Pointwise)
def softmax(view: View, node: Node) -> Patch | No:
    """exp(x - max(x)) / sum(exp(x - max(x))) -> softmax(x); the same without the max"""
    if not is_pointwise(node, "div"):
        return SKIP
    exp, summed = view.producer(node.inputs[0]), view.producer(node.inputs[1])
    axis = _reduced_axis(summed, "sum", node.inputs[0])
    if axis is None or exp is None or not is_pointwise(exp, "exp"):
        return SKIP
    if view.uses(node.inputs[0]) != 2:
        return No("the exponentials are used elsewhere")
    x = exp.inputs[0]
    shifted = view.producer(x)
    if shifted is not None and is_pointwise(shifted, "sub") and view.once(x):
        highest = view.producer(shifted.inputs[1])
        if _reduced_axis(highest, "max", shifted.inputs[0]) == axis:
            x = shifted.inputs[0]
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(Softmax(axis), x))


def _reduced_axis(node: Node | None, kind: str, source: Value) -> int | None:
    """The axis over which a node reduces a value, keeping it."""
    if node is None or not isinstance(node.op, Reduce) or node.inputs != (source,):
        return None
    op = node.op
    if op.kind != kind or not op.keep or len(op.axes) != 1:
        return None
    return op.axes[0] % source.type.rank


def _first_axis(node: Node | None, source: Value) -> int | None:
    """k where a node takes the mean of the source over axes k to the last, keeping them.

    CHANNELS where it does over the channels of pixels.
    """
    if node is None or not isinstance(node.op, Reduce) or node.op.kind != "mean":
        return None
    rank = source.type.rank
    axes = sorted(axis % rank for axis in node.op.axes)
    if node.op.keep and axes == [1] and rank > 2:
        return CHANNELS
    if not node.op.keep or not axes or axes != list(range(axes[0], rank)):
        return None
    return axes[0]


@rule(Pointwise)
def normalisation(view: View, node: Node) -> Patch | No:
    """(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + e) -> layer_norm(x, 1)
    x / sqrt(mean(x ** 2) + e) -> rms_norm(x, 1)
    """
    return _normalisation(view, node, of_channels=False)


@rule(Pointwise)
def normalisation_of_channels(view: View, node: Node) -> Patch | No:
    """The same over channels alone, between transposes that put them last and back."""
    return _normalisation(view, node, of_channels=True)


def _normalisation(view: View, node: Node, *, of_channels: bool) -> Patch | No:
    out = node.outputs[0]
    if not is_pointwise(node, "mul", "div") or not out.type.dtype.is_float:
        return SKIP
    found = product(view, out, root=True)
    candidates = [(d, True) for d in found.under] + [(d, False) for d in found.over]
    for value, below in candidates:
        spread = _spread(view, value, below)
        if spread is None:
            continue
        epsilon, axis, centred = spread
        if (axis == CHANNELS) != of_channels:
            continue
        rest = list(found.over)
        if not below:
            rest.remove(value)
        under = [v for v in found.under if not (below and v == value)]
        if centred not in rest or under or found.factor != 1 or len(rest) > 2:
            continue
        rest.remove(centred)
        patch = view.patch()
        normal = _normalised(view, patch, centred, epsilon, axis)
        for other in rest:
            normal = patch(Pointwise("mul"), normal, other)
        if normal.type != out.type:
            return No("a factor broadcasts the result to a larger shape")
        return patch.replace(out, normal)
    return SKIP


def _spread(view: View, value: Value, below: bool) -> tuple[float, int, Value] | None:
    """(epsilon, first axis, d) where the value is sqrt(mean(d * d) + epsilon), or its inverse."""
    node = inner_pointwise(view, value, "sqrt" if below else "rsqrt")
    if node is None:
        return None
    found = total(view, node.inputs[0])
    if len(found.terms) != 1 or found.terms[0].only is None or found.terms[0].factor != 1:
        return None
    mean = inner(view, found.terms[0].only, Reduce)
    if mean is None:
        return None
    square = inner_pointwise(view, mean.inputs[0], "mul")
    if square is None or square.inputs[0] != square.inputs[1]:
        return None
    axis = _first_axis(mean, square.inputs[0])
    return None if axis is None else (found.constant, axis, square.inputs[0])


def _normalised(view: View, patch: Patch, d: Value, epsilon: float, axis: int) -> Value:
    """Layer norm where d is x - mean(x) over the same axes, else RMS norm of d."""
    x, centred = _uncentred(view, d, axis)
    last, first = channels_last(x.type.rank), channels_first(x.type.rank)
    kind = LayerNorm if centred else RMSNorm
    if axis == CHANNELS:
        x, axis = patch(Transpose(last), x), x.type.rank - 1
        made = patch(kind(axis, epsilon), x, _ones(patch, x, axis))
        return patch(Transpose(first), made)
    return patch(kind(axis, epsilon), x, _ones(patch, x, axis))


def _ones(patch: Patch, x: Value, axis: int) -> Value:
    return patch.weight(np.ones(x.type.dims[axis:], x.type.dtype.numpy), "norm_scale")


def _uncentred(view: View, d: Value, axis: int) -> tuple[Value, bool]:
    """(x, True) where d is x - mean(x), else (d, False)."""
    node = view.producer(d)
    if is_pointwise(node, "sub"):
        assert node is not None
        x = node.inputs[0]
        mean = view.producer(node.inputs[1])
        if mean is not None and mean.inputs[0] == x and _first_axis(mean, x) == axis:
            return x, True
    return d, False


@rule(Pointwise)
def scale_and_shift(view: View, node: Node) -> Patch | No:
    """layer_norm(x, s) * g + b -> layer_norm(x, s * g, b); rms_norm(x, s) * g likewise"""
    if not is_pointwise(node, "mul", "add"):
        return SKIP
    found = pair(node, view)
    moved = None if found is None else inner(view, found[0], Transpose)
    source = moved.inputs[0] if moved else found and found[0]
    norm = None if source is None else inner(view, source, LayerNorm, RMSNorm)
    if found is None or norm is None or found[0].type != node.outputs[0].type:
        return SKIP
    assert isinstance(norm.op, (LayerNorm, RMSNorm))
    adds = is_pointwise(node, "add")
    if adds and isinstance(norm.op, RMSNorm):
        return SKIP
    x = norm.inputs[0]
    shape = x.type.dims[norm.op.axis % x.type.rank :]
    factor = _trailing(view.weight(found[1]), shape)
    if moved is not None:
        factor = _of_channels(view.weight(found[1]), moved, norm.op)
    scale = view.weight(norm.inputs[1])
    bias = view.weight(norm.inputs[2]) if len(norm.inputs) > 2 else np.zeros((), np.float64)
    if factor is None or scale is None or bias is None:
        return No("the factor varies along other axes, or scale or bias is no constant")
    patch = view.patch()
    if adds:
        bias = bias + factor
    else:
        scale, bias = scale * factor, bias * factor
    dtype = x.type.dtype.numpy
    inputs = [x, patch.weight(np.broadcast_to(scale, shape).astype(dtype), "norm_scale")]
    if adds or len(norm.inputs) > 2:
        inputs.append(patch.weight(np.broadcast_to(bias, shape).astype(dtype), "norm_bias"))
    made = patch(norm.op, *inputs)
    return patch.replace(node.outputs[0], patch(moved.op, made) if moved else made)


def _of_channels(array: Array | None, moved: Node, norm: LayerNorm | RMSNorm) -> Array | None:
    """A constant that varies along channels at most, which a transpose puts first behind a norm."""
    out = moved.outputs[0].type
    fits = norm.axis % out.rank == out.rank - 1 and moved.op == Transpose(channels_first(out.rank))
    return None if array is None or not fits else per_axis(array, out.rank, 1, out.dims[1])


def _trailing(array: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A constant as f64 that broadcasts to `shape`, its leading axes of extent 1 dropped."""
    if array is None:
        return None
    extra = max(0, array.ndim - len(shape))
    if any(n != 1 for n in array.shape[:extra]):
        return None
    kept = array.astype(np.float64).reshape(array.shape[extra:])
    fits = all(a in (1, b) for a, b in zip(kept.shape[::-1], shape[::-1], strict=False))
    return kept if fits else None


RULES = (softmax, normalisation, scale_and_shift)
OF_CHANNELS = (normalisation_of_channels, scale_and_shift)


def norms(graph: Graph) -> Graph:
    """One normalisation where a file has its arithmetic."""
    return rewrite(graph, RULES)


def norms_of_channels(graph: Graph) -> Graph:
    """One norm where a file has its arithmetic over channels, for targets where those lie last."""
    return rewrite(graph, OF_CHANNELS)
