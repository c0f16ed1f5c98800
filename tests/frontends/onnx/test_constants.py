"""Nodes that are evaluated while importing: what comes out against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from planck.errors import ShapeError
from planck.frontends.onnx import read
from tests.frontends.onnx.against import check, model, one

X = np.zeros((2, 3, 5), np.float32)


def node(op: str, names: str, out: str = "y", **how: object) -> object:
    return helper.make_node(op, names.split(), out.split(), **how)


@pytest.mark.parametrize("how", [{}, {"start": 1}, {"start": -2, "end": -1}, {"end": 99}], ids=str)
def test_shape_and_size(how: dict[str, int]) -> None:
    one("Shape", X, **how)
    one("Size", X)


def test_shape_arithmetic_folds_away() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Mul", "n three", "m"),
        node("Unsqueeze", "m zero1", "u"),
        node("Concat", "u minus", "t", axis=0),
        node("Reshape", "x t", "y"),
    ]
    held = {"zero": 0, "three": 3, "zero1": [0], "minus": [-1]}
    graph = check(nodes, {"x": X}, 13, {k: np.array(v) for k, v in held.items()})
    assert [type(made.op).__name__ for made in graph.nodes] == ["Reshape"]


@pytest.mark.parametrize(("bounds", "dtype"), [((1, 9, 2), "i8"), ((5, -4, -3), "i4")])
def test_integer_ranges(bounds: tuple[int, ...], dtype: str) -> None:
    held = {n: np.array(v, dtype) for n, v in zip("abc", bounds, strict=True)}
    check([node("Range", "a b c")], {}, 13, held)


@pytest.mark.parametrize("bounds", [(0.5, 3.2, 0.5), (2, -1, -0.75), (3, 3, 1)])
def test_real_ranges(bounds: tuple[float, ...]) -> None:
    held = {n: np.array(v, np.float32) for n, v in zip("abc", bounds, strict=True)}
    check([node("Range", "a b c")], {}, 13, held)


def test_range_of_no_step() -> None:
    held = {n: np.array(v) for n, v in zip("abc", (1, 2, 0), strict=True)}
    with pytest.raises(ShapeError, match="steps of 0"):
        read(model([node("Range", "a b c")], {}, ["y"], 13, held))


def test_filled_and_eye() -> None:
    value = helper.make_tensor("v", 7, [1], [4])
    check([node("ConstantOfShape", "s", value=value)], {}, 13, {"s": np.array([2, 3])})
    check([node("ConstantOfShape", "s")], {}, 13, {"s": np.array([], np.int64)})
    one("EyeLike", np.zeros((3, 5), np.float32), k=-1)
    one("EyeLike", np.zeros((3, 5), np.float32), k=2, dtype=6)


def test_constants_of_all_spellings() -> None:
    for how in (
        {"value_float": 1.5},
        {"value_floats": [1.5, 2.5]},
        {"value_int": 3},
        {"value_ints": [3, 4]},
    ):
        check([node("Constant", "", **how)], {}, 13)


def test_non_zero() -> None:
    for array in ([[1, 0], [0, 2]], [0, 0], 3):
        check([node("NonZero", "x")], {}, 13, {"x": np.array(array, np.float32)})


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(axis: int | None, ordered: int) -> None:
    x = np.array([[3, 1, 3], [2, 1, 2], [3, 1, 3]], np.float32)
    how = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    made = node("Unique", "x", "y i j c", **how)
    check([made], {}, 13, {"x": x}, ("y", "i", "j", "c"))


def test_mel_weights() -> None:
    names = ("bands", "length", "rate", "low", "high")
    held = {
        name: np.array(v, np.float32 if isinstance(v, float) else np.int64)
        for name, v in zip(names, (8, 64, 8192, 20.0, 4000.0), strict=True)
    }
    check([node("MelWeightMatrix", " ".join(names))], {}, 17, held)
