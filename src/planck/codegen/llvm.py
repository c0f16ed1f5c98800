"""LLVM as an assembler: a writer of IR text, and its compilation to object code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np

from planck.errors import BuildError
from planck.target import Target

# Levels of the x86-64 psABI: code for one runs on every processor that has the ISA.
_CPU: Final = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "portable": "", "neon": ""}
_FEATURES: Final = {"avx512_vnni": "+avx512vnni", "avx512_bf16": "+avx512bf16"}


class Builder:
    """Writes the body of one function; every method that makes a value returns its name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.tables: list[str] = []
        self._count = 0

    def fresh(self, hint: str = "t") -> str:
        self._count += 1
        return f"%{hint}{self._count}"

    def label(self, hint: str = "L") -> str:
        """A fresh block name (without % or colon)."""
        self._count += 1
        return f"{hint}{self._count}"

    def do(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def let(self, text: str, hint: str = "t") -> str:
        """An instruction with a result."""
        name = self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return name

    def block(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def branch(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch_if(self, condition: str, then: str, other: str) -> None:
        self.do(f"br i1 {condition}, label %{then}, label %{other}")

    def call(self, result: str, name: str, *args: tuple[str, str], flags: str = "") -> str:
        """Call a function or intrinsic, declaring it: args are (type, value) pairs."""
        types = ", ".join(kind for kind, _ in args)
        self.declarations.add(f"declare {result} @{name}({types})")
        text = f"call {flags} {result} @{name}({', '.join(f'{k} {v}' for k, v in args)})"
        if result == "void":
            self.do(text)
            return ""
        return self.let(text)

    def offset(self, pointer: str, bytes_: int | str) -> str:
        """pointer + bytes."""
        if bytes_ in (0, "0"):
            return pointer
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {bytes_}", "p")

    def load(self, kind: str, pointer: str, align: int) -> str:
        return self.let(f"load {kind}, ptr {pointer}, align {align}")

    def arguments(self, names: Sequence[str]) -> dict[str, str]:
        """Where a kernel's arguments lie, from its table of pointers."""
        return {
            name: self.load("ptr", self.offset("%args", 8 * i), 8) for i, name in enumerate(names)
        }

    def store(self, kind: str, value: str, pointer: str, align: int) -> None:
        self.do(f"store {kind} {value}, ptr {pointer}, align {align}")

    def smaller(self, x: str | int, y: str | int) -> str:
        """The smaller of two i64."""
        return self.call("i64", "llvm.smin.i64", ("i64", str(x)), ("i64", str(y)))

    def larger(self, x: str | int, y: str | int) -> str:
        """The larger of two i64."""
        return self.call("i64", "llvm.smax.i64", ("i64", str(x)), ("i64", str(y)))

    def fill(self, kind: str, value: str, count: int) -> str:
        """A vector that holds a scalar in all lanes; kind: the scalar's."""
        vector = f"<{count} x {kind}>"
        one = self.let(f"insertelement {vector} poison, {kind} {value}, i64 0")
        mask = f"<{count} x i32> zeroinitializer"
        return self.let(f"shufflevector {vector} {one}, {vector} poison, {mask}")

    def table(self, name: str, values: list[int]) -> str:
        """A constant table of i64; gives its global's name."""
        body = ", ".join(f"i64 {v}" for v in values)
        self.tables.append(
            f"@{name} = private unnamed_addr constant [{len(values)} x i64] [{body}], align 64"
        )
        return f"@{name}"

    def loop(self, begin: str | int, end: str | int, step: int = 1, hint: str = "i") -> Loop:
        """A counted loop for `with`; its value is the i64 counter. Zero trips are allowed."""
        return Loop(self, str(begin), str(end), step, hint)


class Loop:
    """`with builder.loop(0, n) as i:` writes the blocks around the body."""

    def __init__(self, builder: Builder, begin: str, end: str, step: int, hint: str) -> None:
        self.builder, self.begin, self.end, self.step = builder, begin, end, step
        self.counter = builder.fresh(hint)

    def __enter__(self) -> str:
        b = self.builder
        self.head, self.body, self.done = b.label("head"), b.label("body"), b.label("done")
        before, self.latch, self.next = b.label("pre"), b.label("latch"), b.fresh("n")
        b.branch(before)
        b.block(before)
        b.branch(self.head)
        b.block(self.head)
        b.do(
            f"{self.counter} = phi i64 [ {self.begin}, %{before} ], [ {self.next}, %{self.latch} ]"
        )
        test = b.let(f"icmp slt i64 {self.counter}, {self.end}")
        b.branch_if(test, self.body, self.done)
        b.block(self.body)
        return self.counter

    def __exit__(self, *_: object) -> None:
        b = self.builder
        b.branch(self.latch)
        b.block(self.latch)
        b.do(f"{self.next} = add nsw i64 {self.counter}, {self.step}")
        b.branch(self.head)
        b.block(self.done)


def pause(b: Builder, target: Target) -> None:
    """A moment in a loop that waits for another thread."""
    if target.arch == "x86_64":
        b.call("void", "llvm.x86.sse2.pause")
    elif target.arch == "aarch64":
        b.call("void", "llvm.aarch64.hint", ("i32", "1"))


def float_literal(value: float, kind: str = "float") -> str:
    """A float as LLVM reads it back exactly (a double's bits, rounded to the type first)."""
    rounded = float(np.float32(value)) if kind == "float" else float(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"


def function(target: Target, symbol: str, builder: Builder) -> str:
    """A module's text with one kernel (`plan/model.py` says the ABI) made of the builder's lines.

    The body sees %args, %begin, %end, %scratch and %direction.
    """
    return "\n".join(
        [
            *sorted(builder.declarations),
            *builder.tables,
            f"define void @{symbol}(ptr %args, i64 %begin, i64 %end, ptr %scratch,"
            " i64 %direction) #0 {",
            "entry:",
            *builder.lines,
            "}",
            attributes(target),
        ]
    )


def attributes(target: Target) -> str:
    bits = target.vector_bytes * 8
    cpu = f' "target-cpu"="{_CPU[target.isa]}"' if _CPU[target.isa] else ""
    return (
        f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" "frame-pointer"="none"'
        f' "min-legal-vector-width"="{bits}" "no-trapping-math"="true" "no-builtins"{cpu} }}'
    )


@lru_cache(maxsize=8)
def _machine(target: Target, level: int) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    # The pre-register-allocation scheduler hoists broadcasts until registers spill.
    llvm.set_option("planck", "-enable-misched=false")
    triple = f"{target.arch}-unknown-linux-gnu"
    features = ",".join(_FEATURES[e] for e in target.extras if e in _FEATURES)
    # Small code model and PIC: the image is position independent and links without a linker.
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=_CPU[target.isa], features=features, opt=level, reloc="pic", codemodel="small"
    )


def _optimised(target: Target, source: str, level: int) -> tuple[Any, Any]:
    machine = _machine(target, level)
    try:
        module = llvm.parse_assembly(source)
        module.verify()
    except RuntimeError as error:
        raise BuildError("generated code is not valid LLVM IR", know=str(error)[:500]) from error
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    if level:
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = level >= 3
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
    return machine, module


def compile_object(target: Target, source: str, level: int = 3) -> bytes:
    """Machine code of a module's text, as an ELF object file. raises: BuildError"""
    machine, module = _optimised(target, source, level)
    return bytes(machine.emit_object(module))


def assembly(target: Target, source: str, level: int = 3) -> str:
    """The same code as text, to be read."""
    machine, module = _optimised(target, source, level)
    return str(machine.emit_assembly(module))
