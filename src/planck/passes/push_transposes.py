"""Let transposes sink until they meet their inverse or an operator that reads transposed.

A transpose moves below an operator that does not care about the order of axes, if on every way
down it meets one that it can join (`remove_noops` joins them), or ends as the flag of a matrix
product or the axes of a reduction. Nothing ever moves up, so that the rules end.
"""

from __future__ import annotations

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
        if perm == (*range(rank - 2), rank - 1, rank - 2):
            return True
        return _keeps_rows(view, user, value, perm) and _ends(view, user.outputs[0], perm, budget)
    if isinstance(op, Reduce) and not op.keep:
        gone = {axis % rank for axis in op.axes}
        kept = [axis for k, axis in enumerate(perm) if k not in gone]
        if kept == sorted(kept):
            return True
        perm = tuple(sorted(kept).index(axis) for axis in kept)
    elif isinstance(op, Reshape):
        found = _reshaped(perm, value.type.dims, user.outputs[0].type.dims)
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
    moving = {value for value in node.inputs if _perm(view, value) == perm}
    if len(moving) > 1 and all(_shared(view, value, node) for value in moving):
        return No("the transposed values are used elsewhere")
    if len(moving) == 1 and not _ends_at(view, next(iter(moving)), node, perm, 100):
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
def below_reshape(view: View, node: Node) -> Patch | No:
    """reshape(transpose(x)) that splits axes, or joins axes that lie together in x, or adds or
    drops axes of extent 1 -> transpose(reshape(x))
    """
    perm = _perm(view, node.inputs[0])
    if perm is None:
        return SKIP
    value, out = node.inputs[0], node.outputs[0]
    found = _reshaped(perm, value.type.dims, out.type.dims)
    if found is None:
        return SKIP
    if not view.once(value):
        return No("the transposed value is used elsewhere")
    joins = isinstance(getattr(view.producer(_above(view, value)), "op", None), Reshape)
    if not joins and not _ends(view, value, perm):
        return NOWHERE
    shape, order = found
    patch = view.patch()
    reshaped = patch(Reshape(shape), _above(view, value))
    return patch.replace(out, patch(Transpose(order), reshaped))


def _reshaped(
    perm: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """How reshape(transpose(x)) is transpose(reshape(x)): shape and order; None if it is not.

    Axes may split; axes may join that follow each other in x; axes of extent 1 come and go.

    before:  the transposed shape
    after:   the shape that the reshape gives
    """
    groups = _groups([n for n in before if n != 1], [n for n in after if n != 1])
    if groups is None:
        return None
    wide = [axis for axis, n in zip(perm, before, strict=True) if n != 1]
    place = [sorted(wide).index(axis) for axis in wide]  # in x without axes of extent 1
    blocks: list[tuple[int, list[int]]] = []  # first axis in x, axes after
    wide_after = [j for j, n in enumerate(after) if n != 1]
    for source, result in groups:
        axes = [place[k] for k in source]
        if axes != list(range(axes[0], axes[0] + len(axes))):
            return None
        blocks.append((axes[0], [wide_after[j] for j in result]))
    layout = [axis for _, group in sorted(blocks) for axis in group]
    for j, n in enumerate(after):
        if n == 1:
            layout.insert(min(j, len(layout)), j)
    order = tuple(layout.index(axis) for axis in range(len(after)))
    return tuple(after[axis] for axis in layout), order


def _groups(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]] | None:
    """The shortest runs of axes, before and after, that hold equally many elements."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        source, result = [i], [j]
        n, m = before[i], after[j]
        while n != m:
            if n < m and source[-1] + 1 < len(before):
                source.append(source[-1] + 1)
                n *= before[source[-1]]
            elif n > m and result[-1] + 1 < len(after):
                result.append(result[-1] + 1)
                m *= after[result[-1]]
            else:
                return None
        groups.append((source, result))
        i, j = source[-1] + 1, result[-1] + 1
    return groups if i == len(before) and j == len(after) else None


@rule(MatMul)
def below_matmul(view: View, node: Node) -> Patch | No:
    """matmul(transpose(x), w) where the last axis stays -> transpose(matmul(x, w))"""
    x = node.inputs[0]
    perm = _perm(view, x)
    if perm is None or not _keeps_rows(view, node, x, perm):
        return SKIP
    if not _ends(view, node.outputs[0], perm):
        return NOWHERE
    patch = view.patch()
    result = patch(node.op, _above(view, x), node.inputs[1])
    return patch.replace(node.outputs[0], patch(Transpose(perm), result))


def _keeps_rows(view: View, node: Node, x: Value, perm: tuple[int, ...]) -> bool:
    """Whether a product takes the rows of a transposed x, and a constant matrix."""
    assert isinstance(node.op, MatMul)
    a, b = node.inputs
    flat = view.weight(b) is not None and b.type.rank == 2
    return a == x and flat and not node.op.transpose_a and perm[-1] == len(perm) - 1


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


RULES = (
    transposes,
    into_matmul,
    below_pointwise,
    below_reduction,
    below_slice,
    below_reshape,
    below_matmul,
)


def push_transposes(graph: Graph) -> Graph:
    """Sink transposes; drop those that meet their inverse."""
    return rewrite(graph, RULES)
