"""Every tactic on bfloat16 and float16 tensors, against float64 on the same rounded numbers.

Products of either are exact in float32, so what is left is float32's own summing, over up to a
few hundred products: 1e-4, and one rounding at the end, of 2^-9 of the result in bfloat16 and 2^-12
in float16. Attention in bfloat16 rounds its weights besides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import assembly
from planck.dtypes import bf16, f16
from planck.ops.nn import Attention, Conv, ConvTranspose, MatMul, Pool, Resize
from planck.ops.pointwise import Pointwise
from planck.ops.reduce import Reduce
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.attention import FusedAttention
from planck.tactics.depth_first import FusedDepthwise
from planck.tactics.direct import Direct, Transposed
from planck.tactics.globalpool import GlobalPooling
from planck.tactics.loops import Loops
from planck.tactics.matmul import Multiply
from planck.tactics.pattern import SHORT_BOUND
from planck.tactics.sliding import Depthwise, Grouped, Pooling
from planck.tactics.strassen import StrassenMultiply
from planck.tactics.winograd import WinogradConvolution
from planck.target import host
from tests.tactics.conftest import Case, convolve, target_of
from tests.tactics.test_assembly import SPILL

# One rounding is half of it; the sum's own error may tip it over.
ROUNDING = {bf16: 2.0**-8, f16: 2.0**-11}
TARGETS = ["native", "avx512", "avx2", "portable", "avx512-f16", "avx2-f16", "portable-f16"]


@pytest.fixture(params=TARGETS)
def case(request: pytest.FixtureRequest) -> Case:
    """On this machine's own instructions, and where they have to be written out."""
    if request.param.endswith("-f16"):
        return Case(target_of(request.param.removesuffix("-f16")), dtype=f16)
    if request.param != "native":
        return Case(target_of(request.param))
    if "avx512_bf16" not in host().extras:
        pytest.skip("this processor does not multiply bfloat16")
    return Case(replace(target_of("avx512"), extras=host().extras))


def error_of(config: Any) -> float:
    """Over the largest output: of float32's sums, or of Winograd's weights in float16."""
    return SHORT_BOUND if config.get("halves") else 1e-4


def check(case: Case, tactic: Any, output: Any, want: Any, offers: int = 3) -> None:
    kernel = case.kernel(case.rounded(output), threads=2)
    configs = tactic.offers(kernel)
    assert not isinstance(configs, No), configs.reason
    for config in configs[:offers]:
        got = case.run(tactic, kernel, config)[kernel.graph.outputs[0].name]
        assert got.dtype == case.dtype.numpy
        sums = error_of(config) * np.abs(want).max()
        np.testing.assert_allclose(
            got.astype(np.float64), want, rtol=ROUNDING[case.dtype], atol=sums, err_msg=str(config)
        )


