"""Choice: how a GPU will run a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from planck.codegen.library import LibraryCode
from planck.codegen.triton.code import Cubin, TritonCode
from planck.tactics.kernel import Config
from planck.tactics.triton.tactic import CudaTactic
from planck.tune.cache import Timing


@dataclass(frozen=True, slots=True)
class Choice:
    """How a kernel will run; timings lists all that was considered, this way first.

    cubin:  None of a library's code
    """

    tactic: CudaTactic
    config: Config
    code: TritonCode | LibraryCode
    cubin: Cubin | None
    timings: tuple[Timing, ...] = ()

    def is_way(self, timing: Timing) -> bool:
        """Whether a timing is one of this way."""
        return timing.is_of(self.tactic.name, self.config)
