"""Narrow networks, whose exports are kept with the tests: small files with all of the plumbing."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from torch import nn

from bench.torch_models import Case
from bench.torch_models.layers import (
    BertLayer,
    Bottleneck,
    InvertedResidual,
    VitLayer,
    convolution,
)


class ResNet(nn.Module):  # type: ignore[misc]
    """A residual network of the shape of ResNet-50: f32[N, 3, H, W] -> f32[N, classes]."""

    def __init__(self, width: int = 3, depths: tuple[int, ...] = (2, 1, 1)) -> None:
        super().__init__()
        self.stem = convolution(3, width, 7, 2, nn.ReLU())
        blocks, cin = [], width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Bottleneck(cin, width << stage, stride))
                cin = 4 * (width << stage)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(cin, 7)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        x = F.adaptive_avg_pool2d(self.blocks(x), 1)
        return self.head(torch.flatten(x, 1))


class MobileNet(nn.Module):  # type: ignore[misc]
    """Of the shape of MobileNetV2, the mean over pixels by Tensor.mean."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [InvertedResidual(5, 5, 1), InvertedResidual(5, 8, 2), InvertedResidual(8, 8, 1)]
        self.body = nn.Sequential(convolution(3, 5, 3, 2, nn.ReLU6()), *blocks)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 7))

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean([2, 3]))


class CrossStage(nn.Module):  # type: ignore[misc]
    """YOLOv8's C2f: chunk, bottlenecks one behind the other, all of them concatenated."""

    def __init__(self, cin: int, cout: int, shortcut: bool) -> None:
        super().__init__()
        half = cout // 2
        self.first = convolution(cin, cout, 1, 1, nn.SiLU())
        self.inner = nn.Sequential(
            convolution(half, half, 3, 1, nn.SiLU()), convolution(half, half, 3, 1, nn.SiLU())
        )
        self.last = convolution(3 * half, cout, 1, 1, nn.SiLU())
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        a, b = self.first(x).chunk(2, 1)
        y = self.inner(b)
        return self.last(torch.cat((a, b, b + y if self.shortcut else y), 1))


class Pyramid(nn.Module):  # type: ignore[misc]
    """Backbone and neck that the two YOLOs share: three levels, at strides 8, 16 and 32."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        w = width
        self.p3 = nn.Sequential(
            convolution(3, w, 6, 2, nn.SiLU()),
            convolution(w, w, 3, 2, nn.SiLU()),
            convolution(w, w, 3, 2, nn.SiLU()),
        )
        self.p4 = nn.Sequential(
            convolution(w, 2 * w, 3, 2, nn.SiLU()), CrossStage(2 * w, 2 * w, True)
        )
        self.p5 = convolution(2 * w, 2 * w, 3, 2, nn.SiLU())
        self.squeeze = convolution(2 * w, w, 1, 1, nn.SiLU())
        self.spread = convolution(4 * w, 2 * w, 1, 1, nn.SiLU())
        self.top = CrossStage(4 * w, 2 * w, False)
        self.low = CrossStage(3 * w, 2 * w, False)
        self.up = nn.Upsample(None, 2, "nearest")
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Any) -> list[Any]:
        p3 = self.p3(x)
        p4 = self.p4(p3)
        parts = [self.squeeze(self.p5(p4))]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        p5 = self.spread(torch.cat(parts, 1))
        top = self.top(torch.cat((self.up(p5), p4), 1))
        return [self.low(torch.cat((self.up(top), p3), 1)), top, p5]


class YoloV5(nn.Module):  # type: ignore[misc]
    """YOLOv5's head on a narrow pyramid: f32[N, 3, H, W] -> f32[N, boxes, 5 + classes]."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.pyramid = Pyramid(width)
        self.outputs = classes + 5
        self.heads = nn.ModuleList(nn.Conv2d(2 * width, 3 * self.outputs, 1) for _ in range(3))
        self.register_buffer("anchors", torch.rand(3, 3, 2) * 8 + 1)

    def forward(self, x: Any) -> Any:
        found = []
        for level, y in enumerate(self.pyramid(x)):
            y = self.heads[level](y)
            n, _, h, w = y.shape
            y = y.view(n, 3, self.outputs, h, w).permute(0, 1, 3, 4, 2).contiguous()
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((columns, rows), 2).expand(1, 3, h, w, 2) - 0.5
            anchors = (self.anchors[level] * (8 << level)).view(1, 3, 1, 1, 2)
            xy, wh, score = y.sigmoid().split((2, 2, self.outputs - 4), 4)
            xy = (xy * 2 + grid) * (8 << level)
            wh = (wh * 2) ** 2 * anchors
            found.append(torch.cat((xy, wh, score), 4).view(n, 3 * h * w, self.outputs))
        return torch.cat(found, 1)


