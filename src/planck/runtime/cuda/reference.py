"""Reference steps of a plan for GPUs: run in NumPy on the host, between two graphs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planck.device import system
from planck.device.cuda.device import Device
from planck.device.cuda.driver import Handle
from planck.dtypes import Array
from planck.plan.model import Slot, Step
from planck.runtime.cuda.launches import Spot
from planck.runtime.reference import Reference


class HostStep(Reference):
    """With copies of its operands in the host's memory. raises: as Reference"""

    def __init__(
        self, number: int, step: Step, slots: tuple[Slot, ...], device: Device, stream: Handle
    ) -> None:
        super().__init__(number, step, slots)
        self._driver, self._stream = device.driver, stream
        self._reads = [_Copy(slots[number]) for number in step.reads]
        self._writes = [_Copy(slots[number]) for number in step.writes]

    def run(self, bases: Mapping[Spot, int]) -> None:
        """bases: where arena, weights, inputs and outputs begin"""
        # What is written may be a part of a larger tensor, with others' elements between its own.
        for copy in (*self._reads, *self._writes):
            if copy.bytes:
                self._driver.download(
                    copy.host_address, copy.address(bases), copy.bytes, self._stream
                )
        self._driver.synchronize(self._stream)
        self.compute([c.array for c in self._reads], [c.array for c in self._writes])
        for copy in self._writes:
            if copy.bytes:
                self._driver.upload(
                    copy.address(bases), copy.host_address, copy.bytes, self._stream
                )
        self._driver.synchronize(self._stream)  # before the copies are written again


class _Copy:
    """Memory of the host for what a slot covers on the GPU."""

    def __init__(self, slot: Slot) -> None:
        self._place = slot.place
        self.bytes = slot.extent_bytes
        memory = system.allocate(self.bytes)
        self.host_address = system.address(memory) if self.bytes else 0
        dtype = slot.type.dtype.numpy
        strides = tuple(s * dtype.itemsize for s in slot.strides) or None
        self.array: Array = np.ndarray(slot.type.physical, dtype, memory, 0, strides)

    def address(self, bases: Mapping[Spot, int]) -> int:
        return bases[self._place.space, self._place.index] + self._place.offset_bytes
