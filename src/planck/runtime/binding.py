"""Inputs and outputs of a network: what arrays must be, and where the steps find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planck.device import system
from planck.dtypes import Array
from planck.errors import DTypeError, InputError, ShapeError
from planck.plan.model import Plan, Slot
from planck.runtime.records import Records


class Signature:
    """What arrays of one input or output must be.

    name:  the model's own
    """

    def __init__(self, plan: Plan, slot: Slot) -> None:
        self.name = plan.names.get(slot.name, slot.name)
        self.shape = slot.type.dims
        self.dtype = slot.type.dtype.numpy
        self.bytes = slot.type.bytes

    def check(self, array: Any, role: str) -> None:
        """raises: InputError, DTypeError, ShapeError unless it is a NumPy array of this type"""
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"{role} {self.name!r} is no NumPy array",
                know=f"it is {type(array).__name__}; expected {self}",
                try_="np.asarray(...) with the dtype named above",
            )
        self.check_type(array.dtype, array.shape, role)

    def check_type(self, dtype: Any, shape: tuple[int, ...], role: str) -> None:
        """raises: DTypeError, ShapeError"""
        if dtype != self.dtype:
            raise DTypeError(
                f"{role} {self.name!r} has the wrong dtype",
                know=f"expected {self.dtype}, given {dtype}",
                try_=f"array.astype({self.dtype.name!r})",
            )
        if shape != self.shape:
            raise ShapeError(
                f"{role} {self.name!r} has the wrong shape",
                know=f"expected {self.shape}, given {shape}",
            )

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.name}{list(self.shape)}"


class Port(Signature):
    """One input or output of a context, and where the steps find its array."""

    def __init__(self, plan: Plan, slot: Slot, records: Records) -> None:
        super().__init__(plan, slot)
        self.address = 0
        self._pointers = records.pointers
        self._cells = records.cells.get((slot.place.space, slot.place.index), [])

    def bind(self, array: Array) -> None:
        """Point the steps at the array."""
        address = system.address(array)
        if address != self.address:
            self.address = address
            for position, offset in self._cells:
                self._pointers[position] = address + offset

    def overlaps(self, other: Port) -> bool:
        """Whether the arrays bound to both share memory."""
        return (
            self.address < other.address + other.bytes and other.address < self.address + self.bytes
        )


def named_inputs(ports: Sequence[Signature], given: Any) -> Mapping[str, Any]:
    """The inputs by name, of a mapping or of the only one. raises: InputError"""
    if not isinstance(given, Mapping):
        if len(ports) != 1:
            raise InputError(
                f"the network has {len(ports)} inputs, and one array was given",
                try_=f"give a dictionary of {_names(ports)}",
            )
        return {ports[0].name: given}
    if len(given) != len(ports) or any(port.name not in given for port in ports):
        raise wrong_names("inputs", ports, given)
    return given


def bind_inputs(ports: Sequence[Port], given: Array | Mapping[str, Array]) -> list[Array]:
    """Check the inputs and point the steps at them.

    gives:   the arrays to keep alive during the run: those given, or copies of those that do not
             lie contiguously
    raises:  InputError, DTypeError, ShapeError
    """
    given = named_inputs(ports, given)
    bound = []
    for port in ports:
        array = given[port.name]
        port.check(array, "input")
        if not (array.flags.c_contiguous and array.flags.aligned):
            array = array.copy("C")
        port.bind(array)
        bound.append(array)
    return bound


def bind_outputs(
    ports: Sequence[Port], out: Mapping[str, Array] | None, inputs: Sequence[Port]
) -> dict[str, Array]:
    """Point the steps at the arrays given for outputs, and at new ones where there are none.

    raises:  InputError, DTypeError, ShapeError; InputError if an array overlaps another, as steps
             may read one after they have written the other
    """
    results = {}
    if not out:
        for port in ports:
            array = np.empty(port.shape, port.dtype)
            port.bind(array)
            results[port.name] = array
        return results
    if not out.keys() <= {port.name for port in ports}:
        raise wrong_names("outputs", ports, out)
    for port in ports:
        given = out.get(port.name)
        array = np.empty(port.shape, port.dtype) if given is None else given
        port.check(array, "output")
        if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
            raise InputError(
                f"output {port.name!r} cannot be written in place",
                know="the array must be C-contiguous, aligned and writeable",
            )
        port.bind(array)
        results[port.name] = array
    for number, port in enumerate(ports):
        for other in (*inputs, *ports[:number]):
            if port.overlaps(other):
                raise shares_memory(port, other)
    return results


def shares_memory(port: Signature, other: Signature) -> InputError:
    return InputError(
        f"output {port.name!r} shares memory with {other.name!r}",
        try_="give every output an array of its own",
    )


def wrong_names(role: str, ports: Sequence[Signature], given: Mapping[str, Any]) -> InputError:
    return InputError(
        f"the names of the {role} do not fit the network",
        know=f"expected {_names(ports)}; given {', '.join(map(repr, given)) or 'none'}",
    )


def _names(ports: Sequence[Signature]) -> str:
    return ", ".join(str(port) for port in ports) or "none"
