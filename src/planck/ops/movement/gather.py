"""Operators that read by computed indices. Negative indices count from the end.

An index out of range is an error in the reference; compiled code clamps it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, i32, i64
from planck.errors import DTypeError, ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Expr, Tensor, add, compare, integer, maximum, minimum
from planck.ops.shapes import axis_of, count


def need_indices(op: str, indices: TensorType) -> None:
    """raises: DTypeError unless the dtype is one that indices come in"""
    if indices.dtype not in (i32, i64):
        raise DTypeError(f"{op} takes indices in i32 or i64, was given {indices.dtype}")


def wrapped(position: Expr, extent: int) -> Expr:
    """An index into an axis, counted from the front and clamped into range."""
    if position.dtype is not i64:
        position = expr.Cast(position, i64)
    negative = compare("less", position, 0)
    front = expr.Apply("select", (negative, add(position, extent), position), i64)
    return minimum(maximum(front, 0), extent - 1)


@dataclass(frozen=True)
class Gather(Op):
    """x[..., indices, ...] on one axis; the indices' axes stand in its place.

    source:  ONNX operator Gather
    """

    axis: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Gather", inputs, 2)
        x, indices = inputs
        need_indices("Gather", indices)
        axis = axis_of("Gather", self.axis, x.rank)
        if not x.dims[axis] and indices.size:
            raise ShapeError(f"Gather from axis {axis} of {list(x.shape)}, which has no elements")
        return (TensorType((*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :]), x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.take(inputs[0], inputs[1].astype(np.int64), self.axis),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, indices = inputs
        axis = axis_of("Gather", self.axis, len(x.shape))
        end = axis + len(indices.shape)
        at = wrapped(indices(*index[axis:end]), x.shape[axis])
        return x(*index[:axis], at, *index[end:])


@dataclass(frozen=True)
class GatherElements(Op):
    """x at each element's own index along one axis; the output has the indices' shape.

    source:  ONNX operator GatherElements
    """

    axis: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("GatherElements", inputs, 2)
        x, indices = inputs
        need_indices("GatherElements", indices)
        axis = axis_of("GatherElements", self.axis, x.rank)
        fits = indices.rank == x.rank and all(
            k == axis or own <= extent
            for k, (own, extent) in enumerate(zip(indices.dims, x.dims, strict=True))
        )
        if not fits or (not x.dims[axis] and indices.size):
            raise ShapeError(
                f"GatherElements from {list(x.shape)} by indices of shape {list(indices.shape)}",
                know=f"axis {axis}",
            )
        return (TensorType(indices.dims, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, indices = inputs
        axis = axis_of("GatherElements", self.axis, x.ndim)
        whole = tuple(
            slice(None) if k == axis else slice(extent) for k, extent in enumerate(indices.shape)
        )
        return (np.take_along_axis(x[whole], indices.astype(np.int64), axis),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, indices = inputs
        axis = axis_of("GatherElements", self.axis, len(index))
        at = wrapped(indices(*index), x.shape[axis])
        return x(*index[:axis], at, *index[axis + 1 :])


@dataclass(frozen=True)
class GatherND(Op):
    """x at index tuples, which are the last axis of the indices.

    batch_dims:  leading axes that x and the indices share
    source:      ONNX operator GatherND
    """

    batch_dims: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("GatherND", inputs, 2)
        x, indices = inputs
        need_indices("GatherND", indices)
        b = self.batch_dims
        fits = (
            0 <= b < min(x.rank, indices.rank)
            and x.dims[:b] == indices.dims[:b]
            and 1 <= indices.dims[-1] <= x.rank - b
        )
        if not fits:
            raise ShapeError(
                f"GatherND from {list(x.shape)} by indices of shape {list(indices.shape)}",
                know=f"{b} batch axes",
            )
        return (TensorType((*indices.dims[:-1], *x.dims[b + indices.dims[-1] :]), x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, indices = inputs
        b = self.batch_dims
        grid = np.ogrid[tuple(slice(extent) for extent in indices.shape[:b])]
        rest = (1,) * (indices.ndim - 1 - b)
        batch = tuple(axis.reshape(axis.shape + rest) for axis in grid)
        return (x[(*batch, *np.moveaxis(indices.astype(np.int64), -1, 0))],)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, indices = inputs
        b, rank = self.batch_dims, len(indices.shape) - 1
        at = [
            wrapped(indices(*index[:rank], integer(k)), x.shape[b + k])
            for k in range(indices.shape[-1])
        ]
        return x(*index[:b], *at, *index[rank:])


@dataclass(frozen=True)
class OneHot(Op):
    """values[1] where a new axis' position equals the index, values[0] elsewhere.

    inputs:  indices i64[*S], values[2] = off, on; an index out of range is off everywhere
    axis:    where the new axis of extent depth stands in the output
    """

    axis: int
    depth: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("OneHot", inputs, 2)
        indices, values = inputs
        need_indices("OneHot", indices)
        axis = axis_of("OneHot", self.axis, indices.rank + 1)
        if values.dims != (2,) or self.depth < 0:
            raise ShapeError(f"OneHot of depth {self.depth} with values {values}")
        shape = (*indices.dims[:axis], self.depth, *indices.dims[axis:])
        return (TensorType(shape, values.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        indices, values = inputs
        axis = axis_of("OneHot", self.axis, indices.ndim + 1)
        indices = np.where(indices < 0, indices + self.depth, indices)
        shape = tuple(self.depth if k == axis else 1 for k in range(indices.ndim + 1))
        on = np.expand_dims(indices, axis) == np.arange(self.depth).reshape(shape)
        return (values[on.astype(np.int64)],)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        indices, values = inputs
        axis = axis_of("OneHot", self.axis, len(index))
        at = indices(*index[:axis], *index[axis + 1 :])
        if at.dtype is not i64:
            at = expr.Cast(at, i64)
        here = compare("equal", at, index[axis])
        behind = compare("equal", add(at, self.depth), index[axis])
        on = expr.Apply("or", (here, behind), here.dtype)
        return expr.Apply("select", (on, values(integer(1)), values(integer(0))), values.dtype)
