"""The linker: code that runs, references that resolve, and everything else refused."""

from __future__ import annotations

import ctypes
import struct

import numpy as np
import pytest

from planck.codegen.link import link
from planck.codegen.llvm import attributes, compile_object
from planck.device.system import CodeImage
from planck.errors import BuildError
from planck.target import Target, host

X86 = pytest.mark.skipif(host().arch != "x86_64", reason="runs x86-64 code")
ARM = Target("neon", "aarch64")


def compiled(source: str, target: Target | None = None) -> bytes:
    target = target or host()
    return compile_object(target, source + "\n" + attributes(target))


def returns(symbol: str, value: int) -> str:
    return f"define i64 @{symbol}() #0 {{\n ret i64 {value}\n}}"


def table(symbol: str, values: np.ndarray) -> str:
    """f(i) = values[i]; the table is a constant of the module."""
    body = ", ".join(f"i64 {v}" for v in values)
    return f"""
@table = private unnamed_addr constant [{len(values)} x i64] [{body}], align 64
define i64 @{symbol}(i64 %i) #0 {{
  %p = getelementptr i64, ptr @table, i64 %i
  %v = load i64, ptr %p
  ret i64 %v
}}"""


@X86
def test_constants_of_many_objects_stay_apart() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.integers(-(2**62), 2**62, n) for n in (3, 17, 5)]
    objects = {f"k{i}": compiled(table(f"f{i}", values)) for i, values in enumerate(tables)}
    image = link(objects)
    code = CodeImage(image.code)
    for i, values in enumerate(tables):
        f = code.function(image.symbols[f"f{i}"], ctypes.c_int64, ctypes.c_int64)
        assert [f(k) for k in range(len(values))] == values.tolist()


@X86
def test_objects_call_each_other_and_take_each_others_addresses() -> None:
    caller = """
declare i64 @seven()
@numbers = external constant [2 x i64]
define i64 @sum() #0 {
  %a = call i64 @seven()
  %p = getelementptr i64, ptr @numbers, i64 1
  %b = load i64, ptr %p
  %c = add i64 %a, %b
  ret i64 %c
}
define ptr @address() #0 {
  ret ptr @seven
}"""
    numbers = "@numbers = constant [2 x i64] [i64 1, i64 100]"
    image = link(
        {"a": compiled(caller), "b": compiled(returns("seven", 7)), "c": compiled(numbers)}
    )
    code = CodeImage(image.code)
    assert code.function(image.symbols["sum"], ctypes.c_int64)() == 107
    address = code.function(image.symbols["address"], ctypes.c_void_p)()
    assert address == code.base + image.symbols["seven"]


@X86
def test_float_constants_and_jump_tables() -> None:
    cases = "\n".join(f"  i64 {i}, label %c{i}" for i in range(12))
    bodies = "\n".join(
        f"c{i}:\n  %v{i} = fmul double %x, {i + 0.5}\n  ret double %v{i}" for i in range(12)
    )
    source = f"""
define double @pick(i64 %i, double %x) #0 {{
  switch i64 %i, label %other [
{cases}
  ]
{bodies}
other:
  ret double %x
}}"""
    image = link({"pick": compiled(source)})
    pick = CodeImage(image.code)
    f = pick.function(image.symbols["pick"], ctypes.c_double, ctypes.c_int64, ctypes.c_double)
    assert [f(i, 2.0) for i in range(13)] == [2 * i + 1.0 for i in range(12)] + [2.0]


def test_same_objects_give_the_same_bytes_and_aligned_functions() -> None:
    objects = {f"k{i}": compiled(returns(f"f{i}", i)) for i in range(5)}
    image = link(objects)
    assert image == link(dict(objects))
    assert all(offset % 64 == 0 for offset in image.symbols.values())


def test_a_library_function_is_refused_by_name() -> None:
    source = """
declare float @expf(float)
define float @f(float %x) #0 {
  %y = call float @expf(float %x)
  ret float %y
}"""
    with pytest.raises(BuildError, match="expf") as caught:
        link({"softmax kernel": compiled(source)})
    assert caught.value.at == "softmax kernel"


def test_a_symbol_defined_twice_names_both_owners() -> None:
    with pytest.raises(BuildError, match="two objects define f") as caught:
        link({"a": compiled(returns("f", 1)), "b": compiled(returns("f", 2))})
    assert "a and b" in caught.value.know


@pytest.mark.parametrize("value", ["i64 0", "i64 5"], ids=["bss", "data"])
def test_writable_data_is_refused(value: str) -> None:
    source = f"@state = global {value}\ndefine ptr @f() #0 {{\n  ret ptr @state\n}}"
    with pytest.raises(BuildError, match="writable data"):
        link({"k": compiled(source)})


def test_absolute_addresses_are_refused() -> None:
    source = "@table = constant [1 x ptr] [ptr @f]\ndefine ptr @f() #0 {\n  ret ptr @table\n}"
    with pytest.raises(BuildError, match="needs a loader"):
        link({"k": compiled(source)})


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(BuildError, match="ELF64"):
        link({"k": b"MZ" + bytes(100)})


def test_aarch64_pages_and_branches() -> None:
    """Decode what the linker wrote, by the Arm manual's encodings of ADRP, ADD and BL."""
    values = np.arange(1000, 1600)
    caller = """
declare i64 @far(i64)
define i64 @near(i64 %i) #0 {
  %a = call i64 @far(i64 %i)
  %b = add i64 %a, 1
  ret i64 %b
}"""
    image = link({"near": compiled(caller, ARM), "far": compiled(table("far", values), ARM)})
    words = struct.unpack(f"<{len(image.code) // 4}I", image.code[: len(image.code) // 4 * 4])
    calls = [i for i in range(image.symbols["far"] // 4) if words[i] >> 26 == 0b100101]
    (call,) = calls
    distance = (words[call] & 0x3FFFFFF) * 4
    assert call * 4 + distance == image.symbols["far"]
    start = image.symbols["far"] // 4
    page = next(i for i in range(start, start + 8) if words[i] & 0x9F000000 == 0x90000000)
    pages = (words[page] >> 29 & 3) | (words[page] >> 5 & 0x7FFFF) << 2
    low = next(i for i in range(page, page + 8) if words[i] & 0xFFC00000 == 0x91000000)
    address = (page * 4 & ~0xFFF) + (pages << 12) + (words[low] >> 10 & 0xFFF)
    assert image.code[address : address + 8 * len(values)] == values.astype("<i8").tobytes()
