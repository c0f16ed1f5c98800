"""Reductions, running sums and searches along axes: ONNX nodes to canonical operators."""

from __future__ import annotations

from typing import Final

from planck.dtypes import bool_
from planck.frontends.onnx.context import NodeContext, Table, Translation
from planck.ir.graph import Value
from planck.ops.linalg import Det
from planck.ops.movement import Cumulative, TopK
from planck.ops.reduce import ArgReduce, Reduce
from planck.ops.shapes import axes_of, axis_of

# ONNX's name after "Reduce": the kind, and the opset since which the axes are an input.
KINDS: Final = {
    "L1": ("l1", 18),
    "L2": ("l2", 18),
    "LogSum": ("log_sum", 18),
    "LogSumExp": ("log_sum_exp", 18),
    "Max": ("max", 18),
    "Mean": ("mean", 18),
    "Min": ("min", 18),
    "Prod": ("prod", 18),
    "Sum": ("sum", 13),
    "SumSquare": ("sum_square", 18),
}


def _reduce(kind: str, since: int) -> Translation:
    def translate(c: NodeContext) -> Value:
        x = c.input(0)
        if c.version < since:
            given = c.integers("axes", ())
        else:
            given = c.need_integers(1, "the axes") if c.optional(1) is not None else ()
        if not given and c.integer("noop_with_empty_axes", 0):
            axes: tuple[int, ...] = ()
        else:
            axes = axes_of(c.type, given or range(x.type.rank), x.type.rank)
        reduced = kind
        if x.type.dtype is bool_:
            reduced = {"max": "any", "min": "all"}.get(kind, kind)
        return c.emit(Reduce(reduced, tuple(sorted(axes)), bool(c.integer("keepdims", 1))), x)

    return translate


def arg_reduce(c: NodeContext) -> Value:
    x = c.input(0)
    axis = axis_of(c.type, c.integer("axis", 0), x.type.rank)
    keep, last = bool(c.integer("keepdims", 1)), bool(c.integer("select_last_index", 0))
    return c.emit(ArgReduce(c.type[3:].lower(), axis, keep, last), x)


def cumulative(c: NodeContext) -> Value:
    x = c.input(0)
    axis = axis_of(c.type, c.need_integers(1, "the axis")[0], x.type.rank)
    exclusive, reverse = bool(c.integer("exclusive", 0)), bool(c.integer("reverse", 0))
    return c.emit(Cumulative(c.type[3:].lower(), axis, exclusive, reverse), x)


def top_k(c: NodeContext) -> tuple[Value, ...]:
    """k is an attribute before opset 10."""
    x = c.input(0)
    k = c.integer("k") if c.version < 10 else c.need_integers(1, "k")[0]
    axis = axis_of(c.type, c.integer("axis", -1), x.type.rank)
    return c.emit_all(TopK(axis, k, bool(c.integer("largest", 1))), x)


def det(c: NodeContext) -> Value:
    return c.emit(Det(), c.input(0))


TABLE: Final[Table] = {
    **{("", f"Reduce{name}"): _reduce(kind, since) for name, (kind, since) in KINDS.items()},
    ("", "ArgMax"): arg_reduce,
    ("", "ArgMin"): arg_reduce,
    ("", "CumProd"): cumulative,
    ("", "CumSum"): cumulative,
    ("", "Det"): det,
    ("", "TopK"): top_k,
}
