"""Elements between memory and registers: loads, stores, casts and gathers.

In registers floats of up to 32 bits are float lanes, booleans are i1 lanes, the rest are what
they are in memory.
"""

from __future__ import annotations

from planck import dtypes
from planck.codegen import bfloat, half, minifloat
from planck.codegen.lanes import Lanes, splat
from planck.codegen.llvm import Builder
from planck.dtypes import DType
from planck.errors import BuildError
from planck.target import Target


def supported(dtype: DType) -> bool:
    """Whether there is code for a dtype: not for complex numbers and strings."""
    return dtype.kind in "iubf"


def register(dtype: DType) -> str:
    """The scalar LLVM type of an element in registers."""
    if dtype is dtypes.bool_:
        return "i1"
    if dtype.kind == "f":
        return "double" if dtype.bits == 64 else "float"
    return f"i{8 * dtype.bytes}"


def stored(dtype: DType) -> str:
    """The scalar LLVM type of an element in memory."""
    if dtype.kind == "f" and dtype.bits == 16:
        return "i16"
    return dtype.llvm


def lanes_of(scalar: str, count: int) -> str:
    return f"<{count} x {scalar}>" if count > 1 else scalar


def widened(b: Builder, value: str, dtype: DType, count: int, target: Target) -> str:
    """An element as it was loaded -> as it is in registers."""
    memory = lanes_of(stored(dtype), count)
    if dtype is dtypes.bool_:
        return b.let(f"icmp ne {memory} {value}, {splat(memory, 0)}")
    if dtype in minifloat.SMALL:
        return minifloat.to_float(b, value, dtype, count, target)
    if dtype.bits < 8:  # only the low bits are said to mean something
        return _low_bits(b, value, dtype, count, target)
    if dtype is dtypes.bf16:
        return bfloat.widen(b, value, count)
    if dtype is dtypes.f16:
        return half.widen(b, value, count, half.native(target))
    return value


def narrowed(b: Builder, value: str, dtype: DType, count: int, target: Target) -> str:
    """An element in registers -> as it is stored, rounded to nearest even."""
    memory = lanes_of(stored(dtype), count)
    if dtype is dtypes.bool_:
        return b.let(f"zext {lanes_of('i1', count)} {value} to {memory}")
    if dtype in minifloat.SMALL:
        return minifloat.of_float(b, value, dtype, count, target)
    if dtype is dtypes.bf16:
        return bfloat.narrow(b, value, count, bfloat.native(target))
    if dtype is dtypes.f16:
        return half.narrow(b, value, count, half.native(target))
    return value


def cast(b: Builder, value: str, old: DType, new: DType, count: int, target: Target) -> str:
    """A value in registers as another dtype: floats truncate to integers, integers wrap."""
    if not supported(new) or not supported(old):
        raise BuildError(f"there is no cast from {old} to {new}")
    have, want = lanes_of(register(old), count), lanes_of(register(new), count)
    if new is dtypes.bool_:
        test = "fcmp une" if old.is_float else "icmp ne"
        return value if old is new else b.let(f"{test} {have} {value}, {splat(have, 0)}")
    if old is dtypes.bool_ and new.is_float:
        return b.let(f"uitofp {have} {value} to {want}")
    if new.is_float:
        return _to_float(b, value, old, new, count, target)
    if old.is_float:
        value, old = _to_integer(b, value, old, new, count)
        have = lanes_of(register(old), count)
    if have != want:
        grows = new.bytes > old.bytes or old is dtypes.bool_
        name = ("zext" if old.kind in "ub" else "sext") if grows else "trunc"
        value = b.let(f"{name} {have} {value} to {want}")
    return _low_bits(b, value, new, count, target) if new.bits < 8 else value


def _low_bits(b: Builder, value: str, dtype: DType, count: int, target: Target) -> str:
    """The low bits of a byte, with their sign."""
    i, away = Lanes(b, lanes_of("i8", count), target), 8 - dtype.bits
    return i.let("ashr" if dtype.kind == "i" else "lshr", i.let("shl", value, i.c(away)), i.c(away))


def _to_float(b: Builder, value: str, old: DType, new: DType, count: int, target: Target) -> str:
    have, want = lanes_of(register(old), count), lanes_of(register(new), count)
    if not old.is_float:
        value = b.let(f"{'uitofp' if old.kind == 'u' else 'sitofp'} {have} {value} to {want}")
    elif have != want:
        name = "fpext" if new.bits == 64 else "fptrunc"
        value = b.let(f"{name} {have} {value} to {want}")
    if new.bits <= 16 and old is not new:
        value = widened(b, narrowed(b, value, new, count, target), new, count, target)
    return value


def _to_integer(b: Builder, value: str, old: DType, new: DType, count: int) -> tuple[str, DType]:
    """A float as the integer type that its processor converts to; the caller cuts it down."""
    have = lanes_of(register(old), count)
    through = dtypes.i32 if new.bits < 32 or new is dtypes.i32 else dtypes.i64
    want = lanes_of(register(through), count)
    signed = b.let(f"fptosi {have} {value} to {want}")
    if new is not dtypes.u64:
        return signed, through
    unsigned = b.let(f"fptoui {have} {value} to {want}")
    below = b.let(f"fcmp olt {have} {value}, {splat(have, 0)}")
    mask = lanes_of("i1", count)
    return b.let(f"select {mask} {below}, {want} {signed}, {want} {unsigned}"), dtypes.u64


def element_pointer(b: Builder, pointer: str, offset: str, dtype: DType) -> str:
    if offset == "0":
        return pointer
    return b.let(f"getelementptr inbounds {stored(dtype)}, ptr {pointer}, i64 {offset}", "p")


