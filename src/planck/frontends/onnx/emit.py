"""Short ways to emit the operations that translations are made of."""

from __future__ import annotations

from collections.abc import Sequence

from planck.dtypes import DType
from planck.frontends.onnx.context import NodeContext
from planck.ir.graph import Value
from planck.ops.movement import Broadcast, Concat, Reshape, Slice, Transpose
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import Reduce


def apply(ctx: NodeContext, fn: str, *values: Value | float) -> Value:
    """A pointwise function; numbers become scalars of the first value's dtype."""
    first = next(value for value in values if isinstance(value, Value))
    given = (value if isinstance(value, Value) else ctx.like(value, first) for value in values)
    return ctx.emit(Pointwise(fn), *given)


def cast(ctx: NodeContext, value: Value, dtype: DType) -> Value:
    """The value in a dtype."""
    return value if value.type.dtype is dtype else ctx.emit(Cast(dtype), value)


def reshape(ctx: NodeContext, value: Value, shape: Sequence[int]) -> Value:
    """The value in another shape, all extents given."""
    return value if value.type.dims == tuple(shape) else ctx.emit(Reshape(tuple(shape)), value)


def transpose(ctx: NodeContext, value: Value, perm: Sequence[int]) -> Value:
    """The value with its axes in another order."""
    given = tuple(perm)
    return value if given == tuple(range(len(given))) else ctx.emit(Transpose(given), value)


def broadcast(ctx: NodeContext, value: Value, shape: Sequence[int]) -> Value:
    """The value repeated to a shape by NumPy's rule."""
    return value if value.type.dims == tuple(shape) else ctx.emit(Broadcast(tuple(shape)), value)


def part(ctx: NodeContext, value: Value, axis: int, start: int, size: int, step: int = 1) -> Value:
    """`size` elements of an axis, every `step`-th from `start` on."""
    dims = value.type.dims
    if (start, size) == (0, dims[axis]):
        return value
    starts, sizes, steps = [0] * len(dims), list(dims), [1] * len(dims)
    starts[axis], sizes[axis], steps[axis] = start, size, step
    return ctx.emit(Slice(tuple(starts), tuple(sizes), tuple(steps)), value)


def concat(ctx: NodeContext, values: Sequence[Value], axis: int) -> Value:
    """The values one after the other along an axis."""
    return values[0] if len(values) == 1 else ctx.emit(Concat(axis), *values)


def total(
    ctx: NodeContext, kind: str, value: Value, axes: Sequence[int], keep: bool = True
) -> Value:
    """A reduction over axes."""
    return ctx.emit(Reduce(kind, tuple(axes), keep), value)
