"""Let convolutions and pools pad for themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.ir.graph import Graph, Node
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Pad
from planck.ops.nn import Conv, Pool
from planck.passes.match import constant, is_pointwise
from planck.refusal import No


@rule(Conv, Pool)
def pad(view: View, node: Node) -> Patch | No:
    """conv(pad(x, 0)), average_pool(pad(x, 0)), max_pool(pad(x, -inf)) -> with their own padding"""
    assert isinstance(node.op, (Conv, Pool))
    padding = view.producer(node.inputs[0])
    if padding is None or not isinstance(padding.op, Pad):
        return SKIP
    rank = node.inputs[0].type.rank
    begins, ends = padding.op.pads[:rank], padding.op.pads[rank:]
    if any((*begins[:2], *ends[:2])):
        return No("it pads batch or channels")
    if min(padding.op.pads) < 0 or padding.op.mode != "constant":
        return No("it crops, or pads with something else than a constant")
    with_what = constant(view, padding.inputs[1]) if len(padding.inputs) > 1 else 0.0
    added = (*begins[2:], *ends[2:])
    pads = tuple(a + b for a, b in zip(node.op.pads, added, strict=True))
    op: Conv | Pool = replace(node.op, pads=pads)
    if isinstance(node.op, Conv):
        if with_what != 0:
            return No("it pads with another number than 0")
    else:
        answer = _pool(view, node.op, padding, with_what, pads)
        if isinstance(answer, No):
            return answer
        op = answer
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(op, padding.inputs[0], *node.inputs[1:]))


def _pool(
    view: View, op: Pool, padding: Node, with_what: float | None, pads: tuple[int, ...]
) -> Pool | No:
    if any(p >= k for p, k in zip(pads, op.kernel * 2, strict=True)) or any(
        d != 1 for d in op.dilations
    ):
        return No("a window could lie in the padding alone")
    if op.ceil:
        return No("a pool that rounds up treats its own padding in another way")
    if op.kind == "average":
        if with_what != 0:
            return No("it pads with another number than 0")
        if any(op.pads) and not op.include_pad:
            return No("the pool's own padding is not counted, this one is")
        return replace(op, pads=pads, include_pad=True)
    if op.kind == "max":
        lowest = with_what == -np.inf or (
            with_what is not None
            and padding.inputs[0].type.dtype is padding.outputs[0].type.dtype
            and padding.inputs[0].type.dtype.is_float
            and with_what <= float(np.finfo(np.float32).min)
        )
        if lowest or (with_what == 0 and _never_negative(view, padding)):
            return replace(op, pads=pads)
        return No("it pads with a number that could win")
    return No("padding of an lp pool")


def _never_negative(view: View, padding: Node) -> bool:
    return is_pointwise(view.producer(padding.inputs[0]), "relu", "sigmoid", "abs")


RULES = (pad,)


def fold_pad(graph: Graph) -> Graph:
    """Move padding into the operators that can pad."""
    return rewrite(graph, RULES)
