"""ONNX nodes whose output is known while importing: constants, shapes, ranges, searches."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from planck.dtypes import Array
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.counted import Rows, not_apart
from planck.frontends.onnx.tensors import dtype_of
from planck.ir.graph import Value
from planck.ops.movement import Broadcast
from planck.ops.pointwise import Cast

# Attributes of Constant that hold the value itself, and the dtypes of those.
VALUES: Final[dict[str, Any]] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_string": object,
    "value_strings": object,
}


def constant(c: NodeContext) -> Value:
    for name in ("value", "sparse_value"):
        if c.has(name):
            return c.const(c.attribute(name))
    for name, dtype in VALUES.items():
        if c.has(name):
            return c.const(np.array(c.attribute(name), dtype))
    raise ModelFormatError("Constant has no value")


def constant_of_shape(c: NodeContext) -> Value:
    value = c.attribute("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ShapeError(f"ConstantOfShape's value has {value.size} elements")
    wanted = c.need_shape(0)
    shape = tuple(wanted.full.tolist())
    if min(shape, default=0) < 0:
        raise ShapeError(f"ConstantOfShape of shape {list(shape)}")
    made = c.emit(Broadcast(shape), c.const(value.reshape(())))
    if wanted.count is not None:
        grown = np.flatnonzero(wanted.more - wanted.full)
        if len(grown) != 1 or (wanted.more - wanted.full).sum() != 1:
            raise not_apart(f"the shape {list(shape)} has no axis of as many elements")
        c.count_rows(made, Rows(int(grown[0]), wanted.count))
    return made


def shape(c: NodeContext) -> Value:
    return c.shape_of(c.input(0), slice(c.integer("start", 0), c.attribute("end")))


def size(c: NodeContext) -> Value:
    return c.const(np.array(c.input(0).type.size, np.int64))


def identity(c: NodeContext) -> tuple[Item | None]:
    return (c.item(0),)


def eye_like(c: NodeContext) -> Value:
    x = c.input(0)
    if x.type.rank != 2:
        raise ShapeError(f"EyeLike of a tensor of rank {x.type.rank}")
    dtype = dtype_of(c.integer("dtype")) if c.has("dtype") else x.type.dtype
    rows, columns = x.type.dims
    c.bounded(x.type.size)
    return c.const(np.eye(rows, columns, c.integer("k", 0)).astype(dtype.numpy))


def arange(c: NodeContext) -> Value:
    start, limit, delta = (c.need_constant(k, "a bound").reshape(()) for k in range(3))
    wide: Any = start.dtype if start.dtype.kind in "iu" else np.float64
    first, last, step = (bound.astype(wide).item() for bound in (start, limit, delta))
    if not step:
        raise ShapeError("Range in steps of 0")
    number = c.bounded(max(math.ceil((last - first) / step), 0))
    values = first + np.arange(number, dtype=wide) * step
    return c.const(values.astype(start.dtype))


def window(c: NodeContext) -> Value:
    """Sums of cosines over a constant size."""
    number = c.bounded(c.need_integers(0, "the size")[0])
    steps = number if c.integer("periodic", 1) else number - 1
    angle = 2 * np.pi * np.arange(number) / max(steps, 1)
    terms = {
        "HannWindow": (0.5, -0.5, 0.0),
        "HammingWindow": (25 / 46, -21 / 46, 0.0),
        "BlackmanWindow": (0.42, -0.5, 0.08),
    }[c.type]
    values = terms[0] + terms[1] * np.cos(angle) + terms[2] * np.cos(2 * angle)
    return c.emit(Cast(dtype_of(c.integer("output_datatype", 1))), c.const(values))


def mel_weights(c: NodeContext) -> Value:
    """The matrix [bins, bands] that turns a spectrum into mel bands.

    source: ONNX operator MelWeightMatrix
    """
    bands, length, rate = (c.need_integers(k, "a size")[0] for k in range(3))
    low, high = (float(c.scalar(k, "a frequency", 0.0)) for k in (3, 4))

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    edges = np.arange(bands + 2) * (mel(high) - mel(low)) / (bands + 2) + mel(low)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    corners = ((length + 1) * hertz // rate).astype(np.int64)
    matrix = np.zeros((length // 2 + 1, bands))
    for band in range(bands):
        left, top, right = (int(corner) for corner in corners[band : band + 3])
        if left == top:
            matrix[top, band] = 1
        rising, falling = np.arange(left, top + 1), np.arange(top, right)
        if left < top:
            matrix[rising, band] = (rising - left) / (top - left)
        matrix[falling, band] = (right - falling) / max(right - top, 1)
    return c.emit(Cast(dtype_of(c.integer("output_datatype", 1))), c.const(matrix))


def non_zero(c: NodeContext) -> Value:
    x = np.atleast_1d(c.need_constant(0, "how many elements there are"))
    return c.const(np.array(np.nonzero(x), np.int64))


def unique(c: NodeContext) -> tuple[Value, ...]:
    """Distinct elements (or slices of an axis), where each stands first, their places, counts."""
    x = c.need_constant(0, "how many elements there are")
    axis = c.attribute("axis")
    narrow = x.astype(np.float32) if x.dtype.kind == "V" else x
    found, first, inverse, counts = np.unique(
        narrow, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not c.integer("sorted", 1):
        order = np.argsort(first, kind="stable")
        place = np.argsort(order, kind="stable")
        found = np.take(found, order, 0 if axis is None else axis)
        first, inverse, counts = first[order], place[inverse], counts[order]
    results: list[Array] = [found.astype(x.dtype), first, inverse, counts]
    return tuple(c.const(a if k == 0 else a.astype(np.int64)) for k, a in enumerate(results))


TABLE: Final[Table] = {
    ("", "BlackmanWindow"): window,
    ("", "Constant"): constant,
    ("", "ConstantOfShape"): constant_of_shape,
    ("", "EyeLike"): eye_like,
    ("", "HammingWindow"): window,
    ("", "HannWindow"): window,
    ("", "Identity"): identity,
    ("", "MelWeightMatrix"): mel_weights,
    ("", "NonZero"): non_zero,
    ("", "Range"): arange,
    ("", "Shape"): shape,
    ("", "Size"): size,
    ("", "Unique"): unique,
}
