"""One wide convolution or matrix product where several narrow ones read the same input.

The input is read once, and there is one kernel to start instead of several. It does not pay where
a result would go on into memory of its own: an epilogue with another tensor, or a concatenation,
unless filters are 1x1: their kernels write parts apart (passes/epilogues.py).

Notebook (Zen 5, two threads): YOLOv5s, eight such pairs written apart: 67 steps for 75, and 1.1 %
(0.4 to 1.8) of its time; 1.9 % had been expected from reading 6.5 MB once instead of twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Slice
from planck.ops.nn import Conv, MatMul
from planck.ops.pointwise import Pointwise
from planck.passes.match import is_pointwise, pair
from planck.refusal import No

LANES: Final = 16  # slices at multiples of the widest vector cost nothing


@dataclass(frozen=True, slots=True)
class _Branch:
    """linear(x) + bias, then functions of one operand."""

    node: Node
    weight: Array
    bias: Array | None
    adding: bool  # the bias is a node of its own
    tail: tuple[Op, ...]
    ends: tuple[Value, ...]  # the result after the bias, and after each function of the tail


@rule(Conv, MatMul)
def branches(view: View, node: Node) -> Patch | No:
    """f(conv(x, v)), f(conv(x, w)) -> slices of f(conv(x, concat(v, w))); the same for matmul"""
    x = node.inputs[0]
    users = [n for n in view.users(x) if n.op == node.op and n.inputs[0] == x]
    if len(users) < 2:
        return SKIP
    axis = 1 if isinstance(node.op, Conv) else node.outputs[0].type.rank - 1
    found = [_branch(view, user, axis) for user in users]
    fitting = [b for b in found if isinstance(b, _Branch)]
    mine = next((b for b in found if b and isinstance(b, _Branch) and b.node is node), None)
    if mine is None:
        refused = next((b for b in found if isinstance(b, No)), SKIP)
        return refused
    alike = [b for b in fitting if _alike(b, mine, axis)]
    if len(alike) < 2:
        return No("no other branch is like this one")
    alike.sort(key=lambda b: view.position(b.node))
    return _merged(view, alike, axis)


def _branch(view: View, node: Node, axis: int) -> _Branch | No:
    """What follows a node, as far as it could run on a wide one."""
    weight = view.weight(node.inputs[1])
    result = node.outputs[0]
    if weight is None or (isinstance(node.op, Conv) and node.op.groups != 1):
        return No("weights are no constant, or there are groups")
    if isinstance(node.op, MatMul) and (weight.ndim != 2 or node.inputs[0].type.rank < 2):
        return No("the matrix has not two axes")
    if result.type.dims[axis] % LANES:
        return No(f"{result.type.dims[axis]} channels are no multiple of {LANES}")
    bias = view.weight(node.inputs[2]) if len(node.inputs) > 2 else None
    if len(node.inputs) > 2 and bias is None:
        return No("the bias is no constant")
    adding = False
    if isinstance(node.op, MatMul) and view.once(result):
        user = view.users(result)[0]
        parts = pair(user, view) if is_pointwise(user, "add") else None
        if parts and parts[1].type.shape == (result.type.dims[axis],):
            bias, adding, result = view.weight(parts[1]), True, user.outputs[0]
    tail: list[Op] = []
    ends = [result]
    while view.once(result):
        user = view.users(result)[0]
        if not is_pointwise(user) or len(user.inputs) != 1:
            break
        result = user.outputs[0]
        tail.append(user.op)
        ends.append(result)
    if view.is_output(result):
        return No("a result is an output of the graph")
    parted = isinstance(node.op, Conv) and set(weight.shape[2:]) == {1}
    users = view.users(result)
    for user in users:
        if isinstance(user.op, Concat) and not parted:
            return No("a result goes straight into a concatenation")
        if parted and len(users) > 1:
            continue  # it is written for others too
        if is_pointwise(user) and any(v != result and view.weight(v) is None for v in user.inputs):
            return No("a result's epilogue takes another tensor")
    return _Branch(node, weight, bias, adding, tuple(tail), tuple(ends))


def _alike(a: _Branch, b: _Branch, axis: int) -> bool:
    def shape(branch: _Branch) -> tuple[int, ...]:
        dims = branch.node.outputs[0].type.dims
        taps = branch.weight.shape[2:] if isinstance(branch.node.op, Conv) else ()
        return (*dims[:axis], *dims[axis + 1 :], *taps)

    return (a.adding, a.tail, shape(a)) == (b.adding, b.tail, shape(b))


def _merged(view: View, group: list[_Branch], axis: int) -> Patch:
    first = group[0]
    op, x = first.node.op, first.node.inputs[0]
    along = 0 if isinstance(op, Conv) or (isinstance(op, MatMul) and op.transpose_b) else 1
    widths = [b.node.outputs[0].type.dims[axis] for b in group]
    patch = view.patch()
    weight = patch.weight(
        np.concatenate([b.weight for b in group], axis=along), first.node.inputs[1].name
    )
    inputs = [x, weight]
    biased = any(b.bias is not None for b in group)
    if biased:
        biases = [
            np.zeros(n, weight.type.dtype.numpy) if b.bias is None else b.bias
            for b, n in zip(group, widths, strict=True)
        ]
        bias = patch.weight(np.concatenate(biases), f"{first.node.inputs[1].name}_bias")
        if not first.adding:
            inputs.append(bias)
    wide = patch(op, *inputs)
    if biased and first.adding:
        wide = patch(Pointwise("add"), wide, bias)
    for function in first.tail:
        wide = patch(function, wide)
    start = 0
    rank = wide.type.rank
    for branch, width in zip(group, widths, strict=True):
        starts = tuple(start if k == axis else 0 for k in range(rank))
        sizes = tuple(width if k == axis else n for k, n in enumerate(wide.type.dims))
        patch.replace(branch.ends[-1], patch(Slice(starts, sizes, (1,) * rank), wide))
        start += width
    return patch


RULES = (branches,)


def merge_parallel(graph: Graph) -> Graph:
    """Join narrow branches that read the same input."""
    return rewrite(graph, RULES)
