"""Convolutions for GPUs against float64: odd sizes, epilogues, parts, shared sums, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.codegen.triton.compile import compile_cubin
from planck.dtypes import bf16, f16, f32
from planck.ir.graph import Node, Value
from planck.ir.types import TensorType
from planck.ops.movement import Slice
from planck.ops.nn import Conv, ConvTranspose, Resize
from planck.ops.pointwise import Cast
from planck.tactics.kernel import Operand
from planck.tactics.triton.convolution import StemConvolution, TensorConvolution
from planck.tactics.triton.depthwise import DepthwiseConvolution
from planck.target import Target
from tests.tactics.conftest import convolve
from tests.tactics.triton.conftest import H100, TritonCase

# Largest error over largest result: results rounded to 16 bits, sums of float32 in another order.
TOLERANCE = {f16: 6e-4, bf16: 5e-3, f32: 2e-6}
ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x < 0, 0.1 * x, x),
}


class Layer:
    """A convolution with its operands and what it should give, step by step."""

    def __init__(
        self, x: tuple[int, ...], m: int, r: int = 3, dtype: Any = f16, *, stride: int = 1,
        pad: int = 0, dilation: int = 1, groups: int = 1, rows: bool = False, image: Any = None,
    ) -> None:  # fmt: skip
        self.case, self.dtype = TritonCase(dtype=dtype), dtype
        self.own = image or dtype
        c, spatial = x[1], x[2:]
        wide, array = self.operand(x, not rows, image or dtype)
        taps = (r,) * len(spatial)
        w, weights = self.operand((m, c // groups, *taps), False, dtype, constant=True,
                                  scale=1 / np.sqrt(c // groups * r ** len(spatial)))  # fmt: skip
        bias = self.case.constant(m)
        rank = len(spatial)
        strides, pads, dilations = (stride,) * rank, (pad,) * 2 * rank, (dilation,) * rank
        self.wanted = convolve(array, weights, strides, pads, dilations, groups)
        self.wanted += self.case.arrays[bias.name].astype(np.float64).reshape(-1, *[1] * rank)
        op = Conv(strides, pads, dilations, groups)
        self.made = self.case.node(op, [wide, w, bias], self.wanted.shape, block=True)

    def operand(
        self, shape: tuple[int, ...], block: bool, dtype: Any, constant: bool = False,
        scale: float = 1.0,
    ) -> Any:  # fmt: skip
        case = self.case
        if dtype is not f32:
            case.dtype = dtype
            return case.short(*shape, block=block, constant=constant, scale=scale)
        value = case.input(*shape, block=block, scale=scale)
        if constant:
            case.constants.add(value.name)
        return value, case.arrays[value.name].astype(np.float64)

    def then(self, fn: str) -> Layer:
        more = [self.case.scalar(0.1)] if fn == "leaky_relu" else []
        self.made = self.case.pointwise(fn, self.made, *more)
        self.wanted = ACTIVATIONS[fn](self.wanted)
        return self

    def plus(self) -> Layer:
        beside, array = self.operand(self.wanted.shape, True, self.dtype)
        self.made = self.case.pointwise("add", self.made, beside)
        self.wanted = self.wanted + array
        return self

    def finish(self) -> Value:
        self.case.dtype = self.dtype
        return self.made if self.dtype is f32 else self.case.rounded(self.made)

    def check(self, tactic: Any, more: Any = None, **changes: Any) -> None:
        kernel = more or self.case.kernel(self.finish())
        offers = tactic.offers(kernel)
        assert offers, offers
        found = self.case.run(tactic, kernel, {**offers[0], **changes})
        (got,) = found.values()
        self.compare(got, self.wanted)

    def compare(self, got: Any, wanted: Any) -> None:
        error = np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max()
        assert error <= TOLERANCE[self.dtype]


@pytest.mark.parametrize("dtype", [f16, bf16, f32])
@pytest.mark.parametrize(
    ("x", "m", "r", "more"),
    [
        ((1, 5, 7, 9), 17, 3, {"pad": 1}),
        ((7, 17, 5, 6), 9, 3, {"stride": 2, "pad": 1}),
        ((2, 24, 6, 9), 40, 1, {}),
        ((1, 16, 9, 8), 16, 1, {"stride": 2}),
        ((1, 40, 8, 9), 8, 3, {"pad": 2, "dilation": 2}),
        ((2, 8, 11), 20, 5, {"pad": 2, "stride": 2}),
        ((2, 24, 6, 5), 10, 3, {"pad": 1, "rows": True}),
    ],
)
def test_against_float64(x: Any, m: int, r: int, more: Any, dtype: Any) -> None:
    Layer(x, m, r, dtype, **more).then("silu").plus().check(TensorConvolution(), bm=32)


@pytest.mark.parametrize("spatial", [(1, 1), (1, 6), (6, 1), (1,)])
def test_images_of_one_row_or_column(spatial: Any) -> None:
    """Of several taps along them one meets the image."""
    Layer((2, 16, *spatial), 9, pad=1).check(TensorConvolution(), bm=32)
    Layer((2, 16, *spatial), 16, 5, pad=2, groups=16).check(DepthwiseConvolution())
    Layer((2, 16, *spatial), 16, 7, pad=3, groups=16).check(DepthwiseConvolution())
    Layer((2, 3, *spatial), 8, pad=1, rows=True).check(StemConvolution())


@pytest.mark.parametrize("splits", [2, 4])
def test_shared_sums(splits: int) -> None:
    layer = Layer((1, 64, 7, 7), 40, pad=1).plus().then("relu")
    layer.check(TensorConvolution(), splits=splits, bm=32, bn=32, trigger=3, fetch=True)


@pytest.mark.parametrize("splits", [1, 3])
def test_held_weights(splits: int) -> None:
    layer = Layer((1, 24, 7, 9), 40, pad=1).plus().then("relu")
    layer.check(TensorConvolution(), splits=splits, bm=32, bn=32, bk=32, held=True)


def test_held_weights_of_groups_and_by_single_channels() -> None:
    Layer((1, 64, 7, 6), 64, pad=1, groups=2).check(TensorConvolution(), held=True)
    Layer((2, 16, 7, 5), 16, 3, pad=1, groups=16).check(DepthwiseConvolution(), held=True)


def test_short_sums_of_few_blocks_may_hold_their_weights() -> None:
    def held(x: tuple[int, ...]) -> list[Any]:
        layer = Layer(x, 256, 1)
        offers = TensorConvolution().offers(layer.case.kernel(layer.finish()))
        assert offers, offers
        return [c for c in offers[:10] if c["held"]]

    assert len(held((1, 256, 14, 14))) == 3
    assert not held((64, 256, 56, 56))


@pytest.mark.parametrize(("c", "m", "groups"), [(24, 48, 3), (32, 64, 8), (12, 18, 6), (64, 64, 2)])
def test_groups(c: int, m: int, groups: int) -> None:
    Layer((1, c, 7, 6), m, pad=1, groups=groups).then("leaky_relu").check(TensorConvolution())


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize(
    ("c", "r", "stride", "pad", "image"),
    [
        (3, 7, 2, 3, None),
        (3, 3, 2, 1, f32),
        (1, 5, 1, 0, f32),
        (4, 6, 2, 2, f16),
        (3, 3, 1, 1, bf16),
    ],
)
def test_stems(c: int, r: int, stride: int, pad: int, image: Any, rows: bool) -> None:
    layer = Layer((2, c, 15, 13), 20, r, image=image, stride=stride, pad=pad, rows=rows)
    kernel = layer.then("relu").case.kernel(layer.finish())
    for config in StemConvolution().offers(kernel)[:6:2]:
        layer.check(StemConvolution(), kernel, **config)


@pytest.mark.parametrize("dtype", [f16, f32])
@pytest.mark.parametrize(
    ("c", "r", "more"),
    [(17, 3, {"pad": 1}), (40, 3, {"pad": 1, "stride": 2}), (8, 7, {"pad": 3}),
     (24, 5, {"dilation": 2, "pad": 4})],
)  # fmt: skip
def test_depthwise(c: int, r: int, more: Any, dtype: Any) -> None:
    Layer((2, c, 9, 11), c, r, dtype, groups=c, **more).then("silu").check(DepthwiseConvolution())


def test_a_part_of_a_concatenation_is_read_and_written() -> None:
    """Beside it lies what is not its own; pixels are as far apart as the whole's."""
    layer = Layer((2, 13, 5, 4), 11, pad=1).plus()
    kernel = layer.case.kernel(layer.finish())
    for value in (*kernel.graph.inputs[:1], *kernel.graph.outputs):
        n, _, h, w, _ = value.type.physical
        type_ = value.type
        kernel.operands[value.name] = Operand(type_, (48 * h * w * n, 48, 48 * w, 48, 1), False)  # type: ignore[index]
        kernel.operands[value.name] = Operand(type_, (48 * h * w, 48, 48 * w, 48, 1), False)  # type: ignore[index]
    layer.check(TensorConvolution(), kernel)


