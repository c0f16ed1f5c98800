"""Reductions along axes, and the positions of extreme elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planck import dtypes
from planck.dtypes import Array, DType, f32, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Apply, Const, Expr, Tensor, apply, cast, variables
from planck.ops.shapes import axes_of, axis_of, count, need_kind

Along = tuple[int, ...]

KINDS: Final[dict[str, str]] = {  # kind -> kinds of dtypes it takes
    "sum": "fiuc",
    "mean": "fiu",
    "max": "fiu",
    "min": "fiu",
    "prod": "fiuc",
    "l1": "fiu",
    "l2": "fiu",
    "sum_square": "fiu",
    "log_sum": "fiu",
    "log_sum_exp": "fiu",
    "any": "b",
    "all": "b",
}
ROOTS: Final = ("l2", "log_sum", "log_sum_exp")  # pass through reals, of integers too


@dataclass(frozen=True)
class Reduce(Op):
    """A reduction over axes. Over no elements: sum 0, prod 1, max and min the worst, mean NaN.

    kind:  one of KINDS
    axes:  those reduced; none reduces nothing, yet applies the function (l1: |x|)
    keep:  whether reduced axes stay, with extent 1
    """

    kind: str
    axes: Along
    keep: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Reduce", inputs, 1)
        (x,) = inputs
        if self.kind not in KINDS:
            raise ShapeError(f"planck has no reduction {self.kind!r}", know=f"has {list(KINDS)}")
        need_kind(f"Reduce {self.kind}", x.dtype, KINDS[self.kind])
        axes = axes_of("Reduce", self.axes, x.rank)
        return (TensorType(_reduced(x.dims, axes, self.keep), x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        dtype = from_numpy(x.dtype)
        with np.errstate(all="ignore"):
            wide = x.astype(_accumulator(self.kind, dtype))
            axes = axes_of("Reduce", self.axes, x.ndim)
            result = np.asarray(_NUMPY[self.kind](wide, axes)).astype(dtype.numpy)
        return (result if self.keep else np.squeeze(result, axes),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        axes = axes_of("Reduce", self.axes, len(x.shape))
        over = variables(index, (x.shape[axis] for axis in axes))
        at = _inner(index, axes, over, len(x.shape), self.keep)
        number = math.prod(x.shape[axis] for axis in axes)
        return _body(self.kind, x(*at), over, number)


@dataclass(frozen=True)
class ArgReduce(Op):
    """The position along an axis of its largest or smallest element, as i64.

    kind:  "max" or "min"
    last:  of equals the last, else the first
    """

    kind: str
    axis: int
    keep: bool = True
    last: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("ArgReduce", inputs, 1)
        (x,) = inputs
        need_kind("ArgReduce", x.dtype, "fiu")
        axis = axis_of("ArgReduce", self.axis, x.rank)
        if not x.dims[axis]:
            raise ShapeError(f"ArgReduce along axis {axis}, which has no elements")
        return (TensorType(_reduced(x.dims, (axis,), self.keep), i64),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        x = x if from_numpy(x.dtype).bits > 16 else x.astype(np.float32)
        find = np.argmax if self.kind == "max" else np.argmin
        if not self.last:
            found = find(x, self.axis, keepdims=True)
        else:
            extent = x.shape[self.axis]
            found = extent - 1 - find(np.flip(x, self.axis), self.axis, keepdims=True)
        return ((found if self.keep else np.squeeze(found, self.axis)).astype(np.int64),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        axis = axis_of("ArgReduce", self.axis, len(x.shape))
        over = variables(index, (x.shape[axis],))
        at = _inner(index, (axis,), over, len(x.shape), self.keep)
        kind = f"arg{self.kind}{'_last' if self.last else ''}"
        return expr.reduce(kind, over, x(*at))


def _reduced(shape: tuple[int, ...], axes: Along, keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(1 if k in axes else extent for k, extent in enumerate(shape))
    return tuple(extent for k, extent in enumerate(shape) if k not in axes)


def _inner(
    index: tuple[Expr, ...], axes: Along, over: tuple[Expr, ...], rank: int, keep: bool
) -> tuple[Expr, ...]:
    """The input's index: the reduction's variables on its axes, the output's index elsewhere."""
    inner = dict(zip(axes, over, strict=True))
    kept = iter(index if not keep else [i for k, i in enumerate(index) if k not in axes])
    return tuple(inner[k] if k in inner else next(kept) for k in range(rank))