def read(
    b: Builder, pointer: str, offset: str, dtype: DType, count: int, target: Target,
    constant: bool = True,
) -> str:  # fmt: skip
    """`count` neighbouring elements from an offset on, in registers.

    constant:  what is read does not change while the kernel runs; said so, loads leave loops
    """
    at = element_pointer(b, pointer, offset, dtype)
    kind = lanes_of(stored(dtype), count)
    raw = b.let(f"load {kind}, ptr {at}, align {dtype.bytes}{_constant(b) if constant else ''}")
    return widened(b, raw, dtype, count, target)


def _constant(b: Builder) -> str:
    b.declarations.add("!0 = !{}")
    return ", !invariant.load !0"


def read_masked(
    b: Builder, pointer: str, offset: str, dtype: DType, count: int, mask: str, target: Target
) -> str:
    """The same, without touching what the mask leaves out."""
    at = element_pointer(b, pointer, offset, dtype)
    kind = lanes_of(stored(dtype), count)
    name = f"llvm.masked.load.v{count}{_suffix(dtype)}.p0"
    mask_kind = lanes_of("i1", count)
    b.declarations.add(f"declare {kind} @{name}(ptr, {mask_kind}, {kind})")
    raw = b.let(
        f"call {kind} @{name}(ptr align {dtype.bytes} {at}, {mask_kind} {mask},"
        f" {kind} zeroinitializer)"
    )
    return widened(b, raw, dtype, count, target)


def read_strided(
    b: Builder, pointer: str, offset: str, stride: int, dtype: DType, count: int, target: Target
) -> str:
    """Elements a constant stride apart: by one load if backwards neighbours, by two if every
    other one, else one by one."""
    kind = lanes_of(stored(dtype), count)
    start = element_pointer(b, pointer, offset, dtype)
    if stride == -1:
        first = b.offset(start, -(count - 1) * dtype.bytes)
        raw = b.let(f"load {kind}, ptr {first}, align {dtype.bytes}{_constant(b)}")
        order = ", ".join(f"i32 {count - 1 - k}" for k in range(count))
        raw = b.let(f"shufflevector {kind} {raw}, {kind} poison, <{count} x i32> <{order}>")
        return widened(b, raw, dtype, count, target)
    if stride == 2:
        return widened(b, _every_other(b, start, dtype, count), dtype, count, target)
    raw = "poison"
    for k in range(count):
        at = b.offset(start, k * stride * dtype.bytes)
        one = b.let(f"load {stored(dtype)}, ptr {at}, align {dtype.bytes}{_constant(b)}")
        raw = b.let(f"insertelement {kind} {raw}, {stored(dtype)} {one}, i64 {k}")
    return widened(b, raw, dtype, count, target)


def _every_other(b: Builder, start: str, dtype: DType, count: int) -> str:
    """Two loads and a shuffle; the second load ends where the last element does."""
    kind = lanes_of(stored(dtype), count)
    pointers = start, b.offset(start, (count - 1) * dtype.bytes)
    first, second = (
        b.let(f"load {kind}, ptr {at}, align {dtype.bytes}{_constant(b)}") for at in pointers
    )
    half = count // 2
    lanes = [2 * k if k < half else 2 * k + 1 for k in range(count)]
    order = ", ".join(f"i32 {k}" for k in lanes)
    return b.let(f"shufflevector {kind} {first}, {kind} {second}, <{count} x i32> <{order}>")


def read_gathered(
    b: Builder, pointer: str, offsets: str, dtype: DType, count: int, target: Target
) -> str:
    """Elements at offsets of i64 lanes."""
    kind = lanes_of(stored(dtype), count)
    if dtype.bytes < 4 or target.isa in ("portable", "neon"):
        return read_each(b, pointer, offsets, dtype, count, target)
    name = f"llvm.masked.gather.v{count}{_suffix(dtype)}.v{count}p0"
    pointers = b.let(
        f"getelementptr inbounds {stored(dtype)}, ptr {pointer}, <{count} x i64> {offsets}"
    )
    mask = lanes_of("i1", count)
    b.declarations.add(f"declare {kind} @{name}(<{count} x ptr>, {mask}, {kind})")
    raw = b.let(
        f"call {kind} @{name}(<{count} x ptr> align {dtype.bytes} {pointers},"
        f" {mask} splat (i1 true), {kind} zeroinitializer)"
    )
    return widened(b, raw, dtype, count, target)


def read_each(
    b: Builder, pointer: str, offsets: str, dtype: DType, count: int, target: Target
) -> str:
    """The same, one by one."""
    kind = lanes_of(stored(dtype), count)
    raw = "poison"
    for k in range(count):
        one = b.let(f"extractelement <{count} x i64> {offsets}, i64 {k}")
        at = element_pointer(b, pointer, one, dtype)
        value = b.let(f"load {stored(dtype)}, ptr {at}, align {dtype.bytes}")
        raw = b.let(f"insertelement {kind} {raw}, {stored(dtype)} {value}, i64 {k}")
    return widened(b, raw, dtype, count, target)


def _suffix(dtype: DType) -> str:
    if dtype.kind == "f" and dtype.bits >= 32:
        return f"f{dtype.bits}"
    return f"i{8 * dtype.bytes}"


def write(
    b: Builder, value: str, pointer: str, offset: str, dtype: DType, count: int, target: Target
) -> None:
    """Store `count` neighbouring elements at an offset."""
    at = element_pointer(b, pointer, offset, dtype)
    raw = narrowed(b, value, dtype, count, target)
    b.store(lanes_of(stored(dtype), count), raw, at, dtype.bytes)
