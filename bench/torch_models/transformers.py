"""BERT-base and ViT-B/16 as in bench.models.transformers."""

from __future__ import annotations

from typing import Any

import torch  # type: ignore[import-not-found]
from torch import nn

from bench.torch_models.layers import BertLayer, VitLayer


class BertBase(nn.Module):  # type: ignore[misc]
    """BERT-base: i64[N, L] ids, mask, token types -> f32[N, L, 768] and f32[N, 768]."""

    VOCABULARY = 30522

    def __init__(self, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(self.VOCABULARY, width)
        self.places = nn.Embedding(512, width)
        self.kinds = nn.Embedding(2, width)
        self.register_buffer("position_ids", torch.arange(512)[None], persistent=False)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(width, heads, 4, 1e-12) for _ in range(layers))
        self.pool = nn.Linear(width, width)

    def forward(self, ids: Any, mask: Any, kinds: Any) -> tuple[Any, Any]:
        dtype = self.words.weight.dtype  # a mask of another would widen the scores
        bias = (1.0 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min
        x = self.words(ids) + self.kinds(kinds) + self.places(self.position_ids[:, : ids.size(1)])
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pool(x[:, 0]))


class VitB16(nn.Module):  # type: ignore[misc]
    """ViT-B/16: f32[N, 3, 224, 224] -> f32[N, 1000]."""

    def __init__(self, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.places = nn.Parameter(torch.randn(1, 197, width) * 0.3)
        self.layers = nn.Sequential(*(VitLayer(width, heads, 4, 1e-6) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 1000)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.norm(self.layers(x))[:, 0])
