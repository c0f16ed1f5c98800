"""Elementwise operators: Pointwise, whose function is a name in a table, Cast and BitCast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from planck.dtypes import Array, DType, bool_, f32, string
from planck.errors import DTypeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Expr, Tensor
from planck.ops.convert import LARGEST, convert
from planck.ops.functions import FUNCTIONS, Function
from planck.ops.shapes import broadcast, count, need_kind, same_dtype

__all__ = ["FUNCTIONS", "BitCast", "Cast", "Function", "Pointwise"]


@dataclass(frozen=True)
class Pointwise(Op):
    """One of FUNCTIONS on each element; operands broadcast as in NumPy and share one dtype.

    fn:  "select" takes a bool condition first; a function's parameters are trailing operands
    """

    fn: str

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        function = FUNCTIONS.get(self.fn)
        if function is None:
            raise DTypeError(f"planck has no elementwise function {self.fn!r}")
        count(self.fn, inputs, function.arity)
        operands = inputs
        if self.fn == "select":
            if inputs[0].dtype is not bool_:
                raise DTypeError(f"the condition of select must be bool, is {inputs[0].dtype}")
            operands = inputs[1:]
        dtype = same_dtype(self.fn, operands)
        need_kind(self.fn, dtype, function.kinds)
        shape = broadcast(self.fn, *(kind.dims for kind in inputs))
        return (TensorType(shape, bool_ if function.result == "bool" else dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (FUNCTIONS[self.fn].apply(*inputs),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        args = tuple(tensor.broadcast(index) for tensor in inputs)
        dtype = bool_ if FUNCTIONS[self.fn].result == "bool" else inputs[-1].dtype
        return expr.Apply(self.fn, args, dtype)


@dataclass(frozen=True)
class Cast(Op):
    """Another dtype: floats to integers truncate, integers wrap, anything but 0 is true.

    to:        the dtype of the output
    saturate:  float8 only: values out of range become the largest finite one, not NaN or infinity
    source:    ONNX operator Cast
    """

    to: DType
    saturate: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Cast", inputs, 1)
        if inputs[0].dtype.kind == "c" and self.to.kind != "c":
            raise DTypeError(f"Cast cannot make {self.to} of {inputs[0].dtype}")
        return (TensorType(inputs[0].dims, self.to),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (convert(inputs[0], self.to, self.saturate),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        if string in (self.to, inputs[0].dtype):
            raise DTypeError("strings are only evaluated while importing")
        value, given = inputs[0](*index), inputs[0].dtype
        if given is self.to:
            return value
        if self.saturate and self.to in LARGEST:
            most = LARGEST[self.to]
            value = expr.apply("min", expr.apply("max", expr.cast(value, f32), -most), most)
        return expr.Cast(value, self.to)


@dataclass(frozen=True)
class BitCast(Op):
    """The same bits read as another dtype of the same width."""

    reference_only: ClassVar[bool] = True

    to: DType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("BitCast", inputs, 1)
        (x,) = inputs
        if x.dtype.bits != self.to.bits or string in (x.dtype, self.to):
            raise DTypeError(f"BitCast cannot read {x.dtype} as {self.to}")
        return (TensorType(x.dims, self.to),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0].view(self.to.numpy),)
