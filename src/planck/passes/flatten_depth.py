"""Convolutions of volumes become convolutions of images, for which there are kernels.

The depth goes in front of the batch, where its slices are views, and the taps along it become
channels. Between two such convolutions the transposes cancel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from planck.ops.nn import Conv
from planck.ops.pointwise import Pointwise
from planck.refusal import No

TO_FRONT = (2, 0, 1, 3, 4)  # [N, C, D, H, W] -> [D, N, C, H, W]
BACK = (1, 2, 0, 3, 4)


@rule(Conv)
def plane(view: View, node: Node) -> Patch | No:
    """conv(x[N, C, D, H, W], w[M, C, T, 1, 1]) -> conv(x as [N, C, D, H * W])

    Where a convolution goes along the depth alone, or along nothing, an image's rows are one.
    """
    assert isinstance(node.op, Conv)
    x, w = node.inputs[:2]
    op, out = node.op, node.outputs[0]
    if x.type.rank != 5 or w.type.dims[3:] != (1, 1):
        return SKIP
    if op.strides[1:] != (1, 1) or any((*op.pads[1:3], *op.pads[4:])):
        return SKIP
    n, c, depth, height, width = x.type.dims
    patch = view.patch()
    rows = patch(Reshape((n, c, depth, height * width)), x)
    taps = patch(Reshape(w.type.dims[:4]), w)
    flat = Conv((op.strides[0], 1), (op.pads[0], 0, op.pads[3], 0), (op.dilations[0], 1), op.groups)
    y = patch(flat, rows, taps, *node.inputs[2:])
    return patch.replace(out, patch(Reshape(out.type.dims), y))


@rule(Conv)
def volume(view: View, node: Node) -> Patch | No:
    """conv(x[N, C, D, H, W], w[M, C, T, K, L]) -> conv(T slices of x side by side)

    And the functions behind it with it, which are then part of its kernel.
    """
    assert isinstance(node.op, Conv)
    x, w = node.inputs[:2]
    op = node.op
    if x.type.rank != 5:
        return SKIP
    weights = view.weight(w)
    if op.groups != 1 or weights is None:
        return No("the convolution has groups, or weights are no constant")
    if min(op.pads) < 0:
        return No("it crops")
    patch = view.patch()
    n, _, depth, *image = x.type.dims
    m, c, taps, *kernel = weights.shape
    out, counts = node.outputs[0], node.outputs[0].type.dims[2:]
    images = patch(Reshape((depth * n, c, *image)), patch(Transpose(TO_FRONT), x))
    if op.pads[0] or op.pads[3]:
        pads = (op.pads[0] * n, 0, 0, 0, op.pads[3] * n, 0, 0, 0)
        images = patch(Pad(pads), images, patch.weight(np.zeros((), x.type.dtype.numpy)))
    firsts = [k * op.dilations[0] for k in range(taps)]
    parts = [_every(patch, images, n, first, counts[0], op.strides[0]) for first in firsts]
    images = parts[0] if taps == 1 else patch(Concat(1), *parts)
    beside = np.ascontiguousarray(np.moveaxis(weights, 2, 1)).reshape(m, taps * c, *kernel)
    flat = replace(
        op, strides=op.strides[1:], pads=(*op.pads[1:3], *op.pads[4:]), dilations=op.dilations[1:]
    )
    y = patch(flat, images, patch.weight(beside, w.name), *node.inputs[2:])
    while (user := _function(view, out)) is not None:
        y = patch(user.op, *(y if v == out else v for v in user.inputs))
        out = user.outputs[0]
    y = patch(Reshape((counts[0], n, m, *counts[1:])), y)
    return patch.replace(out, patch(Transpose(BACK), y))


def _every(patch: Patch, images: Value, n: int, first: int, count: int, step: int) -> Value:
    """The images of every `step`-th depth from the first on; n images have one depth."""
    depths, *image = images.type.dims
    if (first, count * n, step) == (0, depths, 1):
        return images
    if step > 1 and n > 1:
        images = patch(Reshape((depths // n, n * image[0], *image[1:])), images)
        images = _every(patch, images, 1, first, count, step)
        return patch(Reshape((count * n, *image)), images)
    starts, sizes = (first * n, 0, 0, 0), (count * n, *image)
    return patch(Slice(starts, sizes, (step, 1, 1, 1)), images)


def _function(view: View, value: Value) -> Node | None:
    """A pointwise function of a value and of single numbers, if nobody else reads the value."""
    if not view.once(value):
        return None
    user = view.users(value)[0]
    others = [v for v in user.inputs if v != value]
    plain = isinstance(user.op, Pointwise) and all(not v.type.rank for v in others)
    return user if plain and user.outputs[0].type.shape == value.type.shape else None


RULES = (plane, volume)


def flatten_depth(graph: Graph) -> Graph:
    """Convolutions of volumes as convolutions of images."""
    return rewrite(graph, RULES)
