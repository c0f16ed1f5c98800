"""1x1 convolutions by Strassen's algorithm against float64 NumPy: odd images, strides, all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ops.nn import Conv
from planck.tactics.strassen_convolution import StrassenConvolution, _configs, _take

# batch, channels, outputs, image, strides
SHAPES = [
    (1, 64, 64, (7, 7), (1, 1)),
    (2, 128, 80, (5, 9), (1, 1)),
    (1, 96, 37, (13, 11), (1, 1)),
    (1, 64, 130, (1, 3), (1, 1)),
    (3, 64, 48, (9, 7), (2, 2)),
    (1, 160, 255, (6, 8), (1, 2)),
    (2, 64, 33, (29,), (1,)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_matches_float64(case: Any, convolve: Any, shape: Any, threads: int) -> None:
    n, c, m, image, strides = shape
    rank = len(image)
    x = case.input(n, c, *image, block=True)
    w = case.constant(m, c, *[1] * rank, scale=1 / np.sqrt(c))
    b = case.constant(m)
    want = convolve(case.arrays["v0"], case.arrays["v1"], strides, (0,) * 2 * rank, (1,) * rank)
    bias = case.arrays["v2"].reshape(-1, *[1] * rank)
    residual = case.input(*want.shape, block=True)
    op = Conv(strides, (0,) * 2 * rank, (1,) * rank, 1)
    y = case.node(op, [x, w, b], want.shape, block=True)
    z = case.pointwise("silu", case.pointwise("add", y, residual))
    want = want + bias + case.arrays[residual.name]
    want = want / (1 + np.exp(-want))
    tactic, kernel = StrassenConvolution(), case.kernel(z, threads=threads)
    for _, config in _configs(_take(kernel))[:3]:
        got = case.run(tactic, kernel, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=4e-5, err_msg=str(config))


def test_what_it_refuses(case: Any) -> None:
    x = case.input(1, 64, 9, 9, block=True)
    w = case.constant(64, 64, 3, 3)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 64, 9, 9), block=True)
    assert "1x1" in StrassenConvolution().offers(case.kernel(y)).reason
