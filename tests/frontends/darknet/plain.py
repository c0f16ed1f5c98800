"""Darknet's layers once more, from its C loops, in float64: what the reader is compared with.

source: Darknet (pjreddie's and AlexeyAB's trees), src/*_layer.c, src/blas.c, src/activations.h
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Array = np.ndarray
Section = tuple[str, dict[str, object]]

SEEN = 12_345


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relu": lambda x: x * (x > 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "logistic": sigmoid,
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "swish": lambda x: x * sigmoid(x),
    "elu": lambda x: (x >= 0) * x + (x < 0) * (np.exp(x) - 1),
    "selu": lambda x: (x >= 0) * 1.0507 * x + (x < 0) * 1.0507 * 1.6732 * (np.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
}


class Network:
    """A list of sections with random weights: its cfg, its .weights and its outputs.

    layers:      what each layer gave
    detections:  f64[N, boxes, 5 + classes] of all [yolo] layers, in pixels of the network's input
    """

    def __init__(self, shape: tuple[int, int, int, int], sections: list[Section], seed: int = 0):
        self.shape, self.sections = shape, sections
        self.draw = np.random.default_rng(seed)
        self.numbers: list[Array] = []
        self.x = self.input = self.draw.standard_normal(shape).astype(np.float32)
        self.layers: list[Array] = []
        self.boxes: list[Array] = []
        for kind, options in sections:
            self.x = getattr(self, f"_{kind}")(np.asarray(self.x, np.float64), options)
            self.layers.append(self.x)

    @property
    def detections(self) -> Array:
        return np.concatenate(self.boxes, axis=1)

    def cfg(self) -> str:
        _, channels, height, width = self.shape
        rows = ["[net]", f"channels={channels}", f"height={height}", f"width={width}"]
        for kind, options in self.sections:
            rows += ["", f"[{kind}]", *(f"{key}={value}" for key, value in options.items())]
        return "\n".join(rows) + "\n"

    def weights(self, version: tuple[int, int, int] = (0, 2, 5)) -> bytes:
        old = version[0] * 10 + version[1] < 2
        header = struct.pack("<3ii" if old else "<3iq", *version, SEEN)
        return header + b"".join(a.astype("<f4").tobytes() for a in self.numbers)

    def write(self, folder: Path) -> Path:
        path = folder / "net.cfg"
        path.write_text(self.cfg())
        path.with_suffix(".weights").write_bytes(self.weights())
        return path

    def _random(self, *shape: int, scale: float = 0.5) -> Array:
        array = (self.draw.standard_normal(shape) * scale).astype(np.float32)
        self.numbers.append(array)
        return array.astype(np.float64)

    def _statistics(self, count: int) -> tuple[Array, Array, Array]:
        scale, mean = self._random(count), self._random(count)
        self.numbers.append(self.draw.uniform(0.3, 2, count).astype(np.float32))
        return scale, mean, self.numbers[-1].astype(np.float64)

    def _other(self, number: int) -> Array:
        at = len(self.layers) + number if number < 0 else number
        return np.asarray(self.layers[at], np.float64)

    def _activate(self, x: Array, options: dict[str, object], default: str) -> Array:
        return ACTIVATIONS[str(options.get("activation", default))](x)

    def _convolutional(self, x: Array, o: dict[str, object]) -> Array:
        filters, size, groups = (int(o.get(k, 1)) for k in ("filters", "size", "groups"))
        stride, dilation = int(o.get("stride", 1)), int(o.get("dilation", 1))
        stride_x, stride_y = int(o.get("stride_x", stride)), int(o.get("stride_y", stride))
        pad = (size // 2 if o.get("pad") else int(o.get("padding", 0))) * dilation
        n, c, h, w = x.shape
        bias = self._random(filters)
        statistics = self._statistics(filters) if o.get("batch_normalize") else None
        kernel = self._random(filters, c // groups, size, size)
        if o.get("flipped"):
            matrix = np.ascontiguousarray(kernel.reshape(filters, -1).T)
            self.numbers[-1] = matrix.astype(np.float32)
        reach = dilation * (size - 1) + 1
        out_h, out_w = (h + 2 * pad - reach) // stride_y + 1, (w + 2 * pad - reach) // stride_x + 1
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        y = np.zeros((n, filters, out_h, out_w))
        share, outs = c // groups, filters // groups
        for m in range(filters):
            first = m // outs * share
            for j in range(out_h):
                for i in range(out_w):
                    top, left = j * stride_y, i * stride_x
                    rows = slice(top, top + reach, dilation)
                    columns = slice(left, left + reach, dilation)
                    window = padded[:, first : first + share, rows, columns]
                    y[:, m, j, i] = (window * kernel[m]).sum((1, 2, 3))
        if statistics:
            scale, mean, variance = (a[:, None, None] for a in statistics)
            y = (y - mean) / np.sqrt(variance + 0.00001) * scale
        return self._activate(y + bias[:, None, None], o, "logistic")

    def _connected(self, x: Array, o: dict[str, object]) -> Array:
        flat = x.reshape(x.shape[0], -1)
        bias = self._random(int(o["output"]))
        y = flat @ self._random(int(o["output"]), flat.shape[1]).T
        if o.get("batch_normalize"):
            scale, mean, variance = self._statistics(int(o["output"]))
            y = (y - mean) / np.sqrt(variance + 0.00001) * scale
        return self._activate(y + bias, o, "logistic")[:, :, None, None]

    def _shortcut(self, x: Array, o: dict[str, object]) -> Array:
        y = x.copy()
        for number in str(o["from"]).split(","):
            other = self._other(int(number))
            common = min(x.shape[1], other.shape[1])
            y[:, :common] += other[:, :common]
        return self._activate(y, o, "linear")

    def _route(self, x: Array, o: dict[str, object]) -> Array:
        groups, group = int(o.get("groups", 1)), int(o.get("group_id", 0))
        parts = []
        for number in str(o["layers"]).split(","):
            other = self._other(int(number))
            share = other.shape[1] // groups
            parts.append(other[:, share * group : share * (group + 1)])
        return np.concatenate(parts, axis=1)

    def _maxpool(self, x: Array, o: dict[str, object]) -> Array:
        stride = int(o.get("stride", 1))
        stride_x, stride_y = int(o.get("stride_x", stride)), int(o.get("stride_y", stride))
        size = int(o.get("size", stride))
        padding = int(o.get("padding", size - 1))
        n, c, h, w = x.shape
        out_h, out_w = (h + padding - size) // stride_y + 1, (w + padding - size) // stride_x + 1
        y = np.full((n, c, out_h, out_w), -np.inf)
        for j in range(out_h):
            for i in range(out_w):
                for v in range(size):
                    for u in range(size):
                        row = j * stride_y + v - padding // 2
                        column = i * stride_x + u - padding // 2
                        if 0 <= row < h and 0 <= column < w:
                            y[:, :, j, i] = np.maximum(y[:, :, j, i], x[:, :, row, column])
        return y

    def _avgpool(self, x: Array, o: dict[str, object]) -> Array:
        return x.mean((2, 3), keepdims=True)

    def _upsample(self, x: Array, o: dict[str, object]) -> Array:
        stride = int(o.get("stride", 2))
        return np.kron(x, np.ones((stride, stride))) * float(o.get("scale", 1))

    def _softmax(self, x: Array, o: dict[str, object]) -> Array:
        temperature, groups = float(o.get("temperature", 1)), int(o.get("groups", 1))
        y = np.exp(x.reshape(x.shape[0], groups, -1) / temperature)
        return (y / y.sum(-1, keepdims=True)).reshape(x.shape)

    def _scale_channels(self, x: Array, o: dict[str, object]) -> Array:
        return self._activate(self._other(int(o["from"])) * x, o, "linear")

    def _sam(self, x: Array, o: dict[str, object]) -> Array:
        return self._activate(self._other(int(o["from"])) * x, o, "linear")

    def _dropout(self, x: Array, o: dict[str, object]) -> Array:
        return x

    def _reorg(self, x: Array, o: dict[str, object]) -> Array:
        n, c, h, w = x.shape
        s = int(o.get("stride", 2))
        y = _reorg_cpu(x, w, h, c, s)
        return y.reshape(n, c * s * s, h // s, w // s)

    def _reorg3d(self, x: Array, o: dict[str, object]) -> Array:
        n, c, h, w = x.shape
        s = int(o.get("stride", 2))
        return _reorg_cpu(x, w // s, h // s, c * s * s, s).reshape(n, c * s * s, h // s, w // s)

    def _yolo(self, x: Array, o: dict[str, object]) -> Array:
        classes = int(o["classes"])
        anchors = [float(a) for a in str(o["anchors"]).split(",")]
        every = ",".join(map(str, range(len(anchors) // 2)))
        mask = [int(m) for m in str(o.get("mask", every)).split(",")]
        n, _, h, w = x.shape
        scale, new = float(o.get("scale_x_y", 1)), bool(o.get("new_coords"))
        y = x.reshape(n, len(mask), 5 + classes, h, w).copy()
        if not new:
            y[:, :, :2] = sigmoid(y[:, :, :2])
            y[:, :, 4:] = sigmoid(y[:, :, 4:])
        y[:, :, :2] = y[:, :, :2] * scale - 0.5 * (scale - 1)
        boxes = np.zeros((n, len(mask), h, w, 5 + classes))
        for k, m in enumerate(mask):
            for j in range(h):
                for i in range(w):
                    p = y[:, k, :, j, i]
                    grow = 4 * p[:, 2:4] ** 2 if new else np.exp(p[:, 2:4])
                    boxes[:, k, j, i, 0] = (i + p[:, 0]) / w * self.shape[3]
                    boxes[:, k, j, i, 1] = (j + p[:, 1]) / h * self.shape[2]
                    boxes[:, k, j, i, 2:4] = grow * anchors[2 * m : 2 * m + 2]
                    boxes[:, k, j, i, 4:] = p[:, 4:]
        self.boxes.append(boxes.reshape(n, -1, 5 + classes))
        return x


def _reorg_cpu(x: Array, w: int, h: int, c: int, stride: int) -> Array:
    """src/blas.c, reorg_cpu with forward = 0, on flat memory."""
    n, inner = x.shape[0], c // (stride * stride)
    flat = x.reshape(-1)
    out = np.zeros(flat.size)
    for b in range(n):
        for k in range(c):
            for j in range(h):
                for i in range(w):
                    offset = k // inner
                    row = j * stride + offset // stride
                    column = i * stride + offset % stride
                    source = k % inner + inner * b
                    at = column + w * stride * (row + h * stride * source)
                    out[i + w * (j + h * (k + c * b))] = flat[at]
    return out
