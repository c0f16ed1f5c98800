"""Floats of eight bits and fewer as Triton functions: between their codes and float32.

The formats, and the ways of rounding, are those of `codegen/minifloat.py`.
"""

from __future__ import annotations

from typing import Final

from planck import dtypes
from planck.codegen.minifloat import FORMATS, SMALL
from planck.dtypes import DType

_NAN: Final = 0x7FC00000  # of a float


def reader(dtype: DType) -> str:
    """The name of the function from codes to float32."""
    return f"_of_{dtype}"


def writer(dtype: DType) -> str:
    """The name of the function from float32 to codes."""
    return f"_to_{dtype}"


def _read_power(dtype: DType) -> str:
    return f"""
def {reader(dtype)}(code):
    code = code.to(tl.int32)
    bits = tl.where(code == 0, 0x400000, code << 23)
    return tl.where(code == 255, {_NAN}, bits).to(tl.float32, bitcast=True)"""


def _write_power(dtype: DType) -> str:
    return f"""
def {writer(dtype)}(x):
    size = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    power = tl.minimum((tl.minimum(size, 0x7F800000) + 0x7FFFFF) >> 23, 254)
    power = tl.where(size <= 0x400000, 0, power)
    return tl.where(size > 0x7F800000, 255, power).to(tl.uint8)"""


def _read(dtype: DType) -> str:
    form = FORMATS[dtype]
    # The fields in place, as a float whose exponent is too small: the product is exact.
    lines = [
        f"def {reader(dtype)}(code):",
        f"code = code.to(tl.int32) & {2 * form.sign - 1}",
        f"size = code & {form.sign - 1}",
        f"field = (size << {23 - form.mantissa}).to(tl.float32, bitcast=True)",
        f"bits = (field * {2.0 ** (127 - form.bias)!r}).to(tl.int32, bitcast=True)",
    ]
    if dtype is dtypes.f8e5m2:
        lines.append(f"bits = tl.where(size == {form.over}, 0x7F800000, bits)")
    broken = f"code == {form.nan}" if form.unsigned_zero else f"size >= {form.nan}"
    lines += [
        f"bits = tl.where({broken}, {_NAN}, bits)",
        f"sign = (code & {form.sign}) << {32 - form.sign.bit_length()}",
        "return (bits | sign).to(tl.float32, bitcast=True)",
    ]
    return "\n    ".join(lines)


def _write(dtype: DType) -> str:
    form = FORMATS[dtype]
    shift = 23 - form.mantissa
    move = ((1 << (shift - 1)) - 1) - ((127 - form.bias) << 23)
    place = 24 - form.bias - form.mantissa  # where the smallest code is a float's last place
    last = form.nan if form.unsigned_zero else form.sign - 1
    lines = [
        f"def {writer(dtype)}(x):",
        "bits = x.to(tl.int32, bitcast=True)",
        "size = bits & 0x7FFFFFFF",
        f"normal = (size + (((size >> {shift}) & 1) + {move})) >> {shift}",
        f"tiny = size.to(tl.float32, bitcast=True) + {2.0**place!r}",
        f"tiny = tiny.to(tl.int32, bitcast=True) - {(127 + place) << 23}",
        f"code = tl.where(size < {(128 - form.bias) << 23}, tiny, normal)",
        f"sign = tl.where(bits < 0, {form.sign}, 0)",
        f"code = tl.minimum(code, {form.over})",
    ]
    if form.unsigned_zero:
        lines.append("sign = tl.where(code == 0, 0, sign)")
    if dtype is dtypes.f4e2m1:  # it has no NaN: a zero of the other sign, as ml_dtypes has it
        lines.append(f"sign = tl.where(size > 0x7F800000, sign ^ {form.sign}, sign)")
        last = 0
    lines += [
        f"code = tl.where(size > 0x7F800000, {last}, code)",
        "return (code | sign).to(tl.uint8)",
    ]
    return "\n    ".join(lines)


HELPERS: Final[dict[str, str]] = {
    **{reader(t): _read(t) for t in FORMATS},
    **{writer(t): _write(t) for t in FORMATS},
    reader(dtypes.f8e8m0): _read_power(dtypes.f8e8m0),
    writer(dtypes.f8e8m0): _write_power(dtypes.f8e8m0),
}
"""Functions of a kernel's module by name."""

__all__ = ["HELPERS", "SMALL", "reader", "writer"]
