"""Inputs and outputs on a GPU: arrays of the host or of the device, checked and brought there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planck.device import system
from planck.device.cuda.arrays import DeviceArray, Owner, View, view_of
from planck.device.cuda.device import Resources
from planck.device.cuda.driver import Handle
from planck.device.cuda.lending import Lender
from planck.dtypes import Array
from planck.errors import InputError
from planck.plan.model import Plan, Slot
from planck.runtime.binding import Signature

ALIGN: Final = 16  # bytes, at a multiple of which kernels take their operands to begin
LENT: Final = 2  # arrays of an output: one that the caller has, and the next
PIECE_BYTES: Final = 1 << 20  # of an array that is copied to pinned memory
DIRECT_BYTES: Final = 16384  # less is copied sooner than the driver says where it lies


@dataclass(frozen=True, slots=True)
class Operand:
    """What was given for an input or output.

    address:  where the kernels find it
    host:     the caller's NumPy array, to be copied; None where there is none
    given:    what the caller gave
    view:     an array on the device
    direct:   whether the GPU copies from or to the caller's array itself: it is in pinned memory
    """

    address: int
    host: Array | None = None
    given: Any = None
    view: View | None = None
    direct: bool = False


class DevicePort(Signature):
    """One input or output of a context: a device buffer of its own, and pinned memory beside it."""

    def __init__(self, plan: Plan, slot: Slot, resources: Resources, stream: Handle) -> None:
        super().__init__(plan, slot)
        self._type, self._device, self._stream = slot.type.dtype, resources.device, stream
        self._driver = resources.device.driver
        self._event = resources.event()
        self.buffer = resources.memory(self.bytes)
        pinned = resources.pinned(self.bytes)
        self._pinned: Array = pinned.view(self.dtype).reshape(self.shape)
        self._lender = Lender(resources.device, self.shape, self.dtype, LENT)
        resources.undo(self._lender, Lender.close)

    def read(self, given: Any) -> Operand:
        """Check an input.

        raises: InputError, DTypeError, ShapeError
        """
        if isinstance(given, np.ndarray):
            self.check(given, "input")
            return Operand(self.buffer, given, given, direct=self._is_direct(given))
        view = self._view(given, "input")
        fits = view.address % ALIGN == 0
        return Operand(view.address if fits else self.buffer, None, given, view)

    def write(self, given: Any) -> Operand:
        """Check an array for an output. raises: as read"""
        if isinstance(given, np.ndarray):
            self.check(given, "output")
            if not given.flags.writeable:
                raise self._read_only()
            return Operand(self.buffer, given, given, direct=self._is_direct(given))
        view = self._view(given, "output")
        if not view.writable:
            raise self._read_only()
        if view.address % ALIGN:
            raise InputError(
                f"output {self.name!r} cannot be written in place",
                know=f"it begins at {view.address:#x}, which is no multiple of {ALIGN} bytes",
            )
        return Operand(view.address, None, given, view)

    def bring(self, operand: Operand) -> None:
        """Put in the stream what an input needs before the kernels read it."""
        host, view = operand.host, operand.view
        if host is not None and operand.direct:
            self._upload(host, 0)
        elif host is not None:
            self._stage(host)
        elif view is not None:
            self.order(view)
            if operand.address != view.address and self.bytes:
                self._driver.copy(operand.address, view.address, self.bytes, self._stream)

    def order(self, view: View) -> None:
        """Let our stream wait for the one that an array says to wait for."""
        if view.stream is not None:
            self._driver.record(self._event, self._driver.stream(view.stream))
            self._driver.wait(self._stream, self._event)

    def fetch(self, target: Operand) -> Array:
        """Put in the stream the copy of an output to pinned memory; where it comes to lie."""
        landing = self._pinned
        if target.direct and target.host is not None:
            landing = target.host
        elif target.host is None and (lent := self._lender.lend()) is not None:
            landing = lent
        if self.bytes:
            self._driver.download(system.address(landing), self.buffer, self.bytes, self._stream)
        return landing

    def give(self, landed: Array, target: Operand) -> Array:
        """The caller's array of what was fetched, once the stream is done."""
        if landed is not self._pinned:
            return landed
        to: Array = np.empty(self.shape, self.dtype) if target.host is None else target.host
        np.copyto(to, landed)
        return to

    def array(self, address: int, owner: Owner) -> DeviceArray:
        """Device memory as an array of this port's type."""
        return DeviceArray(address, self.shape, self._type, self._device, owner)

    def _read_only(self) -> InputError:
        return InputError(f"output {self.name!r} cannot be written: it is read-only")

    def _stage(self, host: Array) -> None:
        """Copy an array to pinned memory; the GPU fetches a piece while the next is copied."""
        to, size = self._pinned, self._pinned.size
        if host.flags.c_contiguous:
            to, host, size = to.reshape(-1), host.reshape(-1), PIECE_BYTES // to.itemsize
        for begin in range(0, len(to), size):
            piece = to[begin : begin + size]
            np.copyto(piece, host[begin : begin + size])
            self._upload(piece, begin * to.itemsize)

    def _upload(self, piece: Array, offset: int) -> None:
        if piece.nbytes:
            at, from_ = self.buffer + offset, system.address(piece)
            self._driver.upload(at, from_, piece.nbytes, self._stream)

    def _is_direct(self, given: Array) -> bool:
        return (
            self.bytes >= DIRECT_BYTES
            and given.flags.c_contiguous
            and self._driver.is_pinned(system.address(given))
        )

    def _view(self, given: Any, role: str) -> View:
        """An array on our GPU, of the right type. raises: InputError, DTypeError, ShapeError"""
        try:
            view = view_of(given, int(self._stream))
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{role} {self.name!r} cannot be used as an array on a GPU",
                know=f"{type(error).__name__}: {error}",
            ) from error
        if view is None:
            raise InputError(
                f"{role} {self.name!r} is neither a NumPy array nor an array on a GPU",
                know=f"it is {type(given).__name__}; expected {self}",
                try_="np.asarray(...), or an array on the GPU that has __dlpack__",
            )
        self.check_type(view.dtype, view.shape, role)
        if not view.dense:
            raise InputError(
                f"{role} {self.name!r} does not lie contiguously on the GPU",
                know="it has other strides than a row-major array without gaps",
                try_="make it contiguous before",
            )
        if isinstance(given, DeviceArray):  # asking the driver takes it a microsecond or two
            where: int | None = given.device.ordinal
        else:
            where = self._driver.ordinal(view.address) if self.bytes else self._device.ordinal
        if where != self._device.ordinal:
            place = "in no GPU's memory" if where is None else f"on GPU {where}"
            raise InputError(
                f"{role} {self.name!r} lies on another device",
                know=f"it is {place}, and the engine is on GPU {self._device.ordinal}",
            )
        return view
