"""Source: what says which algorithms a library has for a product."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Final, Protocol

from planck.device.cuda.device import Device
from planck.device.cuda.driver import Handle
from planck.device.cuda.library import Algorithm, Library, Problem

MOST_WORKSPACE: Final = 32 << 20  # what NVIDIA advises for Hopper
OFFERS: Final = 4


class Source(Protocol):
    """A library as a tactic sees it."""

    @property
    def version(self) -> int: ...

    def algorithms(self, product: Problem) -> Sequence[Algorithm]:
        """Distinct ones, the library's best guess first; none if it cannot."""
        ...

    def complete(self, product: Problem, algorithm: Algorithm) -> Algorithm:
        """One with its workspace and image. raises: LibraryError if it cannot be run"""
        ...


class Heuristics:
    """The library's own, on a GPU of this machine; each product is asked about once.

    raises: LibraryError, DeviceError
    """

    def __init__(self, library: Library, device: Device) -> None:
        self.version, self._library, self._device = library.version, library, device
        self._known: dict[Problem, Sequence[Algorithm]] = {}
        with device:
            self._handle = library.create()
        self.close = weakref.finalize(self, _destroy, library, device, self._handle)

    def algorithms(self, product: Problem) -> Sequence[Algorithm]:
        if product not in self._known:
            with self._device:
                found = self._library.algorithms(self._handle, product, MOST_WORKSPACE, OFFERS)
            self._known[product] = tuple({own.data: own for own in found}.values())
        return self._known[product]

    def complete(self, product: Problem, algorithm: Algorithm) -> Algorithm:
        with self._device:
            return self._library.complete(self._handle, product, algorithm)


def _destroy(library: Library, device: Device, handle: Handle) -> None:
    with device:
        library.destroy(handle)
