"""Arithmetic on one LLVM type, scalar or vector, written out without a call to libm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from planck.codegen.llvm import Builder, float_literal
from planck.target import Target

_BITS: Final = {"float": 32, "double": 64, "half": 16, "bfloat": 16}
# llvm.roundeven and friends are one instruction everywhere but on bare SSE2, where they call libm.
_NO_ROUNDING: Final = ("portable",)


def element(kind: str) -> str:
    """The scalar type of an LLVM type: "float" of "<16 x float>"."""
    return kind[1:-1].split(" x ")[1] if kind.startswith("<") else kind


def count(kind: str) -> int:
    """Lanes of an LLVM type, 1 for a scalar."""
    return int(kind[1:].split(" x ")[0]) if kind.startswith("<") else 1


def widen(scalar: str, like: str) -> str:
    """The LLVM type with the lanes of `like` and elements of type `scalar`."""
    return f"<{count(like)} x {scalar}>" if like.startswith("<") else scalar


def splat(kind: str, value: float | int | bool) -> str:
    """A literal operand of an LLVM type, the value in every lane."""
    scalar = element(kind)
    if scalar in ("float", "double"):
        literal = float_literal(float(value), scalar)
    elif scalar == "i1":
        literal = "true" if value else "false"
    else:
        literal = str(int(value))
    return f"splat ({scalar} {literal})" if kind.startswith("<") else literal


class Lanes:
    """Writes arithmetic on values of one LLVM type.

    kind:      "float", "<16 x float>", "double", "i64", "<8 x i32>", "i1", ...
    unsigned:  whether integers are compared, divided and shifted as unsigned
    """

    def __init__(self, b: Builder, kind: str, target: Target, unsigned: bool = False) -> None:
        self.b, self.kind, self.target, self.unsigned = b, kind, target, unsigned
        self.element = element(kind)
        self.is_float = self.element in ("float", "double")
        self.bits = _BITS.get(self.element) or int(self.element[1:])
        self.mask = widen("i1", kind)
        self.ints = widen(f"i{self.bits}", kind)
        self.suffix = (f"v{count(kind)}" if kind.startswith("<") else "") + (
            f"f{self.bits}" if self.is_float else f"i{self.bits}"
        )

    def to(self, scalar: str) -> Lanes:
        """The same number of lanes of another scalar type."""
        return Lanes(self.b, widen(scalar, self.kind), self.target, self.unsigned)

    def c(self, value: float | int) -> str:
        return splat(self.kind, value)

    def let(self, name: str, x: str, y: str) -> str:
        """One instruction of two operands of the kind."""
        return self.b.let(f"{name} {self.kind} {x}, {y}")

    def add(self, x: str, y: str) -> str:
        return self.let("fadd" if self.is_float else "add", x, y)

    def sub(self, x: str, y: str) -> str:
        return self.let("fsub" if self.is_float else "sub", x, y)

    def mul(self, x: str, y: str) -> str:
        return self.let("fmul" if self.is_float else "mul", x, y)

    def div(self, x: str, y: str) -> str:
        """A float division."""
        return self.let("fdiv", x, y)

    def fma(self, x: str, y: str, z: str) -> str:
        """x * y + z, fused where the processor has it."""
        return self.call("fmuladd", x, y, z)

    def neg(self, x: str) -> str:
        if self.is_float:
            return self.b.let(f"fneg {self.kind} {x}")
        return self.sub(self.c(0), x)

    def call(self, name: str, *args: str) -> str:
        """An LLVM intrinsic whose operands are all of the kind."""
        pairs = [(self.kind, arg) for arg in args]
        return self.b.call(self.kind, f"llvm.{name}.{self.suffix}", *pairs)

    def abs(self, x: str) -> str:
        if self.is_float:
            return self.call("fabs", x)
        return self.select(self.compare("lt", x, self.c(0)), self.neg(x), x)

    def sign_of(self, x: str, y: str) -> str:
        """x with the sign of y."""
        return self.call("copysign", x, y)

    def compare(self, test: str, x: str, y: str) -> str:
        """test: "eq", "ne", "lt", "le", "gt", "ge"; gives i1 lanes; NaN compares false."""
        if self.is_float:
            return self.b.let(f"fcmp {'u' if test == 'ne' else 'o'}{test} {self.kind} {x}, {y}")
        sign = "" if test in ("eq", "ne") else "u" if self.unsigned else "s"
        return self.b.let(f"icmp {sign}{test} {self.kind} {x}, {y}")

    def is_nan(self, x: str) -> str:
        return self.b.let(f"fcmp uno {self.kind} {x}, {self.c(0.0)}")

    def select(self, mask: str, x: str, y: str) -> str:
        return self.b.let(f"select {self.mask} {mask}, {self.kind} {x}, {self.kind} {y}")

    def both(self, p: str, q: str) -> str:
        return self.b.let(f"and {self.mask} {p}, {q}")

    def either(self, p: str, q: str) -> str:
        return self.b.let(f"or {self.mask} {p}, {q}")

    def least(self, bound: str, x: str) -> str:
        """min(bound, x); x where it is NaN: one instruction on x86."""
        return self.select(self.compare("lt", bound, x), bound, x)

    def most(self, bound: str, x: str) -> str:
        """max(bound, x); x where it is NaN: one instruction on x86."""
        return self.select(self.compare("gt", bound, x), bound, x)

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """Horner's rule, the highest power's coefficient first."""
        result = self.c(coefficients[0])
        for coefficient in coefficients[1:]:
            result = self.fma(result, x, self.c(coefficient))
        return result

    def bits_of(self, x: str) -> str:
        return self.b.let(f"bitcast {self.kind} {x} to {self.ints}")

    def of_bits(self, x: str) -> str:
        return self.b.let(f"bitcast {self.ints} {x} to {self.kind}")

    def convert(self, instruction: str, x: str, to: str) -> str:
        """fpext, fptrunc, sitofp, zext ...: the lanes as scalars of another type."""
        return self.b.let(f"{instruction} {self.kind} {x} to {widen(to, self.kind)}")

    def round(self, x: str) -> str:
        """To the nearest integer, ties to even."""
        if self.target.isa not in _NO_ROUNDING:
            return self.call("roundeven", x)
        # Adding 2^23 (2^52) pushes the fraction out; larger numbers have none.
        magic = self.c(2.0**23 if self.bits == 32 else 2.0**52)
        size = self.abs(x)
        rounded = self.sub(self.add(size, magic), magic)
        small = self.compare("lt", size, magic)
        return self.select(small, self.sign_of(rounded, x), x)

    def floor(self, x: str) -> str:
        if self.target.isa not in _NO_ROUNDING:
            return self.call("floor", x)
        near = self.round(x)
        below = self.select(self.compare("gt", near, x), self.c(1.0), self.c(0.0))
        return self.sign_of(self.sub(near, below), x)

    def ceil(self, x: str) -> str:
        return self.neg(self.floor(self.neg(x)))

    def trunc(self, x: str) -> str:
        """Toward zero."""
        if self.target.isa not in _NO_ROUNDING:
            return self.call("trunc", x)
        return self.sign_of(self.floor(self.abs(x)), x)
