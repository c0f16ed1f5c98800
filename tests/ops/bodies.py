"""Evaluates operators' bodies point by point: what compiled code would compute, loads checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops.expr import Apply, Cast, Const, Expr, Index, Load, Reduce, Select, Tensor
from planck.ops.convert import convert
from planck.ops.functions import FUNCTIONS

REDUCTIONS: Final[dict[str, Any]] = {
    "sum": lambda a, dtype: a.sum(1, dtype=dtype),
    "prod": lambda a, dtype: a.prod(1, dtype=dtype),
    "max": lambda a, dtype: a.max(1),
    "min": lambda a, dtype: a.min(1),
    "any": lambda a, dtype: a.any(1),
    "all": lambda a, dtype: a.all(1),
    "argmax": lambda a, dtype: a.argmax(1),
    "argmin": lambda a, dtype: a.argmin(1),
    "argmax_last": lambda a, dtype: a.shape[1] - 1 - a[:, ::-1].argmax(1),
    "argmin_last": lambda a, dtype: a.shape[1] - 1 - a[:, ::-1].argmin(1),
}


def type_of(array: Array) -> TensorType:
    return TensorType(array.shape, from_numpy(array.dtype))


def by_body(op: Op, *inputs: Array, output: int = 0) -> Array:
    """An operator's output by its body, at every index."""
    made = op.infer(*map(type_of, inputs))[output]
    index = tuple(Index(f"i{k}", extent) for k, extent in enumerate(made.dims))
    tensors = tuple(_tensor(f"x{k}", array) for k, array in enumerate(inputs))
    grid = np.indices(made.dims).reshape(len(made.dims), made.size)
    points = {variable.name: row for variable, row in zip(index, grid, strict=True)}
    operands = {f"x{k}": array for k, array in enumerate(inputs)}
    run = _Evaluation(operands)
    result = run.value(op.body(tensors, index, output), points, np.ones(made.size, bool))
    assert result.dtype == made.dtype.numpy, f"{op}: {result.dtype} for {made}"
    return np.broadcast_to(result, made.size).reshape(made.dims)


def _tensor(name: str, array: Array) -> Tensor:
    dtype = from_numpy(array.dtype)
    return Tensor(array.shape, dtype, lambda index: Load(name, index, dtype))


class _Evaluation:
    """Values at a list of points; `active` are the points whose loads really happen."""

    def __init__(self, operands: Mapping[str, Array]) -> None:
        self.operands = operands

    def value(self, expr: Expr, points: Mapping[str, Array], active: Array) -> Array:
        match expr:
            case Const(value, dtype):
                return np.full(active.shape, value).astype(dtype.numpy)
            case Index(name, extent):
                assert (points[name] < extent).all()
                return points[name]
            case Apply(fn, args, _):
                return FUNCTIONS[fn].apply(*(self.value(a, points, active) for a in args))
            case Cast(inner, dtype):
                return convert(self.value(inner, points, active), dtype)
            case Load(operand, index, _):
                return self._load(operand, [self.value(i, points, active) for i in index], active)
            case Select(condition, then, other):
                chosen = self.value(condition, points, active)
                left = self.value(then, points, active & chosen)
                return np.where(chosen, left, self.value(other, points, active & ~chosen))
        return self._reduce(expr, points, active)

    def _load(self, operand: str, index: list[Array], active: Array) -> Array:
        array = self.operands[operand]
        assert len(index) == array.ndim, f"{len(index)} indices of rank {array.ndim}"
        for place, extent in zip(index, array.shape, strict=True):
            assert ((place >= 0) & (place < extent) | ~active).all(), f"{operand} out of range"
        if not array.size:
            return np.zeros(active.shape, array.dtype)
        inside = (np.clip(i, 0, n - 1) for i, n in zip(index, array.shape, strict=True))
        return np.broadcast_to(array[tuple(inside)], active.shape)

    def _reduce(self, expr: Reduce, points: Mapping[str, Array], active: Array) -> Array:
        extents = tuple(variable.extent for variable in expr.over)
        turns = math.prod(extents)
        inner = {name: np.repeat(row, turns) for name, row in points.items()}
        for variable, row in zip(expr.over, np.indices(extents), strict=True):
            inner[variable.name] = np.tile(row.reshape(-1), len(active))
        values = self.value(expr.value, inner, np.repeat(active, turns))
        found = REDUCTIONS[expr.kind](values.reshape(len(active), turns), values.dtype)
        return found.astype(expr.dtype.numpy)
