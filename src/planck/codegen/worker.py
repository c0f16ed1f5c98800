"""A compiler process: reads LLVM modules from standard input, answers with object files."""

from __future__ import annotations

from typing import Any

from planck.codegen.llvm import compile_object
from planck.codegen.processes import serve
from planck.target import Target


def make(target: Target, source: str, header: dict[str, Any]) -> bytes:
    return compile_object(target, source, header["level"])


if __name__ == "__main__":
    serve(make)
