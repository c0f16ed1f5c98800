"""Loop bodies of the neural network operators against their references, every index of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ir.graph import Op
from planck.ops.nn import (
    LRN,
    Attention,
    BatchNorm,
    Conv,
    ConvTranspose,
    DeformColumns,
    GridSample,
    GroupNorm,
    Hardmax,
    InstanceNorm,
    LayerNorm,
    LogSoftmax,
    MatMul,
    MaxPoolIndices,
    Pool,
    Resize,
    RMSNorm,
    Softmax,
)
from tests.ops.bodies import by_body

RNG = np.random.default_rng(7)


def data(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    if np.dtype(dtype).kind in "iu":
        return RNG.integers(0, 9, shape).astype(dtype)
    return RNG.standard_normal(shape).astype(dtype)


X = data(2, 6, 5, 7)
CASES: list[tuple[Op, tuple[Any, ...]]] = [
    (Conv((1, 1), (1, 1, 1, 1), (1, 1), 1), (X, data(4, 6, 3, 3), data(4))),
    (Conv((2, 1), (0, 2, 1, 0), (2, 1), 3), (X, data(6, 2, 2, 3))),
    (Conv((1, 1), (0, 0, 0, 0), (1, 1), 6), (X, data(6, 1, 1, 1))),
    (Conv((1, 2), (-1, 0, 0, -1), (1, 1), 2), (X, data(2, 3, 3, 1))),
    (Conv((2,), (1, 1), (1,), 1), (data(1, 3, 9), data(5, 3, 4))),
    (Conv((1, 1, 2), (0, 1, 1, 1, 0, 1), (1, 1, 1), 1), (data(1, 2, 3, 4, 5), data(3, 2, 2, 3, 2))),
    (Conv((1, 1), (1, 1, 1, 1), (1, 1), 1),
     (data(1, 3, 4, 4, dtype=np.int32), data(2, 3, 3, 3, dtype=np.int32))),
    (Conv((1, 1), (1, 1, 1, 1), (1, 1), 1),
     (data(1, 3, 4, 4, dtype=np.float16), data(2, 3, 3, 3, dtype=np.float16))),
    (ConvTranspose((2, 3), (1, 0, 0, 1), (1, 1), 1, (1, 2)), (X, data(6, 4, 3, 3), data(4))),
    (ConvTranspose((1, 2), (0, 0, 0, 0), (2, 1), 3, (0, 0)), (X, data(6, 2, 2, 3))),
    (ConvTranspose((1, 1), (-1, 0, -1, 0), (1, 1), 1, (0, 0)), (X, data(6, 2, 1, 1))),
    (ConvTranspose((3,), (4, 2), (1,), 1, (0,)), (data(1, 2, 5), data(2, 3, 2))),
    (DeformColumns((2, 2), (1, 2), (1, 0, 1, 1), (1, 1), 1),
     (data(1, 4, 5, 3), data(1, 8, 5, 3), data(1, 4, 5, 3))),
    (DeformColumns((2, 2), (1, 1), (0, 0, 0, 0), (1, 2), 2),
     (data(2, 4, 5, 4), data(2, 16, 3, 3), data(2, 8, 3, 3))),
    (MatMul(), (data(2, 3, 4), data(4, 5))),
    (MatMul(True, True), (data(3, 1, 4, 2), data(2, 5, 4))),
    (Pool("max", (3, 2), (2, 1), (1, 0, 1, 1), (1, 1)), (X,)),
    (Pool("max", (2, 2), (2, 2), (0, 0, 0, 0), (2, 1), ceil=True), (X.astype(np.int8),)),
    (Pool("average", (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)), (X,)),
    (Pool("average", (3, 2), (2, 3), (1, 1, 1, 0), (1, 2), ceil=True), (X,)),
    (Pool("average", (3, 3), (2, 2), (1, 1, 0, 2), (1, 1), ceil=True, include_pad=True), (X,)),
    (Pool("average", (2, 2), (1, 1), (0, 0, 0, 0), (1, 1)), (X.astype(np.float16),)),
    (Pool("lp", (2, 3), (1, 2), (0, 1, 1, 1), (1, 1)), (X,)),
    (Pool("lp", (2, 3), (1, 2), (0, 1, 1, 1), (1, 1), p=3), (X,)),
    (MaxPoolIndices((3, 2), (2, 2), (1, 0, 1, 1), (1, 2)), (X,)),
    (MaxPoolIndices((2, 1), (1, 2), (0, 0, 0, 0), (1, 1), ceil=True, column_major=True), (X,)),
    (BatchNorm(1e-5), (X, data(6), data(6), data(6), np.abs(data(6)))),
    (LayerNorm(2, 1e-5), (X, data(5, 7), data(5, 7))),
    (LayerNorm(-1, 1e-5), (X.astype(np.float16), data(7, dtype=np.float16))),
    (RMSNorm(1, 1e-5), (X, data(5, 7))),
    (InstanceNorm(1e-5), (X, data(6), data(6))),
    (GroupNorm(3, 1e-5), (X, data(6), data(6))),
    (GroupNorm(6, 1e-5), (X, data(6), data(6))),
    (LRN(3, 0.1, 0.75, 1.0), (X,)),
    (LRN(4, 0.1, 0.5, 2.0), (X,)),
    (Softmax(1), (X,)),
    (Softmax(-1), (X.astype(np.float16),)),
    (LogSoftmax(2), (X,)),
    (Hardmax(1), (X,)),
    (Attention(0.5), (data(2, 3, 4), data(2, 5, 4), data(2, 5, 6))),
    (Attention(0.5, causal=True), (data(2, 5, 4), data(5, 4), data(2, 5, 3), data(2, 1, 5))),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs"), CASES, ids=[str(op)[:90] for op, _ in CASES])
def test_body_is_reference(op: Op, inputs: tuple[Any, ...]) -> None:
    (expected,) = op.reference(*inputs)
    tolerance = 4e-3 if expected.dtype == np.float16 else 2e-5  # one rounding; a few f32 sums
    np.testing.assert_allclose(by_body(op, *inputs), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample_body(mode: str, padding: str, align: bool) -> None:
    x, grid = data(2, 3, 5, 1), data(2, 4, 3, 2)
    for image in (x, data(2, 3, 4, 6)):
        op = GridSample(mode, padding, align)
        (expected,) = op.reference(image, grid)
        np.testing.assert_allclose(by_body(op, image, grid), expected, rtol=1e-3, atol=1e-4)


SIZES = [
    ((2, 3, 10, 14), (1, 1, 2, 2)),
    ((2, 3, 3, 4), (1, 1, 0.6, 4 / 7)),
    ((2, 3, 8, 1), (1, 1, 1.6, 1 / 7)),
]


@pytest.mark.parametrize(
    "coordinates",
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
     "tf_crop_and_resize", "tf_half_pixel_for_nn"],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("case", range(len(SIZES)))
def test_resize_body(coordinates: str, mode: str, case: int) -> None:
    sizes, scales = SIZES[case]
    x = data(2, 3, 5, 7)
    roi = (0, 0, 0.1, -0.2, 1, 1, 0.9, 1.3) if coordinates == "tf_crop_and_resize" else ()
    roundings = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    for rounding in roundings if mode == "nearest" else roundings[:1]:
        op = Resize(mode, sizes, scales, coordinates, rounding, roi=roi, fill=9.0)
        (expected,) = op.reference(x)
        np.testing.assert_allclose(by_body(op, x), expected, rtol=1e-4, atol=1e-4)


def test_resize_of_images_is_exact() -> None:
    x = data(1, 2, 4, 6, dtype=np.uint8)
    op = Resize("nearest", (1, 2, 8, 18), (1, 1, 2, 3))
    assert np.array_equal(by_body(op, x), op.reference(x)[0])
    assert np.array_equal(op.reference(x)[0], x.repeat(2, 2).repeat(3, 3))
