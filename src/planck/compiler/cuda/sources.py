"""Which tactics a build for a GPU has: Planck's own, and those of libraries of NVIDIA's."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from planck.compiler.options import Options
from planck.device.cuda.cublaslt import open_library
from planck.device.cuda.library import CUBLASLT, LIBRARIES
from planck.errors import LibraryError
from planck.refusal import No
from planck.tactics.library.cublaslt import CublasLt
from planck.tactics.library.source import Heuristics, Source
from planck.tactics.triton import TACTICS
from planck.tactics.triton.tactic import CudaTactic
from planck.tune.cuda.clock import Clock, GpuClock

log = logging.getLogger(__name__)


def tactics_of(options: Options, clock: Clock | None) -> Sequence[CudaTactic]:
    """Libraries stand last, and only where something is timed: else their rank says nothing.

    Where one was asked for that is not here, or that has no GPU to ask, its tactic refuses.
    """
    here = isinstance(clock, GpuClock)
    wanted = options.libraries if options.libraries is not None else LIBRARIES if here else ()
    return (*TACTICS, *([CublasLt(_source(clock))] if CUBLASLT in wanted else []))


def _source(clock: Clock | None) -> Source | No:
    if not isinstance(clock, GpuClock):
        return No("a library's kernels are only for a GPU of this machine, at level 1 and higher")
    try:
        return Heuristics(open_library(CUBLASLT), clock.device)
    except LibraryError as error:
        log.info("%s", error)
        return No(f"{error.what}: {error.know}")
