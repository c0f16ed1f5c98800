"""Innermost loops fetch for later steps, as far as they are told and no further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import assembly
from planck.ops.nn import Conv
from planck.tactics.direct import Direct
from planck.tactics.winograd import WinogradConvolution
from tests.tactics.conftest import Scratch


def convolution(case: Any, convolve: Any) -> tuple[Any, Any]:
    x, w = case.input(1, 32, 15, 14, block=True), case.constant(40, 32, 3, 3, scale=0.05)
    want = convolve(case.arrays["v0"], case.arrays["v1"], (1, 1), (1, 1, 1, 1), (1, 1))
    y = case.node(Conv((1, 1), (1, 1, 1, 1), (1, 1), 1), [x, w], want.shape, block=True)
    return y, want


@pytest.mark.parametrize("tactic", [Direct(), WinogradConvolution()], ids=lambda t: t.name)
@pytest.mark.parametrize("ahead", [0, 64, 3000, 1 << 20])
def test_loops_fetch_what_they_are_told(case: Any, convolve: Any, tactic: Any, ahead: int) -> None:
    y, want = convolution(case, convolve)
    kernel = replace(case.kernel(y), streams=True)
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


@pytest.mark.parametrize("tactic", [Direct(), WinogradConvolution()], ids=lambda t: t.name)
def test_loops_that_shall_not_fetch_have_no_code_for_it(
    case: Any, convolve: Any, tactic: Any
) -> None:
    y, _ = convolution(case, convolve)
    kernel = case.kernel(y)
    code = tactic.build(kernel, tactic.offers(kernel)[0])
    assert "prefetcht2" not in assembly(case.target, code.llvm, code.level)
