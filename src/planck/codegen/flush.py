"""A kernel that pushes memory out of all caches, so that a measurement finds it cold."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from planck.codegen.llvm import Builder, compile_object, function
from planck.target import Target

SYMBOL: Final = "planck_flush"
TILE_BYTES: Final = 4096
_LINE_BYTES: Final = 64


def can_flush(target: Target) -> bool:
    """Whether programs may flush a line: an instruction of every x86-64, of no other ISA here."""
    return target.arch == "x86_64"


def source(target: Target) -> str:
    """The module: tile t of its kernel flushes bytes [t, t + 1) * 4096 of its one argument."""
    b = Builder()
    base = b.load("ptr", "%args", 8)
    with b.loop("%begin", "%end") as tile:
        start = b.offset(base, b.let(f"mul nsw i64 {tile}, {TILE_BYTES}"))
        with b.loop(0, TILE_BYTES, _LINE_BYTES) as at:
            b.call("void", "llvm.x86.sse2.clflush", ("ptr", b.offset(start, at)))
    b.call("void", "llvm.x86.sse2.mfence")
    b.do("ret void")
    return function(target, SYMBOL, b)


@lru_cache(maxsize=4)
def compiled(target: Target) -> bytes:
    """The kernel's object file."""
    return compile_object(target, source(target), 1)
