"""The U-Net of bench.models.unet: f32[N, 3, 256, 256] -> f32[N, 2, 256, 256]."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from torch import nn

from bench.torch_models.layers import convolution


class UNet(nn.Module):  # type: ignore[misc]
    """Four levels down by pools, up by transposed convolutions, skips concatenated."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Any) -> Any:
        x = self.down[0](x)
        skips = []
        for level in self.down[1:]:
            skips.append(x)
            x = level(F.max_pool2d(x, 2))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


def _double(cin: int, cout: int) -> Any:
    first = convolution(cin, cout, 3, 1, nn.ReLU())
    return nn.Sequential(first, convolution(cout, cout, 3, 1, nn.ReLU()))
