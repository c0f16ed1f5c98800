"""One small function per Darknet layer: a section and its inputs -> nodes.

source: Darknet (AlexeyAB's and pjreddie's trees), src/parser.c for options and the order of
        weights, the layer's own src/*_layer.c for its formula
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from planck.dtypes import Array
from planck.errors import ModelFormatError
from planck.frontends.darknet.cfg import Section
from planck.frontends.darknet.drawer import Drawer
from planck.ir.graph import Value
from planck.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from planck.ops.nn import BatchNorm, Conv, MatMul, Pool, Resize, Softmax
from planck.ops.reduce import Reduce

BATCH_NORM_EPSILON: Final = 1e-5  # src/blas.c, normalize_cpu


def convolutional(net: Drawer, s: Section) -> Value:
    """Weights: bias (with batch norm: then scale, mean, variance), then the filters."""
    x = _image(net)
    _refuse(s, "antialiasing", "binary", "xnor", "share_index")
    filters, size = s.integer("filters", 1), s.integer("size", 1, most=1 << 10)
    stride = s.integer("stride", 1, most=1 << 10)
    stride_x, stride_y = s.integer("stride_x", stride), s.integer("stride_y", stride)
    dilation, groups = s.integer("dilation", 1, most=1 << 10), s.integer("groups", 1)
    pad = s.integer("padding", 0, least=0, most=1 << 10)
    if s.integer("pad", 0, least=0):
        pad = size // 2
    pad *= dilation
    channels = x.type.dims[1]
    if channels % groups or filters % groups:
        raise ModelFormatError(
            f"groups={groups} does not divide {channels} channels and {filters} filters", at=s.at
        )
    bias = net.take((filters,), "bias")
    statistics = None
    if s.integer("batch_normalize", 0, least=0) or s.integer("cbn", 0, least=0):
        statistics = [net.take((filters,), what) for what in ("scale", "mean", "variance")]
    shape = (filters, channels // groups, size, size)
    kernel = net.take(shape, "weights")
    if s.integer("flipped", 0, least=0):  # the file holds the matrix [inputs of a filter, filters]
        kernel = np.ascontiguousarray(kernel.reshape(-1, filters).T).reshape(shape)
    op = Conv((stride_y, stride_x), (pad,) * 4, (dilation,) * 2, groups)
    y = net.emit(op, x, net.const(kernel, "w"), *([] if statistics else [net.const(bias, "b")]))
    if statistics:
        y = _batch_norm(net, y, bias, *statistics)
    return net.activate(y, s.text("activation", "logistic"))


def _batch_norm(net: Drawer, x: Value, bias: Array, scale: Array, mean: Array, var: Array) -> Value:
    parts = (net.const(a, "bn") for a in (scale, bias, mean, np.abs(var)))
    return net.emit(BatchNorm(BATCH_NORM_EPSILON), x, *parts)


def connected(net: Drawer, s: Section) -> Value:
    """Weights: bias, matrix [outputs, inputs], then with batch norm scale, mean, variance."""
    x = net.x
    n, inputs = x.type.dims[0], int(np.prod(x.type.dims[1:]))
    outputs = s.integer("output", 1)
    bias = net.take((outputs,), "bias")
    matrix = net.take((outputs, inputs), "weights")
    y = net.emit(Reshape((n, inputs)), x)
    y = net.emit(MatMul(False, True), y, net.const(matrix, "w"))
    if s.integer("batch_normalize", 0, least=0):
        scale, mean, variance = (
            net.take((outputs,), what) for what in ("scale", "mean", "variance")
        )
        gain = scale / np.sqrt(np.abs(variance) + np.float32(BATCH_NORM_EPSILON))
        y = net.pointwise("mul", y, net.const(gain, "gain"))
        bias = bias - mean * gain
    y = net.pointwise("add", y, net.const(bias, "b"))
    return net.activate(net.emit(Reshape((n, outputs, 1, 1)), y), s.text("activation", "logistic"))


def shortcut(net: Drawer, s: Section) -> Value:
    """Adds earlier layers; of layers with other channels the common ones are added."""
    x = _image(net)
    if s.text("weights_type", "none") not in ("none", ""):
        raise ModelFormatError("a shortcut with weights is not supported", at=s.at)
    for number in s.integers("from"):
        other = net.layer(number)
        have, want = other.type.dims[1], x.type.dims[1]
        if other.type.dims[2:] != x.type.dims[2:]:
            raise ModelFormatError(
                f"shortcut adds {other.type} to {x.type}: only channels may differ", at=s.at
            )
        if have > want:
            other = _channels(net, other, 0, want)
        elif have < want:
            pads = (0, 0, 0, 0, 0, want - have, 0, 0)
            other = net.emit(Pad(pads, "constant"), other, net.const(0.0, "zero"))
        x = net.pointwise("add", x, other)
    return net.activate(x, s.text("activation", "linear"))


def route(net: Drawer, s: Section) -> Value:
    """Joins earlier layers along the channels, or takes one of `groups` shares of each."""
    groups, group = s.integer("groups", 1), s.integer("group_id", 0, least=0)
    parts = []
    for number in s.integers("layers"):
        x = net.layer(number)
        channels = x.type.dims[1]
        if channels % groups or group >= groups:
            raise ModelFormatError(
                f"group {group} of {groups} cannot be taken of {channels} channels", at=s.at
            )
        share = channels // groups
        parts.append(x if groups == 1 else _channels(net, x, group * share, share))
    if not parts:
        raise ModelFormatError("route names no layers", at=s.at)
    return parts[0] if len(parts) == 1 else net.emit(Concat(1), *parts)


def maxpool(net: Drawer, s: Section) -> Value:
    """Windows start at -(padding // 2); what lies outside counts as minus infinity.

    source: src/maxpool_layer.c: out = (in + padding - size) / stride + 1, padding = size - 1 unless
            given
    """
    x = _image(net)
    _refuse(s, "antialiasing", "maxpool_depth")
    stride = s.integer("stride", 1, most=1 << 10)
    strides = (s.integer("stride_y", stride), s.integer("stride_x", stride))
    size = s.integer("size", stride, most=1 << 10)
    padding = s.integer("padding", size - 1, least=0, most=1 << 11)
    begin = padding // 2
    ends = []
    for side, stride in zip(x.type.dims[2:], strides, strict=True):
        out = (side + padding - size) // stride + 1
        if out < 1:
            raise ModelFormatError(f"a window of {size} does not fit into {x.type}", at=s.at)
        ends.append((out - 1) * stride + size - side - begin)
    if begin >= size or any(end >= size for end in ends):
        raise ModelFormatError(f"padding={padding} leaves windows of size={size} empty", at=s.at)
    crops = [min(end, 0) for end in ends]
    if any(crops):  # windows that stop short of the border
        sizes = (*x.type.dims[:2], *(n + c for n, c in zip(x.type.dims[2:], crops, strict=True)))
        x = net.emit(Slice((0, 0, 0, 0), sizes, (1, 1, 1, 1)), x)
    pads = (begin, begin, *(max(end, 0) for end in ends))
    return net.emit(Pool("max", (size, size), strides, pads, (1, 1)), x)


def avgpool(net: Drawer, s: Section) -> Value:
    return net.emit(Reduce("mean", (2, 3), True), _image(net))


def upsample(net: Drawer, s: Section) -> Value:
    """Nearest neighbour; every pixel becomes stride x stride equal ones."""
    x = _image(net)
    stride, scale = s.integer("stride", 2, most=1 << 6), s.decimal("scale", 1.0)
    n, c, h, w = x.type.dims
    if stride > 1:
        sizes, scales = (n, c, h * stride, w * stride), (1.0, 1.0, float(stride), float(stride))
        x = net.emit(Resize("nearest", sizes, scales, "asymmetric", "floor"), x)
    return x if scale == 1.0 else net.pointwise("mul", x, scale)


def reorg(net: Drawer, s: Section) -> Value:
    """The memory of one map read as another: YOLOv2's passthrough.

    source: src/blas.c, reorg_cpu with forward = 0 and the input's own extents: with the input's
            memory seen as x[d][h s][w s], d = c / s^2, and o = k // d,
            out[k][j][i] = x[k % d][j s + o / s][i s + o % s];
            the result's memory is then called [c s^2, h / s, w / s]
    """
    x = _image(net)
    n, c, h, w = x.type.dims
    stride = _reorg_stride(net, s)
    inner = c // (stride * stride)
    if inner * stride * stride != c:
        raise ModelFormatError(f"reorg by {stride} does not divide {c} channels", at=s.at)
    y = net.emit(Reshape((n, inner, h, stride, w, stride)), x)
    y = net.emit(Transpose((0, 3, 5, 1, 2, 4)), y)
    return net.emit(Reshape((n, c * stride * stride, h // stride, w // stride)), y)


def reorg3d(net: Drawer, s: Section) -> Value:
    """Space to depth: out[o C + c][j][i] = in[c][j s + o / s][i s + o % s]."""
    x = _image(net)
    n, c, h, w = x.type.dims
    stride = _reorg_stride(net, s)
    y = net.emit(Reshape((n, c, h // stride, stride, w // stride, stride)), x)
    y = net.emit(Transpose((0, 3, 5, 1, 2, 4)), y)
    return net.emit(Reshape((n, c * stride * stride, h // stride, w // stride)), y)


def _reorg_stride(net: Drawer, s: Section) -> int:
    stride = s.integer("stride", 2, most=1 << 6)
    _refuse(s, "reverse", "flatten", "extra")
    if any(side % stride for side in net.x.type.dims[2:]):
        raise ModelFormatError(f"reorg by {stride} does not divide {net.x.type}", at=s.at)
    return stride


def scale_channels(net: Drawer, s: Section) -> Value:
    """An earlier map [N, C, H, W] times this layer's [N, C, 1, 1]."""
    other = net.layer(s.integer("from", least=-(1 << 20)))
    return net.activate(net.pointwise("mul", other, net.x), s.text("activation", "linear"))


def sam(net: Drawer, s: Section) -> Value:
    """An earlier map times this one, element by element."""
    other = net.layer(s.integer("from", least=-(1 << 20)))
    return net.activate(net.pointwise("mul", net.x, other), s.text("activation", "linear"))


def softmax(net: Drawer, s: Section) -> Value:
    """Over all features of an image, or within each of `groups` equal shares."""
    if s.text("tree", ""):
        raise ModelFormatError("a softmax over a tree is not supported", at=s.at)
    x, groups = net.x, s.integer("groups", 1)
    n, features = x.type.dims[0], int(np.prod(x.type.dims[1:]))
    if features % groups:
        raise ModelFormatError(f"groups={groups} does not divide {features} features", at=s.at)
    y = net.emit(Reshape((n, groups, features // groups)), x)
    temperature = s.decimal("temperature", 1.0)
    if temperature != 1.0:
        y = net.pointwise("mul", y, 1.0 / temperature)
    return net.emit(Reshape(x.type.dims), net.emit(Softmax(2), y))


def dropout(net: Drawer, s: Section) -> Value:
    return net.x


def yolo(net: Drawer, s: Section) -> Value:
    """The raw map passes on; the decoded boxes join the network's detections.

    gives:   f32[N, anchors * H * W, 5 + classes]: centre x, y, width, height in pixels of the
             network's input, objectness, class scores
    source:  src/yolo_layer.c: x = (i + sigmoid(tx) * s - (s - 1) / 2) / W with s = scale_x_y,
             w = exp(tw) * anchor; with new_coords the map is activated already and
             w = (2 tw)^2 * anchor
    """
    x = _image(net)
    classes = s.integer("classes", 20)
    anchors = np.array(s.decimals("anchors"), np.float32)
    if anchors.size % 2:
        raise ModelFormatError("anchors= must be pairs of width and height", at=s.at)
    anchors = anchors.reshape(-1, 2)
    mask = s.integers("mask", ",".join(map(str, range(len(anchors)))), least=0)
    n, c, h, w = x.type.dims
    if not mask or max(mask) >= len(anchors) or c != len(mask) * (5 + classes):
        raise ModelFormatError(
            f"{c} channels do not hold {len(mask)} anchors of 5 + {classes} numbers", at=s.at
        )
    count, fields = len(mask), 5 + classes
    y = net.emit(Reshape((n, count, fields, h, w)), x)
    y = net.emit(Transpose((0, 1, 3, 4, 2)), y)

    def part(start: int, size: int) -> Value:
        sizes = (n, count, h, w, size)
        return net.emit(Slice((0, 0, 0, 0, start), sizes, (1,) * 5), y)

    new = bool(s.integer("new_coords", 0, least=0))
    scale = s.decimal("scale_x_y", 1.0)
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    stride = np.array((net.size[1] / w, net.size[0] / h), np.float32)
    grid = np.stack((columns, rows), -1).astype(np.float32) - np.float32((scale - 1) / 2)
    xy = part(0, 2) if new else net.pointwise("sigmoid", part(0, 2))
    if scale != 1.0:
        xy = net.pointwise("mul", xy, scale)
    xy = net.pointwise("add", xy, net.const(grid.reshape(1, 1, h, w, 2), "grid"))
    xy = net.pointwise("mul", xy, net.const(stride, "stride"))
    sizes = anchors[mask].reshape(1, count, 1, 1, 2)
    if new:
        wh = net.pointwise("mul", part(2, 2), part(2, 2))
        wh = net.pointwise("mul", wh, net.const(sizes * 4, "anchors"))
        scores = part(4, 1 + classes)
    else:
        wh = net.pointwise("exp", part(2, 2))
        wh = net.pointwise("mul", wh, net.const(sizes, "anchors"))
        scores = net.pointwise("sigmoid", part(4, 1 + classes))
    boxes = net.emit(Concat(4), xy, wh, scores)
    net.detections.append(net.emit(Reshape((n, count * h * w, fields)), boxes))
    return x


def _image(net: Drawer) -> Value:
    if net.x.type.rank != 4:
        raise ModelFormatError(f"this layer needs a map, not {net.x.type}", at=net.section.at)
    return net.x


def _refuse(s: Section, *keys: str) -> None:
    """raises: ModelFormatError for options that change what a layer does and are not known here"""
    for key in keys:
        if s.text(key, "0") not in ("0", ""):
            raise ModelFormatError(
                f"[{s.kind}] with {key}={s.text(key)[:40]} is not supported", at=s.at
            )


def _channels(net: Drawer, x: Value, start: int, size: int) -> Value:
    n, _, h, w = x.type.dims
    return net.emit(Slice((0, start, 0, 0), (n, size, h, w), (1, 1, 1, 1)), x)


LAYERS: Final[Mapping[str, Callable[[Drawer, Section], Value]]] = {
    "convolutional": convolutional,
    "conv": convolutional,
    "connected": connected,
    "conn": connected,
    "shortcut": shortcut,
    "route": route,
    "maxpool": maxpool,
    "max": maxpool,
    "avgpool": avgpool,
    "avg": avgpool,
    "upsample": upsample,
    "reorg": reorg,
    "reorg3d": reorg3d,
    "scale_channels": scale_channels,
    "sam": sam,
    "softmax": softmax,
    "soft": softmax,
    "dropout": dropout,
    "cost": dropout,
    "yolo": yolo,
}
