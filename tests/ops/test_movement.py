"""Data movement against NumPy, on random shapes; every body against its reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planck.errors import DTypeError, PlanckError, ShapeError
from planck.ir.graph import Op
from planck.loops.expr import Index
from planck.ops.linalg import Det
from planck.ops.movement import (
    Broadcast,
    Concat,
    Cumulative,
    Gather,
    GatherElements,
    GatherND,
    OneHot,
    Pad,
    Reshape,
    ReverseSequence,
    ScatterElements,
    ScatterND,
    Slice,
    Tile,
    TopK,
    Transpose,
    Trilu,
)
from planck.ops.movement.shape import reindex
from tests.ops.bodies import by_body, type_of

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
RNG = np.random.default_rng(3)
random = settings(max_examples=50, deadline=None)


def check(op: Op, *arrays: np.ndarray) -> np.ndarray:
    """The first output by reference, once infer and body agree with it."""
    made, found = op.infer(*map(type_of, arrays)), op.reference(*arrays)
    assert [type_of(array) for array in found] == list(made)
    if op.has_body:
        np.testing.assert_array_equal(by_body(op, *arrays), found[0])
    return found[0]


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


@random
@given(shape=SHAPES, data=st.data())
def test_reshape(shape: tuple[int, ...], data: st.DataObject) -> None:
    factors = [p for n in shape for p in ((2, 2) if n == 4 else (n,))]
    mixed = data.draw(st.permutations([*factors, 1]))
    x = numbers(shape)
    np.testing.assert_array_equal(check(Reshape(tuple(mixed)), x), x.reshape(mixed))


def test_reshape_leaves_equal_axes_alone() -> None:
    index = tuple(Index(f"i{k}", n) for k, n in enumerate((2, 3, 20)))
    found = reindex(index, (2, 3, 20), (2, 3, 4, 5))
    assert found[:2] == index[:2]


@random
@given(shape=SHAPES, data=st.data())
def test_transpose(shape: tuple[int, ...], data: st.DataObject) -> None:
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    x = numbers(shape)
    np.testing.assert_array_equal(check(Transpose(perm), x), x.transpose(perm))


@random
@given(shape=SHAPES, data=st.data())
def test_broadcast_and_tile(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = numbers(tuple(data.draw(st.sampled_from([1, n])) for n in shape))
    wanted = (*data.draw(st.lists(st.integers(1, 3), max_size=2)), *shape)
    np.testing.assert_array_equal(check(Broadcast(wanted), x), np.broadcast_to(x, wanted))
    repeats = tuple(data.draw(st.integers(0, 3)) for _ in shape)
    np.testing.assert_array_equal(check(Tile(repeats), x), np.tile(x, repeats))


@random
@given(shape=SHAPES, data=st.data())
def test_concat(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for extent in data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)):
        part = list(shape)
        part[axis] = extent
        parts.append(numbers(tuple(part)))
    np.testing.assert_array_equal(check(Concat(axis), *parts), np.concatenate(parts, axis))


@random
@given(shape=SHAPES, data=st.data())
def test_slice(shape: tuple[int, ...], data: st.DataObject) -> None:
    x, ranges = numbers(shape), []
    for extent in shape:
        start = data.draw(st.integers(0, extent - 1))
        step = data.draw(st.sampled_from([-2, -1, 1, 3]))
        room = start if step < 0 else extent - 1 - start
        ranges.append((start, data.draw(st.integers(0, room // abs(step) + 1)), step))
    starts, sizes, steps = zip(*ranges, strict=True)
    chosen = [[start + k * step for k in range(size)] for start, size, step in ranges]
    np.testing.assert_array_equal(check(Slice(starts, sizes, steps), x), x[np.ix_(*chosen)])


@random
@given(shape=SHAPES, mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]), data=st.data())
def test_pad(shape: tuple[int, ...], mode: str, data: st.DataObject) -> None:
    x = numbers(shape)
    pairs = [(data.draw(st.integers(-(n // 2), 7)), data.draw(st.integers(0, 7))) for n in shape]
    pads = (*(before for before, _ in pairs), *(after for _, after in pairs))
    cropped = x[tuple(slice(max(-before, 0), None) for before, _ in pairs)]
    grow = [(max(before, 0), after) for before, after in pairs]
    value = (np.array(7, np.float32),) if mode == "constant" else ()
    how = {"constant_values": 7} if value else {}
    np.testing.assert_array_equal(
        check(Pad(pads, mode), x, *value), np.pad(cropped, grow, mode, **how)
    )


@random
@given(shape=SHAPES, data=st.data())
def test_gathers(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = numbers(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    extent = shape[axis]
    wanted = data.draw(SHAPES)[:2]
    indices = RNG.integers(-extent, extent, wanted).astype(data.draw(st.sampled_from("il")))
    np.testing.assert_array_equal(check(Gather(axis), x, indices), np.take(x, indices, axis))
    indices = RNG.integers(-extent, extent, shape)
    found = check(GatherElements(axis), x, indices)
    np.testing.assert_array_equal(found, np.take_along_axis(x, indices, axis))


def test_gather_elements_of_fewer_than_all() -> None:
    x, indices = numbers((3, 5)), np.array([[4, -5]])
    assert check(GatherElements(1), x, indices).tolist() == [[x[0, 4], x[0, 0]]]


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd(batch: int, depth: int) -> None:
    x = numbers((2, 3, 4, 5))
    indices = RNG.integers(-2, 2, (2, 3, 7, depth))
    found = check(GatherND(batch), x, indices)
    for place in np.ndindex(2, 3, 7):
        at = (*place[:batch], *indices[place])
        np.testing.assert_array_equal(found[place], x[at])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot(axis: int) -> None:
    indices = np.array([[0, 2, -1], [5, -6, 4]], np.int32)
    found = check(OneHot(axis, 5), indices, np.array([-1, 3], np.float32))
    moved = np.moveaxis(found, axis, -1)
    for place in np.ndindex(2, 3):
        wanted = np.full(5, -1.0)
        if -5 <= indices[place] < 5:
            wanted[indices[place]] = 3
        np.testing.assert_array_equal(moved[place], wanted)


COMBINE = {
    "none": lambda a, b: b,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": max,
    "min": min,
}


@pytest.mark.parametrize("reduction", sorted(COMBINE))
def test_scatters_in_order(reduction: str) -> None:
    x, updates = numbers((4, 5)), RNG.uniform(0, 9, (3, 5)).astype(np.float32)
    indices = RNG.integers(-4, 4, (3, 5))
    found = check(ScatterElements(0, reduction), x, indices, updates)
    wanted = x.copy()
    for i, j in np.ndindex(3, 5):
        at = (indices[i, j], j)
        wanted[at] = COMBINE[reduction](wanted[at], updates[i, j])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    rows = RNG.integers(-4, 4, (3, 1))
    found, wanted = check(ScatterND(reduction), x, rows, updates), x.copy()
    for i, j in np.ndindex(3, 5):
        at = (rows[i, 0], j)
        wanted[at] = COMBINE[reduction](wanted[at], updates[i, j])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float16])
def test_top_k_of_equals_takes_the_first(largest: bool, dtype: type) -> None:
    x = RNG.integers(0, 4, (3, 7, 2)).astype(dtype)
    check(TopK(1, 4, largest), x)
    values, places = TopK(1, 4, largest).reference(x)
    for i, j in np.ndindex(3, 2):
        column = x[i, :, j].astype(int).tolist()
        order = sorted(range(7), key=lambda k: (-column[k] if largest else column[k], k))[:4]
        assert places[i, :, j].tolist() == order
        assert values[i, :, j].astype(int).tolist() == [column[k] for k in order]


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("kind", ["sum", "prod"])
def test_running(kind: str, reverse: bool, exclusive: bool) -> None:
    x = RNG.integers(1, 4, (2, 5, 3)).astype(np.float32)
    found = check(Cumulative(kind, 1, exclusive, reverse), x)
    total = np.sum if kind == "sum" else np.prod
    for t in range(5):
        part = x[:, t + exclusive :] if reverse else x[:, : t + 1 - exclusive]
        np.testing.assert_array_equal(found[:, t], total(part, 1))


@pytest.mark.parametrize("k", [-3, -1, 0, 2, 9])
def test_triangles(k: int) -> None:
    x = numbers((2, 4, 5)) + 1
    np.testing.assert_array_equal(check(Trilu(True, k), x), np.triu(x, k))
    np.testing.assert_array_equal(check(Trilu(False, k), x), np.tril(x, k))


def test_reverse_sequence() -> None:
    x, lengths = numbers((4, 3, 2)), np.array([0, 2, 4])
    found = check(ReverseSequence(1, 0), x, lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(found[:, b], np.concatenate([x[:n, b][::-1], x[n:, b]]))


def test_det() -> None:
    x = RNG.standard_normal((2, 3, 4, 4))
    np.testing.assert_allclose(check(Det(), x), np.linalg.det(x))


F = np.zeros((2, 3), np.float32)
WRONG: list[tuple[Op, tuple[np.ndarray, ...]]] = [
    (Reshape((4,)), (F,)),
    (Reshape((-1, 6)), (F,)),
    (Transpose((0, 0)), (F,)),
    (Broadcast((3, 3)), (F,)),
    (Tile((2,)), (F,)),
    (Concat(2), (F, F)),
    (Concat(0), (F, np.zeros((2, 4), np.float32))),
    (Slice((0, 2), (2, 2), (1, 1)), (F,)),
    (Slice((0, 0), (2, 2), (1, 0)), (F,)),
    (Pad((1, 1, 1), "edge"), (F,)),
    (Pad((1, 1, 1, 1), "mirror"), (F,)),
    (Pad((-3, 0, 0, 0), "edge"), (F,)),
    (Gather(2), (F, np.array([0]))),
    (GatherElements(0), (F, np.zeros((2, 4), np.int64))),
    (GatherND(2), (F, np.zeros((2, 1), np.int64))),
    (OneHot(3, 4), (np.array([0]), np.zeros(2))),
    (ScatterElements(0, "xor"), (F, np.zeros((2, 3), np.int64), F)),
    (ScatterND(), (F, np.zeros((1, 1), np.int64), F)),
    (TopK(1, 4), (F,)),
    (Cumulative("max", 0), (F,)),
    (Trilu(True), (np.zeros(3, np.float32),)),
    (ReverseSequence(0, 0), (F, np.zeros(2, np.int64))),
    (Det(), (F,)),
]


@pytest.mark.parametrize(("op", "arrays"), WRONG, ids=lambda p: type(p).__name__)
def test_refusals(op: Op, arrays: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ShapeError):
        op.infer(*map(type_of, arrays))


def test_indices_are_integers() -> None:
    with pytest.raises(DTypeError, match="indices"):
        Gather(0).infer(type_of(F), type_of(F))
    with pytest.raises(PlanckError, match="one dtype"):
        Concat(0).infer(type_of(F), type_of(F.astype(np.float16)))