class YoloV8(nn.Module):  # type: ignore[misc]
    """YOLOv8's head on a narrow pyramid: f32[N, 3, H, W] -> f32[N, 4 + classes, boxes]."""

    def __init__(self, classes: int = 3, width: int = 4, bins: int = 4) -> None:
        super().__init__()
        self.pyramid = Pyramid(width)
        self.classes, self.bins = classes, bins
        self.boxes = nn.ModuleList(nn.Conv2d(2 * width, 4 * bins, 3, 1, 1) for _ in range(3))
        self.scores = nn.ModuleList(nn.Conv2d(2 * width, classes, 1) for _ in range(3))
        self.expect = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.expect.weight.data[:] = torch.arange(bins).view(1, bins, 1, 1)

    def forward(self, x: Any) -> Any:
        flat, centres, strides = [], [], []
        for level, y in enumerate(self.pyramid(x)):
            both = torch.cat((self.boxes[level](y), self.scores[level](y)), 1)
            n, c, h, w = both.shape
            flat.append(both.view(n, c, -1))
            sx, sy = torch.arange(w) + 0.5, torch.arange(h) + 0.5
            rows, columns = torch.meshgrid(sy, sx, indexing="ij")
            centres.append(torch.stack((columns, rows), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), float(8 << level)))
        centre, stride = (torch.cat(parts).transpose(0, 1) for parts in (centres, strides))
        box, score = torch.cat(flat, 2).split((4 * self.bins, self.classes), 1)
        n, _, total = box.shape
        box = box.view(n, 4, self.bins, total).transpose(2, 1).softmax(1)
        low, high = self.expect(box).view(n, 4, total).chunk(2, 1)
        x1y1, x2y2 = centre.unsqueeze(0) - low, centre.unsqueeze(0) + high
        box = torch.cat(((x1y1 + x2y2) / 2, x2y2 - x1y1), 1)
        return torch.cat((box * stride, score.sigmoid()), 1)


class Bert(nn.Module):  # type: ignore[misc]
    """A BERT encoder: i64[N, L] ids and mask -> f32[N, L, width] and f32[N, width]."""

    def __init__(self, width: int = 16, layers: int = 2, vocabulary: int = 50) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(32, width)
        self.register_buffer("position_ids", torch.arange(32)[None], persistent=False)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(BertLayer(width, 2) for _ in range(layers))
        self.pool = nn.Linear(width, width)

    def forward(self, ids: Any, mask: Any) -> tuple[Any, Any]:
        bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        x = self.words(ids) + self.places(self.position_ids[:, : ids.size(1)])
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pool(x[:, 0]))


class Vit(nn.Module):  # type: ignore[misc]
    """A vision transformer: f32[N, 3, H, W] -> f32[N, classes]."""

    def __init__(self, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 13, width))
        self.layers = nn.Sequential(*(VitLayer(width, 2) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.norm(self.layers(x))[:, 0])


class Recurrent(nn.Module):  # type: ignore[misc]
    """Two bidirectional LSTM layers, batch first, and a GRU: f32[N, L, 5] -> f32[N, L, 7]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 7, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.gru(self.lstm(x)[0])[0]


def _image(height: int, width: int) -> tuple[Any, ...]:
    return (torch.rand(2, 3, height, width),)


def _tokens() -> tuple[Any, ...]:
    return torch.randint(0, 50, (2, 11)), (torch.rand(2, 11) < 0.7).long()


NARROW: tuple[Case, ...] = (
    Case(ResNet, lambda: _image(40, 56), {"image": {0: "batch"}}),
    Case(MobileNet, lambda: _image(40, 56), {"image": {}}),
    Case(YoloV5, lambda: _image(64, 96), {"image": {}}),
    Case(YoloV8, lambda: _image(64, 96), {"image": {}}),
    Case(
        Bert,
        _tokens,
        {name: {0: "batch", 1: "length"} for name in ("ids", "mask")},
        highs=(("ids", 50), ("mask", 2)),
    ),
    Case(Vit, lambda: _image(24, 32), {"image": {0: "batch"}}),
    Case(Recurrent, lambda: (torch.randn(2, 6, 5),), {"sequence": {}}),
)
