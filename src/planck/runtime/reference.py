"""Steps that nobody has compiled: run in NumPy, slowly and surely, between the compiled ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from planck.dtypes import Array
from planck.errors import PlanFormatError
from planck.ir.types import TensorType
from planck.plan.model import Slot, Step
from planck.runtime.records import Records

Bound = Mapping[tuple[str, int], Array]  # arrays of the call, by (space, index)


class Reference:
    """The one-node graph of a step, and what its operands are.

    raises: PlanFormatError if the graph and the step differ in their numbers of operands
    """

    def __init__(self, number: int, step: Step, slots: tuple[Slot, ...]) -> None:
        from planck.ir.parse import parse

        self.number = number
        self.graph = parse(step.reference)
        self.types = [slots[number].type for number in step.reads]
        counts = (len(self.graph.inputs), len(self.graph.outputs))
        if counts != (len(step.reads), len(step.writes)):
            raise PlanFormatError(f"reference step {step.name} does not fit its graph")

    def compute(self, reads: Sequence[Array], writes: Sequence[Array]) -> None:
        """From physical arrays to physical arrays."""
        from planck.ir.interpret import interpret

        inputs = {
            value.name: plain(array, type_)
            for value, array, type_ in zip(self.graph.inputs, reads, self.types, strict=True)
        }
        results = interpret(self.graph, inputs)
        for value, array in zip(self.graph.outputs, writes, strict=True):
            store(results[value.name], array)


class ReferenceStep(Reference):
    """With its operands in a context's memory. raises: as Reference"""

    def __init__(self, number: int, step: Step, slots: tuple[Slot, ...], records: Records) -> None:
        super().__init__(number, step, slots)
        self.reads = [_access(slots[number], records) for number in step.reads]
        self.writes = [_access(slots[number], records) for number in step.writes]

    def run(self, bound: Bound) -> None:
        self.compute([read(bound) for read in self.reads], [write(bound) for write in self.writes])


def _access(slot: Slot, records: Records) -> Callable[[Bound], Array]:
    """How to get at a slot's memory: arrays of the call change, the context's own stays."""
    place = slot.place
    if place.space in ("input", "output"):
        return lambda bound: view(slot, bound[place.space, place.index])
    own = view(slot, records.memory(place.space))
    return lambda bound: own


def view(slot: Slot, memory: Array) -> Array:
    """A slot as an array of its physical extents, inside the memory of its place."""
    dtype = slot.type.dtype.numpy
    strides = tuple(s * dtype.itemsize for s in slot.strides) or None
    return np.ndarray(slot.type.physical, dtype, memory, slot.place.offset_bytes, strides)


def plain(memory: Array, type_: TensorType) -> Array:
    """The logical tensor of a physical array, which has channels in blocks if its type says so."""
    if not type_.block:
        return memory
    channels = type_.dims[1]
    joined = np.moveaxis(memory, -1, 2)  # [N, C/B, B, *S]
    return joined.reshape(memory.shape[0], -1, *memory.shape[2:-1])[:, :channels]


def store(tensor: Array, memory: Array) -> None:
    """Write a logical tensor to its memory; the rank tells whether that has channel blocks."""
    if memory.ndim == tensor.ndim:
        np.copyto(memory, tensor, casting="no")
        return
    block = memory.shape[-1]
    for channel in range(tensor.shape[1]):
        memory[:, channel // block, ..., channel % block] = tensor[:, channel]