# batch, channels, outputs, image, filter, strides, pads, groups
CONVOLUTIONS = [
    (1, 32, 64, (9, 14), (3, 3), (1, 1), (1, 1, 1, 1), 1),
    (7, 17, 35, (7, 11), (3, 3), (1, 1), (1, 1, 1, 1), 1),
    (1, 5, 3, (8, 6), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (1, 3, 20, (15, 10), (7, 7), (2, 2), (3, 3, 3, 3), 1),
    (2, 24, 36, (6, 7), (3, 3), (1, 1), (1, 1, 1, 1), 6),
    (1, 21, 48, (6, 7), (3, 3), (2, 2), (1, 0, 0, 2), 1),
    (1, 51, 34, (5, 4), (3, 3), (1, 1), (1, 1, 1, 1), 17),
    (1, 40, 48, (16,), (3,), (1,), (1, 1), 1),
]


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("weights", ["short", "f32"])
def test_convolution(case: Case, shape: Any, weights: str) -> None:
    n, c, m, image, size, strides, pads, groups = shape
    x, x_numbers = case.short(n, c, *image, block=c > 4)
    dims, scale = (m, c // groups, *size), 1 / np.sqrt(c // groups * np.prod(size))
    if weights == "short":
        w, w_numbers = case.short(*dims, scale=scale, constant=True)
    else:
        w = case.constant(*dims, scale=scale)
        w_numbers = case.arrays[w.name]
    b = case.constant(m)
    ones = (1,) * len(image)
    want = convolve(x_numbers, w_numbers, strides, pads, ones, groups)
    want = want + case.arrays[b.name].reshape(-1, *ones)
    residual, beside = case.short(*want.shape, block=True)
    want = np.maximum(want, 0) + beside
    y = case.node(Conv(strides, pads, ones, groups), [x, w, b], want.shape, block=True)
    check(case, Direct(), case.pointwise("add", case.pointwise("relu", y), residual), want)


def test_convolution_with_the_instruction(case: Case) -> None:
    """Sixteen pairs at once where the processor can, and no accumulator leaves its register."""
    if case.dtype is f16:
        pytest.skip("float16 is multiplied as float32")
    x, _ = case.short(1, 64, 14, 14, block=True)
    w, _ = case.short(96, 64, 3, 3, constant=True)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 96, 14, 14), block=True)
    kernel = case.kernel(case.rounded(case.pointwise("relu", y)))
    code = Direct().build(kernel, Direct().offers(kernel)[0])
    text = assembly(case.target, code.llvm, code.level)
    native = "avx512_bf16" in case.target.extras
    assert (text.count("vdpbf16ps") >= 24) == native
    assert ("vcvtneps2bf16" in text) == native
    if native:
        lines = text.splitlines()
        hot = [i for i, line in enumerate(lines) if "vdpbf16ps" in line]
        assert not [line for line in lines[hot[0] : hot[-1]] if SPILL.search(line)]


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@pytest.mark.parametrize("name", ["Conv", "MatMul"])
def test_a_row_of_weights_is_widened_once(isa: str, name: str) -> None:
    """One conversion for all rows of a tile, and no accumulator leaves its register."""
    case = Case(target_of(isa), dtype=f16)
    tactic: Any = Direct() if name == "Conv" else Multiply()
    if name == "Conv":
        x = case.input(1, 64, 14, 14, block=True)
        w, _ = case.short(96, 64, 1, 1, constant=True)
        y = case.node(Conv((1, 1), (0,) * 4, (1, 1), 1), [x, w], (1, 96, 14, 14), block=True)
    else:
        x, (w, _) = case.input(84, 768), case.short(768, 768, constant=True)
        y = case.node(MatMul(), [x, w], (84, 768))
    kernel = case.kernel(y)
    code = tactic.build(kernel, tactic.offers(kernel)[0])
    lines = assembly(case.target, code.llvm, code.level).splitlines()
    hot = [i for i, line in enumerate(lines) if "vfmadd" in line]
    assert not [line for line in lines[hot[0] : hot[-1]] if SPILL.search(line)]
    widened = sum("vcvtph2ps" in line for line in lines)
    assert 0 < widened * 4 <= len(hot)  # tiles have four rows and more


@pytest.mark.parametrize("channels", [(17, 5), (32, 48)])
def test_transposed_convolution(case: Case, channels: tuple[int, int]) -> None:
    c, m = channels
    x, x_numbers = case.short(2, c, 5, 6, block=True)
    w, w_numbers = case.short(c, m, 2, 2, scale=c**-0.5, constant=True)
    want = np.einsum("nchw,cmij->nmhiwj", x_numbers, w_numbers).reshape(2, m, 10, 12)
    op = ConvTranspose((2, 2), (0,) * 4, (1, 1), 1, (0, 0))
    check(case, Transposed(), case.node(op, [x, w], want.shape, block=True), want)


