"""Single operators without a body, in Triton's interpreter, against their references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.codegen.triton import sorted_boxes, topk
from planck.codegen.triton.compile import compile_cubin
from planck.dtypes import DType
from planck.ir.graph import Op
from planck.ir.interpret import interpret
from planck.ops.linalg import Det
from planck.ops.movement import ScatterElements, ScatterND, TopK
from planck.ops.nn import NonMaxSuppression, RoiAlign
from planck.ops.pointwise import BitCast
from planck.refusal import No
from planck.tactics.triton.single import Single
from tests.boxes import odd_boxes, random_boxes
from tests.loops.running import Maker, kernel
from tests.loops.test_dtypes import draw
from tests.tactics.triton.conftest import H100
from tests.tactics.triton.interpreting import interpreter, run_triton

TYPES = [dtypes.f32, dtypes.f16, dtypes.f64, dtypes.i64, dtypes.u64, dtypes.i32, dtypes.u8]
SELECTED = [dtypes.f32, dtypes.f16, dtypes.bf16, dtypes.i32, dtypes.u32, dtypes.i8, dtypes.u8]


def check(
    op: Op,
    gaps: Mapping[str, int] | None = None,
    most: int = 1,
    bound: float = 0,
    first: int = 0,
    **arrays: Any,
) -> None:
    m = Maker(**arrays)
    m(op, *m.inputs.values())
    graph = m.graph(*m.nodes[-1].outputs)
    want = interpret(graph, arrays)
    work = kernel(graph, H100, gaps=gaps)
    offers = Single().offers(work)
    assert not isinstance(offers, No), offers.reason
    for config in offers[first:][:most]:
        for name, array in run_triton(work, Single(), config, arrays).items():
            if array.dtype.kind == "V":
                array, want[name] = array.astype(np.float64), want[name].astype(np.float64)
            np.testing.assert_allclose(array, want[name], rtol=bound, atol=bound)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_top_k(dtype: DType, largest: bool) -> None:
    x = draw(dtype, (3, 37, 2))
    x[:, 5:9] = x[:, 20:24]  # equals
    check(TopK(1, 11, largest), x=x)


def test_top_k_of_special_numbers() -> None:
    x = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1, -1, np.nan, 0, 1e-45], np.float32)
    for largest in (True, False):
        check(TopK(0, 10, largest), x=x)


def test_top_k_of_rows_longer_than_a_tile() -> None:
    x = np.random.default_rng(0).integers(0, 40, (2, 301)).astype(np.float32)
    check(TopK(-1, 1), x=x)
    check(TopK(-1, 301), {"x": 3, "t0_0": 5}, most=3, x=x)


def test_guesses_that_few_elements_are_compared_and_many_selected() -> None:
    for n, selected in ((1000, False), (8400, False), (25200, True), (300_000, True)):
        m = Maker(x=np.zeros((1, n), np.float32))
        m(TopK(1, 100), *m.inputs.values())
        offers = Single().offers(kernel(m.graph(*m.nodes[-1].outputs), H100))
        assert not isinstance(offers, No), offers.reason
        assert ("most" in offers[0]) is selected
        assert any("rows" in config for config in offers) is (n < 262_144)


def test_refuses_to_look_at_all_elements_too_often() -> None:
    for n, k, offered in ((1 << 20, 1 << 20, True), (1 << 22, 1 << 20, False), (1 << 22, 9, True)):
        m = Maker(x=np.broadcast_to(np.float32(0), n))
        m(TopK(0, k), *m.inputs.values())
        offers = Single().offers(kernel(m.graph(*m.nodes[-1].outputs), H100))
        assert bool(offers) is offered


@pytest.mark.parametrize("k", [70, 901])
@pytest.mark.parametrize("dtype", SELECTED, ids=str)
def test_top_k_by_selection(dtype: DType, k: int) -> None:
    x = draw(dtype, (1, 901, 2))
    x[:, 5:400] = x[:, 405:800]  # equals
    if not dtype.is_float:
        x[:, ::300] = np.iinfo(dtype.numpy).min
        x[:, 1::300] = np.iinfo(dtype.numpy).max
    for largest in (True, False):
        check(TopK(1, k, largest), {"x": 3, "t0_1": 2}, most=1, first=3 + largest, x=x)


def test_top_k_by_selection_of_as_many_as_fit() -> None:
    """At once up to 683, then in parts; 512 elements are the fewest, and one part."""
    x = draw(dtypes.f16, (2100,)).round(1)
    for n, k, parts in ((2100, 683, 1), (2100, 684, 9), (2100, 2100, 5), (512, 512, 1)):
        m = Maker(x=x[:n])
        m(TopK(0, k), *m.inputs.values())
        offers = Single().offers(kernel(m.graph(*m.nodes[-1].outputs), H100))
        assert not isinstance(offers, No), offers.reason
        first = [config.get("parts") for config in offers].index(parts)
        check(TopK(0, k), first=first, x=x[:n])


@pytest.fixture
def shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes come to an atomic in any order, as a GPU's do."""
    builder, rng = interpreter.InterpreterBuilder, np.random.default_rng(0)
    given = builder.create_atomic_rmw

    def create(self: Any, kind: Any, *operands: Any) -> Any:
        (pointers, values, mask), how = operands[:3], operands[3:]
        order = rng.permutation(pointers.data.size).reshape(pointers.data.shape)
        mixed = [
            interpreter.TensorHandle(h.data.flat[order], h.dtype) for h in (pointers, values, mask)
        ]
        made = given(self, kind, *mixed, *how)
        found = np.empty_like(made.data)
        found.flat[order] = made.data
        made.data = found
        return made

    monkeypatch.setattr(builder, "create_atomic_rmw", create)


