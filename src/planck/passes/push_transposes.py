"""Let transposes sink until they meet their inverse or an operator that reads transposed.

A transpose moves below an operator that does not care about the order of axes, if on every way
down it meets one that it can join (`remove_noops` joins them), or ends as the flag of a matrix
product or the axes of a reduction. Nothing ever moves up, so that the rules end.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

import numpy as np

from planck.ir.graph import Graph, Node, Op, Value
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


def _ends(view: View, value: Value, perm: tuple[int, ...], budget: int = 100) -> bool:
    """Whether a transposed value, sinking, vanishes or joins another on every way down."""
    if view.is_output(value) or budget <= 0:
        return False
    return all(_ends_at(view, value, user, perm, budget - 1) for user in view.users(value))


def _ends_at(view: View, value: Value, user: Node, perm: tuple[int, ...], budget: int) -> bool:
    op, rank = user.op, len(perm)
    if isinstance(op, Transpose):
        return True
    if isinstance(op, MatMul):
        return rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)
    if isinstance(op, Reduce) and not op.keep:
        gone = {axis % rank for axis in op.axes}
        kept = [axis for k, axis in enumerate(perm) if k not in gone]
        if kept == sorted(kept):
            return True
        perm = tuple(sorted(kept).index(axis) for axis in kept)
    elif isinstance(op, Reshape):
        found = _units(perm, value.type.dims, user.outputs[0].type.dims)
        if found is None:
            return False
        perm = found[1]
    elif isinstance(op, (Pointwise, Concat)):
        others = [other for other in user.inputs if other != value]
        if any(_perm(view, other) == perm for other in others):
            return True
        if any(view.weight(other) is None for other in others):
            return False
    elif not isinstance(op, (Cast, Softmax, Reduce, Slice, Pad)):
        return False
    out = user.outputs[0]
    extents = out.type.dims  # transposed by perm: what moves may have extent 1 only
    moved = [axis for axis, n in zip(perm, extents, strict=True) if n != 1]
    return moved == sorted(moved) or _ends(view, out, perm, budget)


NOWHERE: Final = No("it would meet no other transpose below")


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
    together = len({v.name for v in node.inputs if _perm(view, v) == perm}) > 1
    if not together and not _ends_at(view, _first(view, node, perm), node, perm, 100):
        return NOWHERE
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


def _first(view: View, node: Node, perm: tuple[int, ...]) -> Value:
    return next(value for value in node.inputs if _perm(view, value) == perm)


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
    if not _ends(view, node.inputs[0], perm):
        return NOWHERE
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
    """slice(transpose(x)), pad(transpose(x)) -> transpose(slice(x)), transpose(pad(x))

    Slices that share the transposed value sink together.
    """
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    value = node.inputs[0]
    users = view.users(value)
    if view.is_output(value) or any(type(user.op) is not type(node.op) for user in users):
        return No("the transposed value is used elsewhere")
    if not _ends(view, value, perm):
        return NOWHERE
    patch = view.patch()
    for user in users:
        op = _permuted(user.op, _inverse(perm))
        result = patch(op, _above(view, value), *user.inputs[1:])
        patch.replace(user.outputs[0], patch(Transpose(perm), result))
    return patch


def _permuted(op: Op, order: tuple[int, ...]) -> Slice | Pad:
    """A slice or pad with its numbers for the axes in another order."""
    if isinstance(op, Slice):
        fields = (op.starts, op.sizes, op.steps)
        starts, sizes, steps = (tuple(field[axis] for axis in order) for field in fields)
        return Slice(starts, sizes, steps)
    assert isinstance(op, Pad)
    n = len(order)
    pads = [op.pads[axis] for axis in order] + [op.pads[n + axis] for axis in order]
    return replace(op, pads=tuple(pads))


@rule(Reshape)
def below_units(view: View, node: Node) -> Patch | No:
    """reshape(transpose(x)) that adds or drops axes of extent 1 -> transpose(reshape(x))"""
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    value, out = node.inputs[0], node.outputs[0]
    found = _units(perm, value.type.dims, out.type.dims)
    if found is None:
        return SKIP
    if not view.once(value):
        return No("the transposed value is used elsewhere")
    if not _ends(view, value, perm):
        return NOWHERE
    shape, order = found
    patch = view.patch()
    reshaped = patch(Reshape(shape), _above(view, value))
    return patch.replace(out, patch(Transpose(order), reshaped))


def _units(
    perm: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """How reshape(transpose(x)) is transpose(reshape(x)): shape and order, the nearest to sorted.

    before:  the transposed shape
    gives:   None if extents other than 1 change
    """
    if [n for n in before if n != 1] != [n for n in after if n != 1] or before == after:
        return None
    ones = [k for k, n in enumerate(before) if n == 1]
    new_ones = [j for j, n in enumerate(after) if n == 1]
    for count in range(min(len(ones), len(new_ones)), -1, -1):
        found = [
            _reordered(perm, before, after, dict(zip(right, left, strict=True)))
            for kept in itertools.combinations(ones, count)
            for new_kept in itertools.combinations(new_ones, count)
            for left in [[k for k, n in enumerate(before) if n != 1 or k in kept]]
            for right in [[j for j, n in enumerate(after) if n != 1 or j in new_kept]]
            if [before[k] for k in left] == [after[j] for j in right]
        ]
        if found:
            return min(found, key=lambda answer: _crossings(answer[1]))
    return None


def _crossings(order: tuple[int, ...]) -> int:
    return sum(a > b for a, b in itertools.combinations(order, 2))


def _reordered(
    perm: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...], source: dict[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and order, given which axis before each axis after is; the others are new."""
    layout = sorted((perm[k], before[k]) for k in source.values())  # axes of x that stay
    for j in range(len(after)):
        if j not in source:
            layout.insert(min(j, len(layout)), (-1 - j, 1))
    names = [axis for axis, _ in layout]
    places = [perm[source[j]] if j in source else -1 - j for j in range(len(after))]
    return tuple(n for _, n in layout), tuple(map(names.index, places))


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


RULES = (transposes, into_matmul, below_pointwise, below_reduction, below_slice, below_units)


def push_transposes(graph: Graph) -> Graph:
    """Sink transposes; drop those that meet their inverse."""
    return rewrite(graph, RULES)
