"""Convolutions of any spatial rank, grouped, dilated, padded; and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator, check_windows, extents, inside, positions, views
from planck.ops.shapes import count, need_kind, same_dtype


@dataclass(frozen=True)
class Conv(Op):
    """Cross-correlation of x[N, C, *S] with w[M, C/groups, *K], plus an optional b[M].

    pads:    all begins, then all ends; may be negative (they crop)
    source:  ONNX operator Conv
    """

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int

    def is_depthwise(self, weights: TensorType) -> bool:
        """Whether each of several channels has one filter of its own."""
        return weights.dims[:2] == (self.groups, 1) and self.groups > 1

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w = _check("Conv", inputs, self.groups, self.strides)
        if w[0] % self.groups or x[1] != w[1] * self.groups:
            raise ShapeError(
                f"Conv of {x[1]} channels with weights {list(w)} in {self.groups} groups"
            )
        _check_bias("Conv", inputs, w[0])
        counts = extents("Conv", x[2:], w[2:], self.strides, self.pads, self.dilations)
        return (TensorType((x[0], w[0], *counts), inputs[0].dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, w = inputs[:2]
        wide = accumulator(from_numpy(x.dtype)).numpy
        counts = extents("Conv", x.shape[2:], w.shape[2:], self.strides, self.pads, self.dilations)
        y = correlate(
            x.astype(wide, copy=False), w.astype(wide, copy=False), counts, self.strides,
            self.pads, self.dilations, self.groups,
        )  # fmt: skip
        return (_biased(y, inputs).astype(x.dtype, copy=False),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, w = inputs[:2]
        n, m, *at = index
        wide = accumulator(x.dtype)
        counts = extents("Conv", x.shape[2:], w.shape[2:], self.strides, self.pads, self.dilations)
        loops = expr.variables(index, w.shape[1:])
        channel, *taps = loops
        place = positions(at, taps, self.strides, self.pads, self.dilations)
        first: Expr = expr.integer(0)
        if self.groups > 1:
            first = expr.mul(expr.floordiv(m, w.shape[0] // self.groups), w.shape[1])
        product = expr.apply(
            "mul",
            expr.cast(x(n, expr.add(first, channel), *place), wide),
            expr.cast(w(m, channel, *taps), wide),
        )
        conditions = inside(
            place, x.shape[2:], counts, w.shape[2:], self.strides, self.pads, self.dilations
        )
        if conditions:
            product = Select(expr.both(*conditions), product, Const(0, wide))
        return _with_bias(expr.reduce("sum", loops, product), inputs, m)


@dataclass(frozen=True)
class ConvTranspose(Op):
    """The transpose of a convolution: each element of x[N, C, *S] scatters w[C, M/groups, *K].

    pads:            what is cut from the begins, then from the ends, of the full result
    output_padding:  what is added to the ends
    source:          ONNX operator ConvTranspose
    """

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    output_padding: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w = _check("ConvTranspose", inputs, self.groups, self.strides)
        if x[1] != w[0] or x[1] % self.groups:
            raise ShapeError(
                f"ConvTranspose of {x[1]} channels with weights {list(w)} in {self.groups} groups"
            )
        channels = w[1] * self.groups
        _check_bias("ConvTranspose", inputs, channels)
        rank = len(x) - 2
        check_windows("ConvTranspose", rank, w[2:], self.strides, self.pads, self.dilations)
        if len(self.output_padding) != rank:
            raise ShapeError(f"ConvTranspose has output_padding {self.output_padding}, rank {rank}")
        sizes = self._sizes(x[2:], w[2:])
        if any(size < 1 for size in sizes):
            raise ShapeError(f"ConvTranspose would give the spatial shape {list(sizes)}")
        return (TensorType((x[0], channels, *sizes), inputs[0].dtype),)

    def _sizes(self, spatial: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """The output's spatial extents."""
        rank = len(spatial)
        return tuple(
            (spatial[a] - 1) * self.strides[a] + (kernel[a] - 1) * self.dilations[a] + 1
            - self.pads[a] - self.pads[a + rank] + self.output_padding[a]
            for a in range(rank)
        )  # fmt: skip

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, w = inputs[:2]
        wide, rank, g = accumulator(from_numpy(x.dtype)).numpy, x.ndim - 2, self.groups
        spread = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], self.strides, strict=True)]
        sparse = np.zeros((*x.shape[:2], *spread), wide)
        sparse[(slice(None), slice(None), *(slice(None, None, s) for s in self.strides))] = x
        flipped = w[(slice(None), slice(None), *[slice(None, None, -1)] * rank)]
        turned = flipped.reshape(g, w.shape[0] // g, *w.shape[1:]).swapaxes(1, 2)
        kernel = turned.reshape(g * w.shape[1], w.shape[0] // g, *w.shape[2:]).astype(wide)
        spans = [(k - 1) * d for k, d in zip(w.shape[2:], self.dilations, strict=True)]
        pads = [span - pad for span, pad in zip(spans, self.pads, strict=False)]
        ones = (1,) * rank
        sizes = self._sizes(x.shape[2:], w.shape[2:])
        y = correlate(sparse, kernel, sizes, ones, (*pads, *pads), self.dilations, g)
        return (_biased(y, inputs).astype(x.dtype, copy=False),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, w = inputs[:2]
        n, m, *at = index
        wide = accumulator(x.dtype)
        per_group = x.shape[1] // self.groups
        loops = expr.variables(index, (per_group, *w.shape[2:]))
        channel, *taps = loops
        first: Expr = expr.integer(0)
        own = m
        if self.groups > 1:
            first = expr.mul(expr.floordiv(m, w.shape[1]), per_group)
            own = expr.mod(m, w.shape[1])
        channel = expr.add(first, channel)
        place, conditions = [], []
        for axis, (o, k) in enumerate(zip(at, taps, strict=True)):
            size, stride, dilation = x.shape[2 + axis], self.strides[axis], self.dilations[axis]
            reach = (w.shape[2 + axis] - 1) * dilation - min(self.pads[axis], 0)
            shift = -(-reach // stride)  # strides added, so that what is divided is never negative
            far = expr.sub(expr.add(o, self.pads[axis] + shift * stride), expr.mul(k, dilation))
            step = expr.floordiv(far, stride)
            if stride > 1:
                conditions.append(expr.compare("equal", expr.mod(far, stride), 0))
            conditions.append(expr.compare("greater_equal", step, shift))
            conditions.append(expr.compare("less", step, size + shift))
            place.append(expr.add(step, -shift))
        product = expr.apply(
            "mul",
            expr.cast(x(n, channel, *place), wide),
            expr.cast(w(channel, own, *taps), wide),
        )
        value = Select(expr.both(*conditions), product, Const(0, wide)) if conditions else product
        return _with_bias(expr.reduce("sum", loops, value), inputs, m)


def correlate(
    x: Array,
    w: Array,
    counts: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Array:
    """x[N, C, *S] with w[M, C/groups, *K] -> [N, M, *counts], in the dtype of both; by im2col."""
    rank, g = len(counts), groups
    windows = views(x, counts, w.shape[2:], strides, pads, dilations, 0)
    split = windows.reshape(x.shape[0], g, x.shape[1] // g, *windows.shape[2:])
    at, taps = tuple(range(3, 3 + rank)), tuple(range(3 + rank, 3 + 2 * rank))
    width = int(np.prod(w.shape[1:], dtype=np.int64))
    columns = split.transpose(1, 0, *at, 2, *taps).reshape(g, -1, width)  # [g, N * P, C/g * K]
    kernel = w.reshape(g, w.shape[0] // g, width).swapaxes(1, 2)
    y = np.matmul(columns, kernel).reshape(g, x.shape[0], *counts, w.shape[0] // g)
    moved = y.transpose(1, 0, 2 + rank, *range(2, 2 + rank))
    return np.ascontiguousarray(moved).reshape(x.shape[0], w.shape[0], *counts)


def _check(
    op: str, inputs: Sequence[TensorType], groups: int, strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dims of x and w, after what both kinds of convolution need."""
    count(op, inputs, 2, 3)
    need_kind(op, same_dtype(op, inputs), "fiu")
    x, w = inputs[0].dims, inputs[1].dims
    if len(x) < 3 or len(x) != len(w):
        raise ShapeError(f"{op} takes x[N, C, *S] and w of one rank, was given {x} and {w}")
    if groups < 1:
        raise ShapeError(f"{op} has {groups} groups")
    return x, w


def _check_bias(op: str, inputs: Sequence[TensorType], channels: int) -> None:
    if len(inputs) == 3 and inputs[2].dims != (channels,):
        raise ShapeError(f"{op} gives {channels} channels, its bias is {list(inputs[2].dims)}")


def _biased(y: Array, inputs: Sequence[Array]) -> Array:
    if len(inputs) == 3:
        y += inputs[2].astype(y.dtype).reshape(-1, *[1] * (y.ndim - 2))
    return y


def _with_bias(total: Expr, inputs: Sequence[Tensor], m: Expr) -> Expr:
    if len(inputs) == 3:
        total = expr.apply("add", total, expr.cast(inputs[2](m), total.dtype))
    return expr.cast(total, inputs[0].dtype)
