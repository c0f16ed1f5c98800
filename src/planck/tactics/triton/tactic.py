"""CudaTactic: one way to make a GPU kernel; like `tactics.kernel.Tactic`, but for the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from planck.codegen.library import LibraryCode
from planck.codegen.triton.code import TritonCode
from planck.dtypes import Array
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel


class CudaTactic(Protocol):
    """One way to run kernels on a GPU."""

    name: str

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        """The tuning space, the best guess first; or why this tactic cannot run the kernel."""
        ...

    def build(self, kernel: Kernel, config: Config) -> TritonCode | LibraryCode:
        """The code of one configuration."""
        ...

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """The constant arrays as the code wants them, by the names used in its arguments."""
        ...
