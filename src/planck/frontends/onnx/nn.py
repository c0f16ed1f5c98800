"""Convolutions, matrix products, pools, normalisations: ONNX nodes to canonical operators."""

from __future__ import annotations

from typing import Final

from planck.frontends.onnx.context import Table

TABLE: Final[Table] = {}
