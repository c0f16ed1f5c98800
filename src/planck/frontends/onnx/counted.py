"""Rows of which only a run tells how many there are, and which operators keep them apart.

What NonMaxSuppression gives has rows for as many boxes as may stay. The graph computes all of them;
one more value says how many count. An axis of such rows goes through every operator that computes
each row from that row alone, whatever stands in the rows behind the last:

    chosen i64[n, 3]  --Gather axis 1-->  i64[n]  --Gather boxes-->  f32[n, 4]  --Concat axis 1-->

A rule `(op, types, axes) -> axis | No` is told the axis of rows of each input, None of those
without, and gives that of the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from planck.dtypes import Array
from planck.errors import NotConstant
from planck.ir.graph import Op, Value
from planck.ir.types import TensorType
from planck.ops.identity import Identity
from planck.ops.movement import (
    Concat,
    Cumulative,
    Gather,
    GatherElements,
    GatherND,
    Reshape,
    Slice,
    TopK,
    Transpose,
)
from planck.ops.nn import Hardmax, LogSoftmax, MatMul, Softmax
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import ArgReduce, Reduce
from planck.refusal import No


@dataclass(frozen=True, slots=True)
class Rows:
    """The axis of a value that has rows to spare.

    count:  how many there are, i64[]
    valid:  what nodes read instead, where a row to spare is no row that might have been there
    """

    axis: int
    count: Value
    valid: Value | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Integers of which some grow with a count: if there are all rows, and if there were one more.

    Two points tell those that grow from those that do not, as long as they do so evenly.
    """

    full: Array
    more: Array
    count: Value | None = None  # of a constant there is none


Axes = Sequence[int | None]
Rule = Callable[[Any, Sequence[TensorType], Axes], "int | No"]


def count_name(name: str, axis: int) -> str:
    """What the number of rows along an axis of an output is called."""
    return f"{name}[count]" if axis == 0 else f"{name}[count {axis}]"


def rows_behind(op: Op, values: Sequence[Value], rows: Mapping[str, Rows]) -> Rows | None:
    """The rows of an operation's outputs; None where no input has any.

    raises: NotConstant where rows would not stay apart
    """
    given = [rows.get(value.name) for value in values]
    counts = {own.count.name: own.count for own in given if own is not None}
    if not counts:
        return None
    types, axes = [v.type for v in values], [None if own is None else own.axis for own in given]
    axis: int | No = No("it reads rows of two counts")
    if len(counts) == 1:
        axis = RULES.get(type(op), _no_rule)(op, types, axes)
    if isinstance(axis, No):
        raise not_apart(axis)
    return Rows(axis, *counts.values())


def not_apart(why: object) -> NotConstant:
    """The error of a node that would have to know how many rows there are."""
    return NotConstant(
        "this node reads rows of which only a run tells how many there are",
        know=f"they are NonMaxSuppression's; {why}",
        try_="make what it reads an output of the model, and do the rest with the rows that count",
    )


def grows_evenly(op: Op, sized: Sequence[bool]) -> bool:
    """Whether an operation on sizes (those marked) and constants gives sizes."""
    if isinstance(op, Pointwise):
        return op.fn in ("add", "sub") or (op.fn == "mul" and sum(sized) == 1)
    if isinstance(op, Gather):
        return not sized[1]
    return isinstance(op, Cast | Concat | Identity | Reshape | Slice)


def _no_rule(op: Op, types: Sequence[TensorType], axes: Axes) -> int | No:
    return No(f"{type(op).__name__} may need to know all of them")


def _only(axes: Axes) -> int:
    """The axis of rows of the one input that there is."""
    axis = axes[0]
    assert axis is not None, "of operations without rows nothing is asked"
    return axis


def _kept(op: Op, types: Sequence[TensorType], axes: Axes) -> int | No:
    return _only(axes)


