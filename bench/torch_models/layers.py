"""Layers that the narrow and the full networks share."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F  # type: ignore[import-not-found]
from torch import nn  # type: ignore[import-not-found]


def convolution(cin: int, cout: int, size: int, stride: int, act: Any, groups: int = 1) -> Any:
    """Convolution, padded to keep its size at stride 1, batch norm, activation."""
    conv = nn.Conv2d(cin, cout, size, stride, (size - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout, momentum=None), act)


def linear_pair(width: int, hidden: int) -> tuple[Any, Any]:
    """The two layers of a perceptron: width to hidden, hidden to width."""
    return nn.Linear(width, hidden), nn.Linear(hidden, width)


class Bottleneck(nn.Module):  # type: ignore[misc]
    """ResNet's block: 1x1, 3x3, 1x1 and a shortcut."""

    def __init__(self, cin: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(cin, width, 1, 1, nn.ReLU()),
            convolution(width, width, 3, stride, nn.ReLU()),
            convolution(width, 4 * width, 1, 1, nn.Identity()),
        )
        same = stride == 1 and cin == 4 * width
        self.short = (
            nn.Identity() if same else convolution(cin, 4 * width, 1, stride, nn.Identity())
        )

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.short(x))


class InvertedResidual(nn.Module):  # type: ignore[misc]
    """MobileNetV2's block: expand, depthwise, project."""

    def __init__(self, cin: int, cout: int, stride: int, expansion: int = 6) -> None:
        super().__init__()
        hidden = expansion * cin
        wide = [convolution(cin, hidden, 1, 1, nn.ReLU6())] if expansion != 1 else []
        self.body = nn.Sequential(
            *wide,
            convolution(hidden, hidden, 3, stride, nn.ReLU6(), groups=hidden),
            convolution(hidden, cout, 1, 1, nn.Identity()),
        )
        self.add = stride == 1 and cin == cout

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.add else self.body(x)


class BertLayer(nn.Module):  # type: ignore[misc]
    """Attention written out, then GELU, each with a residual and a layer norm behind."""

    def __init__(self, width: int, heads: int, expansion: int = 2, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = linear_pair(width, expansion * width)
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def forward(self, x: Any, bias: Any) -> Any:
        def split(y: Any) -> Any:
            return y.view(y.size(0), y.size(1), self.heads, -1).permute(0, 2, 1, 3)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.size(-1)) + bias).softmax(-1)
        mixed = (weights @ v).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(x + self.mix(mixed.view(x.shape)))
        return self.norm2(x + self.narrow(F.gelu(self.wide(x))))


class VitLayer(nn.Module):  # type: ignore[misc]
    """Pre-norm attention (PyTorch's own) and a two-layer perceptron."""

    def __init__(self, width: int, heads: int, expansion: int = 2, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = linear_pair(width, expansion * width)
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        every = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = every.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.mix(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))
