"""Deformable convolution: each tap reads between pixels, at an offset that is an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from planck.dtypes import Array, bool_, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator, extents
from planck.ops.shapes import count, need_kind, same_dtype


@dataclass(frozen=True)
class DeformColumns(Op):
    """What the taps of a deformable convolution read of x[N, H, W, C], moved and weighed.

    inputs:         x, offsets[N, 2 * G * T, P, Q] (y before x), mask[N, G * T, P, Q]; T taps of the
                    kernel, G parts of the channels that share their offsets
    gives:          [N, P, Q, T, C]: channels lie last, so that all of a part read at one place
    source:         ONNX operator DeformConv; https://arxiv.org/abs/1811.11168
    """

    kernel: tuple[int, int]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    parts: int

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("DeformColumns", inputs, 3)
        dtype = same_dtype("DeformColumns", inputs)
        need_kind("DeformColumns", dtype, "f")
        x, offsets, mask = (kind.dims for kind in inputs)
        if len(x) != 4 or self.parts < 1 or x[3] % self.parts:
            raise ShapeError(f"DeformColumns of {inputs[0]} in {self.parts} parts")
        at = extents("DeformColumns", x[1:3], self.kernel, self.strides, self.pads, self.dilations)
        each = self.parts * self.taps
        for name, given, wanted in (
            ("offsets", offsets, (x[0], 2 * each, *at)),
            ("a mask", mask, (x[0], each, *at)),
        ):
            if given != wanted:
                raise ShapeError(f"DeformColumns has {name} {list(given)}, must be {list(wanted)}")
        return (TensorType((x[0], *at, self.taps, x[3]), dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        dtype = inputs[0].dtype
        wide = accumulator(from_numpy(dtype)).numpy
        x, offsets, mask = (array.astype(wide, copy=False) for array in inputs)
        n, parts, (high, broad) = x.shape[0], self.parts, self.kernel
        at = offsets.shape[2:]
        moved = offsets.reshape(n, parts, high, broad, 2, *at)
        weighed = mask.reshape(n, parts, high, broad, *at)
        image = np.moveaxis(x, 3, 1).reshape(n, parts, -1, *x.shape[1:3])
        columns = np.zeros((*image.shape[:3], high, broad, *at), wide)
        for i, j in np.ndindex(high, broad):
            rows = (
                np.arange(at[0])[:, None] * self.strides[0] - self.pads[0] + i * self.dilations[0]
            )
            lines = np.arange(at[1]) * self.strides[1] - self.pads[1] + j * self.dilations[1]
            y, z = moved[:, :, i, j, 0] + rows, moved[:, :, i, j, 1] + lines
            columns[:, :, :, i, j] = _between(image, y, z) * weighed[:, :, i, j][:, :, None]
        beside = columns.reshape(n, x.shape[3], self.taps, *at).transpose(0, 3, 4, 2, 1)
        return (np.ascontiguousarray(beside).astype(dtype, copy=False),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, offsets, mask = inputs
        n, p, q, tap, channel = index
        wide = accumulator(x.dtype)
        part = expr.floordiv(channel, x.shape[3] // self.parts)
        own = expr.add(expr.mul(part, self.taps), tap)
        places = []
        taps = expr.floordiv(tap, self.kernel[1]), expr.mod(tap, self.kernel[1])
        for axis, (o, k) in enumerate(zip((p, q), taps, strict=True)):
            grid = expr.add(expr.mul(o, self.strides[axis]), expr.mul(k, self.dilations[axis]))
            moved = offsets(n, expr.add(expr.mul(own, 2), axis), p, q)
            at = expr.cast(expr.add(grid, -self.pads[axis]), wide)
            places.append(expr.apply("add", at, expr.cast(moved, wide)))
        value = _between_expr(x, n, channel, places)
        value = expr.apply("mul", value, expr.cast(mask(n, own, p, q), wide))
        return expr.cast(value, x.dtype)


def _between(image: Array, y: Array, x: Array) -> Array:
    """image[N, G, C, H, W] at y, x[N, G, P, Q], bilinear, 0 outside: [N, G, C, P, Q]."""
    n, g = (np.arange(extent) for extent in image.shape[:2])
    lead = (n[:, None, None, None], g[:, None, None])
    last = np.moveaxis(image, 2, -1)
    total = np.zeros((*y.shape, image.shape[2]), image.dtype)
    top, left = np.floor(y), np.floor(x)
    for down, right in product((0, 1), repeat=2):
        row, line = top + down, left + right
        inside = (row >= 0) & (row < image.shape[3]) & (line >= 0) & (line < image.shape[4])
        weight = (1 - np.abs(y - row)) * (1 - np.abs(x - line))
        place = (
            np.clip(np.nan_to_num(at), 0, size - 1).astype(np.int64)
            for at, size in ((row, image.shape[3]), (line, image.shape[4]))
        )
        total += np.where(inside, weight, 0)[..., None] * last[(*lead, *place)]
    return np.moveaxis(total, -1, 2)


def _between_expr(x: Tensor, n: Expr, channel: Expr, places: Sequence[Expr]) -> Expr:
    """x[n, y, x, channel] at two positions, bilinear, 0 outside."""
    dtype = places[0].dtype
    bases = [expr.apply("floor", place) for place in places]
    total: Expr | None = None
    for steps in product((0.0, 1.0), repeat=2):
        index, conditions, weight = [], [], None
        for axis, step in enumerate(steps):
            size = x.shape[1 + axis]
            at = expr.apply("add", bases[axis], step)
            away = expr.apply("abs", expr.apply("sub", places[axis], at))
            near = expr.apply("sub", Const(1.0, dtype), away)
            weight = near if weight is None else expr.apply("mul", weight, near)
            conditions.append(expr.Apply("less_equal", (Const(0.0, dtype), at), bool_))
            conditions.append(expr.Apply("less", (at, Const(float(size), dtype)), bool_))
            index.append(expr.cast(expr.apply("min", expr.apply("max", at, 0.0), size - 1.0), i64))
        assert weight is not None, "two axes"
        read = expr.apply("mul", expr.cast(x(n, *index, channel), dtype), weight)
        value = Select(expr.both(*conditions), read, Const(0.0, dtype))
        total = value if total is None else expr.apply("add", total, value)
    assert total is not None, "four neighbours"
    return total