@pytest.mark.parametrize("fixed", [True, False])
def test_operands_along_the_channels_and_scalars(fixed: bool) -> None:
    """Known when the plan is built, or read as they lie: in a block of their own."""
    layer = Layer((2, 16, 5, 4), 11, 1)
    slope, slopes = layer.operand((1, 11, 1, 1), not fixed, f16, constant=fixed)
    factor, number = layer.operand((1,), False, f16, constant=fixed)
    layer.made = layer.case.pointwise("prelu", layer.made, slope)
    layer.made = layer.case.pointwise("mul", layer.made, factor)
    layer.wanted = np.where(layer.wanted < 0, layer.wanted * slopes, layer.wanted) * number
    layer.check(TensorConvolution())


def test_parts() -> None:
    layer = Layer((1, 24, 6, 5), 40, 1).then("silu")
    outputs, whole, wanted = [], layer.made, layer.wanted
    for start, size in ((0, 24), (24, 9), (33, 7)):
        shape = (1, size, 6, 5)
        cut = Value(f"part{start}", TensorType(shape, f32, -(-size // 8) * 8))
        op = Slice((0, start, 0, 0), shape, (1, 1, 1, 1))
        layer.case.nodes.append(Node(op, (whole,), (cut,)))
        outputs.append(layer.case.rounded(cut))
    kernel = layer.case.kernel(*outputs)
    found = layer.case.run(TensorConvolution(), kernel, TensorConvolution().offers(kernel)[0])
    for value, start in zip(outputs, (0, 24, 33), strict=True):
        layer.compare(found[value.name], wanted[:, start : start + value.type.dims[1]])


def test_a_resized_image_is_added() -> None:
    layer = Layer((1, 16, 6, 8), 24, 1)
    wide, array = layer.operand((1, 24, 3, 4), True, f16)
    resize = Resize("nearest", (1, 24, 6, 8), (1, 1, 2, 2), "asymmetric", "floor")
    larger = layer.case.node(resize, [wide], (1, 24, 6, 8), block=True)
    layer.made = layer.case.pointwise("add", layer.made, larger)
    layer.wanted = layer.wanted + array.repeat(2, 2).repeat(2, 3)
    layer.then("relu").check(TensorConvolution())


@pytest.mark.parametrize(
    ("r", "stride", "pad", "extra", "dilation", "groups"),
    [(2, 2, 0, 0, 1, 1), (3, 2, 1, 1, 1, 1), (4, 2, 1, 0, 1, 1), (3, 1, 1, 0, 2, 1),
     (5, 3, 2, 1, 1, 2)],
)  # fmt: skip
def test_transposed(r: int, stride: int, pad: int, extra: int, dilation: int, groups: int) -> None:
    case = TritonCase(dtype=f16)
    x, images = case.short(2, 24, 5, 4, block=True)
    w, weights = case.short(24, 10 // groups, r, r, constant=True, scale=0.1)
    op = ConvTranspose((stride,) * 2, (pad,) * 4, (dilation,) * 2, groups, (extra,) * 2)
    (wanted,) = op.reference(images, weights)
    made = case.pointwise("relu", case.node(op, [x, w], wanted.shape, block=True))
    kernel = case.kernel(case.rounded(made))
    offers = TensorConvolution().offers(kernel)
    assert offers, offers
    (got,) = case.run(TensorConvolution(), kernel, offers[0]).values()
    error = np.abs(got.astype(np.float64) - np.maximum(wanted, 0)).max() / np.abs(wanted).max()
    assert error <= TOLERANCE[f16]


def test_rows_are_written() -> None:
    layer = Layer((2, 16, 5, 6), 10, 1)
    layer.made = Value(layer.made.name, TensorType(layer.made.type.shape, f32))
    node = layer.case.nodes.pop()
    layer.case.nodes.append(Node(node.op, node.inputs, (layer.made,)))
    layer.check(TensorConvolution())


def test_what_is_refused() -> None:
    def reason(layer: Layer, tactic: Any) -> str:
        return str(tactic.offers(layer.case.kernel(layer.finish())))

    assert "too few" in reason(Layer((1, 3, 9, 9), 8), TensorConvolution())
    assert "too long" in reason(Layer((1, 32, 9, 9), 8), StemConvolution())
    assert "one filter" in reason(Layer((1, 96, 9, 9), 96, groups=96), TensorConvolution())
    assert "not one filter" in reason(Layer((1, 32, 9, 9), 8), DepthwiseConvolution())


# input, output channels, taps, what else; the tactic; bytes of shared memory a block may have
A100 = Target("sm_80", "cuda", cores=108, l1_bytes=163 * 1024)
SIZES = {
    "resnet50 3x3 256@14": ((8, 256, 14, 14), 256, 3, {"pad": 1}, TensorConvolution()),
    "resnet50 1x1 64-256@56": ((64, 64, 56, 56), 256, 1, {}, TensorConvolution()),
    "resnet50 stem": ((1, 3, 224, 224), 64, 7,
                      {"stride": 2, "pad": 3, "rows": True, "image": f32}, StemConvolution()),
    "yolov5s 1x1 512-255@20": ((1, 512, 20, 20), 255, 1, {}, TensorConvolution()),
    "mobilenetv2 3x3/2 96@112": ((1, 96, 112, 112), 96, 3,
                                 {"stride": 2, "pad": 1, "groups": 96}, DepthwiseConvolution()),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_compiles(name: str) -> None:
    x, m, r, more, tactic = SIZES[name]
    case, dtype = TritonCase(dtype=f16), f16
    rows, image = more.pop("rows", False), more.pop("image", None)
    value = case.input(*x, block=not rows, dtype=image or dtype)
    wide = value if image is f32 else case.node(Cast(f32), [value], x)
    groups, stride, pad = more.get("groups", 1), more.get("stride", 1), more.get("pad", 0)
    more |= {"rows": rows, "image": image}
    w, _ = case.short(m, x[1] // groups, r, r, constant=True)
    size = (x[2] + 2 * pad - r) // stride + 1
    op = Conv((stride,) * 2, (pad,) * 4, (1, 1), groups)
    made = case.node(op, [wide, w, case.constant(m)], (x[0], m, size, size), block=True)
    kernel = case.kernel(case.rounded(case.pointwise("relu", made)))
    offers = tactic.offers(kernel)
    assert offers, offers
    cubin = case.compile(tactic, kernel, offers[0])
    assert cubin.shared_bytes <= H100.l1_bytes
    assert cubin.registers * cubin.threads <= 65536


@pytest.mark.parametrize("dtype", [f16, f32])
def test_compiles_for_what_knows_no_dependent_launches(dtype: Any) -> None:
    layer = Layer((1, 32, 9, 9), 32, 3, dtype, pad=1).then("silu")
    layer.case.target = A100
    kernel = layer.case.kernel(layer.finish())
    code = TensorConvolution().build(kernel, TensorConvolution().offers(kernel)[0])
    assert not code.dependent
    assert "gdc_wait()" not in code.source
    assert compile_cubin(code, A100).image
