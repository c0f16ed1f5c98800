"""A copy of a tensor."""

from __future__ import annotations

from dataclasses import dataclass

from planck.dtypes import Array
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops.expr import Expr, Tensor


@dataclass(frozen=True)
class Identity(Op):
    """The input, elsewhere in memory (and, once layouts are chosen, in another block)."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (x,)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        return (x.copy(),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        return inputs[0](*index)
