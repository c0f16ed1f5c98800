"""Operators of linear algebra that are no matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from planck.dtypes import Array
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.ops.shapes import count, need_kind


@dataclass(frozen=True)
class Det(Op):
    """Determinants of the square matrices in the last two axes: x[*B, M, M] -> [*B]."""

    reference_only: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Det", inputs, 1)
        (x,) = inputs
        need_kind("Det", x.dtype, "f")
        if x.rank < 2 or x.dims[-1] != x.dims[-2]:
            raise ShapeError(f"Det takes square matrices, was given {list(x.shape)}")
        return (TensorType(x.dims[:-2], x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        return (np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype),)
