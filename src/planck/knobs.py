"""All knobs in one place: the only module that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Knobs:
    """What can be turned without changing code.

    debug:  PLANCK_DEBUG   1 stages and times; 2 each kernel's tactic and speed; 3 candidates and
                           refusals; 4 generated code; 5 graph after each pass; 6 each rewrite,
                           and what rules refuse
    dump:   PLANCK_DUMP    folder that receives every stage's text and each kernel's code
    jobs:   PLANCK_JOBS    processes that compile kernels; 0 is one a core
    cpu:    PLANCK_CPU     target to build for instead of this machine: avx512, avx2, portable
    cache:  PLANCK_CACHE   folder that keeps what is measured once a machine; by default planck in
                           the user's cache folder (XDG_CACHE_HOME, or ~/.cache)
    cuda:   CUDA_PATH      folder where CUDA is, whose libraries plans may use
    """

    debug: int = 0
    dump: Path | None = None
    jobs: int = 0
    cpu: str = ""
    cache: Path = Path("~/.cache/planck")
    cuda: Path | None = None


def _from_environment() -> Knobs:
    def number(name: str) -> int:
        text = os.environ.get(name, "")
        return int(text) if text.isdigit() else 0

    caches = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    cache = os.environ.get("PLANCK_CACHE", "") or f"{caches}/planck"
    dump = os.environ.get("PLANCK_DUMP", "")
    cuda = os.environ.get("CUDA_PATH", "")
    return Knobs(
        debug=number("PLANCK_DEBUG"),
        dump=Path(dump) if dump else None,
        jobs=number("PLANCK_JOBS"),
        cpu=os.environ.get("PLANCK_CPU", ""),
        cache=Path(cache),
        cuda=Path(cuda) if cuda else None,
    )


_current: ContextVar[Knobs | None] = ContextVar("planck_knobs", default=None)


def knobs() -> Knobs:
    """The knobs in force here."""
    return _current.get() or _from_environment()


@contextmanager
def turned(**changes: object) -> Iterator[Knobs]:
    """Turn knobs inside a `with` block: `with turned(debug=5): ...`."""
    token = _current.set(replace(knobs(), **changes))  # type: ignore[arg-type]
    try:
        yield knobs()
    finally:
        _current.reset(token)
