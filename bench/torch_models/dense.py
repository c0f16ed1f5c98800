"""The LSTM and the perceptron of bench.models.dense."""

from __future__ import annotations

from typing import Any

from torch import nn  # type: ignore[import-not-found]


class LongShortTerm(nn.Module):  # type: ignore[misc]
    """Two bidirectional LSTM layers and a linear one: f32[N, 32, 128] -> f32[N, 32, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(128, 256, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(512, 64)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0])


def mlp() -> Any:
    """784-1024-1024-10 with ReLU: f32[N, 784] -> f32[N, 10]."""
    wide = (nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU())
    return nn.Sequential(*wide, nn.Linear(1024, 10))
