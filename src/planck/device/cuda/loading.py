"""Loads the libraries of NVIDIA's: which of a machine's, and what to do where there is none."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from planck.device.cuda.library import Library, dotted
from planck.errors import LibraryError
from planck.knobs import knobs

log = logging.getLogger(__name__)

_TOOLKIT: Final = Path("/usr/local/cuda/lib64")


@dataclass(frozen=True)
class Wanted:
    """A library.

    title:   its name in sentences
    names:   of the files of its versions, the best first
    wheels:  folders in the package `nvidia`, in which wheels bring it
    package: what pip installs
    """

    title: str
    names: tuple[str, ...]
    wheels: tuple[str, ...]
    package: str


def load(wanted: Wanted, tried: list[str]) -> Iterator[tuple[str, Any]]:
    """Of the nvidia-* wheels, of CUDA_PATH, of /usr/local/cuda, or of the loader's path.

    tried:  what does not load is added
    gives:  places and libraries that do
    """
    for place in _places(wanted):
        try:
            own = ctypes.CDLL(place)
        except OSError as error:
            tried.append(str(error).split(":")[0])
            continue
        yield place, own


def open_first(wanted: Wanted, make: Callable[[Any], Library], oldest: int) -> Library:
    """The first that loads. raises: LibraryError if there is none, or only an old one"""
    tried: list[str] = []
    for place, own in load(wanted, tried):
        found = make(own)
        if found.version < oldest:
            raise LibraryError(
                f"{wanted.title} is too old",
                know=f"{place} is {dotted(found.version)}; planck needs {dotted(oldest)}",
                try_=f"pip install {wanted.package}, or build with tactic_sources=()",
            )
        log.info("%s %s: %s", wanted.title, dotted(found.version), place)
        return found
    raise missing(wanted, tried)


def missing(wanted: Wanted, tried: list[str]) -> LibraryError:
    return LibraryError(
        f"{wanted.title} is not on this machine",
        know=f"looked for {', '.join(dict.fromkeys(tried))}",
        try_=f"pip install {wanted.package}, or set CUDA_PATH to where CUDA is",
    )


def _places(wanted: Wanted) -> Iterator[str]:
    """As the loader is told."""
    if sys.platform != "linux":
        return
    package = find_spec("nvidia")
    roots = package.submodule_search_locations if package else None
    folders = [Path(root) / wheel for root in roots or () for wheel in wanted.wheels]
    if (cuda := knobs().cuda) is not None:
        folders.append(cuda / "lib64")
    folders.append(_TOOLKIT)
    for folder in folders:
        for name in wanted.names:
            if (folder / name).exists():
                yield str(folder / name)
    yield from wanted.names
