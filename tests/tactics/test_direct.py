"""Direct convolution against float64 NumPy: odd shapes, borders, groups, epilogues, all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ops.movement import Slice
from planck.ops.nn import Conv, Resize
from planck.ops.pointwise import Pointwise
from planck.tactics.direct import Direct
from planck.tactics.kernel import Operand

# batch, channels, outputs, image, kernel, strides, pads, dilations, groups
SHAPES = [
    (1, 32, 64, (9, 14), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (3, 17, 35, (7, 11), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 5, 3, (8, 6), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (7, 48, 40, (7, 7), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (1, 3, 20, (31, 22), (7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),
    (2, 16, 33, (13, 10), (3, 3), (2, 2), (1, 0, 0, 2), (1, 1), 1),
    (1, 20, 16, (12, 15), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
    (1, 16, 16, (6, 5), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    (1, 64, 64, (5, 9), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
    (2, 24, 36, (6, 7), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 6),
    (1, 10, 15, (6, 7), (3, 1), (1, 2), (1, 0, 1, 0), (1, 1), 5),
    (1, 40, 48, (16,), (3,), (1,), (1, 1), (1,), 1),
    (3, 4, 9, (19,), (5,), (2,), (2, 1), (1,), 1),
    (1, 16, 16, (2, 2), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, convolve: Any, shape: Any) -> None:
    n, c, m, image, kernel, strides, pads, dilations, groups = shape
    x = case.input(n, c, *image, block=c > 4 or groups > 1)
    w = case.constant(m, c // groups, *kernel, scale=1 / np.sqrt(c // groups * np.prod(kernel)))
    b = case.constant(m)
    want = convolve(case.arrays["v0"], case.arrays["v1"], strides, pads, dilations, groups)
    bias = case.arrays["v2"].reshape(-1, *[1] * len(image))
    residual = case.input(*want.shape, block=True)
    want = np.maximum(want + bias, 0) + case.arrays[residual.name]
    y = case.node(Conv(strides, pads, dilations, groups), [x, w, b], want.shape, block=True)
    z = case.pointwise("add", case.pointwise("relu", y), residual)
    tactic, kern = Direct(), case.kernel(z, threads=2)
    offers = tactic.offers(kern)
    assert offers, offers
    for config in offers[:2]:
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


@pytest.mark.parametrize("channels", [48, 53])
def test_chunks_of_input_channels_add_up(case: Any, convolve: Any, channels: int) -> None:
    x = case.input(1, channels, 5, 6, block=True)
    w = case.constant(40, channels, 3, 3, scale=0.05)
    b = case.constant(40)
    want = convolve(case.arrays["v0"], case.arrays["v1"], (1, 1), (1, 1, 1, 1), (1, 1))
    want = want + case.arrays["v2"].reshape(-1, 1, 1)
    want = want / (1 + np.exp(-want))
    y = case.node(Conv((1, 1), (1, 1, 1, 1), (1, 1), 1), [x, w, b], want.shape, block=True)
    z = case.pointwise("silu", y)
    tactic, kernel = Direct(), case.kernel(z, threads=2)
    for chunk in (1, 2):
        config = {**tactic.offers(kernel)[0], "chunk": chunk}
        got = case.run(tactic, kernel, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


# batch, channels, outputs, image, what is resized, rounding
RESIZED = [
    (1, 32, 64, (10, 12), (5, 6), "floor"),
    (3, 17, 35, (7, 11), (3, 4), "round_prefer_ceil"),
    (2, 20, 40, (6, 61), (2, 61), "floor"),
    (1, 16, 19, (4, 5), (9, 7), "round_prefer_floor"),
    (2, 8, 24, (70, 70), (35, 35), "floor"),
    (2, 24, 33, (26,), (13,), "floor"),
]


@pytest.mark.parametrize("shape", RESIZED, ids=str)
@pytest.mark.parametrize("fn", ["relu", "silu"])
def test_an_operand_is_read_resized(case: Any, convolve: Any, shape: Any, fn: str) -> None:
    n, c, m, image, small, rounding = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(m, c, *[1] * len(image), scale=1 / np.sqrt(c))
    s = case.input(n, m, *small, block=True)
    residual = case.input(n, m, *image, block=True)
    scales = tuple(b / a for a, b in zip(small, image, strict=True))
    op = Resize("nearest", (n, m, *image), (1.0, 1.0, *scales), "asymmetric", rounding)
    none, ones = (0,) * (2 * len(image)), (1,) * len(image)
    want = convolve(case.arrays["v0"], case.arrays["v1"], ones, none, ones)
    (up,) = op.reference(case.arrays[s.name])
    want = want + up
    want = np.maximum(want, 0) if fn == "relu" else want / (1 + np.exp(-want))
    want = want * case.arrays[residual.name]
    y = case.node(Conv(ones, none, ones, 1), [x, w], want.shape)
    resized = case.node(op, [s], want.shape)
    z = case.node(Pointwise("add"), [y, resized], want.shape)
    z = case.node(Pointwise(fn), [z], want.shape)
    z = case.node(Pointwise("mul"), [z, residual], want.shape, block=True)
    tactic, kernel = Direct(), case.kernel(z, threads=2)
    offers = tactic.offers(kernel)
    assert offers, offers
    for config in offers[:3]:
        got = case.run(tactic, kernel, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


def test_resized_operands_that_are_refused(case: Any) -> None:
    x = case.input(1, 16, 4, 4, block=True)
    w = case.constant(16, 16, 1, 1)
    conv = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1)
    y = case.node(conv, [x, w], x.type.dims)
    linear = Resize("linear", (1, 16, 4, 4), (1.0, 1.0, 1.0, 1.0))
    z = case.node(Pointwise("add"), [y, case.node(linear, [x], x.type.dims)], x.type.dims, True)
    refusal = Direct().offers(case.kernel(z))
    assert not refusal
    assert "interpolates" in str(refusal)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [row for row in SHAPES if row[8] < 5], ids=str)
def test_writes_rows(case: Any, convolve: Any, shape: Any, residual: bool) -> None:
    """The result lies in rows, as a network's output does; operands beside it lie in blocks."""
    n, c, m, image, kernel, strides, pads, dilations, groups = shape
    x = case.input(n, c, *image, block=c > 4 or groups > 1)
    w = case.constant(m, c // groups, *kernel, scale=1 / np.sqrt(c // groups * np.prod(kernel)))
    want = convolve(case.arrays["v0"], case.arrays["v1"], strides, pads, dilations, groups)
    y = case.node(Conv(strides, pads, dilations, groups), [x, w], want.shape)
    if residual:
        other = case.input(*want.shape, block=True)
        z = case.pointwise("add", y, other)
        want = want + case.arrays[other.name]
    else:
        z = case.pointwise("silu", y)
        want = want / (1 + np.exp(-want))
    tactic, kern = Direct(), case.kernel(z, threads=2)
    offers = tactic.offers(kern)
    assert offers, offers
    for config in (offers[0], offers[-1]):
        got = case.run(tactic, kern, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


@pytest.mark.parametrize("sizes", [(32, 64), (16, 48, 23), (64, 64)], ids=str)
@pytest.mark.parametrize("image", [(5, 9), (4, 60)], ids=str)
def test_parts_lie_apart(case: Any, convolve: Any, sizes: Any, image: Any) -> None:
    m = sum(sizes)
    x = case.input(3, 21, *image, block=True)
    w = case.constant(m, 21, 1, 1, scale=0.2)
    b = case.constant(m)
    want = convolve(case.arrays["v0"], case.arrays["v1"], (1, 1), (0, 0, 0, 0), (1, 1))
    want = np.maximum(want + case.arrays["v2"].reshape(-1, 1, 1), 0)
    y = case.node(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), [x, w, b], want.shape)
    z = case.node(Pointwise("relu"), [y], want.shape)
    parts, at = [], 0
    for size in sizes:
        op = Slice((0, at, 0, 0), (3, size, *image), (1, 1, 1, 1))
        parts.append((case.node(op, [z], (3, size, *image), block=True), at, size))
        at += size
    tactic, kernel = Direct(), case.kernel(*(value for value, _, _ in parts[::-1]), threads=2)
    own = case.operands[parts[0][0].name]  # it is a part of something larger
    case.operands[parts[0][0].name] = Operand(own.type, (own.strides[0] + 96, *own.strides[1:]))
    offers = tactic.offers(kernel)
    assert offers, offers
    for config in offers[:4]:
        got = case.run(tactic, kernel, config)
        for value, start, size in parts:
            np.testing.assert_allclose(
                got[value.name], want[:, start : start + size], rtol=1e-4, atol=1e-5
            )


def test_parts_that_are_refused(case: Any) -> None:
    x = case.input(1, 16, 4, 4, block=True)
    w = case.constant(48, 16, 1, 1)
    y = case.node(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), [x, w], (1, 48, 4, 4))
    made = [
        case.node(Slice((0, at, 0, 0), (1, 16, 4, 4), (1, 1, 1, 1)), [y], (1, 16, 4, 4), True)
        for at in (0, 32)
    ]
    assert "leave channels out" in str(Direct().offers(case.kernel(*made)))
