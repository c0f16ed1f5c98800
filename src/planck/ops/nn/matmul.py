"""Matrix products, batched as in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Expr, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import broadcast, count, need_kind, same_dtype


@dataclass(frozen=True)
class MatMul(Op):
    """a[..., I, K] times b[..., K, J]; the leading axes broadcast; short floats sum in f32.

    transpose_a, transpose_b: the operand lies with its last two axes swapped
    """

    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("MatMul", inputs, 2)
        dtype = same_dtype("MatMul", inputs)
        need_kind("MatMul", dtype, "fiuc")
        a, b = inputs[0].dims, inputs[1].dims
        if len(a) < 2 or len(b) < 2:
            raise ShapeError(f"MatMul takes matrices, was given {list(a)} and {list(b)}")
        rows, inner = (a[-1], a[-2]) if self.transpose_a else (a[-2], a[-1])
        outer, columns = (b[-1], b[-2]) if self.transpose_b else (b[-2], b[-1])
        if inner != outer:
            raise ShapeError(
                f"MatMul of {list(a)} and {list(b)}: the inner dimensions are {inner} and {outer}",
                know=f"transpose_a={self.transpose_a}, transpose_b={self.transpose_b}",
            )
        return (TensorType((*broadcast("MatMul", a[:-2], b[:-2]), rows, columns), dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        a, b = inputs
        dtype = a.dtype
        wide = accumulator(from_numpy(dtype)).numpy
        a, b = a.astype(wide, copy=False), b.astype(wide, copy=False)
        a = a.swapaxes(-1, -2) if self.transpose_a else a
        b = b.swapaxes(-1, -2) if self.transpose_b else b
        return (np.matmul(a, b).astype(dtype, copy=False),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        a, b = inputs
        *batch, i, j = index
        wide = accumulator(a.dtype)
        (k,) = expr.variables(index, (a.shape[-2 if self.transpose_a else -1],))
        left = a.broadcast((*batch, k, i) if self.transpose_a else (*batch, i, k))
        right = b.broadcast((*batch, j, k) if self.transpose_b else (*batch, k, j))
        product = expr.apply("mul", expr.cast(left, wide), expr.cast(right, wide))
        return expr.cast(expr.reduce("sum", (k,), product), a.dtype)