# References: x in the accumulator's dtype, axes from the front; reduced axes stay, with extent 1


def _accumulator(kind: str, dtype: DType) -> Any:
    """Floats reduce in float64; integers in their own dtype, which wraps, but for their mean."""
    if dtype.is_float or (dtype.is_integer and kind in ROOTS):
        return np.float64
    return np.int64 if (dtype.is_integer and kind == "mean") or dtype.bits < 8 else dtype.numpy


def _extreme(x: Array, axes: Along, largest: bool) -> Any:
    if x.dtype.kind == "f":
        worst: Any = -np.inf if largest else np.inf
    else:
        info = np.iinfo(x.dtype)
        worst = info.min if largest else info.max
    return (np.max if largest else np.min)(x, axis=axes, keepdims=True, initial=worst)


def _mean(x: Array, axes: Along) -> Any:
    total = np.sum(x, axis=axes, keepdims=True)
    number = math.prod(x.shape[axis] for axis in axes)
    if x.dtype.kind == "f":
        return total / np.float64(number)
    return np.sign(total) * (np.abs(total) // max(number, 1))


def _log_sum_exp(x: Array, axes: Along) -> Any:
    top = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top


def _sum(x: Array, axes: Along) -> Any:
    return np.sum(x, axis=axes, keepdims=True, dtype=x.dtype)


_NUMPY: Final[dict[str, Callable[[Array, Along], Any]]] = {
    "sum": _sum,
    "mean": _mean,
    "max": lambda x, axes: _extreme(x, axes, True),
    "min": lambda x, axes: _extreme(x, axes, False),
    "prod": lambda x, axes: np.prod(x, axis=axes, keepdims=True, dtype=x.dtype),
    "l1": lambda x, axes: _sum(np.abs(x), axes),
    "l2": lambda x, axes: np.sqrt(_sum(x * x, axes)),
    "sum_square": lambda x, axes: _sum(x * x, axes),
    "log_sum": lambda x, axes: np.log(_sum(x, axes)),
    "log_sum_exp": _log_sum_exp,
    "any": lambda x, axes: np.any(x, axis=axes, keepdims=True),
    "all": lambda x, axes: np.all(x, axis=axes, keepdims=True),
}


# Bodies


def _body(kind: str, element: Expr, over: tuple[Expr, ...], number: int) -> Expr:
    """Small floats accumulate in float32; of integers roots pass through f64, means through i64.

    number:  how many elements meet in one result
    """
    dtype = element.dtype
    work = dtype
    if dtype.is_float and dtype.bits < 32:
        work = f32
    elif dtype.is_integer and kind in ROOTS:
        work = dtypes.f64
    elif dtype.is_integer and kind == "mean":
        work = i64
    value = cast(element, work)
    return cast(_accumulate(kind, value, over, number), dtype)


def _accumulate(kind: str, value: Expr, over: tuple[Expr, ...], number: int) -> Expr:
    match kind:
        case "mean":
            elements = float(number) if value.dtype.is_float else number
            return apply("div", expr.reduce("sum", over, value), elements)
        case "l1":
            unsigned = value.dtype.kind == "u"
            return expr.reduce("sum", over, value if unsigned else apply("abs", value))
        case "l2":
            return apply("sqrt", expr.reduce("sum", over, apply("mul", value, value)))
        case "sum_square":
            return expr.reduce("sum", over, apply("mul", value, value))
        case "log_sum":
            return apply("log", expr.reduce("sum", over, value))
        case "log_sum_exp":
            return _log_sum_exp_body(value, over)
    return expr.reduce(kind, over, value)


def _log_sum_exp_body(value: Expr, over: tuple[Expr, ...]) -> Expr:
    """max + log(sum(exp(x - max))); an infinite or missing maximum is not subtracted."""
    top = expr.reduce("max", over, value)
    finite = expr.compare("less", apply("sub", top, top), Const(1.0, value.dtype))
    top = Apply("select", (finite, top, Const(0.0, value.dtype)), value.dtype)
    total = expr.reduce("sum", over, apply("exp", apply("sub", value, top)))
    return apply("add", apply("log", total), top)
