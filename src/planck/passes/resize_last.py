"""Resizing to more pixels comes after 1x1 convolutions, which then have fewer pixels to compute.

    conv(concat(up(a), b), w) -> conv(b, w_b) + up(conv(a, w_a))
    conv(up(a), w)            -> up(conv(a, w))

A 1x1 convolution works on each pixel alone, and resizing to the nearest neighbour only repeats
pixels; linear interpolation is a mean whose weights add to one, which any linear map and its bias
commute with. So do functions of one operand with repeated pixels. Only sums come in another order.

The addition goes into the convolution's epilogue, which reads a small image through a table of
places (tactics/direct.py): neither the resized image nor the concatenation ever stands in memory.

Notebook (Zen 5, two cores): 2 % of YOLOv5s' multiplications; its time 2.9 % less, 2 % predicted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from planck.dtypes import Array, f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat
from planck.ops.nn import Conv, Resize
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner
from planck.refusal import No

# Products of a pixel of a channel that pay for adding it up apart: a load, an addition, and a part
# in one more kernel.
LEAST_SAVED: Final = 16


@rule(Conv)
def beside_others(view: View, node: Node) -> Patch | No:
    """conv(concat(up(a), b), w) -> conv(b, w_b) + up(conv(a, w_a)), for 1x1 filters"""
    source = view.producer(node.inputs[0])
    if source is None or not isinstance(source.op, Concat) or source.op.axis != 1:
        return SKIP
    makers = [_resized(view, part) for part in source.inputs]
    if not any(makers):
        return SKIP
    weight = _pixel_by_pixel(view, node)
    if isinstance(weight, No):
        return weight
    patch, op = view.patch(), node.op
    starts = np.cumsum([0, *(part.type.dims[1] for part in source.inputs)])
    kept: list[int] = []
    apart: list[tuple[Value, Resize, slice]] = []
    for k, (part, maker) in enumerate(zip(source.inputs, makers, strict=True)):
        if maker and _nearest(maker) and _saved(maker, part.type.dims[1]) >= LEAST_SAVED:
            assert isinstance(maker.op, Resize)
            apart.append((maker.inputs[0], maker.op, slice(starts[k], starts[k + 1])))
        else:
            kept.append(k)
    if not apart:
        return No(f"no part has {LEAST_SAVED} products a pixel to save, or it is interpolated")
    if not kept:
        return No("all parts are resized, by nothing in common")
    if len(kept) > 1 and not all(_goes(view, user) for user in view.users(node.inputs[0])):
        return No("the concatenation stays, and its other parts would have to lie in two places")
    own = np.concatenate([weight[:, starts[k] : starts[k + 1]] for k in kept], axis=1)
    parts = [source.inputs[k] for k in kept]
    x = parts[0] if len(parts) == 1 else patch(Concat(1), *parts)
    name = node.inputs[1].name
    y = patch(op, x, patch.weight(np.ascontiguousarray(own), name), *node.inputs[2:])
    for small, resize, channels in apart:
        own = np.ascontiguousarray(weight[:, channels])
        made = patch(op, small, patch.weight(own, name))
        y = patch(Pointwise("add"), y, patch(_like(resize, y), made))
    return patch.replace(node.outputs[0], y)


@rule(Conv)
def before_alone(view: View, node: Node) -> Patch | No:
    """conv(up(a), w, b) -> up(conv(a, w, b)), for 1x1 filters"""
    maker = inner(view, node.inputs[0], Resize)
    if maker is None or not _resized(view, node.inputs[0]):
        return SKIP
    weight = _pixel_by_pixel(view, node)
    if isinstance(weight, No):
        return weight
    channels_out, channels = weight.shape[:2]
    if _saved(maker, channels) < LEAST_SAVED:
        return No(f"not {LEAST_SAVED} products a pixel to save")
    if channels_out > channels and not _nearest(maker):
        return No("there would be more channels to interpolate")
    patch = view.patch()
    small = patch(node.op, maker.inputs[0], *node.inputs[1:])
    assert isinstance(maker.op, Resize)
    return patch.replace(node.outputs[0], patch(_like(maker.op, node.outputs[0]), small))


@rule(Pointwise)
def function(view: View, node: Node) -> Patch | No:
    """f(up(conv(a))) -> up(f(conv(a))), up repeating pixels"""
    if len(node.inputs) != 1:
        return SKIP
    maker = inner(view, node.inputs[0], Resize)
    if maker is None or not _resized(view, node.inputs[0]) or not _nearest(maker):
        return SKIP
    if inner(view, maker.inputs[0], Conv) is None:
        return SKIP  # elsewhere the function runs as part of what comes next
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(maker.op, patch(node.op, maker.inputs[0])))


def _resized(view: View, value: Value) -> Node | None:
    """The Resize that makes a value of fewer pixels, if 1x1 filters may come before it."""
    node = view.producer(value)
    if node is None or not isinstance(node.op, Resize) or value.type.rank not in (3, 4):
        return None
    op, small = node.op, node.inputs[0].type.dims
    plain = op.mode in ("nearest", "linear") and op.coordinates != "tf_crop_and_resize"
    if not plain or not op.has_body or op.scales[:2] != (1.0, 1.0):
        return None
    more = all(a <= b for a, b in zip(small[2:], op.sizes[2:], strict=True))
    return node if small[:2] == op.sizes[:2] and more and small != op.sizes else None


def _nearest(node: Node) -> bool:
    return isinstance(node.op, Resize) and node.op.mode == "nearest"


def _saved(node: Node, channels: int) -> float:
    """Products that each output channel of a pixel has less, on an average."""
    few, many = (math.prod(v.type.dims[2:]) for v in (node.inputs[0], node.outputs[0]))
    return channels * (1 - few / many)


def _pixel_by_pixel(view: View, node: Node) -> Array | No:
    """The weights of a convolution that works on each pixel alone."""
    op, weight = node.op, view.weight(node.inputs[1])
    assert isinstance(op, Conv)
    if weight is None or node.outputs[0].type.dtype is not f32:
        return No("the weights are no constant of f32")
    if set(weight.shape[2:]) != {1} or set(op.strides) != {1} or any(op.pads) or op.groups != 1:
        return No("it reads more than one pixel, leaves some out, or has groups")
    return weight


def _goes(view: View, node: Node) -> bool:
    """Whether a reader of a concatenation will read its parts instead."""
    return isinstance(node.op, Conv) and not isinstance(_pixel_by_pixel(view, node), No)


def _like(op: Resize, value: Value) -> Resize:
    """The same resizing to another number of channels."""
    return replace(op, sizes=(*value.type.dims[:2], *op.sizes[2:]))


RULES = (beside_others, before_alone, function)


def resize_last(graph: Graph) -> Graph:
    """Let 1x1 convolutions work before an image is enlarged."""
    return rewrite(graph, RULES)
