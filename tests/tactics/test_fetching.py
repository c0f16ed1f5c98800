"""Innermost loops fetch for later steps, as far as they are told and no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import assembly
from planck.ops.nn import Conv, MatMul
from planck.tactics.direct import Direct
from planck.tactics.matmul import Multiply
from planck.tactics.winograd import WinogradConvolution
from tests.tactics.conftest import Scratch


def convolution(case: Any, convolve: Any) -> tuple[Any, Any]:
    x, w = case.input(1, 32, 15, 14, block=True), case.constant(40, 32, 3, 3, scale=0.05)
    want = convolve(case.arrays["v0"], case.arrays["v1"], (1, 1), (1, 1, 1, 1), (1, 1))
    y = case.node(Conv((1, 1), (1, 1, 1, 1), (1, 1), 1), [x, w], want.shape, block=True)
    return y, want


@pytest.mark.parametrize(
    "tactic", [Direct(), WinogradConvolution(), Multiply()], ids=lambda t: t.name
)
@pytest.mark.parametrize("ahead", [0, 64, 3000, 1 << 20])
def test_loops_fetch_what_they_are_told(case: Any, convolve: Any, tactic: Any, ahead: int) -> None:
    if tactic.name == "matmul":
        a, b = case.input(45, 64), case.constant(64, 96)
        y = case.node(MatMul(), [a, b], (45, 96))
        want = case.arrays["v0"].astype(np.float64) @ case.arrays["v1"].astype(np.float64)
    else:
        y, want = convolution(case, convolve)
    kernel = case.kernel(y)
    config = tactic.offers(kernel)[0]
    code = tactic.build(kernel, config)
    scratch = Scratch(code.scratch_bytes, ahead)
    got = case.run(tactic, kernel, config, scratch)[y.name]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 if tactic.exact else 1e-3)
    assert scratch.fetched <= ahead
    loops = "prefetcht2" in assembly(case.target, code.llvm, code.level)
    assert loops or case.target.isa != "avx512"
    if loops and ahead >= 3000:
        assert scratch.fetched > 2500
