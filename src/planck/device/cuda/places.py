"""Where the libraries of NVIDIA's may be, as the loader is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from planck.knobs import knobs

_TOOLKIT: Final = Path("/usr/local/cuda/lib64")


def places(names: Sequence[str], wheels: Sequence[str]) -> Iterator[str]:
    """Of the nvidia-* wheels, of CUDA_PATH, of /usr/local/cuda, and of the loader's path.

    names:   of a library's versions, the best first
    wheels:  folders in the package `nvidia`
    """
    if sys.platform != "linux":
        return
    package = find_spec("nvidia")
    roots = package.submodule_search_locations if package else None
    folders = [Path(root) / wheel for root in roots or () for wheel in wheels]
    if (cuda := knobs().cuda) is not None:
        folders.append(cuda / "lib64")
    folders.append(_TOOLKIT)
    for folder in folders:
        for name in names:
            if (folder / name).exists():
                yield str(folder / name)
    yield from names
