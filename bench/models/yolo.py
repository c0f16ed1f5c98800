"""YOLOv5s (v6.0, without Focus) and YOLOv8n with their whole heads, as ultralytics exports them.

The layouts are those of the published yolov5s.yaml and yolov8n.yaml; SiLU is Sigmoid and Mul, and
batch norms are kept as nodes so that the compiler has them to fold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from bench.models.net import Net, Tensor

EPSILON = 1e-3  # ultralytics' batch norm
CLASSES = 80
REG_MAX = 16
HEAD_GAIN = 0.8  # keeps most scores out of the sigmoid's flat ends
BLOCK_GAIN = 0.8  # at 1, SiLU would amplify with depth: it passes on more of a large signal
STRIDES = (8, 16, 32)
# yolov5s.yaml, pixels: (width, height) of three anchors for each stride
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def yolov5s(batch: int, small: bool) -> ModelProto:
    """YOLOv5s: f32[N, 3, 640, 640] -> f32[N, 25200, 85] (cx cy w h object classes), pixels.

    small: an eighth of the width, 64 pixels, 252 boxes.
    """
    width, side = (4, 64) if small else (32, 640)
    net = Net("yolov5s", seed=5)
    x = net.input("images", (batch, 3, side, side), 1 / 12)
    x = _block(net, x, width, 6, 2, pad=2)
    x = _c3(net, _block(net, x, 2 * width, 3, 2), 2 * width, 1)
    p3 = _c3(net, _block(net, x, 4 * width, 3, 2), 4 * width, 2)
    p4 = _c3(net, _block(net, p3, 8 * width, 3, 2), 8 * width, 3)
    x = _c3(net, _block(net, p4, 16 * width, 3, 2), 16 * width, 1)
    x = _sppf(net, x)
    top = _block(net, x, 8 * width, 1)
    x = _c3(net, net.concat([net.upsample(top), p4]), 8 * width, 1, shortcut=False)
    middle = _block(net, x, 4 * width, 1)
    low = _c3(net, net.concat([net.upsample(middle), p3]), 4 * width, 1, shortcut=False)
    x = net.concat([_block(net, low, 4 * width, 3, 2), middle])
    mid = _c3(net, x, 8 * width, 1, shortcut=False)
    x = net.concat([_block(net, mid, 8 * width, 3, 2), top])
    high = _c3(net, x, 16 * width, 1, shortcut=False)
    net.output(_detect_v5(net, (low, mid, high)), "output0")
    return net.model()


def yolov8n(batch: int, small: bool) -> ModelProto:
    """YOLOv8n: f32[N, 3, 640, 640] -> f32[N, 84, 8400] (cx cy w h classes), pixels.

    small: a quarter of the width, 64 pixels, 84 boxes.
    """
    width, side = (4, 64) if small else (16, 640)
    net = Net("yolov8n", seed=8)
    x = net.input("images", (batch, 3, side, side), 1 / 12)
    x = _block(net, x, width, 3, 2)
    x = _c2f(net, _block(net, x, 2 * width, 3, 2), 2 * width, 1)
    p3 = _c2f(net, _block(net, x, 4 * width, 3, 2), 4 * width, 2)
    p4 = _c2f(net, _block(net, p3, 8 * width, 3, 2), 8 * width, 2)
    x = _c2f(net, _block(net, p4, 16 * width, 3, 2), 16 * width, 1)
    p5 = _sppf(net, x)
    top = _c2f(net, net.concat([net.upsample(p5), p4]), 8 * width, 1, shortcut=False)
    low = _c2f(net, net.concat([net.upsample(top), p3]), 4 * width, 1, shortcut=False)
    x = net.concat([_block(net, low, 4 * width, 3, 2), top])
    mid = _c2f(net, x, 8 * width, 1, shortcut=False)
    x = net.concat([_block(net, mid, 8 * width, 3, 2), p5])
    high = _c2f(net, x, 16 * width, 1, shortcut=False)
    net.output(_detect_v8(net, (low, mid, high)), "output0")
    return net.model()


def _block(
    net: Net, x: Tensor, channels: int, size: int = 1, stride: int = 1, pad: int | None = None
) -> Tensor:
    x = net.batch_norm(net.conv(x, channels, size, stride, pad), EPSILON, BLOCK_GAIN)
    return net.activation(x, "silu")


def _c3(net: Net, x: Tensor, channels: int, depth: int, shortcut: bool = True) -> Tensor:
    hidden = channels // 2
    y = _block(net, x, hidden)
    for _ in range(depth):
        z = _block(net, _block(net, y, hidden), hidden, 3)
        y = net.add(y, z) if shortcut else z
    return _block(net, net.concat([y, _block(net, x, hidden)]), channels)


def _c2f(net: Net, x: Tensor, channels: int, depth: int, shortcut: bool = True) -> Tensor:
    hidden = channels // 2
    parts = net.split(_block(net, x, channels), (hidden, hidden), axis=1)
    for _ in range(depth):
        y = _block(net, _block(net, parts[-1], hidden, 3), hidden, 3)
        parts.append(net.add(parts[-1], y) if shortcut else y)
    return _block(net, net.concat(parts), channels)


def _sppf(net: Net, x: Tensor) -> Tensor:
    parts = [_block(net, x, x.channels // 2)]
    for _ in range(3):
        parts.append(net.max_pool(parts[-1], 5, 1, 2))
    return _block(net, net.concat(parts), x.channels)


def _detect_v5(net: Net, levels: Sequence[Tensor]) -> Tensor:
    boxes = []
    for x, stride, anchors in zip(levels, STRIDES, ANCHORS, strict=True):
        n, _, h, w = x.shape
        y = net.conv(x, 3 * (CLASSES + 5), 1, bias=True, gain=HEAD_GAIN)
        y = net.transpose(net.reshape(y, (n, 3, CLASSES + 5, h, w)), (0, 1, 3, 4, 2))
        y = net.op("Sigmoid", [y], y.shape)
        centre, size, scores = net.split(y, (2, 2, CLASSES + 1), axis=4)
        grid = net.const(_grid(h, w, -0.5).reshape(1, 1, h, w, 2), "grid")
        grid = net.op("Expand", [grid, net.const([1, 3, h, w, 2], "shape")], (1, 3, h, w, 2))
        two, pixels = net.const(np.float32(2.0)), net.const(np.float32(stride))
        centre = net.op("Add", [net.op("Mul", [centre, two], centre.shape), grid], centre.shape)
        centre = net.op("Mul", [centre, pixels], centre.shape)
        anchor = net.const(np.array(anchors, np.float32).reshape(1, 3, 1, 1, 2), "anchors")
        size = net.op("Pow", [net.op("Mul", [size, two], size.shape), two], size.shape)
        size = net.op("Mul", [size, anchor], size.shape)
        y = net.concat([centre, size, scores], axis=4)
        boxes.append(net.reshape(y, (n, 3 * h * w, CLASSES + 5)))
    return net.concat(boxes, axis=1)


def _detect_v8(net: Net, levels: Sequence[Tensor]) -> Tensor:
    box_width = max(16, levels[0].channels // 4, 4 * REG_MAX)
    score_width = max(levels[0].channels, CLASSES)
    flat = []
    for x in levels:
        n, _, h, w = x.shape
        box = _block(net, _block(net, x, box_width, 3), box_width, 3)
        box = net.conv(box, 4 * REG_MAX, 1, bias=True, gain=HEAD_GAIN)
        score = _block(net, _block(net, x, score_width, 3), score_width, 3)
        score = net.conv(score, CLASSES, 1, bias=True, gain=HEAD_GAIN)
        both = net.concat([box, score])
        flat.append(net.reshape(both, (n, both.channels, h * w)))
    box, score = net.split(net.concat(flat, axis=2), (4 * REG_MAX, CLASSES), axis=1)
    centres = np.concatenate([_grid(x.shape[2], x.shape[3], 0.5) for x in levels])
    strides = np.concatenate(
        [np.full(x.shape[2] * x.shape[3], s) for x, s in zip(levels, STRIDES, strict=True)]
    )
    box = _decode_v8(net, _distances(net, box), centres.T[None], strides[None, None])
    return net.concat([box, net.op("Sigmoid", [score], score.shape)], axis=1)


def _distances(net: Net, box: Tensor) -> Tensor:
    """The expectation over REG_MAX bins, as a convolution by 0..15 (distribution focal loss)."""
    n, _, total = box.shape
    bins = net.transpose(net.reshape(box, (n, 4, REG_MAX, total)), (0, 2, 1, 3))
    bins = net.op("Softmax", [bins], bins.shape, axis=1)
    ramp = net.const(np.arange(REG_MAX, dtype=np.float32).reshape(1, REG_MAX, 1, 1), "w")
    mean = net.op("Conv", [bins, ramp], (n, 1, 4, total), kernel_shape=[1, 1])
    return net.reshape(mean, (n, 4, total))


def _decode_v8(
    net: Net,
    distances: Tensor,
    centres: npt.NDArray[np.float32],
    strides: npt.NDArray[np.float64],
) -> Tensor:
    n, _, total = distances.shape
    shape = (n, 2, total)
    axis = net.const([1], "axes")

    def half(start: int) -> Tensor:
        return net.op(
            "Slice",
            [distances, net.const([start], "start"), net.const([start + 2], "end"), axis],
            shape,
        )

    anchor = net.const(np.ascontiguousarray(centres), "anchors")
    low = net.op("Sub", [anchor, half(0)], shape)
    high = net.op("Add", [anchor, half(2)], shape)
    centre = net.op("Div", [net.op("Add", [low, high], shape), net.const(np.float32(2.0))], shape)
    box = net.concat([centre, net.op("Sub", [high, low], shape)], axis=1)
    return net.op("Mul", [box, net.const(strides.astype(np.float32), "strides")], box.shape)


def _grid(height: int, width: int, offset: float) -> npt.NDArray[np.float32]:
    """Cell positions (x, y) plus offset, row by row: f32[height * width, 2]."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(offset)
    return np.stack([x.ravel(), y.ravel()], axis=1)
