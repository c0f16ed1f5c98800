"""Reductions and searches against ONNX Runtime, with axes as attribute and as input."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.frontends.onnx.against import check, one

RNG = np.random.default_rng(2)
KINDS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[0], [-1, 1], None], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_reductions(kind: str, axes: list[int] | None, keep: int) -> None:
    x = RNG.uniform(0.2, 2, (2, 3, 5)).astype(np.float32)
    held = {} if axes is None else {1: np.array(axes)}
    one(f"Reduce{kind}", x, opset=18, constants=held, keepdims=keep)
    old = {} if axes is None else {"axes": axes}
    one(f"Reduce{kind}", x, opset=11, keepdims=keep, **old)


@pytest.mark.parametrize("kind", ["Sum", "Mean", "Max"])
def test_no_axes_do_nothing_if_asked(kind: str) -> None:
    x = RNG.random((2, 3)).astype(np.float32)
    held = {1: np.array([], np.int64)}
    one(f"Reduce{kind}", x, opset=18, constants=held, noop_with_empty_axes=1)
    one(f"Reduce{kind}", x, opset=18, constants=held)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("kind", ["Sum", "Max", "Min", "Prod", "Mean"])
def test_reductions_of_integers(kind: str, dtype: type) -> None:
    one(f"Reduce{kind}", RNG.integers(1, 5, (4, 3)).astype(dtype), constants={1: np.array([1])})


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_arg_reductions(op: str, last: int, keep: int, axis: int) -> None:
    x = RNG.integers(0, 3, (3, 5, 4)).astype(np.float32)
    one(op, x, axis=axis, keepdims=keep, select_last_index=last)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(exclusive: int, reverse: int) -> None:
    x = RNG.random((3, 5)).astype(np.float32)
    one("CumSum", x, constants={1: np.array(-1)}, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("opset", [9, 10, 11])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(opset: int, largest: int) -> None:
    x = RNG.permutation(60).reshape(3, 5, 4).astype(np.float32)
    how = {"axis": 1}
    if opset > 10:
        how["largest"] = largest
    constants = {}
    if opset < 10:
        how["k"] = 3
    else:
        constants["k"] = np.array([3])
    node = helper.make_node("TopK", ["x", *constants], ["y", "z"], **how)
    check([node], {"x": x}, opset, constants, ("y", "z"))


def test_det() -> None:
    one("Det", RNG.random((2, 4, 4)).astype(np.float32))


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows(op: str, periodic: int) -> None:
    node = helper.make_node(op, ["n"], ["w"], periodic=periodic)
    add = helper.make_node("Add", ["w", "x"], ["y"])
    check([node, add], {"x": np.zeros(9, np.float32)}, 17, {"n": np.array(9)})
