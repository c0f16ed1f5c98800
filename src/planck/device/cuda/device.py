"""Device and Resources: a GPU opened, and what was taken of it, which is given back as one."""

from __future__ import annotations

import copy
import ctypes
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from planck.device.cuda.driver import Driver, Handle, Properties
from planck.dtypes import Array
from planck.errors import DeviceError, NoDeviceError

_log = logging.getLogger(__name__)
LEAST_BYTES: Final = 16  # of an allocation: the driver gives none of zero bytes


def properties(driver: Driver, ordinal: int) -> Properties:
    """What a GPU is. raises: NoDeviceError if there is none of that number"""
    count = driver.count()
    if not 0 <= ordinal < count:
        raise NoDeviceError(
            f"there is no GPU {ordinal}",
            know=f"this process may use {count}",
            try_="look at CUDA_VISIBLE_DEVICES, which hides GPUs",
        )
    return driver.properties(ordinal)


class Device:
    """One GPU, opened; inside a `with` block it is the calling thread's.

    raises: NoDeviceError if there is no GPU of that number
    """

    def __init__(self, driver: Driver, ordinal: int = 0) -> None:
        self.properties = properties(driver, ordinal)
        self.driver, self.ordinal = driver, ordinal
        self._open()

    def another(self) -> Device:
        """The same GPU, opened once more: for what may outlive this."""
        made = copy.copy(self)
        made._open()
        return made

    def __enter__(self) -> Device:
        self.driver.push(self._context)
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.pop()

    def close(self) -> None:
        """Give the GPU back, once all its resources have been. A second call does nothing."""
        self._finish()

    def _open(self) -> None:
        self._context = self.driver.retain(self.ordinal)
        self._finish = weakref.finalize(self, self.driver.release, self.ordinal)


class Resources:
    """Memory, streams, events and modules of one owner, given back together, the last one first.

    parents:  whose resources these build on: they give them back before their own
    """

    def __init__(self, device: Device, *parents: Resources) -> None:
        self.device, self.closed = device, False
        self._undo: list[tuple[Callable[[Any], None], Any]] = []
        self._streams: list[Handle] = []
        self._children: weakref.WeakSet[Resources] = weakref.WeakSet()
        for parent in parents:
            parent._children.add(self)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """The device is the thread's; should the block fail, everything is given back."""
        try:
            with self.device:
                yield
        except BaseException:
            self.close()
            raise

    def memory(self, bytes_: int) -> int:
        """Device memory at a multiple of 256; at least a few bytes."""
        address = self.device.driver.allocate(max(bytes_, LEAST_BYTES))
        self.undo(address, self.device.driver.free)
        return address

    def pinned(self, bytes_: int) -> Array:
        """Pinned memory of the host, u8[bytes_]."""
        driver, size = self.device.driver, max(bytes_, LEAST_BYTES)
        address = driver.allocate_host(size)
        self.undo(address, driver.free_host)
        memory = memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B")
        return np.frombuffer(memory, np.uint8)[:bytes_]

    def stream(self) -> Handle:
        """A stream, which is waited for before anything is given back."""
        self._streams.append(self.device.driver.create_stream())
        return self.undo(self._streams[-1], self.device.driver.destroy_stream)

    def event(self, timed: bool = False) -> Handle:
        return self.undo(self.device.driver.create_event(timed), self.device.driver.destroy_event)

    def module(self, cubin: bytes) -> Handle:
        return self.undo(self.device.driver.load_module(cubin), self.device.driver.unload_module)

    def undo(self, taken: Any, how: Callable[[Any], None]) -> Any:
        """Keep something that `how` gives back at the end."""
        self._undo.append((how, taken))
        return taken

    def close(self) -> None:
        """Give everything back; what the driver refuses is logged. A second call does nothing."""
        if self.closed:
            return
        self.closed = True
        for child in tuple(self._children):
            child.close()
        try:
            with self.device:
                for stream in self._streams:
                    self._tried(self.device.driver.synchronize, stream)
                while self._undo:
                    self._tried(*self._undo.pop())
        except DeviceError as error:
            _log.warning("the GPU's resources were not given back: %s", error)

    def _tried(self, how: Callable[[Any], None], taken: Any) -> None:
        try:
            how(taken)
        except DeviceError as error:
            _log.warning("a resource of the GPU was not given back: %s", error)