@pytest.mark.parametrize("channels", [(64, 64), (35, 49)])
def test_winograd(case: Case, channels: tuple[int, int]) -> None:
    """Tensors in bfloat16, transforms and products in float32."""
    c, m = channels
    x, x_numbers = case.short(1, c, 13, 18, block=True)
    w, w_numbers = case.short(m, c, 3, 3, scale=(9 * c) ** -0.5, constant=True)
    b = case.constant(m)
    want = convolve(x_numbers, w_numbers, (1, 1), (1, 1, 1, 1), (1, 1))
    want = want + case.arrays[b.name].reshape(-1, 1, 1)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w, b], want.shape, block=True)
    if isinstance(WinogradConvolution().offers(case.kernel(case.rounded(y), threads=2)), No):
        pytest.skip("the transforms would cost more than they save here")
    check(case, WinogradConvolution(), y, want, offers=6)


@pytest.mark.parametrize("channels", [3, 17, 32])
def test_depthwise(case: Case, channels: int) -> None:
    x, x_numbers = case.short(7, channels, 9, 11, block=True)
    w = case.constant(channels, 1, 3, 3)
    want = convolve(x_numbers, case.arrays[w.name], (2, 2), (1,) * 4, (1, 1), channels)
    y = case.node(Conv((2, 2), (1,) * 4, (1, 1), channels), [x, w], want.shape, block=True)
    check(case, Depthwise(), y, want)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling(case: Case, kind: str) -> None:
    x, numbers = case.short(2, 17, 8, 10, block=True)
    windows = numbers.reshape(2, 17, 4, 2, 5, 2)
    want = windows.max((3, 5)) if kind == "max" else windows.mean((3, 5))
    op = Pool(kind, (2, 2), (2, 2), (0,) * 4, (1, 1), False)
    check(case, Pooling(), case.node(op, [x], want.shape, block=True), want)


@pytest.mark.parametrize("block", [True, False])
def test_global_pooling(case: Case, block: bool) -> None:
    x, numbers = case.short(2, 21, 7, 5, block=True)
    want = numbers.mean((2, 3), keepdims=True)
    y = case.node(Reduce("mean", (2, 3), True), [x], want.shape, block=block)
    check(case, GlobalPooling(), y, want)


@pytest.mark.parametrize("shape", [(1, 1, 64, 33), (7, 5, 17, 40), (1, 30, 96, 48), (3, 4, 1, 5)])
@pytest.mark.parametrize("right", ["constant", "rows", "columns"])
def test_matmul(case: Case, shape: tuple[int, ...], right: str) -> None:
    batch, m, k, n = shape
    a, a_numbers = case.short(batch, m, k)
    turned = right == "columns"
    dims = (n, k) if turned else (k, n)
    lead = () if right == "constant" else (batch,)
    b, b_numbers = case.short(*lead, *dims, scale=k**-0.5, constant=right == "constant")
    want = a_numbers @ (b_numbers.swapaxes(-1, -2) if turned else b_numbers)
    bias = case.constant(n)
    want = np.maximum(want + case.arrays[bias.name], 0)
    y = case.node(MatMul(transpose_b=turned), [a, b], want.shape)
    y = case.pointwise("relu", case.pointwise("add", y, bias))
    check(case, Multiply(), y, want, offers=8)


def test_matmul_of_a_transposed_operand(case: Case) -> None:
    """Its pairs are not neighbours: it is widened."""
    a, a_numbers = case.short(2, 19, 6)
    b, b_numbers = case.short(19, 24, constant=True)
    want = a_numbers.swapaxes(1, 2) @ b_numbers
    check(case, Multiply(), case.node(MatMul(transpose_a=True), [a, b], want.shape), want)


