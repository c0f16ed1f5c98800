"""LibraryCode: a kernel that a library of NVIDIA's runs, where there is no code of Planck's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from planck.device.cuda.library import Call


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """What stands for code: like `codegen.triton.code.TritonCode`, with nothing to compile.

    symbol:     a name, unique to kernel key and config
    arguments:  for each of the call's: a name of the kernel's inputs and outputs, of an array that
                `pack` makes, or "workspace"
    growth_bytes:  as in tactics.kernel.Code
    """

    symbol: str
    call: Call
    arguments: tuple[str, ...]
    growth_bytes: int = 0

    counters: ClassVar[int] = 0
    work_flops: ClassVar[int] = 0

    @property
    def workspace_bytes(self) -> int:
        return self.call.workspace_bytes

    @property
    def source(self) -> str:
        """For who looks at code."""
        return f"# {self.call.library} {self.call.version}: {self.call.product}\n"
