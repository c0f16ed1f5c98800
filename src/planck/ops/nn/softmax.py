"""Softmax and its relatives, along one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import axis_of, count, need_kind


@dataclass(frozen=True)
class Softmax(Op):
    """exp(x - max) / sum(exp(x - max)) along an axis."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (_infer("Softmax", inputs, self.axis, "f"),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        raised = np.exp(_shifted(x, self.axis))
        return ((raised / raised.sum(axis=self.axis, keepdims=True)).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        own, total = _parts(inputs[0], index, self.axis)
        return expr.cast(expr.apply("div", expr.apply("exp", own), total), inputs[0].dtype)


@dataclass(frozen=True)
class LogSoftmax(Op):
    """x - max - log(sum(exp(x - max))) along an axis."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (_infer("LogSoftmax", inputs, self.axis, "f"),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        low = _shifted(x, self.axis)
        total = np.exp(low).sum(axis=self.axis, keepdims=True)
        return ((low - np.log(total)).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        own, total = _parts(inputs[0], index, self.axis)
        return expr.cast(expr.apply("sub", own, expr.apply("log", total)), inputs[0].dtype)


@dataclass(frozen=True)
class Hardmax(Op):
    """1 where the first largest element along an axis stands, else 0."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (_infer("Hardmax", inputs, self.axis, "fiu"),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        result = np.zeros_like(x)
        best = np.expand_dims(x.argmax(axis=self.axis), self.axis)
        np.put_along_axis(result, best, 1, self.axis)
        return (result,)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        axis = self.axis % len(x.shape)
        (k,) = expr.variables(index, (x.shape[axis],))
        best = expr.reduce("argmax", (k,), x(*index[:axis], k, *index[axis + 1 :]))
        here = expr.compare("equal", index[axis], best)
        return Select(here, Const(1, x.dtype), Const(0, x.dtype))


def _infer(op: str, inputs: tuple[TensorType, ...], axis: int, kinds: str) -> TensorType:
    count(op, inputs, 1)
    (x,) = inputs
    need_kind(op, x.dtype, kinds)
    axis_of(op, axis, x.rank)
    return x


def _shifted(x: Array, axis: int) -> Array:
    wide = x.astype(accumulator(from_numpy(x.dtype)).numpy, copy=False)
    return wide - wide.max(axis=axis, keepdims=True) if x.size else wide


def _parts(x: Tensor, index: tuple[Expr, ...], axis: int) -> tuple[Expr, Expr]:
    """x - max at an index, and the sum of exp(x - max) along the axis."""
    axis %= len(x.shape)
    (k,) = expr.variables(index, (x.shape[axis],))
    wide = accumulator(x.dtype)
    each = expr.cast(x(*index[:axis], k, *index[axis + 1 :]), wide)
    top = expr.reduce("max", (k,), each)
    (j,) = expr.variables((*index, top), (x.shape[axis],))
    other = expr.cast(x(*index[:axis], j, *index[axis + 1 :]), wide)
    total = expr.reduce("sum", (j,), expr.apply("exp", expr.apply("sub", other, top)))
    return expr.apply("sub", expr.cast(x(*index), wide), top), total
