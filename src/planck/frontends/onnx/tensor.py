"""Shapes and parts: ONNX nodes that rename, cut, join and pad tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from planck.dtypes import Array, i64
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.counted import not_apart
from planck.frontends.onnx.emit import part
from planck.ir.graph import Value
from planck.ops.movement import (
    Broadcast,
    Concat,
    Pad,
    Reshape,
    ReverseSequence,
    Slice,
    Tile,
    Transpose,
    Trilu,
)
from planck.ops.pointwise import Cast
from planck.ops.shapes import axes_of, axis_of, broadcast


def axes_given(c: NodeContext, since: int, at: int = 1) -> tuple[int, ...] | None:
    """The axes of a node: an attribute before opset `since`, then input `at`; None if left out."""
    if c.version < since:
        return c.integers("axes") if c.has("axes") else None
    return None if c.optional(at) is None else c.need_integers(at, "the axes")


def reshape(c: NodeContext) -> Value:
    """0 keeps an extent (unless allowzero), -1 takes what is left."""
    x = c.input(0)
    wanted, rows = c.need_shape(1), c.rows(x)
    if wanted.count is not None and (rows is None or rows.count is not wanted.count):
        raise not_apart("it takes a shape from the number of others")
    made = c.emit(Reshape(_extents(c, wanted.full, x.type.dims)), x)
    if _extents(c, wanted.more, c.one_more(x)) != c.one_more(made):
        raise not_apart(f"the shape {wanted.full.tolist()} is right for one number of them alone")
    return made


def _extents(c: NodeContext, wanted: Array, dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a Reshape asks for of a tensor of these extents."""
    found = [int(n) for n in wanted]
    for k, extent in enumerate(found):
        if extent == 0 and not c.integer("allowzero", 0):
            if k >= len(dims):
                raise ShapeError(f"Reshape of {list(dims)} to {found}: no axis {k} to keep")
            found[k] = dims[k]
    if -1 in found:
        k = found.index(-1)
        rest = math.prod(found[:k] + found[k + 1 :])
        found[k] = math.prod(dims) // rest if rest > 0 else 0
    return tuple(found)


def flatten(c: NodeContext) -> Value:
    x = c.input(0)
    axis = c.integer("axis", 1)
    axis = axis if axis == x.type.rank else axis_of("Flatten", axis, x.type.rank)
    dims = x.type.dims
    return c.emit(Reshape((math.prod(dims[:axis]), math.prod(dims[axis:]))), x)


def squeeze(c: NodeContext) -> Value:
    x = c.input(0)
    given = axes_given(c, 13)
    if given is None:
        axes = tuple(k for k, extent in enumerate(x.type.dims) if extent == 1)
    else:
        axes = axes_of("Squeeze", given, x.type.rank)
    if any(x.type.dims[axis] != 1 for axis in axes):
        raise ShapeError(f"Squeeze of axes {list(axes)} of {list(x.type.shape)}")
    kept = tuple(extent for k, extent in enumerate(x.type.dims) if k not in axes)
    return c.emit(Reshape(kept), x)


def unsqueeze(c: NodeContext) -> Value:
    x, given = c.input(0), axes_given(c, 13)
    if given is None:
        raise ModelFormatError("Unsqueeze lacks its axes")
    rank = x.type.rank + len(given)
    axes = axes_of("Unsqueeze", given, rank)
    extents = iter(x.type.dims)
    return c.emit(Reshape(tuple(1 if k in axes else next(extents) for k in range(rank))), x)


def expand(c: NodeContext) -> Value:
    x = c.input(0)
    shape = broadcast("Expand", x.type.dims, c.need_integers(1, "the shape"))
    return x if shape == x.type.dims else c.emit(Broadcast(shape), x)


def transpose(c: NodeContext) -> Value:
    x = c.input(0)
    return c.emit(Transpose(c.integers("perm", range(x.type.rank)[::-1])), x)


def concat(c: NodeContext) -> Value:
    axis = axis_of("Concat", c.integer("axis"), c.input(0).type.rank)
    return c.inputs[0] if len(c.inputs) == 1 else c.emit(Concat(axis), *c.inputs)


