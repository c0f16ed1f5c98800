"""Convolutions by weights that are computed become matrix products.

Kernels of convolutions want their weights packed when a plan is built. What each tap reads is laid
out instead, as rows of a matrix that the weights multiply.
"""

from __future__ import annotations

import math

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from planck.ops.nn import Conv, MatMul
from planck.ops.pointwise import Pointwise
from planck.refusal import No


@rule(Conv)
def computed(view: View, node: Node) -> Patch | No:
    """conv(x[N, C, H, W], w) -> w as [M, T * C] @ (slices of x for T taps)[N, T * C, P * Q]"""
    assert isinstance(node.op, Conv)
    x, w = node.inputs[:2]
    op, out = node.op, node.outputs[0]
    if x.type.rank != 4 or view.weight(w) is not None:
        return SKIP
    if op.groups != 1 or min(op.pads) < 0:
        return No("the convolution has groups, or crops")
    patch = view.patch()
    m, c, *kernel = w.type.dims
    n, _, *counts = out.type.dims
    taps = math.prod(kernel)
    columns = patch(Reshape((n, taps * c, math.prod(counts))), _taps(patch, x, op, kernel, counts))
    rows = patch(Reshape((m, c, taps)), w)
    rows = patch(Reshape((m, taps * c)), patch(Transpose((0, 2, 1)), rows))
    y = patch(MatMul(), rows, columns)
    if len(node.inputs) > 2:
        y = patch(Pointwise("add"), y, patch(Reshape((m, 1)), node.inputs[2]))
    return patch.replace(out, patch(Reshape(out.type.dims), y))


def _taps(patch: Patch, x: Value, op: Conv, kernel: list[int], counts: list[int]) -> Value:
    """What each tap reads, side by side as channels."""
    if any(op.pads):
        zero = patch.weight(np.zeros((), x.type.dtype.numpy))
        x = patch(Pad((0, 0, *op.pads[:2], 0, 0, *op.pads[2:])), x, zero)
    n, c = x.type.dims[:2]
    parts = []
    for tap in np.ndindex(*kernel):
        starts = [k * step for k, step in zip(tap, op.dilations, strict=True)]
        cut = Slice((0, 0, *starts), (n, c, *counts), (1, 1, *op.strides))
        parts.append(patch(cut, x))
    return parts[0] if len(parts) == 1 else patch(Concat(1), *parts)


RULES = (computed,)


def unfold_computed(graph: Graph) -> Graph:
    """Convolutions by computed weights as products."""
    return rewrite(graph, RULES)
