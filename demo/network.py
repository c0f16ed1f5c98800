"""The demo's detector in PyTorch: a small network of the YOLOv8 family, its decode in the graph.

source: "YOLOv8" as described in its public model files: Conv + BN + SiLU, C2f blocks, SPPF, a
        top-down and bottom-up neck, and one decoupled head a scale whose box edges are read
        from a distribution (Li et al., Generalized Focal Loss, arXiv:2006.04388)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
BINS = 16  # each edge's distance is 0..15 cells, read from a distribution over 16 bins
WIDTHS = (16, 32, 48, 64, 96)  # channels after the stem and after each stage


class Conv(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03),
            nn.SiLU(inplace=True),
        )


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with the input added where `add`."""

    def __init__(self, channels: int, add: bool) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Split in two, send one half through bottlenecks, join everything on the way."""

    def __init__(self, c_in: int, c_out: int, depth: int = 1, add: bool = True) -> None:
        super().__init__()
        half = c_out // 2
        self.split = Conv(c_in, 2 * half)
        self.blocks = nn.ModuleList(Bottleneck(half, add) for _ in range(depth))
        self.join = Conv((2 + depth) * half, c_out)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.join(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Three max pools of 5x5 in a row, joined: what 5, 9 and 13 wide pools would give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = Conv(channels, channels // 2)
        self.join = Conv(channels * 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.squeeze(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.join(torch.cat(parts, 1))


class Detector(nn.Module):
    """Pictures f32[B, 3, H, W] in 0..1 -> for each stride s a map f32[B, C, H / s, W / s].

    C is 4 * BINS + classes; H and W are multiples of 32. `Decoded` turns the maps into boxes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        w0, w1, w2, w3, w4 = WIDTHS
        self.classes = classes
        self.to_4 = nn.Sequential(Conv(3, w0, 3, 2), Conv(w0, w1, 3, 2), C2f(w1, w1))
        self.to_8 = nn.Sequential(Conv(w1, w2, 3, 2), C2f(w2, w2, 2))
        self.to_16 = nn.Sequential(Conv(w2, w3, 3, 2), C2f(w3, w3, 2))
        self.to_32 = nn.Sequential(Conv(w3, w4, 3, 2), C2f(w4, w4), SPPF(w4))
        self.up_16 = C2f(w4 + w3, w3, add=False)
        self.up_8 = C2f(w3 + w2, w2, add=False)
        self.down_16, self.out_16 = Conv(w2, w2, 3, 2), C2f(w2 + w3, w3, add=False)
        self.down_32, self.out_32 = Conv(w3, w3, 3, 2), C2f(w3 + w4, w4, add=False)
        self.box_heads = nn.ModuleList(_head(w, 32, 4 * BINS) for w in (w2, w3, w4))
        self.class_heads = nn.ModuleList(_head(w, 32, classes) for w in (w2, w3, w4))
        self._start_biases()

    def _start_biases(self) -> None:
        """Start with few detections: about five shapes a 640 x 640 picture, edges near 1 cell."""
        for box, kind, stride in zip(self.box_heads, self.class_heads, STRIDES, strict=True):
            box[-1].bias.data.fill_(1.0)
            share = 5 / self.classes / (640 / stride) ** 2
            kind[-1].bias.data.fill_(float(torch.logit(torch.tensor(share))))

    def forward(self, x: Tensor) -> list[Tensor]:
        at_8 = self.to_8(self.to_4(x))
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        up_16 = self.up_16(torch.cat((F.interpolate(at_32, scale_factor=2.0), at_16), 1))
        out_8 = self.up_8(torch.cat((F.interpolate(up_16, scale_factor=2.0), at_8), 1))
        out_16 = self.out_16(torch.cat((self.down_16(out_8), up_16), 1))
        out_32 = self.out_32(torch.cat((self.down_32(out_16), at_32), 1))
        heads = zip(self.box_heads, self.class_heads, (out_8, out_16, out_32), strict=True)
        return [torch.cat((box(y), kind(y)), 1) for box, kind, y in heads]


def _head(c_in: int, width: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(Conv(c_in, width, 3), Conv(width, width, 3), nn.Conv2d(width, c_out, 1))


def cell_centres(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres f32[N, 2] (x, y in cells) and strides f32[N, 1] of all cells of an H x W picture."""
    points, strides = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        points.append(torch.stack((x, y), -1).reshape(-1, 2) + 0.5)
        strides.append(torch.full((rows * columns, 1), float(stride)))
    return torch.cat(points), torch.cat(strides)


def flatten(maps: list[Tensor]) -> Tensor:
    """One map a stride -> f32[B, 4 * BINS + classes, N], strides one after the other."""
    return torch.cat([m.flatten(2) for m in maps], 2)


class Decoded(nn.Module):
    """The network and its decode: f32[B, 3, H, W] -> f32[B, 4 + classes, N].

    Rows: box centre x, centre y, width, height in pixels, then a probability for each class.
    """

    def __init__(self, network: Detector, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        centres, strides = cell_centres(height, width)
        self.register_buffer("centres", centres.T[None])  # [1, 2, N]
        self.register_buffer("strides", strides.T[None])  # [1, 1, N]
        self.expectation = nn.Conv2d(BINS, 1, 1, bias=False)
        self.expectation.weight.data = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        edges, kinds = flatten(self.network(x)).split((4 * BINS, self.network.classes), 1)
        bins = edges.view(edges.shape[0], 4, BINS, -1).transpose(1, 2)  # [B, BINS, 4, N]
        left_top, right_bottom = self.expectation(bins.softmax(1)).squeeze(1).chunk(2, 1)
        low, high = self.centres - left_top, self.centres + right_bottom
        boxes = torch.cat(((low + high) / 2, high - low), 1) * self.strides
        return torch.cat((boxes, kinds.sigmoid()), 1)
