"""Winograd convolution against float64 NumPy: odd shapes, borders, batches, epilogues, all ISAs."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import pytest

from planck.codegen.bilinear import algorithm
from planck.codegen.llvm import assembly
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.winograd import WinogradConvolution
from planck.tactics.winograd_form import CHANNEL_ERROR, MAX_SUM_ERROR
from planck.tactics.winograd_space import MIN_RUN
from planck.target import host
from tests.tactics.conftest import Case, lay_out, load

TACTIC = WinogradConvolution()
SAME = (1, 1, 1, 1)
# batch, channels, outputs, image, taps, strides, pads
SHAPES = [
    (1, 32, 48, (9, 14), (3, 3), (1, 1), SAME),
    (3, 17, 35, (7, 11), (3, 3), (1, 1), SAME),
    (1, 5, 3, (8, 6), (3, 3), (1, 1), (0, 0, 0, 0)),
    (7, 3, 20, (5, 9), (3, 3), (1, 1), (1, 0, 0, 1)),
    (1, 16, 16, (2, 2), (3, 3), (1, 1), SAME),
    (2, 20, 64, (13, 13), (3, 3), (1, 1), (0, 1, 1, 0)),
    (1, 32, 48, (18, 27), (3, 3), (2, 2), SAME),
    (3, 17, 35, (13, 22), (3, 3), (2, 2), SAME),
    (7, 3, 20, (9, 16), (3, 3), (2, 2), (0, 1, 1, 0)),
    (1, 5, 16, (3, 4), (3, 3), (2, 2), (0, 0, 0, 0)),
    (2, 20, 19, (16, 9), (3, 3), (2, 1), SAME),
    (2, 17, 20, (9, 17), (5, 5), (2, 2), (2, 2, 2, 2)),
]
SIDES = [(2, 2), (4, 4), (6, 6), (3, 5), (5, 3)]
# The same, with sides: filters for which there are points for some sides only.
FILTERS = [
    ((1, 20, 35, (6, 17), (1, 7), (1, 1), (0, 3, 0, 3)), (1, 4)),
    ((2, 17, 20, (17, 5), (7, 1), (1, 1), (3, 0, 3, 0)), (3, 1)),
    ((7, 5, 20, (9, 7), (1, 3), (1, 1), (0, 1, 0, 1)), (1, 6)),
    ((1, 20, 20, (9, 8), (3, 1), (1, 1), (1, 0, 1, 0)), (4, 1)),
    ((2, 17, 35, (11, 17), (5, 5), (1, 1), (2, 2, 2, 2)), (4, 3)),
    ((1, 20, 20, (9, 12), (2, 2), (1, 1), (0, 0, 0, 0)), (4, 6)),
    ((1, 20, 20, (11, 13), (7, 7), (2, 2), (3, 3, 3, 3)), (2, 4)),
    ((1, 20, 20, (8, 12), (3, 3), (1, 2), SAME), (6, 4)),
    ((1, 20, 20, (12, 8), (1, 3), (2, 2), (0, 1, 0, 1)), (1, 4)),
]


def layer(case: Any, shape: Any) -> Any:
    """A convolution with a bias, at unit variance; its operands are v0, v1, v2."""
    n, c, m, image, taps, strides, pads = shape
    x = case.input(n, c, *image, block=True)
    w = case.constant(m, c, *taps, scale=1 / np.sqrt(np.prod(taps) * c))
    bias = case.constant(m)
    rank = len(image)
    out = [
        (extent + pads[i] + pads[rank + i] - taps[i]) // strides[i] + 1
        for i, extent in enumerate(image)
    ]
    op = Conv(strides, pads, (1,) * rank, 1)
    return case.node(op, [x, w, bias], (n, m, *out), block=True)


def expected(case: Any, convolve: Any, shape: Any) -> Any:
    x, w, bias = (case.arrays[name] for name in ("v0", "v1", "v2"))
    *_, strides, pads = shape
    result = convolve(x, w, strides, pads, (1,) * len(strides))
    return result + bias.reshape(-1, *[1] * len(strides))


def config(sides: tuple[int, int], **others: int) -> dict[str, int]:
    down, along = sides
    rest = {"rows": 5, "vectors": 2, "groups": 2, "parts": 1}
    return {"down": down, "along": along, **rest, **others}


def assert_close(got: Any, want: Any) -> None:
    """Winograd's errors are those of the largest output: its transforms mix pixels."""
    assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, convolve: Any, shape: Any, sides: Any) -> None:
    y = layer(case, shape)
    residual = case.input(*y.type.dims, block=True)
    z = case.pointwise("add", case.pointwise("leaky_relu", y, case.scalar(0.1)), residual)
    kernel = case.kernel(z, threads=2)
    got = case.run(TACTIC, kernel, config(sides, parts=1 + (shape[2] > 32)))[z.name]
    want = expected(case, convolve, shape)
    assert_close(got, np.maximum(want, 0.1 * want) + case.arrays[residual.name])


