"""Single operators without a body, in Triton's interpreter, against their references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from planck import dtypes
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
from tests.tactics.triton.interpreting import run_triton

TYPES = [dtypes.f32, dtypes.f16, dtypes.f64, dtypes.i64, dtypes.u64, dtypes.i32, dtypes.u8]


def check(
    op: Op, gaps: Mapping[str, int] | None = None, most: int = 1, bound: float = 0, **arrays: Any
) -> None:
    m = Maker(**arrays)
    m(op, *m.inputs.values())
    graph = m.graph(*m.nodes[-1].outputs)
    want = interpret(graph, arrays)
    work = kernel(graph, H100, gaps=gaps)
    offers = Single().offers(work)
    assert not isinstance(offers, No), offers.reason
    for config in offers[:most]:
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


@pytest.mark.parametrize("centred", [False, True])
def test_non_max_suppression(centred: bool) -> None:
    check(NonMaxSuppression(7, 0.3, 0.2, centred), most=1, **random_boxes(2, 3, 37))
    check(NonMaxSuppression(50, 0.05, centred=centred), **random_boxes(1, 1, 37))
    check(NonMaxSuppression(1, 0.5, 0.9, centred), {"scores": 3}, **random_boxes(3, 1, 5))
    check(NonMaxSuppression(5, 0.5, 1.0, centred), **random_boxes(1, 2, 1))  # none


def test_non_max_suppression_of_more_boxes_than_a_tile() -> None:
    check(NonMaxSuppression(9, 0.4, 0.1), **random_boxes(1, 2, 1500))
    check(NonMaxSuppression(9, 0.0, 0.5), **odd_boxes(2, 1500))


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
    assert compile_cubin(Single().build(work, offers[0]), H100).registers <= 128
