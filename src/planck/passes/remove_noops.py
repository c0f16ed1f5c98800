"""Drop nodes that change nothing, and join chains of nodes that one node can do."""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.identity import Identity
from planck.ops.movement import Broadcast, Concat, Pad, Reshape, Slice, Tile, Transpose
from planck.ops.nn import Pool, Resize
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import Reduce
from planck.passes.match import pair
from planck.refusal import No

# The constant that changes nothing, on either side or on the right side only.
NEUTRAL: Final = {"add": 0, "mul": 1, "sub": 0, "div": 1, "pow": 1}
COMMUTES: Final = ("add", "mul")
IDEMPOTENT: Final = ("relu", "abs", "floor", "ceil", "round", "sign")
INVOLUTIONS: Final = ("neg", "not", "bit_not")


@rule(Identity, Reshape, Broadcast, Tile, Slice, Pad, Resize)
def same_shape(view: View, node: Node) -> Patch | No:
    """reshape, broadcast, tile, slice, pad or resize to the same shape -> x"""
    x, y = node.inputs[0], node.outputs[0]
    if x.type.shape != y.type.shape:
        return SKIP
    if isinstance(node.op, Slice) and any(step != 1 for step in node.op.steps):
        return SKIP
    if isinstance(node.op, Pad) and any(node.op.pads):
        return SKIP
    if isinstance(node.op, Resize) and (any(s != 1 for s in node.op.scales) or node.op.roi):
        return SKIP
    return view.patch().replace(y, x)


@rule(Reshape)
def reshapes(view: View, node: Node) -> Patch | No:
    """reshape(reshape(x)) -> reshape(x)"""
    before = view.producer(node.inputs[0])
    if before is None or not isinstance(before.op, Reshape):
        return SKIP
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(node.op, before.inputs[0]))


@rule(Transpose)
def transposes(view: View, node: Node) -> Patch | No:
    """transpose(transpose(x)) -> transpose(x), or x; moving axes of extent 1 only -> reshape(x)"""
    assert isinstance(node.op, Transpose)
    x, y = node.inputs[0], node.outputs[0]
    patch = view.patch()
    before = view.producer(x)
    if before is not None and isinstance(before.op, Transpose):
        perm = tuple(before.op.perm[axis] for axis in node.op.perm)
        return patch.replace(y, patch(Transpose(perm), before.inputs[0]))
    if node.op.perm == tuple(range(len(node.op.perm))):
        return patch.replace(y, x)
    moved = [axis for axis in node.op.perm if x.type.dims[axis] != 1]
    if moved == sorted(moved):
        return patch.replace(y, patch(Reshape(y.type.dims), x))
    return SKIP


@rule(Cast)
def casts(view: View, node: Node) -> Patch | No:
    """cast(x) to x's own dtype -> x; cast(widening cast(x)) -> cast(x)"""
    assert isinstance(node.op, Cast)
    x, y = node.inputs[0], node.outputs[0]
    if x.type.dtype is y.type.dtype:
        return view.patch().replace(y, x)
    before = view.producer(x)
    if before is None or not isinstance(before.op, Cast):
        return SKIP
    source = before.inputs[0]
    if "s" in (source.type.dtype.kind, x.type.dtype.kind):
        return SKIP
    if not np.can_cast(source.type.dtype.numpy, x.type.dtype.numpy, "safe"):
        return No(f"casting {source.type.dtype} to {x.type.dtype} loses digits")
    patch = view.patch()
    return patch.replace(y, patch(node.op, source))


@rule(Slice)
def slices(view: View, node: Node) -> Patch | No:
    """slice(slice(x)) -> slice(x)"""
    assert isinstance(node.op, Slice)
    before = view.producer(node.inputs[0])
    if before is None or not isinstance(before.op, Slice):
        return SKIP
    both = list(zip(before.op.starts, before.op.steps, node.op.starts, node.op.steps, strict=True))
    op = Slice(
        tuple(start + step * start2 for start, step, start2, _ in both),
        node.op.sizes,
        tuple(step * step2 for _, step, _, step2 in both),
    )
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(op, before.inputs[0]))


