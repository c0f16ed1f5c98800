"""Winograd convolution against float64 NumPy: odd shapes, borders, batches, epilogues, all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ops.nn import Conv
from planck.tactics.kernel import Operand
from planck.tactics.winograd import WinogradConvolution

SAME = (1, 1, 1, 1)
# batch, channels, outputs, image, pads
SHAPES = [
    (1, 32, 48, (9, 14), SAME),
    (3, 17, 35, (7, 11), SAME),
    (1, 5, 3, (8, 6), (0, 0, 0, 0)),
    (7, 3, 20, (5, 9), (1, 0, 0, 1)),
    (1, 16, 16, (2, 2), SAME),
    (2, 20, 64, (13, 13), (0, 1, 1, 0)),
]


@pytest.mark.parametrize("side", [2, 4, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, convolve: Any, shape: Any, side: int) -> None:
    n, c, m, image, pads = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(m, c, 3, 3, scale=1 / np.sqrt(9 * c))
    b = case.constant(m)
    want = convolve(case.arrays["v0"], case.arrays["v1"], (1, 1), pads, (1, 1))
    want = want + case.arrays["v2"].reshape(-1, 1, 1)
    residual = case.input(*want.shape, block=True)
    want = np.maximum(want, 0.1 * want) + case.arrays[residual.name]
    y = case.node(Conv((1, 1), pads, (1, 1), 1), [x, w, b], want.shape, block=True)
    z = case.pointwise("add", case.pointwise("leaky_relu", y, case.scalar(0.1)), residual)
    tactic, kernel = WinogradConvolution(), case.kernel(z, threads=2)
    config = {"side": side, "rows": 5, "vectors": 2, "groups": 2, "parts": 1 + (m > 32)}
    got = case.run(tactic, kernel, config)[z.name]
    assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()
