"""Shapes, parts and indices against ONNX Runtime, over opsets; clamped and negative numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from planck.errors import PlanckError, UnsupportedOperator
from planck.frontends.onnx import read
from planck.ops.movement import Gather, ScatterND
from tests.frontends.onnx.against import check, model, one

RNG = np.random.default_rng(4)


def numbers(*shape: int) -> np.ndarray:
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("shape", [(6, 5), (0, -1), (-1,), (2, 0, 1, 5), (3, -1, 5)], ids=str)
def test_reshape(shape: tuple[int, ...]) -> None:
    one("Reshape", numbers(2, 3, 5), constants={1: ints(*shape)})


def test_reshape_to_nothing() -> None:
    x = np.zeros((0, 3), np.float32)
    one("Reshape", x, constants={1: ints(3, 0)}, allowzero=1)


@pytest.mark.parametrize("axis", [0, 1, -1, 3])
def test_flatten(axis: int) -> None:
    one("Flatten", numbers(2, 3, 5), axis=axis)


@pytest.mark.parametrize("axes", [[0], [-2], [0, 2]], ids=str)
def test_squeeze_and_unsqueeze(axes: list[int]) -> None:
    x = numbers(1, 3, 1, 5) if axes != [0] else numbers(1, 3)
    one("Squeeze", x, constants={1: ints(*axes)})
    one("Squeeze", x, opset=11, axes=axes)
    one("Squeeze", x)
    one("Unsqueeze", x, constants={1: ints(*axes)})
    one("Unsqueeze", x, opset=11, axes=[axis % 4 for axis in axes])


def test_expand_both_ways() -> None:
    one("Expand", numbers(3, 1, 5), constants={1: ints(2, 1, 4, 1)})


@pytest.mark.parametrize("how", [{}, {"perm": [2, 0, 1]}], ids=str)
def test_transpose(how: dict[str, Any]) -> None:
    one("Transpose", numbers(2, 3, 5), **how)


@pytest.mark.parametrize("axis", [1, -2])
def test_concat(axis: int) -> None:
    one("Concat", numbers(2, 3, 5), numbers(2, 1, 5), numbers(2, 4, 5), axis=axis)
    one("Concat", numbers(2, 3), axis=0)


@pytest.mark.parametrize(
    ("opset", "sizes", "how"),
    [
        (11, None, {"split": [1, 2, 4]}),
        (11, None, {}),
        (13, [2, 5, 0], {}),
        (18, None, {"num_outputs": 3}),
        (21, [3, 3, 1], {}),
    ],
    ids=str,
)
def test_split(opset: int, sizes: list[int] | None, how: dict[str, Any]) -> None:
    x = numbers(2, 7 if opset != 11 or how else 6)
    held = {} if sizes is None else {"s": ints(*sizes)}
    node = helper.make_node("Split", ["x", *held], ["a", "b", "c"], axis=1, **how)
    check([node], {"x": x}, opset, held, ("a", "b", "c"))


SLICES = [
    ([1], [9], None, None),
    ([-3, 0], [-1, 100], [1, 0], [1, 2]),
    ([4], [-100], [1], [-1]),
    ([100], [0], [1], [-2]),
    ([3], [2], [0], [1]),
    ([-1], [-(1 << 63)], [-1], [-1]),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES, ids=str)
def test_slice(starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    held = {1: ints(*starts), 2: ints(*ends)}
    held |= {} if axes is None else {3: ints(*axes)}
    held |= {} if steps is None else {4: ints(*steps)}
    one("Slice", numbers(4, 5), constants=held)
    if steps is None or set(steps) == {1}:
        axes = [0] if axes is None else axes
        one("Slice", numbers(4, 5), opset=9, starts=starts, ends=ends, axes=axes)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(1, 2, 0, 3), (0, 0, 2, 0), (0, 1, 3, 2)], ids=str)
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    one("Pad", numbers(4, 5), constants={1: ints(*pads)}, mode=mode)


def test_pad_by_other_means() -> None:
    x = numbers(4, 5)
    one("Pad", x, constants={1: ints(-1, 2, 1, -2), 2: np.float32(7)})
    one("Pad", x, constants={1: ints(1, 2), 2: np.float32(7), 3: ints(-1)})
    one("Pad", x, constants={1: ints(1, 2), 2: None, 3: ints(0)})
    one("Pad", x, opset=7, pads=[0, 1, 2, 0], value=3.0)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 2])
def test_trilu(upper: int, k: int | None) -> None:
    one("Trilu", numbers(2, 4, 5), constants={} if k is None else {1: np.array(k)}, upper=upper)


def test_tile_and_reverse() -> None:
    one("Tile", numbers(2, 3), constants={1: ints(2, 3)})
    one("ReverseSequence", numbers(4, 3, 2), ints(1, 4, 2), time_axis=0, batch_axis=1)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gathers(axis: int) -> None:
    x = numbers(3, 4, 5)
    one("Gather", x, RNG.integers(-3, 3, (2, 2)), axis=axis)
    one("Gather", x, np.array(1, np.int32), axis=axis)
    one("GatherElements", x, RNG.integers(-3, 3, (3, 4, 5)), axis=axis)


@pytest.mark.parametrize("batch", [0, 1])
def test_gather_nd(batch: int) -> None:
    one("GatherND", numbers(3, 4, 5), RNG.integers(-3, 3, (3, 6, 2)), batch_dims=batch)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatters(reduction: str) -> None:
    x, places = numbers(4, 5), np.stack([RNG.permutation(4)[:3] for _ in range(5)], 1)
    updates = numbers(3, 5)
    one("ScatterElements", x, places - 4, updates, axis=0, reduction=reduction)
    rows = places[:, :1]
    one("ScatterND", x, rows, updates, reduction=reduction)


def test_scatters_at_known_places_become_gathers() -> None:
    x, updates = numbers(4, 5), numbers(3, 5)
    places = np.stack([RNG.permutation(4)[:3] for _ in range(5)], 1) - 4
    for op, where in (("ScatterElements", places), ("ScatterND", places[:, :1])):
        node = helper.make_node(op, ["x", "i", "u"], ["y"])
        graph = check([node], {"x": x, "u": updates}, 18, {"i": where})
        assert any(isinstance(made.op, Gather) for made in graph.nodes)
    with pytest.raises(PlanckError, match="outside"):
        read(model([node], {"x": x, "u": updates}, ["y"], 18, {"i": places[:, :1] + 9}))


@pytest.mark.parametrize(
    ("box", "gathers"),
    [
        (np.s_[1:3,], 0),
        (np.s_[:, 2:], 0),
        (np.s_[:, :, 5], 0),
        (np.s_[1:, 3:, 1:4], 0),
        (np.s_[2, :, ::3], 1),
        (np.s_[::2, 1::3], 2),
        (np.s_[:, :, :], 0),
    ],
    ids=str,
)
def test_scatters_into_boxes(box: Any, gathers: int) -> None:
    """x[box] = updates is made of parts of x and of the updates."""
    x = numbers(4, 5, 7)
    sides = [np.atleast_1d(np.arange(n)[side]) for n, side in zip(x.shape, box, strict=False)]
    places = np.stack(np.meshgrid(*sides, indexing="ij"), -1)
    updates = numbers(*places.shape[:-1], *x.shape[len(sides) :])
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"])
    graph = check([node], {"x": x, "u": updates}, 18, {"i": places})
    ops = [type(made.op) for made in graph.nodes]
    assert ops.count(Gather) == gathers
    assert ScatterND not in ops


@pytest.mark.parametrize("axis", [0, -1])
def test_one_hot(axis: int) -> None:
    values = np.array([-1, 4], np.float32)
    held = {1: ints(5), 2: values}
    one("OneHot", RNG.integers(-5, 5, (2, 3)), constants=held, axis=axis)


@pytest.mark.parametrize("how", [{}, {"axis": 1}, {"axis": -2}], ids=str)
def test_compress(how: dict[str, int]) -> None:
    chosen = np.array([True, False, True])
    one("Compress", numbers(3, 4), constants={1: chosen}, **how)


def test_what_must_be_known() -> None:
    for op, inputs in {
        "Compress": {"x": numbers(3), "i": np.ones(3, bool)},
        "NonZero": {"x": numbers(3)},
        "Reshape": {"x": numbers(3), "i": ints(3)},
        "Expand": {"x": numbers(3), "i": ints(3)},
    }.items():
        node = helper.make_node(op, list(inputs), ["y"])
        with pytest.raises(UnsupportedOperator, match="run time"):
            read(model([node], inputs, ["y"], 18))