@pytest.mark.parametrize("shape", [SHAPES[i] for i in (1, 5, 7, 10)], ids=str)
@pytest.mark.parametrize("groups", [1, 3])
def test_threads_share_transformed_tiles(case: Any, convolve: Any, shape: Any, groups: int) -> None:
    """Groups of unequal sizes, units in three calls: all find the tiles that the first made."""
    y = layer(case, shape)
    parts = 3 if shape[2] > 2 * case.target.lanes else 2
    ways = config((4, 3), shared=1, parts=parts, groups=groups, vectors=1)
    got = case.run(TACTIC, case.kernel(y, threads=2), ways)[y.name]
    assert_close(got, expected(case, convolve, shape))


@pytest.mark.parametrize(("shape", "sides"), FILTERS, ids=str)
def test_other_filters_match_float64(case: Any, convolve: Any, shape: Any, sides: Any) -> None:
    y = layer(case, shape)
    got = case.run(TACTIC, case.kernel(y), config(sides))[y.name]
    assert_close(got, expected(case, convolve, shape))


def test_one_axis_matches_float64(case: Any, convolve: Any) -> None:
    """A signal, [N, C, W], is an image of one row."""
    shape = (2, 67, 99, (41,), (3,), (1,), (1, 1))
    y = layer(case, shape)
    kernel = case.kernel(y)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    assert offers[0]["down"] == 1
    assert_close(case.run(TACTIC, kernel, offers[0])[y.name], expected(case, convolve, shape))


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_epilogue_in_a_loop(case: Any, convolve: Any, sides: Any, stride: int) -> None:
    shape = (2, 20, 19, (10, 7), (3, 3), (stride, stride), SAME)
    y = layer(case, shape)
    z = case.pointwise("mul", y, case.pointwise("sigmoid", y))
    got = case.run(TACTIC, case.kernel(z), config(sides, rows=4, vectors=1, groups=3))[z.name]
    want = expected(case, convolve, shape)
    assert_close(got, want / (1 + np.exp(-want)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 64, 80, (14, 15), (3, 3), (1, 1), SAME),
        (1, 64, 80, (28, 30), (3, 3), (2, 2), SAME),
        (1, 80, 64, (12, 17), (1, 7), (1, 1), (0, 3, 0, 3)),
        (1, 48, 64, (17, 14), (5, 5), (1, 1), (2, 2, 2, 2)),
    ],
    ids=str,
)
def test_offers_match_float64(case: Any, convolve: Any, shape: Any, threads: int) -> None:
    """Every offer, with channels enough for its error to show."""
    y = layer(case, shape)
    kernel = case.kernel(y, threads=threads)
    want = expected(case, convolve, shape)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    for offer in offers:
        assert_close(case.run(TACTIC, kernel, offer)[y.name], want)


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_reads_and_writes_parts_of_larger_tensors(
    case: Any, convolve: Any, sides: Any, stride: int
) -> None:
    shape = (2, 32, 32, (9, 8), (3, 3), (stride, stride), SAME)
    y = layer(case, shape)
    kernel = case.kernel(y)
    for name in ("v0", y.name):
        own = kernel.operands[name]
        batch, block, row, column, lane = own.strides
        wider = Operand(own.type, (3 * batch, block + 5 * row, row + 2 * column, column, lane))
        case.operands[name] = wider
    got = case.run(TACTIC, kernel, config(sides, rows=7))[y.name]
    assert_close(got, expected(case, convolve, shape))