@pytest.mark.parametrize("keys", [8, 21])
@pytest.mark.parametrize("depth", [16, 7])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(case: Case, keys: int, depth: int, causal: bool) -> None:
    shapes = ((2, 3, 11, depth), (2, 3, keys, depth), (2, 3, keys, 19))
    (q, q_), (k, k_), (v, v_) = (case.short(*shape) for shape in shapes)
    scores = q_ @ k_.swapaxes(-1, -2) * 0.3
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    want = raised / raised.sum(-1, keepdims=True) @ v_
    y = case.node(Attention(0.3, causal), [q, k, v], want.shape)
    kernel = case.kernel(case.rounded(y), threads=2)
    for config in FusedAttention().offers(kernel):
        got = case.run(FusedAttention(), kernel, config)[kernel.graph.outputs[0].name]
        # Pairs of weights are rounded, each by up to 2^-9 of itself; together they are 1.
        weights = 2**-9 if case.dtype is bf16 else 1e-5
        np.testing.assert_allclose(
            got.astype(np.float64), want,
            rtol=ROUNDING[case.dtype], atol=weights * np.abs(v_).max(),
        )  # fmt: skip


# bfloat16 where a kernel has it: what it reads, what it multiplies by, what it writes
PLACES = ["left", "right", "output", "all"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["Conv", "depthwise", "MatMul", "chain"])
def test_every_tactic_refuses_or_is_right(case: Case, name: str, place: str) -> None:
    """One that reads float32 where bfloat16 lies would be wrong without a word."""

    def operand(*shape: int, where: str, block: bool = False, scale: float = 1.0) -> Any:
        constant = where == "right"
        if place in (where, "all"):
            return case.short(*shape, block=block, scale=scale, constant=constant)
        made = case.constant(*shape, scale=scale) if constant else case.input(*shape, block=block)
        return made, case.arrays[made.name].astype(np.float64)

    if name == "MatMul":
        a, a_numbers = operand(256, 256, where="left")
        b, b_numbers = operand(256, 512, where="right", scale=1 / 16)
        want = a_numbers @ b_numbers
        y = case.node(MatMul(), [a, b], want.shape)
    else:
        want, ones = None, (1, 1)
        y, want = operand(1, 64, 24, 24, where="left", block=True)
        groups = {"Conv": [1], "depthwise": [64], "chain": [1, 64, 1]}[name]
        for i, g in enumerate(groups):
            side = 1 if name == "chain" and g == 1 else 3
            w, w_numbers = operand(
                64, 64 // g, side, side, where="right", scale=(64 // g * side**2) ** -0.5
            )
            pads = (side // 2,) * 4
            want = convolve(want, w_numbers, ones, pads, ones, g)
            last = i == len(groups) - 1
            y = case.node(Conv(ones, pads, ones, g), [y, w], want.shape, block=last)
    short = place in ("output", "all")
    kernel = case.kernel(case.rounded(y) if short else y, threads=2)
    if place != "right":
        for tactic in (StrassenMultiply(), FusedDepthwise()):
            refusal = tactic.offers(kernel)
            assert isinstance(refusal, No)
    taken = []
    for tactic in TACTICS:
        configs = tactic.offers(kernel)
        if isinstance(configs, No):
            continue
        taken.append(tactic.name)
        got = case.run(tactic, kernel, configs[0])[kernel.graph.outputs[0].name]
        np.testing.assert_allclose(
            got.astype(np.float64), want,
            rtol=ROUNDING[case.dtype] if short else 0,
            atol=error_of(configs[0]) * np.abs(want).max(),
            err_msg=tactic.name,
        )  # fmt: skip
    assert taken or name == "chain"
    if (name, place) == ("chain", "right"):
        assert "depth_first" in taken
    if (name, place) == ("MatMul", "right"):
        assert "strassen" in taken or case.target.isa != "avx512"


@pytest.mark.parametrize("shape", [(1, 35, 49, (13, 18)), (1, 64, 8, (1, 40)), (7, 17, 5, (9, 8))])
def test_winograd_of_any_shape(case: Case, shape: Any) -> None:
    """Oblong tiles, images of one row, and a residual beside."""
    n, c, m, image = shape
    size = tuple(min(3, extent) for extent in image)
    pads = tuple(k // 2 for k in size) * 2
    x, x_numbers = case.short(n, c, *image, block=True)
    w, w_numbers = case.short(m, c, *size, scale=(c * np.prod(size)) ** -0.5, constant=True)
    want = np.maximum(convolve(x_numbers, w_numbers, (1, 1), pads, (1, 1)), 0)
    residual, beside = case.short(*want.shape, block=True)
    y = case.node(Conv((1, 1), pads, (1, 1), 1), [x, w], want.shape, block=True)
    y = case.rounded(case.pointwise("add", case.pointwise("relu", y), residual))
    kernel = case.kernel(y, threads=2)
    sides = [(1, 6)] if image[0] == 1 else [(2, 2), (6, 4)]
    for down, along in sides:
        config = {"down": down, "along": along, "rows": 3, "vectors": 1, "groups": 2, "parts": 1}
        got = case.run(WinogradConvolution(), kernel, config)[y.name]
        np.testing.assert_allclose(
            got.astype(np.float64),
            want + beside,
            rtol=ROUNDING[case.dtype],
            atol=1e-4 * np.abs(want).max(),
        )


SIDES = [(2, 2), (4, 5), (5, 5)]


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("shape", [(35, 49, 1), (64, 17, 2)])
def test_winograd_with_weights_in_halves(case: Case, sides: Any, shape: Any) -> None:
    """Channels whose weights are small, or zeros, lose no more than the others do."""
    c, m, stride = shape
    x, x_numbers = case.short(2, c, 13, 18, block=True)
    w, _ = case.short(m, c, 3, 3, scale=(9 * c) ** -0.5, constant=True)
    sizes = np.resize([1.0, 1e-6, 0.0, 1e4, 3e-3], m).reshape(-1, 1, 1, 1)
    name = case.inputs[1].name
    case.arrays[name] = (case.arrays[name].astype(np.float32) * sizes).astype(case.dtype.numpy)
    w_numbers = case.arrays[name].astype(np.float64)
    strides, pads, ones = (stride, stride), (1, 1, 1, 1), (1, 1)
    want = convolve(x_numbers, w_numbers, strides, pads, ones)
    b = case.constant(m)
    case.arrays[b.name] = (case.arrays[b.name] * sizes.reshape(-1)).astype(np.float32)
    want = want + case.arrays[b.name].astype(np.float64).reshape(-1, 1, 1)
    y = case.node(Conv(strides, pads, ones, 1), [x, w, b], want.shape, block=True)
    kernel = case.kernel(y, threads=2)
    down, along = sides
    config = {"down": down, "along": along, "rows": 3, "vectors": 1, "groups": 2, "parts": 1}
    got = case.run(WinogradConvolution(), kernel, {**config, "halves": 1})[y.name]
    # In all channels together 5x5 errs by 1.6e-3 of the root mean square; single ones by more.
    spread, size = (np.sqrt((array**2).mean((0, 2, 3))) for array in (got - want, want))
    assert np.all(spread <= SHORT_BOUND * size)


def test_who_offers_weights_in_halves(case: Case) -> None:
    """Where operands are bfloat16 and the processor widens float16; in tiles exact enough."""
    x, _ = case.short(1, 256, 14, 14, block=True)
    w, _ = case.short(256, 256, 3, 3, constant=True)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 256, 14, 14), block=True)
    configs = WinogradConvolution().offers(case.kernel(y))
    if isinstance(configs, No):
        pytest.skip("the transforms would cost more than they save here")
    may = case.dtype is bf16 and case.target.isa != "portable"
    assert any(config.get("halves") for config in configs) == may
    assert not any(config.get("halves") for config in configs if config["down"] == 6)


