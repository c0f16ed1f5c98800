"""Runs generated modules in this process: LLVM's in-memory compiler, for tests alone."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from planck.codegen.llvm import compile_object


def undefined(code: bytes) -> list[str]:
    """Names of symbols that an ELF object needs from elsewhere."""
    ref = llvm.ObjectFileRef.from_data(code)
    tables = {s.name(): s.data() for s in ref.sections()}
    symbols, names = tables.get(".symtab", b""), tables.get(".strtab", b"")
    found = []
    for at in range(24, len(symbols), 24):
        name = int.from_bytes(symbols[at : at + 4], "little")
        section = int.from_bytes(symbols[at + 6 : at + 8], "little")
        if section == 0 and name:
            found.append(names[name : names.index(b"\0", name)].decode())
    return found


class Native:
    """A compiled module; `call` runs one of its kernels."""

    def __init__(self, target: Any, source: str, level: int = 2) -> None:
        code = compile_object(target, source, level)
        assert not undefined(code), undefined(code)
        # The engine frees the machine that it is given.
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="small")
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self.engine.finalize_object()

    def call(
        self, symbol: str, arrays: Sequence[Any], begin: int, end: int, scratch: int = 0
    ) -> None:
        """Run tiles begin..end on arrays, in the order of the kernel's arguments."""
        address = self.engine.get_function_address(symbol)
        kernel = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64
        )(address)
        pointers = (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])
        space = np.zeros(scratch + 64, np.uint8)
        aligned = space.ctypes.data + (-space.ctypes.data) % 64
        kernel(ctypes.addressof(pointers), begin, end, aligned, 1)
