"""If and Loop run their graphs as the condition says, and refuse graphs that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from planck.dtypes import bool_, f32, i64
from planck.errors import DTypeError, ShapeError
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.control import If, Loop
from planck.ops.pointwise import Pointwise
from planck.ops.reduce import Reduce

VECTOR = TensorType((3,), f32)
X, Y = Value("x", VECTOR), Value("y", VECTOR)
CONDITION, COUNT = TensorType((), bool_), TensorType((), i64)


def unary(fn: str) -> Graph:
    return Graph(fn, (X,), (Node(Pointwise(fn), (X,), (Y,)),), (Y,))


def test_if_runs_one_branch() -> None:
    op = If(unary("neg"), unary("abs"))
    assert op.infer(CONDITION, VECTOR) == (VECTOR,)
    x = np.array([-1, 2, -3], np.float32)
    assert op.reference(np.array(True), x)[0].tolist() == [1, -2, 3]
    assert op.reference(np.array(False), x)[0].tolist() == [1, 2, 3]


def test_if_refuses() -> None:
    bits = Value("bits", TensorType((3,), bool_))
    test = Graph("isnan", (X,), (Node(Pointwise("isnan"), (X,), (bits,)),), (bits,))
    op = If(unary("neg"), test)
    with pytest.raises(ShapeError, match="different types"):
        op.infer(CONDITION, VECTOR)
    with pytest.raises(DTypeError, match="condition"):
        op.infer(COUNT, VECTOR)
    with pytest.raises(ShapeError, match="other inputs"):
        op.infer(CONDITION)


def doubling() -> Loop:
    """x <- x + x while x[0] < limit[0]."""
    turn, going = Value("turn", COUNT), Value("going", CONDITION)
    limit, again = Value("limit", TensorType((), f32)), Value("again", TensorType((3,), bool_))
    nodes = (
        Node(Pointwise("add"), (X, X), (Y,)),
        Node(Pointwise("less"), (Y, limit), (again,)),
    )
    every = Value("every", CONDITION)
    nodes += (Node(Reduce("all", (0,), False), (again,), (every,)),)
    return Loop(Graph("double", (turn, going, X, limit), nodes, (every, Y)), 1)


def test_loop_ends_by_condition_or_count() -> None:
    op = doubling()
    assert op.infer(COUNT, CONDITION, VECTOR, TensorType((), f32)) == (VECTOR,)
    x, limit, go = np.ones(3, np.float32), np.array(10, np.float32), np.array(True)
    assert op.reference(np.array(100), go, x, limit)[0].tolist() == [16, 16, 16]
    assert op.reference(np.array(2), go, x, limit)[0].tolist() == [4, 4, 4]
    assert op.reference(np.array(0), go, x, limit)[0].tolist() == [1, 1, 1]
    assert op.reference(np.array(9), np.array(False), x, limit)[0].tolist() == [1, 1, 1]


def test_loop_refuses() -> None:
    with pytest.raises(ShapeError, match="other inputs"):
        doubling().infer(COUNT, CONDITION, COUNT, TensorType((), f32))
    with pytest.raises(DTypeError, match="turns"):
        doubling().infer(CONDITION, CONDITION, VECTOR, TensorType((), f32))