def test_loops_round_once(case: Case) -> None:
    """A chain of functions between bfloat16 tensors: float32 inside, as its casts say."""
    x, numbers = case.short(5, 37)
    y = case.node(Reduce("sum", (1,), True), [x], (5, 1))
    kernel = case.kernel(case.rounded(y))
    got = case.run(Loops(), kernel, {})[kernel.graph.outputs[0].name]
    want = numbers.sum(1, keepdims=True)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=ROUNDING[case.dtype], atol=1e-4)


def test_every_short_float_survives(case: Case) -> None:
    """Widened and rounded again, all numbers are what they were; NaN is still NaN.

    The instructions take denormals of bfloat16 for zeros, and those of float16 for what they are.
    """
    words = np.arange(1 << 16, dtype=np.uint16).view(case.dtype.numpy)
    x, _ = case.short(1 << 16)
    case.arrays["v0"] = words
    kernel = case.kernel(case.rounded(x))
    got = case.run(Loops(), kernel, {})[kernel.graph.outputs[0].name].astype(np.float32)
    want = words.astype(np.float32)
    if "avx512_bf16" in case.target.extras:
        want = np.where(np.abs(want) < 2.0**-126, 0, want)
    np.testing.assert_array_equal(got, want)


def test_products_of_the_ends_of_float16(case: Case) -> None:
    """Denormals are multiplied, 65504 is reached, and what is 65520 or more becomes infinity."""
    if case.dtype is not f16:
        pytest.skip("bfloat16 has the range of float32")
    a, _ = case.short(3, 5)
    b, _ = case.short(5, 19, constant=True)
    left, right = np.zeros((3, 5), np.float16), np.zeros((5, 19), np.float16)
    left[:, 0] = 2.0**-24, 256.0, 256.0
    right[0, :3] = 1.0, 255.875, 255.9375  # 256 times the second is 65504, the third 65520
    case.arrays[case.inputs[0].name], case.arrays[case.inputs[1].name] = left, right
    kernel = case.kernel(case.rounded(case.node(MatMul(), [a, b], (3, 19))))
    with np.errstate(over="ignore"):
        want = (left.astype(np.float64) @ right.astype(np.float64)).astype(np.float16)
    assert want[0, 0] == 2.0**-24
    assert want[1, 1] == 65504
    assert np.isposinf(want[1, 2])
    for config in Multiply().offers(kernel):
        got = case.run(Multiply(), kernel, config)[kernel.graph.outputs[0].name]
        np.testing.assert_array_equal(got, want)


