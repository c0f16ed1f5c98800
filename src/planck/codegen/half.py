"""float16 between memory and float lanes; there is no arithmetic in it.

x86-64-v3 and NEON convert in one instruction (VCVTPH2PS, VCVTPS2PH); elsewhere the fields are moved
with integers. Denormals count, NaN stays NaN, and what is 65520 or more becomes infinity.

source: IEEE 754-2019, binary16
"""

from __future__ import annotations

from typing import Final

from planck.codegen.lanes import Lanes
from planck.codegen.llvm import Builder
from planck.target import Target

_PORTABLE: Final = Target("portable")


def native(target: Target) -> bool:
    """Whether the processor has the instructions."""
    return target.isa != "portable"


def _of(scalar: str, count: int) -> str:
    return f"<{count} x {scalar}>" if count > 1 else scalar


def widen(b: Builder, value: str, count: int, fast: bool) -> str:
    """i16 lanes, as they lie in memory -> float lanes."""
    if fast:
        half = b.let(f"bitcast {_of('i16', count)} {value} to {_of('half', count)}")
        return b.let(f"fpext {_of('half', count)} {half} to {_of('float', count)}")
    # Shift the fields in place and scale by 2^112, which makes denormals right too.
    i, v = (Lanes(b, _of(scalar, count), _PORTABLE) for scalar in ("i32", "float"))
    wide = b.let(f"zext {_of('i16', count)} {value} to {i.kind}")
    size = i.let("and", wide, i.c(0x7FFF))
    sign = i.let("shl", i.let("and", wide, i.c(0x8000)), i.c(16))
    scaled = v.mul(v.of_bits(i.let("shl", size, i.c(13))), v.c(2.0**112))
    endless = i.compare("gt", size, i.c(0x7BFF))
    bits = v.bits_of(scaled)
    bits = i.select(endless, i.let("or", bits, i.c(0x7F800000)), bits)
    return v.of_bits(i.let("or", bits, sign))


def narrow(b: Builder, value: str, count: int, fast: bool) -> str:
    """Float lanes -> i16 lanes, rounded to nearest even."""
    if fast:
        half = b.let(f"fptrunc {_of('float', count)} {value} to {_of('half', count)}")
        return b.let(f"bitcast {_of('half', count)} {half} to {_of('i16', count)}")
    i, v = (Lanes(b, _of(scalar, count), _PORTABLE) for scalar in ("i32", "float"))
    bits = v.bits_of(value)
    sign = i.let("and", i.let("lshr", bits, i.c(16)), i.c(0x8000))
    size = i.let("and", bits, i.c(0x7FFFFFFF))
    # Normal: move the exponent's bias and round what is cut off to even.
    odd = i.let("and", i.let("lshr", size, i.c(13)), i.c(1))
    moved = i.add(size, i.add(odd, i.c(0xFFF - (112 << 23))))
    normal = i.let("lshr", moved, i.c(13))
    # Denormal: adding a half lets the addition itself round.
    tiny = i.sub(v.bits_of(v.add(v.of_bits(size), v.c(0.5))), i.c(0x3F000000))
    result = i.select(i.compare("lt", size, i.c(113 << 23)), tiny, normal)
    result = i.select(i.compare("ge", size, i.c(0x477FF000)), i.c(0x7C00), result)
    result = i.select(i.compare("gt", size, i.c(0x7F800000)), i.c(0x7E00), result)
    return b.let(f"trunc {i.kind} {i.let('or', result, sign)} to {_of('i16', count)}")