@rule(Concat)
def concats(view: View, node: Node) -> Patch | No:
    """concat(x) -> x; concat(x, empty) -> x; concat(concat(x, y), z) -> concat(x, y, z)"""
    assert isinstance(node.op, Concat)
    if len(node.inputs) == 1:
        return view.patch().replace(node.outputs[0], node.inputs[0])
    axis = node.op.axis % node.outputs[0].type.rank
    parts: list[Value] = []
    for value in node.inputs:
        before = view.producer(value)
        if value.type.dims[axis] == 0 and node.outputs[0].type.dims[axis]:
            continue
        if (
            before is not None
            and isinstance(before.op, Concat)
            and view.once(value)
            and before.op.axis % value.type.rank == axis
        ):
            parts += before.inputs
        else:
            parts.append(value)
    if tuple(parts) == node.inputs:
        return SKIP
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(node.op, *parts))


@rule(Pointwise)
def neutral(view: View, node: Node) -> Patch | No:
    """x + 0, x - 0, x * 1, x / 1, x ** 1 -> x"""
    assert isinstance(node.op, Pointwise)
    if node.op.fn not in NEUTRAL:
        return SKIP
    found = pair(node, view)
    if found is None:
        return SKIP
    x, c = found
    if c == node.inputs[0] and node.op.fn not in COMMUTES:
        return SKIP
    array = view.weight(c)
    if array is None or not array.size or not np.all(array == NEUTRAL[node.op.fn]):
        return SKIP
    if x.type.shape != node.outputs[0].type.shape:
        return No("the constant broadcasts x to a larger shape")
    return view.patch().replace(node.outputs[0], x)


@rule(Pointwise)
def repeated(view: View, node: Node) -> Patch | No:
    """relu(relu(x)) -> relu(x); neg(neg(x)) -> x"""
    assert isinstance(node.op, Pointwise)
    if node.op.fn not in IDEMPOTENT + INVOLUTIONS:
        return SKIP
    before = view.producer(node.inputs[0])
    if before is None or before.op != node.op:
        return SKIP
    once = node.op.fn in IDEMPOTENT
    return view.patch().replace(node.outputs[0], node.inputs[0] if once else before.inputs[0])


@rule(Pointwise)
def broadcasts(view: View, node: Node) -> Patch | No:
    """f(broadcast(x), y) -> f(x, y) where y has the shape of the result"""
    shape = node.outputs[0].type.shape
    for k, value in enumerate(node.inputs):
        before = view.producer(value)
        if before is None or not isinstance(before.op, (Broadcast, Tile)):
            continue
        if isinstance(before.op, Tile) and not _only_repeats_ones(before):
            continue
        inputs = (*node.inputs[:k], before.inputs[0], *node.inputs[k + 1 :])
        dims = [v.type.dims for v in inputs]
        if np.broadcast_shapes(*dims) != shape:
            continue
        patch = view.patch()
        return patch.replace(node.outputs[0], patch(node.op, *inputs))
    return SKIP


def _only_repeats_ones(node: Node) -> bool:
    assert isinstance(node.op, Tile)
    return all(
        n == 1 or count == 1
        for n, count in zip(node.inputs[0].type.dims, node.op.repeats, strict=True)
    )


@rule(Pool)
def pool_of_one(view: View, node: Node) -> Patch | No:
    """max or average pool with kernel 1, stride 1, no padding -> x"""
    assert isinstance(node.op, Pool)
    op = node.op
    if op.kind == "lp" or any(n != 1 for n in (*op.kernel, *op.strides)) or any(op.pads):
        return SKIP
    return view.patch().replace(node.outputs[0], node.inputs[0])


@rule(Reduce)
def reduce_of_one(view: View, node: Node) -> Patch | No:
    """sum, mean, max, min or prod over axes of extent 1 -> reshape(x)"""
    assert isinstance(node.op, Reduce)
    x, y = node.inputs[0], node.outputs[0]
    if node.op.kind not in ("sum", "mean", "max", "min", "prod"):
        return SKIP
    if any(x.type.dims[axis] != 1 for axis in node.op.axes):
        return SKIP
    patch = view.patch()
    return patch.replace(y, patch(Reshape(y.type.dims), x))


RULES = (
    same_shape,
    reshapes,
    transposes,
    casts,
    slices,
    concats,
    neutral,
    repeated,
    broadcasts,
    pool_of_one,
    reduce_of_one,
)


def remove_noops(graph: Graph) -> Graph:
    """Drop what changes nothing and join chains."""
    return rewrite(graph, RULES)