@pytest.mark.usefixtures("shuffled")
def test_selections_do_not_depend_on_the_order_of_threads() -> None:
    x = draw(dtypes.f32, (2, 1100)).round(1)
    for k in (300, 1100):
        check(TopK(1, k), most=1, first=3, x=x)
    check(NonMaxSuppression(40, 0.2, 0.1), **random_boxes(1, 2, 1500))


def test_top_k_by_selection_of_special_numbers() -> None:
    x = np.tile(np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 1e-45], np.float32), 75)
    for k in (100, 600):
        check(TopK(0, k), most=2, first=3, x=x)
        check(TopK(0, k, False), most=2, first=3, x=np.sort(x))
        check(TopK(0, k), most=2, first=3, x=np.zeros(600, np.float32))


@pytest.mark.parametrize("k", [80, 2000])
def test_top_k_whose_first_are_in_few_groups(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(topk, "GROUPS", 64)
    x = np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    x[np.arange(6000) % 256 < 4] += 10
    check(TopK(0, k), most=2, first=3, x=x)


def test_refuses_nothing() -> None:
    for x, k in ((np.zeros((0, 5)), 3), (np.zeros((3, 0)), 0), (np.zeros((3, 5)), 0)):
        m = Maker(x=x)
        m(TopK(1, k), *m.inputs.values())
        assert "nothing" in str(Single().offers(kernel(m.graph(*m.nodes[-1].outputs), H100)))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_scatter(dtype: DType, reduction: str) -> None:
    rng = np.random.default_rng(1)
    bound = {"f16": 1e-3, "f32": 1e-6, "f64": 1e-14}.get(dtype.name, 0)
    x = draw(dtype, (5, 7, 3))
    indices, updates = rng.integers(-7, 7, (4, 40, 3)), draw(dtype, (4, 40, 3), seed=3)
    check(ScatterElements(1, reduction), bound=bound, x=x, i=indices, u=updates)
    tuples = np.stack([rng.integers(-5, 5, (2, 20)), rng.integers(-7, 7, (2, 20))], -1)
    updates = draw(dtype, (2, 20, 3), seed=4)
    check(ScatterND(reduction), bound=bound, x=x, i=tuples, u=updates)


def test_scatter_of_odd_shapes() -> None:
    x = draw(dtypes.f32, (6, 5))
    one = np.array([-2], np.int32)
    check(ScatterND(), {"x": 3, "t0_0": 2}, x=x, i=one, u=draw(dtypes.f32, (5,), seed=1))
    pairs = np.array([[1, 2], [1, 2], [5, -1]])
    check(ScatterND(), x=x, i=pairs, u=np.arange(3, dtype=np.float32))
    line = np.array([3, 3, -6], np.int64)
    check(ScatterElements(0), x=x[:, 0].copy(), i=line, u=np.arange(3, dtype=np.float32))
    check(ScatterElements(0), x=x[:1, :1].copy(), i=np.zeros((1, 1), int), u=x[1:2, 1:2].copy())
    check(ScatterND(), x=x > 0, i=np.array([[1]]), u=x[:1] > 0)


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode: str, sampling: int) -> None:
    rng = np.random.default_rng(5)
    begins = rng.uniform(-3, 20, (7, 2))
    regions = np.concatenate([begins, begins + rng.uniform(-1, 25, (7, 2))], 1)
    for dtype, offset in ((dtypes.f32, 0.5), (dtypes.f64, 0.0), (dtypes.f16, 0.5)):
        check(
            RoiAlign(mode, 3, 2, sampling, 0.5, offset),
            bound={"f32": 1e-5, "f64": 1e-12, "f16": 2e-3}[dtype.name],
            x=draw(dtype, (2, 3, 9, 11)),
            regions=regions.astype(dtype.numpy),
            images=rng.integers(0, 2, 7),
        )