def split_sizes(op: str, extent: int, parts: int) -> tuple[int, ...]:
    """An extent cut into equal parts, the last one the smallest."""
    part = -(-extent // parts)
    sizes = tuple(max(min(part, extent - k * part), 0) for k in range(parts))
    if sum(sizes) != extent:
        raise ShapeError(f"{op} cuts {extent} into {parts} parts")
    return sizes


def split(c: NodeContext) -> tuple[Value, ...]:
    """Sizes are an attribute before opset 13, then an optional input; without: equal parts."""
    x = c.input(0)
    axis = axis_of("Split", c.integer("axis", 0), x.type.rank)
    extent = x.type.dims[axis]
    if c.version < 13 and c.has("split"):
        sizes = c.integers("split")
    elif c.version >= 13 and c.optional(1) is not None:
        sizes = c.need_integers(1, "the sizes")
    else:
        parts = c.integer("num_outputs", len(c.node.output))
        if parts != len(c.node.output):
            raise ShapeError(f"Split has num_outputs {parts} and {len(c.node.output)} outputs")
        if parts < 1 or (c.version < 18 and extent % parts):
            raise ShapeError(f"Split cuts {extent} into {parts} equal parts")
        sizes = split_sizes("Split", extent, parts)
    if sum(sizes) != extent or min(sizes, default=0) < 0:
        raise ShapeError(f"Split cuts {extent} into {list(sizes)}")
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return tuple(part(c, x, axis, s, size) for s, size in zip(starts, sizes, strict=True))


def slice_(c: NodeContext) -> Value:
    """All are attributes before opset 10, then inputs. Bounds are clamped into the axis."""
    x = c.input(0)
    if c.version < 10:
        starts, ends = c.integers("starts"), c.integers("ends")
        axes, steps = c.integers("axes", range(len(starts))), (1,) * len(starts)
    else:
        starts, ends = c.need_integers(1, "the starts"), c.need_integers(2, "the ends")
        given = axes_given(c, 10, 3)
        axes = tuple(range(len(starts))) if given is None else given
        steps = (1,) * len(starts)
        if c.optional(4) is not None:
            steps = c.need_integers(4, "the steps")
    begin, sizes, strides = [0] * x.type.rank, list(x.type.dims), [1] * x.type.rank
    more = c.one_more(x)
    for axis, start, end, step in zip(
        axes_of("Slice", axes, x.type.rank), starts, ends, steps, strict=True
    ):
        bounds = slice(start, end, step)
        chosen = range(*bounds.indices(x.type.dims[axis]))
        whole = len(chosen) == x.type.dims[axis]
        if not whole and chosen != range(*bounds.indices(more[axis])):
            raise not_apart("it counts them from the last")
        sizes[axis] = len(chosen)
        if chosen:
            begin[axis], strides[axis] = chosen.start, step
    if tuple(sizes) == x.type.dims and min(strides, default=1) > 0:
        return x
    return c.emit(Slice(tuple(begin), tuple(sizes), tuple(strides)), x)


def pad(c: NodeContext) -> Value:
    """Pads and value are attributes before opset 11, then inputs; axes are input 3 since 18."""
    x, mode = c.input(0), c.text("mode", "constant")
    value: Value | None
    if c.version < 11:
        given = c.integers("pads")
        value = c.like(c.number("value", 0.0), x)
    else:
        given, value = c.need_integers(1, "the pads"), c.optional(2)
    axes = range(x.type.rank)
    if c.version >= 18 and c.optional(3) is not None:
        axes = axes_of("Pad", c.need_integers(3, "the axes"), x.type.rank)  # type: ignore[assignment]
    if len(given) != 2 * len(axes):
        raise ShapeError(f"Pad has {len(given)} pads for {len(axes)} axes")
    pads = [0] * (2 * x.type.rank)
    for k, axis in enumerate(axes):
        pads[axis], pads[x.type.rank + axis] = given[k], given[len(axes) + k]
    if not any(pads):
        return x
    if mode != "constant":
        return c.emit(Pad(tuple(pads), mode), x)
    fill = c.like(0, x) if value is None else value
    if fill.type.rank:
        fill = c.emit(Reshape(()), fill)
    return c.emit(Pad(tuple(pads)), x, fill)


def tile(c: NodeContext) -> Value:
    return c.emit(Tile(c.need_integers(1, "the repeats")), c.input(0))


def trilu(c: NodeContext) -> Value:
    k = 0 if c.optional(1) is None else c.need_integers(1, "the diagonal")[0]
    return c.emit(Trilu(bool(c.integer("upper", 1)), k), c.input(0))


def reverse_sequence(c: NodeContext) -> Value:
    x, lengths = c.input(0), c.input(1)
    if lengths.type.dtype is not i64:
        lengths = c.emit(Cast(i64), lengths)
    batch, time = c.integer("batch_axis", 1), c.integer("time_axis", 0)
    batch, time = (axis_of("ReverseSequence", axis, x.type.rank) for axis in (batch, time))
    return c.emit(ReverseSequence(batch, time), x, lengths)


def center_crop_pad(c: NodeContext) -> Value:
    """Cropped or padded with zeros to a shape, the middle kept; odd rests go to the end."""
    x, wanted = c.input(0), c.need_integers(1, "the shape")
    axes = axes_of("CenterCropPad", c.integers("axes", range(x.type.rank)), x.type.rank)
    if len(axes) != len(wanted):
        raise ShapeError(f"CenterCropPad of axes {list(axes)} to {list(wanted)}")
    pads = [0] * (2 * x.type.rank)
    for axis, extent in zip(axes, wanted, strict=True):
        missing = extent - x.type.dims[axis]
        if missing < 0:
            x = part(c, x, axis, -missing // 2, extent)
        else:
            pads[axis], pads[x.type.rank + axis] = missing // 2, missing - missing // 2
    return c.emit(Pad(tuple(pads)), x, c.like(0, x)) if any(pads) else x


def stack(c: NodeContext, values: Sequence[Value], axis: int) -> Value:
    """Tensors of one shape along a new axis."""
    rank = values[0].type.rank + 1
    axis = axis_of(c.type, axis, rank)
    shape = list(values[0].type.dims)
    shape.insert(axis, 1)
    parts = [c.emit(Reshape(tuple(shape)), value) for value in values]
    return parts[0] if len(parts) == 1 else c.emit(Concat(axis), *parts)


TABLE: Final[Table] = {
    ("", "CenterCropPad"): center_crop_pad,
    ("", "Concat"): concat,
    ("", "Expand"): expand,
    ("", "Flatten"): flatten,
    ("", "Pad"): pad,
    ("", "Reshape"): reshape,
    ("", "ReverseSequence"): reverse_sequence,
    ("", "Slice"): slice_,
    ("", "Split"): split,
    ("", "Squeeze"): squeeze,
    ("", "Tile"): tile,
    ("", "Transpose"): transpose,
    ("", "Trilu"): trilu,
    ("", "Unsqueeze"): unsqueeze,
}
