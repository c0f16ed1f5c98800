"""Floats of eight bits and fewer: between their codes in memory and float lanes.

source: ONNX operator Cast; OCP Microscaling Formats (MX) 1.0; "8-bit Numerical Formats for Deep
Neural Networks" (the fnuz kinds)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck import dtypes
from planck.codegen.lanes import Lanes, widen
from planck.codegen.llvm import Builder
from planck.dtypes import DType
from planck.target import Target

_NAN: Final = 0x7FC00000  # of a float


@dataclass(frozen=True, slots=True)
class Format:
    """Where a code keeps what.

    mantissa, bias:  bits of the fraction, and the exponent's bias
    sign:            the sign's bit; the code without it is the size
    over:            the size that what is too large gets: infinity or NaN, or the largest
    nan:             the first size that is NaN; for those without a negative zero, its code
    unsigned_zero:   whether the negative zero's code is NaN instead (the fnuz kinds)
    """

    mantissa: int
    bias: int
    sign: int
    over: int
    nan: int
    unsigned_zero: bool = False


FORMATS: Final = {
    dtypes.f8e4m3: Format(3, 7, 0x80, 0x7F, 0x7F),
    dtypes.f8e5m2: Format(2, 15, 0x80, 0x7C, 0x7D),
    dtypes.f8e4m3fnuz: Format(3, 8, 0x80, 0x80, 0x80, unsigned_zero=True),
    dtypes.f8e5m2fnuz: Format(2, 16, 0x80, 0x80, 0x80, unsigned_zero=True),
    dtypes.f4e2m1: Format(1, 1, 0x8, 0x7, 0x10),
}
SMALL: Final = frozenset((*FORMATS, dtypes.f8e8m0))


def to_float(b: Builder, value: str, dtype: DType, count: int, target: Target) -> str:
    """i8 lanes of codes -> float lanes."""
    v = Lanes(b, f"<{count} x float>" if count > 1 else "float", target)
    i = v.to("i32")
    code = b.let(f"zext {widen('i8', v.kind)} {value} to {i.kind}")
    if dtype is dtypes.f8e8m0:
        bits = i.let("shl", code, i.c(23))
        bits = i.select(i.compare("eq", code, i.c(0)), i.c(0x400000), bits)
        return v.of_bits(i.select(i.compare("eq", code, i.c(255)), i.c(_NAN), bits))
    form = FORMATS[dtype]
    size = i.let("and", code, i.c(form.sign - 1))
    # The fields in place, as a float whose exponent is too small: the product is exact.
    field = v.of_bits(i.let("shl", size, i.c(23 - form.mantissa)))
    bits = v.bits_of(v.mul(field, v.c(2.0 ** (127 - form.bias))))
    if dtype is dtypes.f8e5m2:
        bits = i.select(i.compare("eq", size, i.c(form.over)), i.c(0x7F800000), bits)
    code = i.let("and", code, i.c(2 * form.sign - 1))
    test, what = ("eq", code) if form.unsigned_zero else ("ge", size)
    broken = i.compare(test, what, i.c(form.nan))
    bits = i.select(broken, i.c(_NAN), bits)
    sign = i.let("and", code, i.c(form.sign))
    return v.of_bits(i.let("or", bits, i.let("shl", sign, i.c(32 - form.sign.bit_length()))))


def of_float(b: Builder, value: str, dtype: DType, count: int, target: Target) -> str:
    """Float lanes -> i8 lanes of codes, rounded to nearest even (f8e8m0: to the next power up)."""
    v = Lanes(b, f"<{count} x float>" if count > 1 else "float", target)
    i = v.to("i32")
    bits = v.bits_of(value)
    size = i.let("and", bits, i.c(0x7FFFFFFF))
    not_a_number = i.compare("gt", size, i.c(0x7F800000))
    if dtype is dtypes.f8e8m0:
        power = i.let("lshr", i.add(size, i.c(0x7FFFFF)), i.c(23))
        power = i.select(i.compare("le", size, i.c(0x400000)), i.c(0), power)
        power = i.select(i.compare("gt", power, i.c(254)), i.c(254), power)
        code = i.select(not_a_number, i.c(255), power)
        return b.let(f"trunc {i.kind} {code} to {widen('i8', v.kind)}")
    form = FORMATS[dtype]
    shift = 23 - form.mantissa
    # Normal: move the exponent's bias and round what is cut off to even.
    odd = i.let("and", i.let("lshr", size, i.c(shift)), i.c(1))
    move = ((1 << (shift - 1)) - 1) - ((127 - form.bias) << 23)
    normal = i.let("lshr", i.add(size, i.add(odd, i.c(move))), i.c(shift))
    # Denormal: a number whose last place is the smallest code lets the addition itself round.
    anchor = 2.0 ** (24 - form.bias - form.mantissa)
    anchor_bits = (127 + 24 - form.bias - form.mantissa) << 23
    tiny = i.sub(v.bits_of(v.add(v.of_bits(size), v.c(anchor))), i.c(anchor_bits))
    least = (128 - form.bias) << 23
    code = i.select(i.compare("lt", size, i.c(least)), tiny, normal)
    sign = i.let("lshr", i.let("and", bits, i.c(-0x80000000)), i.c(32 - form.sign.bit_length()))
    if form.unsigned_zero:
        code = i.select(i.compare("ge", code, i.c(form.over)), i.c(form.over), code)
        sign = i.select(i.compare("eq", code, i.c(0)), i.c(0), sign)
    else:
        code = i.select(i.compare("gt", code, i.c(form.over)), i.c(form.over), code)
    if dtype is dtypes.f4e2m1:  # it has no NaN: a zero of the other sign, as ml_dtypes has it
        code = i.select(not_a_number, i.c(0), code)
        sign = i.select(not_a_number, i.let("xor", sign, i.c(form.sign)), sign)
    else:
        last = form.nan if form.unsigned_zero else form.sign - 1
        code = i.select(not_a_number, i.c(last), code)
    code = i.let("or", code, sign)
    return b.let(f"trunc {i.kind} {code} to {widen('i8', v.kind)}")