def test_regions_of_no_image_read_none_but_the_nearest() -> None:
    x = draw(dtypes.f32, (2, 3, 8, 8))
    regions = np.tile(np.array([0, 0, 4, 4], np.float32), (3, 1))
    op, images = RoiAlign("avg", 2, 2, 2, 1.0, 0.5), np.array([1000, -7, 1])
    m = Maker(x=x, regions=regions, images=images)
    graph = m.graph(m(op, *m.inputs.values()))
    work = kernel(graph, H100)
    (found,) = run_triton(work, Single(), {}, m.arrays).values()
    (want,) = op.reference(x, regions, images.clip(0, 1))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centred", [False, True])
def test_non_max_suppression(centred: bool) -> None:
    check(NonMaxSuppression(7, 0.3, 0.2, centred), most=3, **random_boxes(2, 3, 37))
    check(NonMaxSuppression(50, 0.05, centred=centred), most=3, **random_boxes(1, 1, 37))
    check(NonMaxSuppression(1, 0.5, 0.9, centred), {"scores": 3}, 3, **random_boxes(3, 1, 5))
    check(NonMaxSuppression(5, 0.5, 1.0, centred), most=3, **random_boxes(1, 2, 1))  # none


def test_non_max_suppression_of_more_boxes_than_a_tile() -> None:
    for most in (9, 2000):
        check(NonMaxSuppression(most, 0.4, 0.1), **random_boxes(1, 2, 1500))
        check(NonMaxSuppression(most, 0.0, 0.5), **odd_boxes(2, 1500))
    check(NonMaxSuppression(9, 0.4, 0.1), most=3, **random_boxes(1, 2, 1500))


def test_non_max_suppression_in_steps() -> None:
    """Each box of a chain overlaps its neighbours: every second one stays."""
    at, zero = np.arange(90, dtype=np.float32), np.zeros(90, np.float32)
    boxes = np.stack([at, zero, at + 1.5, zero + 1], 1)
    check(NonMaxSuppression(90, 0.1), boxes=boxes[None], scores=-at[None, None])


def test_non_max_suppression_whose_best_are_in_few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_boxes, "GROUPS", 128)
    monkeypatch.setattr(sorted_boxes, "MOST", 64)
    given = random_boxes(1, 2, 1100)
    given["scores"][0, 0, np.arange(1100) % 128 < 3] += 1
    given["boxes"][0, 7] = -np.inf, -np.inf, np.inf, np.inf
    check(NonMaxSuppression(300, 0.3, 0.1), **given)


