"""Image classifiers as in bench.models.classify: f32[N, 3, 224, 224] -> f32[N, 1000]."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from torch import nn

from bench.torch_models.layers import Bottleneck, InvertedResidual, convolution


def resnet50() -> Any:
    """ResNet-50, pooled by AdaptiveAvgPool2d as in torchvision."""
    layers = [convolution(3, 64, 7, 2, nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    cin = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        for block in range(depth):
            layers.append(Bottleneck(cin, 64 << stage, 2 if stage and not block else 1))
            cin = 4 * (64 << stage)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 1000))
    return nn.Sequential(*layers, *head)


def mobilenet_v2() -> Any:
    """MobileNetV2 1.0."""
    # (expansion, channels, blocks, stride), table 2 of the paper
    rows = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    layers = [convolution(3, 32, 3, 2, nn.ReLU6())]
    cin = 32
    for expansion, channels, blocks, stride in rows:
        for block in range(blocks):
            layers.append(InvertedResidual(cin, channels, 1 if block else stride, expansion))
            cin = channels
    layers.append(convolution(cin, 1280, 1, 1, nn.ReLU6()))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))
    return nn.Sequential(*layers, *head)


class Fire(nn.Module):  # type: ignore[misc]
    """SqueezeNet's module: squeeze, then expand by 1x1 and 3x3 side by side."""

    def __init__(self, cin: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(cin, squeeze, 1)
        self.one = nn.Conv2d(squeeze, 4 * squeeze, 1)
        self.three = nn.Conv2d(squeeze, 4 * squeeze, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


def squeezenet() -> Any:
    """SqueezeNet 1.1; its weights by He's formula, as it has no batch norms."""
    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU()]
    cin = 64
    # squeeze widths between the three pools
    for squeezes in ((16, 16), (32, 32), (48, 48, 64, 64)):
        layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        for squeeze in squeezes:
            layers.append(Fire(cin, squeeze))
            cin = 8 * squeeze
    head = (nn.Dropout(), nn.Conv2d(cin, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(*layers, *head)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network
