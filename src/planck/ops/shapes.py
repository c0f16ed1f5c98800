"""Checks that operators' `infer` share: axes, broadcasting, equal dtypes, counts of inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planck.dtypes import DType
from planck.errors import DTypeError, ShapeError
from planck.ir.types import TensorType


def count(op: str, inputs: Sequence[TensorType], *allowed: int) -> None:
    """raises: ShapeError unless an operator was given one of the allowed numbers of inputs"""
    if len(inputs) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ShapeError(f"{op} takes {wanted} inputs, was given {len(inputs)}")


def axis_of(op: str, axis: int, rank: int) -> int:
    """An axis counted from the front. raises: ShapeError for one that does not exist"""
    if not -rank <= axis < rank:
        raise ShapeError(f"{op} names axis {axis} of a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def axes_of(op: str, axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, in the order given. raises: ShapeError, for doubles too"""
    found = tuple(axis_of(op, axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise ShapeError(f"{op} names an axis twice: {found}")
    return found


def broadcast(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by NumPy's rule. raises: ShapeError naming the axis that does not fit"""
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for k, extent in enumerate(shape, rank - len(shape)):
            if extent == 1 or extent == result[k]:
                continue
            if result[k] != 1:
                raise ShapeError(
                    f"{op}: shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast",
                    know=f"axis {k - rank} is {result[k]} and {extent}",
                )
            result[k] = extent
    return tuple(result)


def same_dtype(op: str, inputs: Sequence[TensorType]) -> DType:
    """The inputs' common dtype. raises: DTypeError"""
    dtype = inputs[0].dtype
    if any(other.dtype is not dtype for other in inputs):
        given = ", ".join(str(other.dtype) for other in inputs)
        raise DTypeError(f"{op} takes inputs of one dtype, was given {given}")
    return dtype


def need_kind(op: str, dtype: DType, kinds: str) -> None:
    """raises: DTypeError unless the dtype is of one of the kinds (DType.kind)"""
    names = {"f": "floats", "i": "integers", "u": "unsigned", "b": "bool", "c": "complex"}
    if dtype.kind not in kinds:
        wanted = ", ".join(names.get(kind, "strings") for kind in kinds)
        raise DTypeError(f"{op} does not take {dtype}", know=f"it takes {wanted}")
