"""All translations of ONNX operators, by (domain, type); one table a family."""

from __future__ import annotations

from typing import Final

from planck.frontends.onnx import (
    constants,
    control,
    einsum,
    fourier,
    indexing,
    math,
    nn,
    norm,
    quantize,
    recurrent,
    reduce,
    resize,
    sample,
    sequence,
    tensor,
)
from planck.frontends.onnx.context import Table, Translation

TABLES: Final[tuple[Table, ...]] = (
    nn.TABLE,
    norm.TABLE,
    quantize.TABLE,
    resize.TABLE,
    sample.TABLE,
    recurrent.TABLE,
    einsum.TABLE,
    fourier.TABLE,
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

# Those that may read rows of which only a run tells how many there are. Other translations take
# extents for numbers without emitting an operation that could refuse.
ROWWISE: Final = frozenset(
    {
        *(math.TABLE.keys() - {("", "IsInf")}),
        *reduce.TABLE,
        *(("", name) for name in ("Gather", "GatherElements", "GatherND", "Identity", "MatMul")),
        *(("", name) for name in ("Concat", "Flatten", "Reshape", "Shape", "Slice", "Split")),
        *(("", name) for name in ("Softmax", "Squeeze", "Transpose", "Unsqueeze")),
    }
)


def operators() -> tuple[str, ...]:
    """What is translated, by name; names of other domains than ONNX's own as "domain::Name"."""
    return tuple(sorted(f"{domain}::{kind}" if domain else kind for domain, kind in TRANSLATIONS))
