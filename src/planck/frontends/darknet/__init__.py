"""Darknet: a .cfg and its .weights -> Graph."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from planck.dtypes import f32
from planck.errors import FileError, ModelFormatError, ShapeError, UnsupportedOperator
from planck.frontends.darknet.cfg import Section, read_sections
from planck.frontends.darknet.drawer import MAX_ELEMENTS, Drawer
from planck.frontends.darknet.layers import LAYERS
from planck.frontends.darknet.weights import WeightsFile
from planck.ir.graph import Graph, Value
from planck.ir.types import TensorType
from planck.ops.movement import Concat

log = logging.getLogger(__name__)

SUFFIXES: Final = (".cfg",)


def read(
    path: Path,
    *,
    weights: Path | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    heads: Literal["decoded", "raw"] = "decoded",
    batch: int | None = None,
) -> Graph:
    """The graph of a Darknet network.

    weights:  the .weights file; the .cfg's own name with .weights when left out; where there is
              none, the layers get random numbers (good for benchmarks) and a warning says so
    shapes:   {"input": (N, C, H, W)} instead of batch 1 and the cfg's size
    heads:    what a network with [yolo] layers gives: "decoded", one output "detections"
              f32[N, boxes, 5 + classes] (centre x, y, width, height in input pixels, objectness,
              class scores), or "raw", the map before each [yolo] layer as "yolo_<layer>"
    batch:    1 if left out
    raises:   FileError, ModelFormatError, UnsupportedOperator with file, line and layer
    """
    sections = read_sections(path)
    _check_kinds(sections)
    file = _weights(path, weights)
    net = Drawer(path.name, WeightsFile(file))
    first = _input(net, sections[0], dict(shapes or {}), batch)
    raw: list[Value] = []
    for section in sections[1:]:
        net.section = section
        before = net.x
        net.x = LAYERS[section.kind](net, section)
        net.layers.append(net.x)
        if section.kind == "yolo":
            raw.append(before)
    if not net.layers:
        raise ModelFormatError(f"{path.name} has no layers", at=sections[0].at)
    net.file.finish(f"layer {net.section.number}, [{net.section.kind}]")
    outputs, names = _outputs(net, raw, heads, sections)
    if not net.nodes:
        raise ModelFormatError(f"{path.name} computes nothing", at=sections[0].at)
    return Graph(
        path.stem, (first,), tuple(net.nodes), outputs, net.weights,
        names={first.name: "input", **names},
    )  # fmt: skip


def _outputs(
    net: Drawer, raw: list[Value], heads: str, sections: list[Section]
) -> tuple[tuple[Value, ...], dict[str, str]]:
    if not raw:
        return (net.x,), {net.x.name: "output"}
    if heads == "raw":
        numbers = [s.number for s in sections if s.kind == "yolo"]
        return tuple(raw), {v.name: f"yolo_{n}" for v, n in zip(raw, numbers, strict=True)}
    fields = {v.type.dims[2] for v in net.detections}
    if len(fields) > 1:
        raise ModelFormatError(
            "the [yolo] layers have different numbers of classes", at=sections[0].file
        )
    whole = net.detections[0]
    if len(net.detections) > 1:
        whole = net.emit(Concat(1), *net.detections)
    return (whole,), {whole.name: "detections"}


def _check_kinds(sections: list[Section]) -> None:
    """All layers that nobody knows, at once."""
    unknown = [s for s in sections[1:] if s.kind not in LAYERS]
    if unknown:
        raise UnsupportedOperator(
            "planck cannot read Darknet layers "
            + ", ".join(sorted({f"[{s.kind[:30]}]" for s in unknown})),
            at="; ".join(s.at for s in unknown[:5]),
            know=f"known are {', '.join(LAYERS)}",
        )


def _weights(path: Path, given: Path | None) -> Path | None:
    if given is not None:
        if not given.is_file():
            raise FileError(f"there is no weights file {given}", try_="check the path")
        return given
    beside = path.with_suffix(".weights")
    if beside.is_file():
        return beside
    log.warning("%s has no weights file beside it: using random weights", path.name)
    return None


def _input(
    net: Drawer, section: Section, shapes: dict[str, tuple[int, ...]], batch: int | None
) -> Value:
    net.section = section
    default = (batch or 1, *(section.integer(k, d, most=1 << 14) for k, d in
                    (("channels", 3), ("height", 416), ("width", 416))))  # fmt: skip
    shape = shapes.pop("input", default)
    if shapes or len(shape) != 4 or min(shape) < 1 or shape[1] != default[1]:
        raise ShapeError(
            "shapes= does not fit this network",
            know=f"its one input is 'input' {list(default)}, of which N, H and W may change",
        )
    net.size = (shape[2], shape[3])
    kind = TensorType(shape, f32)
    if kind.size > MAX_ELEMENTS:
        raise ModelFormatError(f"an input of {kind} makes no sense", at=section.at)
    net.x = Value(net.namer("input"), kind)
    return net.x