def test_an_operand_read_resized(case: Case) -> None:
    x, x_numbers = case.short(2, 24, 6, 10, block=True)
    w, w_numbers = case.short(35, 24, 1, 1, scale=0.2, constant=True)
    s, s_numbers = case.short(2, 35, 3, 5, block=True)
    op = Resize("nearest", (2, 35, 6, 10), (1.0, 1.0, 2.0, 2.0), "asymmetric", "floor")
    want = convolve(x_numbers, w_numbers, (1, 1), (0, 0, 0, 0), (1, 1))
    want = np.maximum(want + op.reference(s_numbers)[0], 0)
    y = case.node(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), [x, w], want.shape)
    up = case.node(op, [s], want.shape)
    z = case.node(Pointwise("relu"), [case.node(Pointwise("add"), [y, up], want.shape)], want.shape)
    check(case, Direct(), replace(z, type=z.type.with_block(case.target.lanes)), want)


@pytest.mark.parametrize("each", [2, 4, 8])
def test_groups(case: Case, each: int) -> None:
    x, x_numbers = case.short(2, 24, 7, 11, block=True)
    w, w_numbers = case.short(24, each, 3, 3, scale=0.2, constant=True)
    want = convolve(x_numbers, w_numbers, (2, 2), (1, 1, 1, 1), (1, 1), 24 // each)
    op = Conv((2, 2), (1, 1, 1, 1), (1, 1), 24 // each)
    y = case.node(op, [x, w], want.shape, block=True)
    if each < case.target.lanes:
        check(case, Grouped(), y, want)