def _pointwise(op: Pointwise, types: Sequence[TensorType], axes: Axes) -> int | No:
    """Axes are counted from the last: what has no rows must have no extent there either."""
    ends = {axis - kind.rank for kind, axis in zip(types, axes, strict=True) if axis is not None}
    end = min(ends)
    beside = [kind for kind, axis in zip(types, axes, strict=True) if axis is None]
    if len(ends) > 1 or any(kind.rank >= -end and kind.dims[end] != 1 for kind in beside):
        return No("it joins them with something else along their axis")
    return max(kind.rank for kind in types) + end


def _along(op: Any, types: Sequence[TensorType], axes: Axes) -> int | No:
    axis = _only(axes)
    return No("it goes along their axis") if op.axis % types[0].rank == axis else axis


def _reduce(op: Reduce | ArgReduce, types: Sequence[TensorType], axes: Axes) -> int | No:
    axis, along = _only(axes), (op.axes if isinstance(op, Reduce) else (op.axis,))
    reduced = {k % types[0].rank for k in along}
    if axis in reduced:
        return No("it reduces their axis")
    return axis if op.keep else axis - sum(k < axis for k in reduced)


def _transpose(op: Transpose, types: Sequence[TensorType], axes: Axes) -> int | No:
    return op.perm.index(_only(axes))


def _reshape(op: Reshape, types: Sequence[TensorType], axes: Axes) -> int | No:
    """The axis with as many elements before it: there is one, as rows are two at least."""
    axis, dims = _only(axes), types[0].dims
    for k, extent in enumerate(op.shape):
        if extent == dims[axis] and math.prod(op.shape[:k]) == math.prod(dims[:axis]):
            return k
    return No(f"{list(dims)} to {list(op.shape)} leaves them no axis of their own")


def _slice(op: Slice, types: Sequence[TensorType], axes: Axes) -> int | No:
    """The first few of them, two at least as a reshape wants, are as many as there are at most."""
    axis = _only(axes)
    first = (op.starts[axis], op.steps[axis]) == (0, 1) and op.sizes[axis] > 1
    return axis if first else No("it takes others than the first few")


def _concat(op: Concat, types: Sequence[TensorType], axes: Axes) -> int | No:
    axis = axes[0]
    if axis is None or any(other != axis for other in axes):
        return No("it joins them with something else")
    return _along(op, types, axes)


def _gather(op: Gather, types: Sequence[TensorType], axes: Axes) -> int | No:
    (x, at), along = axes, op.axis % types[0].rank
    if x is None:
        assert at is not None, "the data or the indices have rows"
        return along + at
    if at is not None or x == along:
        return No("it chooses among them")
    return x if x < along else x - 1 + types[1].rank


def _gather_nd(op: GatherND, types: Sequence[TensorType], axes: Axes) -> int | No:
    x, at = axes
    if at is None or at == types[1].rank - 1 or (x is None) == (at < op.batch_dims):
        return No("it chooses among them")
    return at if x in (None, at) else No("it chooses among them")


def _gather_elements(op: GatherElements, types: Sequence[TensorType], axes: Axes) -> int | No:
    (x, at), along = axes, op.axis % types[0].rank
    if at is not None and ((x is None and at == along) or x == at != along):
        return at
    return No("it chooses among them")


def _matmul(op: MatMul, types: Sequence[TensorType], axes: Axes) -> int | No:
    x, weights = axes
    if x is None or weights is not None or types[1].rank != 2 or x == types[0].rank - 1:
        return No("it adds them up")
    return x


RULES: Final[dict[type[Op], Rule]] = {
    ArgReduce: _reduce,
    Cast: _kept,
    Concat: _concat,
    Cumulative: _along,
    Gather: _gather,
    GatherElements: _gather_elements,
    GatherND: _gather_nd,
    Hardmax: _along,
    Identity: _kept,
    LogSoftmax: _along,
    MatMul: _matmul,
    Pointwise: _pointwise,
    Reduce: _reduce,
    Reshape: _reshape,
    Slice: _slice,
    Softmax: _along,
    TopK: _along,
    Transpose: _transpose,
}
