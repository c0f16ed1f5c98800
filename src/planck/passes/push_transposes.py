"""Let transposes sink until they meet their inverse or an operator that reads transposed.

A transpose moves below an operator that does not care about the order of axes; two that meet join
into one (`remove_noops`), and what is left at a matrix product becomes its flag. Nothing ever moves
up, so that the rules end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from planck.ops.nn import MatMul, Softmax
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import Reduce
from planck.passes.remove_noops import transposes
from planck.refusal import No


def _perm(view: View, value: Value) -> tuple[int, ...] | None:
    """The order of axes in which a value is another one's transpose."""
    node = view.producer(value)
    return node.op.perm if node is not None and isinstance(node.op, Transpose) else None


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(axis) for axis in range(len(perm)))


def _above(view: View, value: Value) -> Value:
    node = view.producer(value)
    assert node is not None
    return node.inputs[0]


def _moved(view: View, patch: Patch, value: Value, perm: tuple[int, ...]) -> Value | None:
    """What stands for an operand once the transpose is below; None if nothing free does."""
    if _perm(view, value) == perm:
        return _above(view, value)
    array = view.weight(value)
    if array is None or array.ndim > len(perm):
        return None
    if array.size == 1:
        return value
    shape = (1,) * (len(perm) - array.ndim) + array.shape
    moved = np.ascontiguousarray(array.reshape(shape).transpose(_inverse(perm)))
    return patch.weight(moved, value.name)


@rule(Pointwise, Concat, Cast)
def below_pointwise(view: View, node: Node) -> Patch | No:
    """f(transpose(x), transpose(y), constant) -> transpose(f(x, y, transposed constant))"""
    perms = [perm for value in node.inputs if (perm := _perm(view, value)) is not None]
    if not perms:
        return SKIP
    perm = perms[0]
    if len(perm) != node.outputs[0].type.rank:
        return SKIP
    if any(_shared(view, value, node) for value in node.inputs if _perm(view, value) == perm):
        return No("the transposed value is used elsewhere")
    patch = view.patch()
    inputs = [_moved(view, patch, value, perm) for value in node.inputs]
    known = [value for value in inputs if value is not None]
    if len(known) < len(inputs):
        return No("an operand is neither constant nor transposed in the same way")
    op = node.op
    if isinstance(op, Concat):
        op = Concat(perm[op.axis])
        if any(a.type.rank != len(perm) for a in known):
            return SKIP
    return patch.replace(node.outputs[0], patch(Transpose(perm), patch(op, *known)))


def _shared(view: View, value: Value, node: Node) -> bool:
    return view.is_output(value) or any(user is not node for user in view.users(value))


@rule(Reduce, Softmax)
def below_reduction(view: View, node: Node) -> Patch | No:
    """reduce(transpose(x)), softmax(transpose(x)) -> transpose(reduce(x)), transpose(softmax(x))"""
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    if not view.once(node.inputs[0]):
        return No("the transposed value is used elsewhere")
    x = _above(view, node.inputs[0])
    patch = view.patch()
    if isinstance(node.op, Softmax):
        result = patch(replace(node.op, axis=perm[node.op.axis]), x)
    else:
        assert isinstance(node.op, Reduce)
        axes = tuple(sorted(perm[axis] for axis in node.op.axes))
        result = patch(replace(node.op, axes=axes), x)
        if not node.op.keep:
            kept = [axis for axis in perm if axis not in axes]
            perm = tuple(sorted(kept).index(axis) for axis in kept)
    return patch.replace(node.outputs[0], patch(Transpose(perm), result))


@rule(Slice, Pad)
def below_slice(view: View, node: Node) -> Patch | No:
    """slice(transpose(x)), pad(transpose(x)) -> transpose(slice(x)), transpose(pad(x))"""
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    value = node.inputs[0]
    if view.is_output(value) or any(type(u.op) is not type(node.op) for u in view.users(value)):
        return No("the transposed value is used elsewhere")
    back = _inverse(perm)
    op: Slice | Pad
    if isinstance(node.op, Slice):
        starts, sizes, steps = (
            tuple(field[axis] for axis in back)
            for field in (node.op.starts, node.op.sizes, node.op.steps)
        )
        op = Slice(starts, sizes, steps)
    else:
        assert isinstance(node.op, Pad)
        n = len(perm)
        pads = [node.op.pads[axis] for axis in back] + [node.op.pads[n + axis] for axis in back]
        op = replace(node.op, pads=tuple(pads))
    patch = view.patch()
    result = patch(op, _above(view, value), *node.inputs[1:])
    return patch.replace(node.outputs[0], patch(Transpose(perm), result))


@rule(Reshape)
def below_squeeze(view: View, node: Node) -> Patch | No:
    """reshape(transpose(x)) that drops axes of extent 1 -> transpose(reshape(x))"""
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    before, after = node.inputs[0].type.dims, node.outputs[0].type.dims
    if len(after) >= len(before) or [n for n in before if n != 1] != [n for n in after if n != 1]:
        return SKIP
    if not view.once(node.inputs[0]):
        return No("the transposed value is used elsewhere")
    dropped = _dropped(before, after)
    x = _above(view, node.inputs[0])
    gone = {perm[k] for k in dropped}
    kept = [axis for axis in perm if axis not in gone]
    patch = view.patch()
    shape = tuple(n for axis, n in enumerate(x.type.dims) if axis not in gone)
    order = tuple(sorted(kept).index(axis) for axis in kept)
    return patch.replace(node.outputs[0], patch(Transpose(order), patch(Reshape(shape), x)))


def _dropped(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """Which axes, all of extent 1, are missing after."""
    dropped, k = [], 0
    for axis, n in enumerate(before):
        if k < len(after) and after[k] == n:
            k += 1
        else:
            dropped.append(axis)
    return dropped


@rule(MatMul)
def into_matmul(view: View, node: Node) -> Patch | No:
    """matmul(a, transpose(b)) that swaps the last two axes -> matmul(a, b, transpose_b=True)"""
    assert isinstance(node.op, MatMul)
    flags = [node.op.transpose_a, node.op.transpose_b]
    inputs = list(node.inputs)
    for k, value in enumerate(node.inputs):
        perm = _perm(view, value)
        if perm is None or len(perm) < 2:
            continue
        n = len(perm)
        if perm == (*range(n - 2), n - 1, n - 2):
            flags[k], inputs[k] = not flags[k], _above(view, value)
    if tuple(inputs) == node.inputs:
        return SKIP
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(MatMul(flags[0], flags[1]), *inputs))


RULES = (transposes, into_matmul, below_pointwise, below_reduction, below_slice, below_squeeze)


def push_transposes(graph: Graph) -> Graph:
    """Sink transposes; drop those that meet their inverse."""
    return rewrite(graph, RULES)
