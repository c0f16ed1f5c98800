"""Winograd convolution against float64 NumPy: odd shapes, borders, batches, epilogues, all ISAs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import assembly
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.winograd import WinogradConvolution
from planck.target import host
from tests.tactics.conftest import Case

TACTIC = WinogradConvolution()
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


def layer(case: Any, shape: Any) -> Any:
    """A convolution with a bias, at unit variance; its operands are v0, v1, v2."""
    n, c, m, image, pads = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(m, c, 3, 3, scale=1 / np.sqrt(9 * c))
    bias = case.constant(m)
    out = [extent + pads[i] + pads[2 + i] - 2 for i, extent in enumerate(image)]
    return case.node(Conv((1, 1), pads, (1, 1), 1), [x, w, bias], (n, m, *out), block=True)


def expected(case: Any, convolve: Any, shape: Any) -> Any:
    x, w, bias = (case.arrays[name] for name in ("v0", "v1", "v2"))
    return convolve(x, w, (1, 1), shape[-1], (1, 1)) + bias.reshape(-1, 1, 1)


def assert_close(got: Any, want: Any) -> None:
    """Winograd's errors are those of the largest output: its transforms mix pixels."""
    assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("side", [2, 4, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, convolve: Any, shape: Any, side: int) -> None:
    y = layer(case, shape)
    residual = case.input(*y.type.dims, block=True)
    z = case.pointwise("add", case.pointwise("leaky_relu", y, case.scalar(0.1)), residual)
    kernel = case.kernel(z, threads=2)
    config = {"side": side, "rows": 5, "vectors": 2, "groups": 2, "parts": 1 + (shape[2] > 32)}
    got = case.run(TACTIC, kernel, config)[z.name]
    want = expected(case, convolve, shape)
    assert_close(got, np.maximum(want, 0.1 * want) + case.arrays[residual.name])


@pytest.mark.parametrize("side", [2, 4, 6])
def test_epilogue_in_a_loop(case: Any, convolve: Any, side: int) -> None:
    shape = (2, 20, 19, (10, 7), SAME)
    y = layer(case, shape)
    z = case.pointwise("mul", y, case.pointwise("sigmoid", y))
    config = {"side": side, "rows": 4, "vectors": 1, "groups": 3, "parts": 1}
    got = case.run(TACTIC, case.kernel(z), config)[z.name]
    want = expected(case, convolve, shape)
    assert_close(got, want / (1 + np.exp(-want)))


@pytest.mark.parametrize("threads", [1, 2])
def test_offers_match_float64(case: Any, convolve: Any, threads: int) -> None:
    """Every offer, with channels enough for its error to show."""
    shape = (1, 64, 80, (14, 15), SAME)
    y = layer(case, shape)
    kernel = case.kernel(y, threads=threads)
    want = expected(case, convolve, shape)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    for config in offers[:3]:
        assert_close(case.run(TACTIC, kernel, config)[y.name], want)


@pytest.mark.parametrize("side", [2, 4, 6])
def test_reads_and_writes_parts_of_larger_tensors(case: Any, convolve: Any, side: int) -> None:
    shape = (2, 32, 32, (9, 8), SAME)
    y = layer(case, shape)
    kernel = case.kernel(y)
    for name in ("v0", y.name):
        own = kernel.operands[name]
        batch, block, row, column, lane = own.strides
        wider = Operand(own.type, (3 * batch, block + 5 * row, row + 2 * column, column, lane))
        case.operands[name] = wider
    config = {"side": side, "rows": 7, "vectors": 2, "groups": 2, "parts": 1}
    assert_close(case.run(TACTIC, kernel, config)[y.name], expected(case, convolve, shape))


@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "groups", "reason"),
    [
        (5, 1, 1, 1, "3x3 filters"),
        (3, 2, 1, 1, "stride 1"),
        (3, 1, 2, 1, "dilation 1"),
        (3, 1, 1, 2, "ungrouped"),
    ],
)
def test_refuses(
    case: Any, kernel: int, strides: int, dilations: int, groups: int, reason: str
) -> None:
    x = case.input(1, 32, 16, 16, block=True)
    w = case.constant(32, 32 // groups, kernel, kernel)
    op = Conv((strides,) * 2, (kernel // 2 * dilations,) * 4, (dilations,) * 2, groups)
    y = case.node(op, [x, w], (1, 32, 16 // strides, 16 // strides), block=True)
    refusal = TACTIC.offers(case.kernel(y))
    assert isinstance(refusal, No)
    assert reason in refusal.reason


@pytest.mark.parametrize("side", [2, 4, 6])
def test_many_channels_keep_the_error_small(convolve: Any, side: int) -> None:
    case = Case(host())
    shape = (1, 519, 16, (12, 12), SAME)
    y = layer(case, shape)
    config = {"side": side, "rows": 4, "vectors": 1, "groups": 1, "parts": 1}
    got = case.run(TACTIC, case.kernel(y), config)[y.name]
    assert_close(got, expected(case, convolve, shape))


def test_product_does_not_spill(case: Any) -> None:
    y = layer(case, (1, 64, 64, (28, 28), SAME))
    kernel = case.kernel(y)
    if kernel.target.isa == "portable":
        pytest.skip("sixteen registers and no fused multiply-add")
    for config in TACTIC.offers(kernel)[:3]:
        code = TACTIC.build(kernel, config)
        text = assembly(kernel.target, code.llvm, code.level)
        sums = config["rows"] * config["vectors"]
        products = [b for b in re.split(r"\n\.L\w+:", text) if b.count("vfmadd") >= 4 * sums]
        assert products
        for block in products:
            assert not re.search(r"[yz]mm\d+, \d*\(%rsp\)|\(%rsp\), %[yz]mm", block), config
