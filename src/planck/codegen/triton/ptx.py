"""What is mended in PTX before it is assembled.

ptxas 12.8 and 12.9, which come with Triton 3.6 and 3.9, lose a constant where only one half of a
sum is used (from -O1 on, for sm_90, sm_100 and sm_120; ptxas 13 does not):

    mov.b32      %r2, 0x00ff00ff;
    add.s16x2    %r3, %r1, %r2;         VIADD.16x2 R0, R0, 0x0
    mov.b32      {%rs1, _}, %r3;

LLVM writes such sums for positions that fit in 16 bits: a transposed convolution took the wrong
weights, and a resize read beyond its image. Each half is added for itself instead.
"""

from __future__ import annotations

import re
from typing import Any, Final

_PAIRED: Final = re.compile(r"^\tadd\.[su]16x2 ?\t?([^,]+), ([^,]+), ([^;]+);$", re.MULTILINE)
_SINGLE: Final = r"""	{
	.reg .b32 %second;
	.reg .b16 %a<2>, %b<2>;
	mov.b32 	{%a0, %a1}, \2;
	mov.b32 	%second, \3;
	mov.b32 	{%b0, %b1}, %second;
	add.s16 	%a0, %a0, %b0;
	add.s16 	%a1, %a1, %b1;
	mov.b32 	\1, {%a0, %a1};
	}"""


def mended(ptx: str) -> str:
    """PTX without additions of two halves at once."""
    return _PAIRED.sub(_SINGLE, ptx)


def mend_stages(
    backend: Any = None, stages: Any = None, options: Any = None, language: Any = None,
    capability: Any = None,
) -> tuple[str, str] | None:  # fmt: skip
    """Triton's hook that may change its stages; without them, what its caches' keys get of it."""
    if stages is None:
        return ("planck", "planck")
    write = stages["ptx"]
    stages["ptx"] = lambda source, metadata: mended(write(source, metadata))
    return None
