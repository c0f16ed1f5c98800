"""All translations of ONNX operators, by (domain, type); one table a family."""

from __future__ import annotations

from typing import Final

from planck.frontends.onnx import (
    constants,
    control,
    indexing,
    math,
    nn,
    norm,
    quantize,
    reduce,
    sequence,
    tensor,
)
from planck.frontends.onnx.context import Table, Translation

TABLES: Final[tuple[Table, ...]] = (
    nn.TABLE,
    norm.TABLE,
    quantize.TABLE,
    math.TABLE,
    reduce.TABLE,
    tensor.TABLE,
    indexing.TABLE,
    constants.TABLE,
    control.TABLE,
    sequence.TABLE,
)

TRANSLATIONS: Final[dict[tuple[str, str], Translation]] = {
    key: translation for table in TABLES for key, translation in table.items()
}
