"""Operators along one axis where order matters: the largest k, running sums and products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from planck.dtypes import Array, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Tensor, compare, variables
from planck.ops.shapes import axis_of, count, need_kind


@dataclass(frozen=True)
class TopK(Op):
    """The k largest or smallest elements along an axis, and their positions; of equals the first.

    gives:  values, positions i64; in order of value
    """

    reference_only: ClassVar[bool] = True

    axis: int
    k: int
    largest: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("TopK", inputs, 1)
        (x,) = inputs
        need_kind("TopK", x.dtype, "fiu")
        axis = axis_of("TopK", self.axis, x.rank)
        if not 0 <= self.k <= x.dims[axis]:
            raise ShapeError(f"TopK takes {self.k} of the {x.dims[axis]} elements of axis {axis}")
        shape = (*x.dims[:axis], self.k, *x.dims[axis + 1 :])
        return TensorType(shape, x.dtype), TensorType(shape, i64)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        keys = x if from_numpy(x.dtype).bits > 16 else x.astype(np.float32)
        if self.largest:  # a stable sort of the mirrored axis, read backwards
            mirrored = np.argsort(np.flip(keys, self.axis), self.axis, kind="stable")
            order = x.shape[self.axis] - 1 - np.flip(mirrored, self.axis)
        else:
            order = np.argsort(keys, self.axis, kind="stable")
        order = np.take(order, np.arange(self.k), self.axis).astype(np.int64)
        return np.take_along_axis(x, order, self.axis), order


@dataclass(frozen=True)
class Cumulative(Op):
    """Running sums or products along an axis.

    kind:       "sum" or "prod"
    exclusive:  without the element itself
    reverse:    from the end
    source:     ONNX operators CumSum, CumProd
    """

    kind: str
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Cumulative", inputs, 1)
        (x,) = inputs
        if self.kind not in ("sum", "prod"):
            raise ShapeError(f"planck has no running {self.kind!r}")
        need_kind("Cumulative", x.dtype, "fiu")
        axis_of("Cumulative", self.axis, x.rank)
        return (TensorType(x.dims, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x = np.moveaxis(inputs[0], self.axis, 0)
        wide = np.float64 if from_numpy(x.dtype).is_float else x.dtype
        if self.reverse:
            x = x[::-1]
        run = np.add if self.kind == "sum" else np.multiply
        with np.errstate(all="ignore"):
            result = run.accumulate(x.astype(wide), 0, dtype=wide)
        if self.exclusive and len(result):
            first = np.full_like(result[:1], 0 if self.kind == "sum" else 1)
            result = np.concatenate([first, result[:-1]])
        if self.reverse:
            result = result[::-1]
        return (np.moveaxis(result, 0, self.axis).astype(inputs[0].dtype, order="C"),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        """A guarded reduction for each element: quadratic, without an order between elements."""
        (x,) = inputs
        axis = axis_of("Cumulative", self.axis, len(index))
        over = variables(index, (x.shape[axis],))
        fn = ("greater" if self.reverse else "less") + ("" if self.exclusive else "_equal")
        counts = compare(fn, over[0], index[axis])
        neutral: float | int = 0 if self.kind == "sum" else 1
        other = Const(float(neutral) if x.dtype.is_float else neutral, x.dtype)
        value = expr.select(counts, x(*index[:axis], over[0], *index[axis + 1 :]), other)
        return expr.reduce(self.kind, over, value)
