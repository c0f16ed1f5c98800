"""YOLOv3-tiny and YOLOv4-tiny: a Darknet cfg as a PyTorch module, as users port them."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from torch import nn

from bench.models.darknet import Section, cfg_text, parse


class Darknet(nn.Module):  # type: ignore[misc]
    """A network of bench/darknet: f32[N, 3, 416, 416] -> the inputs of its [yolo] layers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        (_, options), *self.sections = parse(cfg_text(name, small=False))
        layers, channels = [], []
        c = int(options["channels"])
        for kind, options in self.sections:
            layer: Any = nn.Identity()
            if kind == "convolutional":
                filters = int(options["filters"])
                layer, c = _convolutional(options, c), filters
            elif kind == "maxpool":
                layer = _MaxPool(int(options["size"]), int(options["stride"]))
            elif kind == "upsample":
                layer = nn.Upsample(scale_factor=int(options["stride"]))
            elif kind == "route":
                parts = [channels[place] for place in _places(options)]
                c = sum(parts) // int(options.get("groups", 1))
            layers.append(layer)
            channels.append(c)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Any) -> tuple[Any, ...]:
        seen: list[Any] = []
        found = []
        for (kind, options), layer in zip(self.sections, self.layers, strict=True):
            if kind == "route":
                x = _route(seen, (kind, options))
            elif kind == "yolo":
                found.append(x)
            else:
                x = layer(x)
            seen.append(x)
        return tuple(found)


class _MaxPool(nn.Module):  # type: ignore[misc]
    """Darknet's pool: an even window hangs over the end by one pixel, padded by -inf."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.over = (size - 1) % 2 if stride == 1 else 0
        self.pool = nn.MaxPool2d(size, stride, (size - 1) // 2)

    def forward(self, x: Any) -> Any:
        if self.over:
            x = F.pad(x, (0, self.over, 0, self.over), value=float("-inf"))
        return self.pool(x)


def _convolutional(options: dict[str, str], cin: int) -> Any:
    filters, size, stride = (int(options[key]) for key in ("filters", "size", "stride"))
    normalised = options.get("batch_normalize") == "1"
    pad = size // 2 if options.get("pad") == "1" else 0
    layers: list[Any] = [nn.Conv2d(cin, filters, size, stride, pad, bias=not normalised)]
    if normalised:
        layers.append(nn.BatchNorm2d(filters, momentum=None))
    if options["activation"] == "leaky":
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)


def _places(options: dict[str, str]) -> list[int]:
    return [int(place) for place in options["layers"].split(",")]


def _route(seen: list[Any], section: Section) -> Any:
    options = section[1]
    parts = [seen[place] for place in _places(options)]
    groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
    if groups > 1:
        parts = [part.chunk(groups, 1)[group] for part in parts]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
