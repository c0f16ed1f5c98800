"""Lender: arrays in pinned memory that callers keep as long as they like."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from typing import Any

import numpy as np

from planck.device.cuda.device import LEAST_BYTES, Device
from planck.dtypes import Array
from planck.errors import DeviceError, DeviceMemoryError

_log = logging.getLogger(__name__)


class Lender:
    """NumPy arrays of one type in pinned memory of the host, to and from which copies are fastest.

    An array that nobody keeps any more comes back and is lent again. Arrays may outlive the lender
    and its engine: those that are out when it is closed give their memory back one by one.

    most:  arrays that are out at the same time; None: any number
    """

    def __init__(
        self, device: Device, shape: tuple[int, ...], dtype: Any, most: int | None = None
    ) -> None:
        self._device = device.another()
        self._shape, self._dtype, self._most = shape, np.dtype(dtype), most
        self._bytes = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        # Arrays come back whenever and on whatever thread they are collected: no lock guards these.
        self._idle: deque[int] = deque()
        self._out: set[object] = set()
        self._closed = False

    def lend(self) -> Array | None:
        """An array of no known content; None if all are out, or the host has no memory for it.

        raises: DeviceError
        """
        try:
            address = self._idle.popleft()
        except IndexError:
            if self._most is not None and len(self._out) >= self._most:
                return None
            try:
                with self._device as device:
                    address = device.driver.allocate_host(max(self._bytes, LEAST_BYTES))
            except DeviceMemoryError:
                return None
        loan = object()
        self._out.add(loan)
        memory = _Memory(address, self._bytes)
        weakref.finalize(memory, self._returned, loan, address).atexit = False
        array: Array = np.asarray(memory).view(self._dtype).reshape(self._shape)
        return array

    def close(self) -> None:
        """Give back what is not out. A second call does nothing."""
        self._closed = True
        self._settle()

    def _returned(self, loan: object, address: int) -> None:
        self._idle.append(address)
        self._out.discard(loan)
        if self._closed:
            self._settle()

    def _settle(self) -> None:
        """Free what is idle; the last array that comes back gives the GPU back too."""
        while self._idle:
            try:
                address = self._idle.popleft()
                with self._device as device:
                    device.driver.free_host(address)
            except IndexError:  # another thread had it
                break
            except DeviceError as error:
                _log.warning("pinned memory was not given back: %s", error)
        if not self._out:
            self._device.close()


class _Memory:
    """What the arrays over a piece of memory keep alive."""

    def __init__(self, address: int, bytes_: int) -> None:
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (bytes_,),
            "typestr": "|u1",
            "version": 3,
        }
