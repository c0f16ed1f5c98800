"""Operators that write by computed indices. Negative indices count from the end.

They have no body: which update is the last is known only by going through them in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.ops.movement.gather import need_indices
from planck.ops.shapes import axis_of, count, same_dtype

REDUCTIONS: Final[dict[str, Callable[..., Any] | None]] = {
    "none": None,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _check(op: str, reduction: str, inputs: tuple[TensorType, ...]) -> None:
    count(op, inputs, 3)
    same_dtype(op, (inputs[0], inputs[2]))
    need_indices(op, inputs[1])
    if reduction not in REDUCTIONS:
        raise ShapeError(f"{op} cannot reduce by {reduction!r}", know=f"has {list(REDUCTIONS)}")


def _write(x: Array, place: Any, updates: Array, reduction: str) -> Array:
    """x with updates written, or combined with what is there, in order."""
    function = REDUCTIONS[reduction]
    if function is None:
        result = x.copy()
        result[place] = updates
        return result
    dtype = from_numpy(x.dtype)
    wide = np.dtype(np.float32) if dtype.is_float and dtype.bits < 32 else x.dtype
    result = x.astype(wide)
    with np.errstate(all="ignore"):
        function.at(result, place, updates.astype(wide))  # type: ignore[attr-defined]
    return result.astype(x.dtype)


@dataclass(frozen=True)
class ScatterElements(Op):
    """x with each update written at its own index along one axis.

    inputs:     x, indices, updates of the indices' shape
    reduction:  "none" (the last update wins), "add", "mul", "max", "min"
    source:     ONNX operator ScatterElements
    """

    reference_only: ClassVar[bool] = True

    axis: int = 0
    reduction: str = "none"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _check("ScatterElements", self.reduction, inputs)
        x, indices, updates = inputs
        axis_of("ScatterElements", self.axis, x.rank)
        if indices.rank != x.rank or indices.dims != updates.dims:
            raise ShapeError(
                f"ScatterElements into {list(x.shape)} of updates {list(updates.shape)}",
                know=f"by indices of shape {list(indices.shape)}",
            )
        return (TensorType(x.dims, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, indices, updates = inputs
        place: list[Array] = list(np.indices(indices.shape))
        place[axis_of("ScatterElements", self.axis, x.ndim)] = indices.astype(np.int64)
        return (_write(x, tuple(place), updates, self.reduction),)


@dataclass(frozen=True)
class ScatterND(Op):
    """x with slices written at index tuples, which are the last axis of the indices.

    inputs:     x, indices[*S, k], updates[*S, *x.shape[k:]]
    reduction:  "none" (the last update wins), "add", "mul", "max", "min"
    source:     ONNX operator ScatterND
    """

    reference_only: ClassVar[bool] = True

    reduction: str = "none"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _check("ScatterND", self.reduction, inputs)
        x, indices, updates = inputs
        fits = (
            indices.rank >= 1
            and indices.dims[-1] <= x.rank
            and updates.dims == (*indices.dims[:-1], *x.dims[indices.dims[-1] :])
        )
        if not fits:
            raise ShapeError(
                f"ScatterND into {list(x.shape)} of updates {list(updates.shape)}",
                know=f"by indices of shape {list(indices.shape)}",
            )
        return (TensorType(x.dims, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, indices, updates = inputs
        place = tuple(np.moveaxis(indices.astype(np.int64), -1, 0))
        return (_write(x, place if place else ..., updates, self.reduction),)
