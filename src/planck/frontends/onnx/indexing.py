"""Gathers and scatters: ONNX nodes that read and write by computed indices."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from planck.dtypes import Array, i32, i64
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import concat, part, reshape
from planck.ir.graph import Value
from planck.ops.movement import (
    Broadcast,
    Gather,
    GatherElements,
    GatherND,
    OneHot,
    Reshape,
    ScatterElements,
    ScatterND,
)
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.shapes import axis_of


def gather(c: NodeContext) -> Value:
    x = c.input(0)
    return c.emit(Gather(axis_of("Gather", c.integer("axis", 0), x.type.rank)), x, c.input(1))


def gather_elements(c: NodeContext) -> Value:
    x = c.input(0)
    axis = axis_of("GatherElements", c.integer("axis", 0), x.type.rank)
    return c.emit(GatherElements(axis), x, c.input(1))


def gather_nd(c: NodeContext) -> Value:
    return c.emit(GatherND(c.integer("batch_dims", 0)), c.input(0), c.input(1))


def scatter_elements(c: NodeContext) -> Value:
    x, indices, updates = c.input(0), c.input(1), c.input(2)
    axis = axis_of("ScatterElements", c.integer("axis", 0), x.type.rank)
    op = ScatterElements(axis, c.text("reduction", "none"))
    op.infer(x.type, indices.type, updates.type)
    known = c.constant(indices)
    if known is None or op.reduction != "none":
        return c.emit(op, x, indices, updates)
    place: list[Array] = list(np.indices(known.shape))
    place[axis] = known.astype(np.int64)
    return _overwrite(c, place, x.type.rank)


def scatter_nd(c: NodeContext) -> Value:
    x, indices, updates = c.input(0), c.input(1), c.input(2)
    op = ScatterND(c.text("reduction", "none"))
    op.infer(x.type, indices.type, updates.type)
    known = c.constant(indices)
    if known is None or op.reduction != "none" or not known.shape[-1]:
        return c.emit(op, x, indices, updates)
    return _overwrite(c, list(np.moveaxis(known.astype(np.int64), -1, 0)), known.shape[-1])


def _overwrite(c: NodeContext, place: list[Array], depth: int) -> Value:
    """A scatter at known places: a part replaced, or rows of the data and of the updates gathered.

    place:  indices of each written row on each of the first `depth` axes
    """
    x, updates = c.input(0), c.input(2)
    outer, inner = x.type.dims[:depth], x.type.dims[depth:]
    axes = [np.where(p < 0, p + n, p).reshape(-1) for p, n in zip(place, outer, strict=True)]
    if any(((p < 0) | (p >= n)).any() for p, n in zip(axes, outer, strict=True)):
        raise ShapeError(f"{c.type} writes outside of {list(x.type.shape)}")
    box = _box(axes)
    if box is not None:
        extents = tuple(len(side) for side in box)
        return _replace(c, x, reshape(c, updates, (*extents, *inner)), box, 0)
    rows, width, written = math.prod(outer), math.prod(inner), len(axes[0])
    source = np.arange(rows, dtype=np.int64)
    source[np.ravel_multi_index(axes, outer)] = rows + np.arange(written)
    both = concat(c, [reshape(c, x, (rows, width)), reshape(c, updates, (written, width))], 0)
    return reshape(c, c.emit(Gather(0), both, c.const(source)), x.type.dims)


def _box(axes: list[Array]) -> list[range] | None:
    """The ranges whose places, in the order of rows, are the given ones."""
    if not len(axes[0]):
        return None
    box = []
    for one in axes:
        values = np.unique(one)
        step = int(values[1] - values[0]) if len(values) > 1 else 1
        box.append(range(int(values[0]), int(values[-1]) + 1, step))
    if math.prod(map(len, box)) != len(axes[0]):
        return None
    grid = np.meshgrid(*box, indexing="ij")
    alike = (np.array_equal(side.reshape(-1), one) for side, one in zip(grid, axes, strict=True))
    return box if all(alike) else None


def _replace(c: NodeContext, x: Value, updates: Value, box: list[range], axis: int) -> Value:
    """x with updates in a box, given as ranges along the axes from `axis` on."""
    while box and len(box[0]) == x.type.dims[axis]:
        box, axis = box[1:], axis + 1
    if not box:
        return updates
    own, extent = box[0], x.type.dims[axis]
    if len(box) > 1:
        inside = part(c, x, axis, own.start, len(own), own.step)
        updates = _replace(c, inside, updates, box[1:], axis + 1)
    if own.step == 1:
        cuts = ((0, own.start), (own.stop, extent - own.stop))
        before, after = ([part(c, x, axis, at, size)] if size else [] for at, size in cuts)
        return concat(c, [*before, updates, *after], axis)
    order = np.arange(extent)
    order[own.start : own.stop : own.step] = extent + np.arange(len(own))
    return c.emit(Gather(axis), concat(c, [x, updates], axis), c.const(order))


def one_hot(c: NodeContext) -> Value:
    indices, values = c.input(0), c.input(2)
    if indices.type.dtype not in (i32, i64):
        indices = c.emit(Cast(i64), indices)
    depth = int(c.scalar(1, "the depth", 0))
    axis = axis_of("OneHot", c.integer("axis", -1), indices.type.rank + 1)
    return c.emit(OneHot(axis, depth), indices, values)


def compress(c: NodeContext) -> Value:
    x, chosen = c.input(0), c.need_constant(1, "which elements it keeps")
    if not c.has("axis"):
        x = c.emit(Reshape((x.type.size,)), x)
    axis = axis_of("Compress", c.integer("axis", 0), x.type.rank)
    return c.emit(Gather(axis), x, c.const(np.flatnonzero(chosen).astype(np.int64)))


def tensor_scatter(c: NodeContext) -> Value:
    """A row of the cache comes from the update where that covers it: a gather and a select."""
    cache, update = c.input(0), c.input(1)
    mode, dims = c.text("mode", "linear"), cache.type.dims
    if mode not in ("linear", "circular"):
        raise ModelFormatError(f"TensorScatter's mode is {mode!r}, must be linear or circular")
    axis = axis_of("TensorScatter", c.integer("axis", -2), len(dims))
    extent, length = dims[axis], update.type.dims[axis]
    starts = c.optional(2) or c.const(np.zeros(dims[0], np.int64))
    column = (dims[0],) + (1,) * (len(dims) - 1)
    row = tuple(extent if k == axis else 1 for k in range(len(dims)))
    steps = c.const(np.arange(extent, dtype=np.int64).reshape(row))
    place = c.emit(Pointwise("sub"), steps, c.emit(Reshape(column), starts))
    if mode == "circular":
        place = c.emit(Pointwise("mod"), place, c.like(extent, place))
    zero, last = c.like(0, place), c.like(length - 1, place)
    covered = c.emit(
        Pointwise("and"),
        c.emit(Pointwise("greater_equal"), place, zero),
        c.emit(Pointwise("less_equal"), place, last),
    )
    inside = c.emit(Pointwise("min"), c.emit(Pointwise("max"), place, zero), last)
    rows = c.emit(GatherElements(axis), update, c.emit(Broadcast(dims), inside))
    return c.emit(Pointwise("select"), covered, rows, cache)


TABLE: Final[Table] = {
    ("", "Compress"): compress,
    ("", "Gather"): gather,
    ("", "GatherElements"): gather_elements,
    ("", "GatherND"): gather_nd,
    ("", "OneHot"): one_hot,
    ("", "Scatter"): scatter_elements,
    ("", "ScatterElements"): scatter_elements,
    ("", "ScatterND"): scatter_nd,
    ("", "TensorScatter"): tensor_scatter,
}