def test_stays_within_its_scratch(case: Any) -> None:
    for shape, sides in ((SHAPES[1], (3, 5)), (SHAPES[7], (5, 3)), FILTERS[0]):
        own = Case(case.target)
        kernel = own.kernel(layer(own, shape))
        code = TACTIC.build(kernel, config(sides))
        constants = {name: own.arrays[name] for name in kernel.constants}
        arrays = {
            **{name: lay_out(own.arrays[name], kernel.operands[name]) for name in ("v0",)},
            **TACTIC.pack(kernel, config(sides), constants),
            "n0": lay_out(np.zeros(kernel.operands["n0"].type.dims), kernel.operands["n0"]),
        }
        pointers = [arrays[name].ctypes.data for name in code.arguments]
        table = (ctypes.c_void_p * len(pointers))(*pointers)
        scratch = np.full(code.scratch_bytes // 4 + 1024, 7.0, np.float32)
        place = -scratch.ctypes.data % 64 // 4
        run = load(kernel.target, code)
        run(table, 0, code.tiles, scratch[place:].ctypes.data)
        assert (scratch[place + code.scratch_bytes // 4 :] == 7.0).all()
        assert (scratch[:place] == 7.0).all()


@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "groups", "reason"),
    [
        (9, 1, 1, 1, "filters to 7x7"),
        (3, 3, 1, 1, "strides to 2"),
        (3, 1, 2, 1, "dilation 1"),
        (3, 1, 1, 2, "ungrouped"),
        (1, 1, 1, 1, "nothing to save"),
        (2, 2, 1, 1, "nothing to save"),
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


def test_offers_nothing_imprecise(case: Any) -> None:
    """F(6, 7) nested would lose five digits: no offer has such sides."""
    y = layer(case, (1, 64, 64, (48, 48), (7, 7), (1, 1), (3, 3, 3, 3)))
    offers = TACTIC.offers(case.kernel(y))
    for offer in offers or ():
        gain = algorithm(offer["down"], 7, 1).gain * algorithm(offer["along"], 7, 1).gain
        assert CHANNEL_ERROR * gain * np.sqrt(MIN_RUN) < MAX_SUM_ERROR


@pytest.mark.parametrize(("sides", "stride"), [(s, 1) for s in SIDES] + [((5, 5), 2), ((6, 6), 2)])
def test_many_channels_keep_the_error_small(convolve: Any, sides: Any, stride: int) -> None:
    case = Case(host())
    shape = (1, 519, 16, (12, 12), (3, 3), (stride, stride), SAME)
    y = layer(case, shape)
    got = case.run(TACTIC, case.kernel(y), config(sides, rows=4, vectors=1, groups=1))[y.name]
    assert_close(got, expected(case, convolve, shape))


@pytest.mark.parametrize("stride", [1, 2])
def test_product_does_not_spill(case: Any, stride: int) -> None:
    y = layer(case, (1, 64, 64, (28, 28), (3, 3), (stride, stride), SAME))
    kernel = case.kernel(y)
    if kernel.target.isa == "portable":
        pytest.skip("sixteen registers and no fused multiply-add")
    for offer in TACTIC.offers(kernel)[:3]:
        code = TACTIC.build(kernel, offer)
        text = assembly(kernel.target, code.llvm, code.level)
        sums = offer["rows"] * offer["vectors"]
        products = [b for b in re.split(r"\n\.L\w+:", text) if b.count("vfmadd") >= 4 * sums]
        assert products
        for block in products:
            assert not re.search(r"[yz]mm\d+, \d*\(%rsp\)|\(%rsp\), %[yz]mm", block), offer


def test_ways_with_smaller_weights_are_offered_early(case: Any) -> None:
    """For networks whose weights may not all grow: the best of them, and the smallest."""
    y = layer(case, (8, 256, 512, (13, 13), (3, 3), (1, 1), SAME))
    kernel = case.kernel(y, threads=2)
    configs = TACTIC.offers(kernel)
    assert not isinstance(configs, No)
    growth = [TACTIC.build(kernel, config).growth_bytes for config in configs]
    assert growth[2] == min(growth) < growth[1] < 0.7 * growth[0]
