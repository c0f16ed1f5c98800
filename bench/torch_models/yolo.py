"""YOLOv5s and YOLOv8n with their whole heads, as in bench.models.yolo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch  # type: ignore[import-not-found]
from torch import nn

from bench.models.yolo import ANCHORS, CLASSES, EPSILON, REG_MAX, STRIDES


def _block(cin: int, cout: int, size: int = 1, stride: int = 1, pad: int | None = None) -> Any:
    pad = size // 2 if pad is None else pad
    norm = nn.BatchNorm2d(cout, eps=EPSILON, momentum=None)
    return nn.Sequential(nn.Conv2d(cin, cout, size, stride, pad, bias=False), norm, nn.SiLU())


class _Bottleneck(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, first: int, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(width, width, first), _block(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.shortcut else self.body(x)


class C3(nn.Module):  # type: ignore[misc]
    """YOLOv5's cross-stage block: bottlenecks beside a 1x1, concatenated."""

    def __init__(self, cin: int, cout: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = cout // 2
        self.left, self.right = _block(cin, half), _block(cin, half)
        self.inner = nn.Sequential(*(_Bottleneck(half, 1, shortcut) for _ in range(depth)))
        self.last = _block(2 * half, cout)

    def forward(self, x: Any) -> Any:
        return self.last(torch.cat((self.inner(self.left(x)), self.right(x)), 1))


class C2f(nn.Module):  # type: ignore[misc]
    """YOLOv8's: chunk, bottlenecks one behind the other, all of them concatenated."""

    def __init__(self, cin: int, cout: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = cout // 2
        self.first = _block(cin, cout)
        self.inner = nn.ModuleList(_Bottleneck(half, 3, shortcut) for _ in range(depth))
        self.last = _block((2 + depth) * half, cout)

    def forward(self, x: Any) -> Any:
        parts = list(self.first(x).chunk(2, 1))
        for inner in self.inner:
            parts.append(inner(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Pyramids(nn.Module):  # type: ignore[misc]
    """SPPF: three pools one behind the other, all of them concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = _block(width, width // 2), _block(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Any) -> Any:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class YoloV5s(nn.Module):  # type: ignore[misc]
    """YOLOv5s v6.0: f32[N, 3, 640, 640] -> f32[N, 25200, 85] (cx cy w h object classes), pixels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.p2 = nn.Sequential(_block(3, w, 6, 2, 2), _block(w, 2 * w, 3, 2), C3(2 * w, 2 * w, 1))
        self.p3 = nn.Sequential(_block(2 * w, 4 * w, 3, 2), C3(4 * w, 4 * w, 2))
        self.p4 = nn.Sequential(_block(4 * w, 8 * w, 3, 2), C3(8 * w, 8 * w, 3))
        self.p5 = nn.Sequential(
            _block(8 * w, 16 * w, 3, 2), C3(16 * w, 16 * w, 1), Pyramids(16 * w)
        )
        self.up = nn.Upsample(None, 2, "nearest")
        self.top, self.c1 = _block(16 * w, 8 * w), C3(16 * w, 8 * w, 1, False)
        self.middle, self.c2 = _block(8 * w, 4 * w), C3(8 * w, 4 * w, 1, False)
        self.down1, self.c3 = _block(4 * w, 4 * w, 3, 2), C3(8 * w, 8 * w, 1, False)
        self.down2, self.c4 = _block(8 * w, 8 * w, 3, 2), C3(16 * w, 16 * w, 1, False)
        outputs = 3 * (CLASSES + 5)
        self.heads = nn.ModuleList(nn.Conv2d(c * w, outputs, 1) for c in (4, 8, 16))
        self.register_buffer("anchors", torch.tensor(ANCHORS, dtype=torch.float32))

    def forward(self, x: Any) -> Any:
        p3 = self.p3(self.p2(x))
        p4 = self.p4(p3)
        top = self.top(self.p5(p4))
        middle = self.middle(self.c1(torch.cat((self.up(top), p4), 1)))
        low = self.c2(torch.cat((self.up(middle), p3), 1))
        mid = self.c3(torch.cat((self.down1(low), middle), 1))
        high = self.c4(torch.cat((self.down2(mid), top), 1))
        return self._detect((low, mid, high))

    def _detect(self, levels: Sequence[Any]) -> Any:
        found = []
        for level, (x, head) in enumerate(zip(levels, self.heads, strict=True)):
            y = head(x)
            n, _, h, w = y.shape
            y = y.view(n, 3, CLASSES + 5, h, w).permute(0, 1, 3, 4, 2).contiguous()
            sides = (torch.arange(side, device=y.device) for side in (h, w))
            rows, columns = torch.meshgrid(*sides, indexing="ij")
            grid = torch.stack((columns, rows), 2).expand(1, 3, h, w, 2) - 0.5
            anchors = self.anchors[level].view(1, 3, 1, 1, 2).expand(1, 3, h, w, 2)
            xy, wh, score = y.sigmoid().split((2, 2, CLASSES + 1), 4)
            xy = (xy * 2 + grid) * STRIDES[level]
            wh = (wh * 2) ** 2 * anchors
            found.append(torch.cat((xy, wh, score), 4).view(n, 3 * h * w, CLASSES + 5))
        return torch.cat(found, 1)


class YoloV8n(nn.Module):  # type: ignore[misc]
    """YOLOv8n: f32[N, 3, 640, 640] -> f32[N, 84, 8400] (cx cy w h classes), pixels."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.p2 = nn.Sequential(_block(3, w, 3, 2), _block(w, 2 * w, 3, 2), C2f(2 * w, 2 * w, 1))
        self.p3 = nn.Sequential(_block(2 * w, 4 * w, 3, 2), C2f(4 * w, 4 * w, 2))
        self.p4 = nn.Sequential(_block(4 * w, 8 * w, 3, 2), C2f(8 * w, 8 * w, 2))
        self.p5 = nn.Sequential(
            _block(8 * w, 16 * w, 3, 2), C2f(16 * w, 16 * w, 1), Pyramids(16 * w)
        )
        self.up = nn.Upsample(None, 2, "nearest")
        self.c1, self.c2 = C2f(24 * w, 8 * w, 1, False), C2f(12 * w, 4 * w, 1, False)
        self.down1, self.c3 = _block(4 * w, 4 * w, 3, 2), C2f(12 * w, 8 * w, 1, False)
        self.down2, self.c4 = _block(8 * w, 8 * w, 3, 2), C2f(24 * w, 16 * w, 1, False)
        channels = (4 * w, 8 * w, 16 * w)
        box, score = max(16, w, 4 * REG_MAX), max(4 * w, CLASSES)
        self.boxes = nn.ModuleList(_head(c, box, 4 * REG_MAX) for c in channels)
        self.scores = nn.ModuleList(_head(c, score, CLASSES) for c in channels)
        self.expect = nn.Conv2d(REG_MAX, 1, 1, bias=False).requires_grad_(False)
        self.expect.weight.data[:] = torch.arange(REG_MAX).view(1, REG_MAX, 1, 1)

    def forward(self, x: Any) -> Any:
        p3 = self.p3(self.p2(x))
        p4 = self.p4(p3)
        p5 = self.p5(p4)
        top = self.c1(torch.cat((self.up(p5), p4), 1))
        low = self.c2(torch.cat((self.up(top), p3), 1))
        mid = self.c3(torch.cat((self.down1(low), top), 1))
        high = self.c4(torch.cat((self.down2(mid), p5), 1))
        return self._detect((low, mid, high))

    def _detect(self, levels: Sequence[Any]) -> Any:
        flat, centres, strides = [], [], []
        for level, x in enumerate(levels):
            both = torch.cat((self.boxes[level](x), self.scores[level](x)), 1)
            n, c, h, w = both.shape
            flat.append(both.view(n, c, -1))
            sy, sx = (torch.arange(side, dtype=x.dtype, device=x.device) + 0.5 for side in (h, w))
            rows, columns = torch.meshgrid(sy, sx, indexing="ij")
            centres.append(torch.stack((columns, rows), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), float(STRIDES[level]), device=x.device))
        centre, stride = (torch.cat(parts).transpose(0, 1) for parts in (centres, strides))
        box, score = torch.cat(flat, 2).split((4 * REG_MAX, CLASSES), 1)
        n, _, total = box.shape
        box = box.view(n, 4, REG_MAX, total).transpose(2, 1).softmax(1)
        low, high = self.expect(box).view(n, 4, total).chunk(2, 1)
        x1y1, x2y2 = centre.unsqueeze(0) - low, centre.unsqueeze(0) + high
        box = torch.cat(((x1y1 + x2y2) / 2, x2y2 - x1y1), 1)
        return torch.cat((box * stride, score.sigmoid()), 1)


def _head(cin: int, width: int, outputs: int) -> Any:
    blocks = (_block(cin, width, 3), _block(width, width, 3))
    return nn.Sequential(*blocks, nn.Conv2d(width, outputs, 1))
