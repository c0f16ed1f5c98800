"""Convolutions and pools of volumes become those of images, for which there are kernels.

The depth goes in front of the batch, where its slices are views, and the taps along it become
channels. Between two such convolutions the transposes cancel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from planck.ops.nn import Conv, ConvTranspose, Pool
from planck.ops.nn.pool import lowest
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
    m, c, taps, *kernel = weights.shape
    parts = _taps(patch, x, op, taps, node.outputs[0].type.dims[2], 0)
    images = parts[0] if taps == 1 else patch(Concat(1), *parts)
    beside = np.ascontiguousarray(np.moveaxis(weights, 2, 1)).reshape(m, taps * c, *kernel)
    flat = replace(
        op, strides=op.strides[1:], pads=(*op.pads[1:3], *op.pads[4:]), dilations=op.dilations[1:]
    )
    y = patch(flat, images, patch.weight(beside, w.name), *node.inputs[2:])
    y, out = _with_functions(view, patch, y, node.outputs[0])
    n, m, *counts = out.type.dims
    y = patch(Reshape((counts[0], n, m, *counts[1:])), y)
    return patch.replace(out, patch(Transpose(BACK), y))


@rule(ConvTranspose)
def enlarged_volume(view: View, node: Node) -> Patch | No:
    """transposed_conv(x[N, C, D, H, W]) whose windows do not meet along the depth -> of images"""
    assert isinstance(node.op, ConvTranspose)
    x, w = node.inputs[:2]
    op = node.op
    if x.type.rank != 5:
        return SKIP
    weights = view.weight(w)
    bias = view.weight(node.inputs[2]) if len(node.inputs) > 2 else None
    if op.groups != 1 or weights is None or (len(node.inputs) > 2 and bias is None):
        return No("the convolution has groups, or weights are no constant")
    c, m, taps, *kernel = weights.shape
    if (op.strides[0], op.dilations[0]) != (taps, 1) or op.pads[0] or op.pads[3]:
        return No("windows meet or leave gaps along the depth")
    if op.output_padding[0]:
        return No("it adds to the depth")
    patch = view.patch()
    beside = np.ascontiguousarray(np.moveaxis(weights, 2, 1)).reshape(c, taps * m, *kernel)
    flat = replace(
        op, strides=op.strides[1:], pads=(*op.pads[1:3], *op.pads[4:]), dilations=op.dilations[1:],
        output_padding=op.output_padding[1:],
    )  # fmt: skip
    more = [] if bias is None else [patch.weight(np.tile(bias, taps), node.inputs[2].name)]
    y = patch(flat, _images(patch, x), patch.weight(beside, w.name), *more)
    y, out = _with_functions(view, patch, y, node.outputs[0])
    n, m, depth, *image = out.type.dims
    y = patch(Reshape((depth // taps, n, taps, m, *image)), y)
    y = patch(Transpose((1, 3, 0, 2, 4, 5)), y)
    return patch.replace(out, patch(Reshape(out.type.dims), y))


@rule(Pool)
def pooled_volume(view: View, node: Node) -> Patch | No:
    """pool(x[N, C, D, H, W]) -> pool(the largest, or the mean, of slices of x)"""
    assert isinstance(node.op, Pool)
    (x,), out, op = node.inputs, node.outputs[0], node.op
    if x.type.rank != 5:
        return SKIP
    depth, taps = out.type.dims[2], op.kernel[0]
    over = (depth - 1) * op.strides[0] + (taps - 1) * op.dilations[0] + 1 - x.type.dims[2]
    if op.kind == "lp" or (op.kind == "average" and (op.pads[0] or over > 0)):
        return No("windows are norms, or count what lies beyond the depth")
    patch = view.patch()
    ends = replace(op, pads=(*op.pads[:3], max(over - op.pads[0], 0), *op.pads[4:]))
    first, *others = _taps(patch, x, ends, taps, depth, lowest(x.type.dtype))
    y = first
    for other in others:
        y = patch(Pointwise("max" if op.kind == "max" else "add"), y, other)
    if op.kind == "average" and taps > 1:
        share = patch.weight(np.array(1 / taps, x.type.dtype.numpy))
        y = patch(Pointwise("mul"), y, share)
    flat = replace(
        op, kernel=op.kernel[1:], strides=op.strides[1:], pads=(*op.pads[1:3], *op.pads[4:]),
        dilations=op.dilations[1:],
    )  # fmt: skip
    n, c, *counts = out.type.dims
    y = patch(Reshape((depth, n, c, *counts[1:])), patch(flat, y))
    return patch.replace(out, patch(Transpose(BACK), y))


def _images(patch: Patch, x: Value) -> Value:
    """x[N, C, D, H, W] as [D * N, C, H, W]."""
    n, c, depth, *image = x.type.dims
    return patch(Reshape((depth * n, c, *image)), patch(Transpose(TO_FRONT), x))


def _taps(
    patch: Patch, x: Value, op: Conv | Pool, taps: int, count: int, beyond: float
) -> list[Value]:
    """For each tap along the depth the images that it reads; beyond: what lies outside."""
    n, images = x.type.dims[0], _images(patch, x)
    if op.pads[0] or op.pads[3]:
        pads = (op.pads[0] * n, 0, 0, 0, op.pads[3] * n, 0, 0, 0)
        images = patch(Pad(pads), images, patch.weight(np.array(beyond, x.type.dtype.numpy)))
    firsts = [k * op.dilations[0] for k in range(taps)]
    return [_every(patch, images, n, first, count, op.strides[0]) for first in firsts]


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


def _with_functions(view: View, patch: Patch, y: Value, out: Value) -> tuple[Value, Value]:
    """y with the functions of single numbers behind it, as long as nobody else reads it."""
    while view.once(out):
        user = view.users(out)[0]
        plain = all(v == out or not v.type.rank for v in user.inputs)
        if not isinstance(user.op, Pointwise) or not plain:
            break
        y = patch(user.op, *(y if v == out else v for v in user.inputs))
        out = user.outputs[0]
    return y, out


RULES = (plane, volume, enlarged_volume, pooled_volume)


def flatten_depth(graph: Graph) -> Graph:
    """Convolutions and pools of volumes as those of images."""
    return rewrite(graph, RULES)
