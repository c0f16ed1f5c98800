"""Runs expressions in NumPy over a whole index grid: the executable meaning of the language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from planck.dtypes import Array
from planck.loops.expr import Apply, Cast, Const, Expr, Index, Load, Reduce, Select

Functions = Mapping[str, Callable[..., Array]]

_REDUCE: Final[dict[str, Callable[..., Any]]] = {
    "sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all,
}  # fmt: skip
_INDEX: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide,
    "mod": np.mod, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def evaluate(
    expr: Expr,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    operands: Mapping[str, Array],
    functions: Functions,
    cast: Callable[[Array, Any], Array],
) -> Array:
    """The array of an expression's values.

    shape, names:  the grid: extents and the loop variables' names
    operands:      what Load reads, by name
    functions:     the pointwise functions on arrays, by name
    cast:          (array, DType) -> array, as ONNX Cast
    """
    return _Evaluation(shape, names, operands, functions, cast).run(expr)


class _Evaluation:
    def __init__(
        self,
        shape: tuple[int, ...],
        names: tuple[str, ...],
        operands: Mapping[str, Array],
        functions: Functions,
        cast: Callable[[Array, Any], Array],
    ) -> None:
        self.shape, self.operands, self.functions, self.cast = shape, operands, functions, cast
        self.axes = {name: k for k, name in enumerate(names)}
        self.extents = list(shape)
        self.known: dict[int, Array] = {}
        self.kept: list[Expr] = []  # ids stay unique while their expressions live

    def run(self, expr: Expr) -> Array:
        return np.broadcast_to(self._value(expr), self.shape)

    def _value(self, expr: Expr) -> Array:
        if id(expr) not in self.known:
            self.kept.append(expr)
            self.known[id(expr)] = self._compute(expr)
        return self.known[id(expr)]

    def _compute(self, expr: Expr) -> Array:
        match expr:
            case Const(value, dtype):
                return np.asarray(value).astype(dtype.numpy)
            case Index(name, extent):
                axis = self.axes[name]
                shape = [1] * len(self.extents)
                shape[axis] = extent
                return np.arange(extent).reshape(shape)
            case Apply(fn, args, dtype):
                values = [self._value(a) for a in args]
                if fn in _INDEX and dtype.kind == "i":
                    return np.asarray(_INDEX[fn](*values))
                return self.functions[fn](*values)
            case Cast(value, dtype):
                return self.cast(self._value(value), dtype)
            case Load(operand, index):
                array = self.operands[operand]
                at = [
                    np.clip(self._value(i), 0, n - 1)
                    for i, n in zip(index, array.shape, strict=True)
                ]
                return np.asarray(array[tuple(np.broadcast_arrays(*at))] if at else array)
            case Select(condition, then, other):
                return np.where(self._value(condition), self._value(then), self._value(other))
            case Reduce():
                return self._reduce(expr)

    def _reduce(self, expr: Reduce) -> Array:
        """The variables become further axes, which the reduction takes away again."""
        before = self.axes, self.extents, self.known
        depth, number = len(self.extents), len(expr.over)
        self.axes = dict(self.axes) | {v.name: depth + k for k, v in enumerate(expr.over)}
        self.extents = [*self.extents, *(v.extent for v in expr.over)]
        self.known = {}
        wanted = tuple(v.extent for v in expr.over)
        value = self._value(expr.value)
        value = value.reshape((1,) * (len(self.extents) - value.ndim) + value.shape)
        value = np.broadcast_to(value, value.shape[:depth] + wanted)
        self.axes, self.extents, self.known = before
        if expr.kind.startswith("arg"):
            flat = value.reshape(*value.shape[:depth], -1)
            find = np.argmax if "max" in expr.kind else np.argmin
            if expr.kind.endswith("last"):
                return np.asarray(flat.shape[-1] - 1 - find(flat[..., ::-1], axis=-1))
            return np.asarray(find(flat, axis=-1))
        axes = tuple(range(depth, depth + number))
        return np.asarray(_REDUCE[expr.kind](value, axis=axes)).astype(expr.dtype.numpy)
