"""float24: float32 rounded to its upper three bytes, as constant operands of products may lie.

One vector of weights is 3 bytes for each lane. Its dwords are spread so that each 128 bits hold the
12 bytes of their four lanes, and bytes are moved within those: VPERMD with the load in it, and
VPSHUFB. Both read registers of positions, and no feature beyond AVX2 is needed.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.codegen.llvm import Builder
from planck.dtypes import Array, DType

f24: Final = DType("f24", 24, "f", np.dtype("V3"), "i24")
POSITIONS: Final = 2  # registers that hold them


def widen(b: Builder, pointer: str, count: int) -> str:
    """The vector that lies at a pointer, as float lanes. Reads count bytes beyond it."""
    words, bytes_ = f"<{count} x i32>", f"<{4 * count} x i8>"
    spread = ", ".join(_lane(i // 4 * 3 + i % 4 if i % 4 < 3 else None) for i in range(count))
    moved = ", ".join(
        _lane(16 * (lane // 4) + 3 * (lane % 4) + byte - 1 if byte else 4 * count)
        for lane in range(count)
        for byte in range(4)
    )
    raw = b.load(words, pointer, 1)
    raw = b.let(f"shufflevector {words} {raw}, {words} poison, <{count} x i32> <{spread}>")
    raw = b.let(f"bitcast {words} {raw} to {bytes_}")
    raw = b.let(
        f"shufflevector {bytes_} {raw}, {bytes_} zeroinitializer, <{4 * count} x i32> <{moved}>"
    )
    return b.let(f"bitcast {bytes_} {raw} to <{count} x float>")


def _lane(index: int | None) -> str:
    return "i32 poison" if index is None else f"i32 {index}"


def narrow(array: Array) -> Array:
    """f32[...] -> u8[..., 3], rounded to nearest even, the lowest byte first.

    What is finite stays finite: the largest numbers are cut off instead. NaN stays NaN.

    >>> narrow(np.array([1.0, 1 + 2**-16, 1 + 3 * 2**-16], np.float32))[:, 0].tolist()
    [0, 0, 2]
    """
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    cut = np.where(np.isnan(array), bits | 0x400000, bits) & 0xFFFFFF00
    rounded = bits + (0x7F + (bits >> 8 & 1)) & 0xFFFFFF00
    fits = np.isfinite(array) & np.isfinite(rounded.view(np.float32))
    chosen = np.where(fits, rounded, cut).astype("<u4")
    return chosen[..., None].view(np.uint8)[..., 1:]
