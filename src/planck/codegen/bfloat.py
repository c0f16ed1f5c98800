"""bfloat16: between memory and float lanes, and products of pairs.

AVX512_BF16 rounds in one instruction and multiplies pairs in another. Other processors widen by a
shift, round with integers and multiply with two fused multiply-adds. The instructions take
denormals, numbers below 2^-126, for zeros.

source: Intel Architecture Instruction Set Extensions, VCVTNEPS2BF16 and VDPBF16PS
"""

from __future__ import annotations

from planck.codegen.llvm import Builder
from planck.target import Target


def native(target: Target) -> bool:
    """Whether the processor has the instructions."""
    return target.multiplies_bfloat16


def _of(scalar: str, count: int) -> str:
    return f"<{count} x {scalar}>" if count > 1 else scalar


def _splat(scalar: str, count: int, value: int) -> str:
    return f"splat ({scalar} {value})" if count > 1 else str(value)


def widen(b: Builder, value: str, count: int) -> str:
    """i16 lanes, as they lie in memory -> float lanes."""
    words, ints = _of("i16", count), _of("i32", count)
    wide = b.let(f"zext {words} {value} to {ints}")
    return upper(b, b.let(f"shl {ints} {wide}, {_splat('i32', count, 16)}"), count)


def upper(b: Builder, value: str, count: int) -> str:
    """i32 lanes whose low half is zero, as float lanes."""
    return b.let(f"bitcast {_of('i32', count)} {value} to {_of('float', count)}")


def narrow(b: Builder, value: str, count: int, fast: bool) -> str:
    """Float lanes -> i16 lanes, rounded to nearest even; NaN stays NaN."""
    words, floats, ints = _of("i16", count), _of("float", count), _of("i32", count)
    if fast:
        short = b.let(f"fptrunc {floats} {value} to {_of('bfloat', count)}")
        return b.let(f"bitcast {_of('bfloat', count)} {short} to {words}")
    bits = b.let(f"bitcast {floats} {value} to {ints}")
    high = b.let(f"lshr {ints} {bits}, {_splat('i32', count, 16)}")
    odd = b.let(f"and {ints} {high}, {_splat('i32', count, 1)}")
    bias = b.let(f"add {ints} {odd}, {_splat('i32', count, 0x7FFF)}")
    rounded = b.let(f"add {ints} {bits}, {bias}")
    quiet = b.let(f"or {ints} {bits}, {_splat('i32', count, 0x400000)}")
    nan = b.let(f"fcmp uno {floats} {value}, zeroinitializer" if count > 1
                else f"fcmp uno float {value}, 0.0")  # fmt: skip
    chosen = b.let(f"select {_of('i1', count)} {nan}, {ints} {quiet}, {ints} {rounded}")
    top = b.let(f"lshr {ints} {chosen}, {_splat('i32', count, 16)}")
    return b.let(f"trunc {ints} {top} to {words}")


def pair(b: Builder, first: str, second: str, count: int) -> str:
    """Float lanes that are bfloat16 -> i32 lanes of pairs; second: "" for zeros."""
    floats, ints = _of("float", count), _of("i32", count)
    low = b.let(f"bitcast {floats} {first} to {ints}")
    low = b.let(f"lshr {ints} {low}, {_splat('i32', count, 16)}")
    if not second:
        return low
    high = b.let(f"bitcast {floats} {second} to {ints}")
    return b.let(f"or {ints} {low}, {high}")


def dot(b: Builder, acc: str, x: str, w: str, count: int, fast: bool) -> str:
    """acc + x[even] * w[even] + x[odd] * w[odd] in each lane of a vector.

    acc:   float lanes
    x, w:  i32 lanes, a pair of bfloat16 in each, the even one in the low half
    """
    floats, ints = _of("float", count), _of("i32", count)
    if fast:
        pairs = f"<{2 * count} x bfloat>"
        x, w = (b.let(f"bitcast {ints} {value} to {pairs}") for value in (x, w))
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * count}"
        return b.call(floats, name, (floats, acc), (pairs, x), (pairs, w))
    for part in (_even, _odd):
        operands = [(floats, upper(b, part(b, value, count), count)) for value in (x, w)]
        acc = b.call(floats, f"llvm.fmuladd.v{count}f32", *operands, (floats, acc))
    return acc


def _even(b: Builder, value: str, count: int) -> str:
    return b.let(f"shl {_of('i32', count)} {value}, {_splat('i32', count, 16)}")


def _odd(b: Builder, value: str, count: int) -> str:
    return b.let(f"and {_of('i32', count)} {value}, {_splat('i32', count, -65536)}")
