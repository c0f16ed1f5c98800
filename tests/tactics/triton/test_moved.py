"""Convolutions whose results are moved and cut on their way to memory, against float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.dtypes import f16, f32
from planck.ir.graph import Value
from planck.ir.types import strides_of
from planck.ops.movement import Reshape, Slice, Transpose
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.triton.convolution import StemConvolution, TensorConvolution
from planck.tactics.triton.depthwise import DepthwiseConvolution
from planck.tactics.triton.tma import TmaProduct
from tests.tactics.triton.test_convolution import TOLERANCE, Layer


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Moved(Layer):
    """A layer with moves behind it; `wanted` by output."""

    def move(self, value: Value, op: Any) -> Value:
        dims = op.infer(value.type.with_block(0))[0].dims
        return self.case.node(op, [value], dims)

    def slice(self, value: Value, start: int, size: int) -> Value:
        dims = value.type.dims
        op = Slice((*(0 for _ in dims[1:]), start), (*dims[:-1], size), (1,) * len(dims))
        return self.move(value, op)

    def in_whole(self, outputs: list[Value]) -> Kernel:
        """The kernel whose outputs are parts of one tensor along the last axis."""
        kernel, width = self.case.kernel(*outputs), sum(v.type.dims[-1] for v in outputs)
        strides = strides_of((*outputs[0].type.dims[:-1], width))
        parts = {v.name: Operand(v.type, strides, aligned=False) for v in outputs}
        return replace(kernel, operands={**kernel.operands, **parts})

    def agree(self, kernel: Kernel, wanted: list[Any], tactic: Any = None, **changes: Any) -> None:
        tactic = tactic or TensorConvolution()
        offers = tactic.offers(kernel)
        assert offers, offers
        found = self.case.run(tactic, kernel, {**offers[0], **changes})
        for value, want in zip(kernel.graph.outputs, wanted, strict=True):
            got = found[value.name].astype(np.float64)
            bound = TOLERANCE[value.type.dtype] if self.dtype is f32 else TOLERANCE[f16]
            assert np.abs(got - want).max() <= bound * np.abs(want).max()


def yolo(layer: Moved, anchors: int, size: int) -> tuple[list[Value], list[Any]]:
    """The three parts of a head as its export says them, each with moves of its own."""
    case, (n, _, h, w) = layer.case, layer.wanted.shape
    grid, boxes = case.constant(1, 1, h, w, 2), case.constant(1, anchors, 1, 1, 2)
    y = sigmoid(layer.wanted.reshape(n, anchors, size, h, w).transpose(0, 1, 3, 4, 2))
    near, far = (case.arrays[v.name].astype(np.float64) for v in (grid, boxes))
    wanted = [(y[..., :2] * 2 + near) * 8, (y[..., 2:4] * 2) ** 2 * far, y[..., 4:]]
    two, eight = case.scalar(2.0), case.scalar(8.0)
    made = []
    for start, count in ((0, 2), (2, 2), (4, size - 4)):
        split = layer.move(layer.made, Reshape((n, anchors, size, h, w)))
        last = layer.move(split, Transpose((0, 1, 3, 4, 2)))
        made.append(case.pointwise("sigmoid", layer.slice(last, start, count)))
    xy, wh, rest = made
    xy = case.pointwise("mul", case.pointwise("add", case.pointwise("mul", xy, two), grid), eight)
    wh = case.pointwise("mul", wh, two)
    wh = case.pointwise("mul", case.pointwise("mul", wh, wh), boxes)
    return [xy, wh, rest], wanted


@pytest.mark.parametrize("dtype", [f16, f32])
@pytest.mark.parametrize(
    ("n", "h", "w", "anchors", "classes"), [(1, 5, 7, 3, 5), (3, 6, 4, 2, 1), (2, 1, 9, 3, 80)]
)
def test_yolo(n: int, h: int, w: int, anchors: int, classes: int, dtype: Any) -> None:
    layer = Moved((n, 24, h, w), anchors * (5 + classes), 1, dtype)
    outputs, wanted = yolo(layer, anchors, 5 + classes)
    kernel = layer.in_whole(outputs)
    layer.agree(kernel, wanted)
    layer.agree(kernel, wanted, bm=32, bn=32, splits=1, trigger=3)
    source = TensorConvolution().build(kernel, TensorConvolution().offers(kernel)[0]).source
    assert source.count("_sigmoid(acc") == 1, "once for all parts"


def test_shared_sums() -> None:
    layer = Moved((1, 256, 3, 5), 18, 1)
    outputs, wanted = yolo(layer, 2, 9)
    layer.agree(layer.in_whole(outputs), wanted, splits=2, bm=32, bn=32)


def test_tensor_maps() -> None:
    layer = Moved((2, 128, 12, 13), 3 * 25, 1)
    outputs, wanted = yolo(layer, 3, 25)
    kernel = layer.in_whole(outputs)
    for config in TmaProduct().offers(kernel)[:2]:
        layer.agree(kernel, wanted, TmaProduct(), **config)


@pytest.mark.parametrize("groups", [1, 3])
def test_boxes_of_every_pixel(groups: int) -> None:
    """Heads of SSD and RetinaNet: pixels, then anchors, then classes."""
    layer = Moved((2, 24, 5, 7), 12, 3, pad=1, groups=groups).then("silu").plus()
    last = layer.move(layer.made, Transpose((0, 2, 3, 1)))
    rows = layer.move(last, Reshape((2, 5 * 7 * 3, 4)))
    wanted = layer.wanted.transpose(0, 2, 3, 1).reshape(2, -1, 4)
    layer.agree(layer.case.kernel(layer.case.rounded(rows)), [wanted], bm=32)


def test_images_without_batch_or_columns() -> None:
    layer = Moved((1, 16, 11), 10, 3, pad=1)
    last = layer.move(layer.made, Transpose((0, 2, 1)))
    wanted = layer.wanted.transpose(0, 2, 1)
    layer.agree(layer.case.kernel(layer.case.pointwise("sigmoid", last)), [sigmoid(wanted)])


def test_patches_of_a_picture() -> None:
    """A transformer's first layer, with a position's own vector."""
    layer = Moved((2, 3, 12, 8), 20, 4, stride=4, rows=True, image=f32)
    flat = layer.move(layer.made, Reshape((2, 20, 6)))
    last = layer.move(flat, Transpose((0, 2, 1)))
    beside = layer.case.constant(1, 6, 20)
    wanted = layer.wanted.reshape(2, 20, 6).transpose(0, 2, 1) + layer.case.arrays[beside.name]
    made = layer.case.pointwise("add", last, beside)
    layer.agree(layer.case.kernel(made), [wanted], StemConvolution())


def test_what_is_refused() -> None:
    layer = Moved((1, 16, 4, 6), 12, 1)
    flat = layer.move(layer.made, Reshape((1, 12 * 4, 6)))
    odd = layer.move(layer.move(flat, Reshape((1, 9, 32))), Transpose((0, 2, 1)))
    reply = TensorConvolution().offers(layer.case.kernel(odd))
    assert "mixed up" in str(reply)
    assert not DepthwiseConvolution().offers(layer.case.kernel(odd))

    layer = Moved((1, 16, 4, 6), 12, 1)
    last = layer.move(layer.made, Transpose((0, 2, 3, 1)))
    parts = [layer.slice(last, 0, 3), layer.slice(last, 2, 3)]
    assert "share" in str(TensorConvolution().offers(layer.case.kernel(*parts)))

    layer = Moved((1, 16, 4, 4), 12, 1)
    last = layer.move(layer.made, Transpose((0, 1, 3, 2)))
    met = layer.case.pointwise("add", layer.made, last)
    assert "meet" in str(TensorConvolution().offers(layer.case.kernel(met)))