@pytest.mark.parametrize("objects", [1, 9, 90])
def test_non_max_suppression_of_many_boxes_around_few_objects(objects: int) -> None:
    """What overlaps leaves the list; the rarest object comes last."""
    rng = np.random.default_rng(objects)
    which = np.minimum(rng.integers(0, 4 * objects, 2500), objects - 1)
    which[rng.choice(2500, 20, False)] = np.arange(20) + objects
    begins = np.stack([which * 10.0, which % 3 * 5], 1) + rng.uniform(0, 1, (2500, 2))
    boxes = np.concatenate([begins, begins + 9], 1)[None].astype(np.float32)
    scores = rng.random((1, 1, 2500), np.float32)
    scores[0, 0, which >= objects] *= 0.1
    for most in (7, 2500):
        check(NonMaxSuppression(most, 0.3), most=2, boxes=boxes, scores=scores)


def test_non_max_suppression_of_boxes_that_are_one() -> None:
    boxes, scores = np.zeros((1, 700, 4), np.float16), np.ones((1, 1, 700), np.float16)
    check(NonMaxSuppression(70, 0.5), most=2, boxes=boxes, scores=scores)  # none has an area
    check(NonMaxSuppression(700, -1), most=2, boxes=boxes, scores=scores)
    boxes[..., 2:] = 3
    check(NonMaxSuppression(70, 0.5), most=2, boxes=boxes, scores=scores)


def test_determinants() -> None:
    x = draw(dtypes.f64, (3, 2, 5, 5))
    x[0, 1, :, 2] = 0
    x[1, 0, 0, 0] = 0
    check(Det(), bound=1e-12, x=x)
    check(Det(), bound=1e-5, x=draw(dtypes.f32, (9, 9)))
    check(Det(), bound=1e-5, x=draw(dtypes.f32, (1, 1)))


def test_bits() -> None:
    check(BitCast(dtypes.i32), {"x": 2}, x=draw(dtypes.f32, (4, 7)))
    check(BitCast(dtypes.f16), x=draw(dtypes.i16, (1,)))
    check(BitCast(dtypes.u4), x=draw(dtypes.i4, (3, 5)))
    check(BitCast(dtypes.f64), x=draw(dtypes.u64, ()))


COMPILED: list[tuple[Op, dict[str, Any]]] = [
    (TopK(0, 9), {"x": np.zeros(3000, np.float16)}),
    (TopK(0, 9), {"x": np.zeros(30, np.uint64)}),
    (TopK(0, 3000), {"x": np.zeros(3000, np.float16)}),
    (ScatterND("max"), {"x": (f16 := np.zeros(3000, np.float16)), "i": np.zeros((9, 1), np.int64),
                        "u": f16[:9]}),
    (ScatterElements(0), {"x": f16, "i": np.zeros(9, np.int32), "u": f16[:9]}),
    (RoiAlign("max", 7, 7, 0, 0.25, 0.5), {"x": np.zeros((1, 8, 9, 9), np.float32),
     "r": np.zeros((5, 4), np.float32), "i": np.zeros(5, np.int64)}),
    (NonMaxSuppression(100, 0.5, 0.25), {"boxes": np.zeros((2, 8400, 4), np.float16),
     "scores": np.zeros((2, 80, 8400), np.float16)}),
    (Det(), {"x": np.zeros((3, 5, 5), np.float32)}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "arrays"), COMPILED, ids=lambda x: str(x)[:20])
def test_compiles(op: Op, arrays: dict[str, Any]) -> None:
    m = Maker(**arrays)
    m(op, *m.inputs.values())
    work = kernel(m.graph(*m.nodes[-1].outputs), H100)
    offers = Single().offers(work)
    assert not isinstance(offers, No), offers.reason
    for config in {0: offers[0], len(offers) - 1: offers[-1]}.values():
        assert compile_cubin(Single().build(work, config), H100).registers <= 128
