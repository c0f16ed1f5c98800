"""YOLOv3-tiny and YOLOv4-tiny from their Darknet cfg files, as ONNX and as .weights, same numbers.

`draw` reads a cfg and draws random weights; it returns the ONNX model and the bytes of the
Darknet weights file that hold the same network. The reader here is apart from Planck's own on
purpose: tests compare the two.

Source: Darknet, src/parser.c (cfg keys, order of the weights), src/maxpool_layer.c (padding),
src/yolo_layer.c (activations), src/route_layer.c (groups).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from bench.models.net import MAX_POOL_GAIN, Net, Tensor

CFG_FOLDER = Path(__file__).parent.parent / "darknet"
EPSILON = 1e-5  # batch norm, src/blas.c
IMAGES_SEEN = 32_013_312  # 500,200 batches of 64 images, the training length in the cfg
Section = tuple[str, dict[str, str]]
Boxes = Literal["raw", "activated"]


class Files(NamedTuple):
    """Where `write` put the three files."""

    cfg: Path
    weights: Path
    onnx: Path


def yolov3_tiny(batch: int, small: bool) -> ModelProto:
    """YOLOv3-tiny: f32[N, 3, 416, 416] -> raw f32[N, 255, 13, 13] and f32[N, 255, 26, 26]."""
    return draw(cfg_text("yolov3-tiny", small), batch=batch)[0]


def yolov4_tiny(batch: int, small: bool) -> ModelProto:
    """YOLOv4-tiny: f32[N, 3, 416, 416] -> raw f32[N, 255, 13, 13] and f32[N, 255, 26, 26]."""
    return draw(cfg_text("yolov4-tiny", small), batch=batch)[0]


def write(
    name: str,
    folder: Path,
    *,
    batch: int = 1,
    small: bool = False,
    boxes: Boxes = "raw",
    seed: int = 0,
) -> Files:
    """Write name.cfg, name.weights and name.onnx of the same network into folder.

    name:  yolov3-tiny or yolov4-tiny, or any cfg in bench/darknet
    batch: batch size of the ONNX model; the cfg says 1
    boxes: what the ONNX outputs hold, see `draw`
    """
    text = cfg_text(name, small)
    model, weights = draw(text, batch=batch, boxes=boxes, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(*(folder / f"{name}.{suffix}" for suffix in ("cfg", "weights", "onnx")))
    files.cfg.write_text(text)
    files.weights.write_bytes(weights)
    onnx.save(model, files.onnx)
    return files


def draw(
    cfg: str, *, batch: int = 1, boxes: Boxes = "raw", seed: int = 0
) -> tuple[ModelProto, bytes]:
    """A network described by cfg text with random weights: the ONNX model and the .weights bytes.

    boxes: "raw", the inputs of the [yolo] layers; "activated", their outputs in Darknet: x, y,
           object and class scores through the sigmoid, x and y scaled by scale_x_y
    gives: one output for each [yolo] layer, f32[N, anchors * (5 + classes), H, W]
    raises: ValueError for a layer type that these two networks do not use
    """
    (_, options), *sections = parse(cfg)
    shape = (batch, *(int(options[key]) for key in ("channels", "height", "width")))
    net = Net("darknet", seed)
    x = net.input("input", shape, 1 / 12)
    layers: list[Tensor] = []
    arrays: list[npt.NDArray[np.float32]] = []
    for kind, options in sections:
        if kind == "convolutional":
            x = _convolutional(net, x, options, arrays)
        elif kind == "maxpool":
            x = _maxpool(net, x, int(options["size"]), int(options["stride"]))
        elif kind == "upsample":
            x = net.upsample(x, int(options["stride"]))
        elif kind == "route":
            x = _route(net, layers, options)
        elif kind == "yolo":
            shown = x if boxes == "raw" else _activate(net, x, options)
            net.output(shown, f"yolo_{len(layers)}")
        else:
            raise ValueError(f"no Darknet layer [{kind}] here")
        layers.append(x)
    header = struct.pack("<3iQ", 0, 2, 5, IMAGES_SEEN)
    return net.model(), header + b"".join(a.astype("<f4").tobytes() for a in arrays)


def parse(cfg: str) -> list[Section]:
    """The sections of a cfg text, in order: (kind, options)."""
    sections: list[Section] = []
    for line in cfg.splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("["):
            sections.append((line.strip("[]"), {}))
        elif line:
            key, value = line.split("=", 1)
            sections[-1][1][key.strip()] = value.strip()
    return sections


def cfg_text(name: str, small: bool) -> str:
    """A cfg of bench/darknet; small: an input of 64 x 96 and an eighth of the filters."""
    text = (CFG_FOLDER / f"{name}.cfg").read_text()
    if not small:
        return text
    rows = []
    for kind, options in parse(text):
        if kind == "net":
            options |= {"width": "96", "height": "64"}
        elif options.get("activation") == "leaky":
            options["filters"] = str(int(options["filters"]) // 8)
        rows += [f"[{kind}]", *(f"{key}={value}" for key, value in options.items()), ""]
    return "\n".join(rows)


def _convolutional(
    net: Net, x: Tensor, options: dict[str, str], arrays: list[npt.NDArray[np.float32]]
) -> Tensor:
    filters, size, stride = (int(options[key]) for key in ("filters", "size", "stride"))
    normalised = options.get("batch_normalize") == "1"
    pad = size // 2 if options.get("pad") == "1" else 0
    weights = net.filters((filters, x.channels, size, size), (1, 2, 3))
    n, _, h, w = x.shape
    shape = (n, filters, (h + 2 * pad - size) // stride + 1, (w + 2 * pad - size) // stride + 1)
    attributes = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    inputs = [x, net.const(weights, "w")]
    if normalised:
        x = net.op("Conv", inputs, shape, 2 * x.variance, **attributes)
        gamma, beta, mean, variance = net.statistics(x)
        arrays += [beta, gamma, mean, variance, weights]
        parts = [net.const(a, "bn") for a in (gamma, beta, mean, variance)]
        x = net.op("BatchNormalization", [x, *parts], shape, 1.0, epsilon=EPSILON)
    else:
        bias = net.normal((filters,), 0.1)
        arrays += [bias, weights]
        x = net.op("Conv", [*inputs, net.const(bias, "b")], shape, 2 * x.variance, **attributes)
    return x if options["activation"] == "linear" else net.activation(x, options["activation"])


def _maxpool(net: Net, x: Tensor, size: int, stride: int) -> Tensor:
    n, c, *sides = x.shape
    begin = (size - 1) // 2
    outs = [(side + size - 1 - size) // stride + 1 for side in sides]
    ends = [
        max(0, (out - 1) * stride + size - side - begin)
        for out, side in zip(outs, sides, strict=True)
    ]
    return net.op(
        "MaxPool",
        [x],
        (n, c, *outs),
        x.variance * MAX_POOL_GAIN,
        kernel_shape=[size] * 2,
        strides=[stride] * 2,
        pads=[begin, begin, *ends],
    )


def _route(net: Net, layers: Sequence[Tensor], options: dict[str, str]) -> Tensor:
    places = [int(place) for place in options["layers"].split(",")]
    parts = [layers[place] for place in places]  # negative places count from the end, as lists do
    groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
    if groups > 1:
        parts = [
            net.split(part, [part.channels // groups] * groups, axis=1)[group] for part in parts
        ]
    return parts[0] if len(parts) == 1 else net.concat(parts)


def _activate(net: Net, x: Tensor, options: dict[str, str]) -> Tensor:
    n, _, h, w = x.shape
    anchors, classes = len(options["mask"].split(",")), int(options["classes"])
    scale = float(options.get("scale_x_y", 1))
    y = net.reshape(x, (n, anchors, 5 + classes, h, w))
    centre, size, scores = net.split(y, (2, 2, 1 + classes), axis=2)
    centre, scores = (net.op("Sigmoid", [part], part.shape) for part in (centre, scores))
    centre = net.op("Mul", [centre, net.const(np.float32(scale))], centre.shape)
    centre = net.op("Sub", [centre, net.const(np.float32((scale - 1) / 2))], centre.shape)
    return net.reshape(net.concat([centre, size, scores], axis=2), x.shape)
