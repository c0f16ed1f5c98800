"""All translations of ONNX operators, by (domain, type); one table a family."""

from __future__ import annotations

from typing import Final

from planck.frontends.onnx import nn
from planck.frontends.onnx.context import Table, Translation

TABLES: Final[tuple[Table, ...]] = (nn.TABLE,)

TRANSLATIONS: Final[dict[tuple[str, str], Translation]] = {
    key: translation for table in TABLES for key, translation in table.items()
}
