"""Which tactics a build for a GPU has: Planck's own, and those of libraries of NVIDIA's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from planck.compiler.options import Options
from planck.device.cuda.library import CUBLASLT, CUDNN, LIBRARIES
from planck.errors import LibraryError
from planck.refusal import No
from planck.tactics.library.cublaslt import CublasLt
from planck.tactics.library.cudnn import Cudnn
from planck.tactics.library.source import Heuristics, Source
from planck.tactics.triton import TACTICS
from planck.tactics.triton.tactic import CudaTactic
from planck.tune.cuda.clock import Clock, GpuClock

log = logging.getLogger(__name__)


def tactics_of(options: Options, clock: Clock | None) -> Sequence[CudaTactic]:
    """Libraries stand last, and only where something is timed: else their rank says nothing.

    Where one was asked for that has no GPU to ask, its tactic refuses.

    raises: LibraryError if one was asked for by name that is not here
    """
    here = isinstance(clock, GpuClock)
    wanted = options.libraries if options.libraries is not None else LIBRARIES if here else ()
    made: Mapping[str, Callable[[Source | No], CudaTactic]] = {CUBLASLT: CublasLt, CUDNN: Cudnn}
    named = options.libraries is not None
    sources = {name: _source(name, clock, named) for name in LIBRARIES if name in wanted}
    return (*TACTICS, *(made[name](source) for name, source in sources.items()))


def _source(name: str, clock: Clock | None, named: bool) -> Source | No:
    if not isinstance(clock, GpuClock):
        return No("a library's kernels are only for a GPU of this machine, at level 1 and higher")
    try:
        return Heuristics(clock.libraries(name), clock.device)
    except LibraryError as error:
        if named:
            raise
        log.info("%s", error)
        return No(f"{error.what}: {error.know}")
