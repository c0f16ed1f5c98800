"""Cubins of many kernels as one piece of a plan, and how each is launched."""

from __future__ import annotations

from collections.abc import Mapping

from planck.codegen.library import LibraryCode
from planck.codegen.triton.code import Cubin, TritonCode
from planck.device.cuda.library import Call
from planck.plan.model import Launch

_ALIGN = 16


def join(cubins: Mapping[str, Cubin | None]) -> tuple[bytes, dict[str, int]]:
    """The cubins one behind the other, and where each begins, by symbol."""
    image, symbols = bytearray(), {}
    for symbol, cubin in cubins.items():
        if cubin is None:  # a library's
            continue
        symbols[symbol] = len(image)
        image += cubin.image
        image += bytes(-len(image) % _ALIGN)
    return bytes(image), symbols


def launch_of(code: TritonCode | LibraryCode, cubin: Cubin | None) -> Launch | Call:
    """How a GPU runs a compiled kernel, or a library's, which has no cubin."""
    if isinstance(code, LibraryCode):
        return code.call
    assert cubin is not None, f"{code.symbol} is not compiled"
    return Launch(code.grid, cubin.threads, cubin.shared_bytes, code.dependent, code.tensors)
