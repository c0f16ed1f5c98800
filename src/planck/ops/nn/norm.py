"""Normalisations: by given statistics, or by those of rows, instances, groups, neighbours.

Statistics of short floats are taken in f32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import axis_of, broadcast, count, need_kind, same_dtype


@dataclass(frozen=True)
class BatchNorm(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias, all but x[N, C, ...] of shape [C]."""

    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("BatchNorm", inputs, 5)
        x = inputs[0]
        for other in inputs:
            need_kind("BatchNorm", other.dtype, "f")
        if x.rank < 2 or any(other.dims != (x.dims[1],) for other in inputs[1:]):
            shapes = ", ".join(str(list(other.dims)) for other in inputs)
            raise ShapeError(f"BatchNorm takes x[N, C, ...] and four [C], was given {shapes}")
        return (x,)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x = inputs[0]
        wide = _wide(x)
        column = (-1, *[1] * (x.ndim - 2))
        scale, bias, mean, var = (a.astype(wide.dtype).reshape(column) for a in inputs[1:])
        y = (wide - mean) / np.sqrt(var + np.asarray(self.epsilon, wide.dtype)) * scale + bias
        return (y.astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x = inputs[0]
        wide = accumulator(x.dtype)
        scale, bias, mean, var = (expr.cast(t(index[1]), wide) for t in inputs[1:])
        centred = expr.apply("sub", expr.cast(x(*index), wide), mean)
        y = expr.apply("div", centred, _root(var, self.epsilon))
        y = expr.apply("add", expr.apply("mul", y, scale), bias)
        return expr.cast(y, x.dtype)


@dataclass(frozen=True)
class LayerNorm(Op):
    """x normalised over the axes from `axis` on, times scale, plus an optional bias.

    scale and bias broadcast to x; source: ONNX operator LayerNormalization
    """

    axis: int
    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("LayerNorm", inputs, 2, 3)
        return (_infer_rows("LayerNorm", inputs, self.axis),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x = inputs[0]
        axes = tuple(range(self.axis % x.ndim, x.ndim))
        y = _normal(_wide(x), axes, self.epsilon) * inputs[1].astype(_wide(x).dtype)
        if len(inputs) == 3:
            y = y + inputs[2].astype(y.dtype)
        return (y.astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x = inputs[0]
        axis = self.axis % len(x.shape)
        y = _normalised(x, index, index[:axis], x.shape[axis:], (), self.epsilon)
        y = expr.apply("mul", y, expr.cast(inputs[1].broadcast(index), y.dtype))
        if len(inputs) == 3:
            y = expr.apply("add", y, expr.cast(inputs[2].broadcast(index), y.dtype))
        return expr.cast(y, x.dtype)


@dataclass(frozen=True)
class RMSNorm(Op):
    """x / sqrt(mean(x^2) + epsilon) over the axes from `axis` on, times scale."""

    axis: int
    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("RMSNorm", inputs, 2)
        return (_infer_rows("RMSNorm", inputs, self.axis),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, scale = inputs
        wide = _wide(x)
        axes = tuple(range(self.axis % x.ndim, x.ndim))
        mean = np.square(wide).mean(axis=axes, keepdims=True, dtype=wide.dtype)
        y = wide / np.sqrt(mean + np.asarray(self.epsilon, wide.dtype))
        return ((y * scale.astype(wide.dtype)).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, scale = inputs
        axis, wide = self.axis % len(x.shape), accumulator(x.dtype)
        loops = expr.variables(index, x.shape[axis:])
        each = expr.cast(x(*index[:axis], *loops), wide)
        mean = _mean(loops, expr.apply("mul", each, each), math.prod(x.shape[axis:]))
        y = expr.apply("div", expr.cast(x(*index), wide), _root(mean, self.epsilon))
        return expr.cast(expr.apply("mul", y, expr.cast(scale.broadcast(index), wide)), x.dtype)


@dataclass(frozen=True)
class InstanceNorm(Op):
    """x[N, C, *S] normalised over S, times scale[C], plus bias[C]."""

    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (_infer_channels("InstanceNorm", inputs),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, scale, bias = inputs
        wide = _wide(x)
        y = _normal(wide, tuple(range(2, x.ndim)), self.epsilon)
        return (_per_channel(y, scale, bias).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x = inputs[0]
        y = _normalised(x, index, index[:2], x.shape[2:], (), self.epsilon)
        return _scaled(y, inputs, index[1])


@dataclass(frozen=True)
class GroupNorm(Op):
    """x[N, C, *S] normalised over S and each group of C/groups channels; scale[C], bias[C]."""

    groups: int
    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x = _infer_channels("GroupNorm", inputs)
        if self.groups < 1 or x.dims[1] % self.groups:
            raise ShapeError(f"GroupNorm has {self.groups} groups of {x.dims[1]} channels")
        return (x,)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, scale, bias = inputs
        wide = _wide(x)
        split = wide.reshape(x.shape[0], self.groups, -1)
        y = _normal(split, (2,), self.epsilon).reshape(x.shape)
        return (_per_channel(y, scale, bias).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x = inputs[0]
        own = x.shape[1] // self.groups
        first = expr.mul(expr.floordiv(index[1], own), own)
        y = _normalised(x, index, index[:1], x.shape[2:], (first, own), self.epsilon)
        return _scaled(y, inputs, index[1])


@dataclass(frozen=True)
class LRN(Op):
    """x / (bias + alpha / size * (sum of squares of `size` neighbouring channels)) ** beta."""

    size: int
    alpha: float
    beta: float
    bias: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("LRN", inputs, 1)
        need_kind("LRN", inputs[0].dtype, "f")
        if inputs[0].rank < 2 or self.size < 1:
            raise ShapeError(f"LRN of size {self.size} takes x[N, C, ...], not {inputs[0]}")
        return inputs

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        wide = _wide(x)
        before = (self.size - 1) // 2
        widths = [(0, 0), (before, self.size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
        squares = np.pad(np.square(wide), widths)
        total = sum(squares[:, k : k + x.shape[1]] for k in range(self.size))
        power = (self.bias + self.alpha / self.size * total) ** self.beta
        return ((wide / power).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        wide, before = accumulator(x.dtype), (self.size - 1) // 2
        (k,) = expr.variables(index, (self.size,))
        channel = expr.add(expr.add(index[1], k), -before)
        each = expr.cast(x(index[0], channel, *index[2:]), wide)
        exists = expr.both(
            expr.compare("greater_equal", channel, 0), expr.compare("less", channel, x.shape[1])
        )
        square = Select(exists, expr.apply("mul", each, each), Const(0.0, wide))
        total = expr.apply("mul", expr.reduce("sum", (k,), square), self.alpha / self.size)
        power = expr.apply("pow", expr.apply("add", total, self.bias), self.beta)
        return expr.cast(expr.apply("div", expr.cast(x(*index), wide), power), x.dtype)


# NumPy


def _wide(x: Array) -> Array:
    return x.astype(accumulator(from_numpy(x.dtype)).numpy, copy=False)


def _normal(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axis=axes, keepdims=True, dtype=x.dtype)
    var = np.square(centred).mean(axis=axes, keepdims=True, dtype=x.dtype)
    result: Array = centred / np.sqrt(var + np.asarray(epsilon, x.dtype))
    return result


def _per_channel(y: Array, scale: Array, bias: Array) -> Array:
    column = (-1, *[1] * (y.ndim - 2))
    result: Array = y * scale.astype(y.dtype).reshape(column) + bias.astype(y.dtype).reshape(column)
    return result


# Expressions


def _root(var: Expr, epsilon: float) -> Expr:
    return expr.apply("sqrt", expr.apply("add", var, float(epsilon)))


def _mean(loops: Sequence[Expr], value: Expr, size: int) -> Expr:
    return expr.apply("mul", expr.reduce("sum", loops, value), 1.0 / size)


def _normalised(
    x: Tensor,
    index: tuple[Expr, ...],
    fixed: tuple[Expr, ...],
    over: tuple[int, ...],
    channels: tuple[Expr, int] | tuple[()],
    epsilon: float,
) -> Expr:
    """(x - mean) / sqrt(var + epsilon) at an index.

    fixed:     the leading part of the index that statistics do not run over
    over:      the extents of the trailing axes that they run over
    channels:  the axis between the two: where it starts and how far it runs, if it stands there
    """
    dtype = accumulator(x.dtype)
    between = (channels[1],) if channels else ()
    size = math.prod((*between, *over))

    def read(around: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], Expr]:
        loops = expr.variables(around, (*between, *over))
        own = (expr.add(channels[0], loops[0]), *loops[1:]) if channels else loops
        return loops, expr.cast(x(*fixed, *own), dtype)

    loops, each = read(index)
    mean = _mean(loops, each, size)
    loops, each = read((*index, mean))
    away = expr.apply("sub", each, mean)
    var = _mean(loops, expr.apply("mul", away, away), size)
    centred = expr.apply("sub", expr.cast(x(*index), dtype), mean)
    return expr.apply("div", centred, _root(var, epsilon))


def _scaled(y: Expr, inputs: Sequence[Tensor], channel: Expr) -> Expr:
    scale, bias = (expr.cast(tensor(channel), y.dtype) for tensor in inputs[1:])
    return expr.cast(expr.apply("add", expr.apply("mul", y, scale), bias), inputs[0].dtype)


# Checks


def _infer_rows(op: str, inputs: tuple[TensorType, ...], axis: int) -> TensorType:
    x = inputs[0]
    for other in inputs:
        need_kind(op, other.dtype, "f")
    axis_of(op, axis, x.rank)
    for other in inputs[1:]:
        if broadcast(op, x.dims, other.dims) != x.dims:
            raise ShapeError(f"{op}: {list(other.dims)} does not broadcast to {list(x.dims)}")
    return x


def _infer_channels(op: str, inputs: tuple[TensorType, ...]) -> TensorType:
    count(op, inputs, 3)
    x = inputs[0]
    need_kind(op, same_dtype(op, inputs), "f")
    if x.rank < 3 or any(other.dims != (x.dims[1],) for other in inputs[1:]):
        shapes = ", ".join(str(list(other.dims)) for other in inputs)
        raise ShapeError(f"{op} takes x[N, C, *S] and two [C], was given {shapes}")
    return x
