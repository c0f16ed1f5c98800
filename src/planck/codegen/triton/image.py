"""Cubins of many kernels as one piece of a plan, and how each is launched."""

from __future__ import annotations

from collections.abc import Mapping

from planck.codegen.triton.code import Cubin, TritonCode
from planck.plan.model import Launch

_ALIGN = 16


def join(cubins: Mapping[str, Cubin]) -> tuple[bytes, dict[str, int]]:
    """The cubins one behind the other, and where each begins, by symbol."""
    image, symbols = bytearray(), {}
    for symbol, cubin in cubins.items():
        symbols[symbol] = len(image)
        image += cubin.image
        image += bytes(-len(image) % _ALIGN)
    return bytes(image), symbols


def launch_of(code: TritonCode, cubin: Cubin) -> Launch:
    """How a GPU runs a compiled kernel."""
    return Launch(code.grid, cubin.threads, cubin.shared_bytes, code.dependent, code.tensors)
