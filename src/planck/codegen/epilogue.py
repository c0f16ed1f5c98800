"""What happens to a kernel's results on their way from registers to memory: pointwise steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from planck.codegen.llvm import Builder
from planck.codegen.microkernel import Vector
from planck.codegen.scalar import emit, splat
from planck.dtypes import DType, f32
from planck.target import Target

Place = Callable[[str], str]  # an operand's or an output's name -> a pointer

# Functions of about one instruction: written out for every register instead of in a loop.
CHEAP: Final = frozenset(["add", "sub", "mul", "min", "max", "neg", "abs", "relu", "leaky_relu"])


@dataclass(frozen=True, slots=True)
class Apply:
    """result = fn(args), all named as in the kernel's graph."""

    fn: str
    args: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Epilogue:
    """Pointwise steps on the anchor's result, vector by vector.

    source:     name of the anchor's result
    operands:   what else the steps read: name -> "full" (a tensor of the result's shape),
                "channel" (one number for each channel), "scalar" (one element) or "resized" (a
                smaller or larger tensor, each element the nearest neighbour of some places)
    constants:  numbers written into the code, by name
    outputs:    names of what is stored
    rounded:    outputs that are a step's result in another dtype -> that result
    dtypes:     of operands and outputs that are not float32 in memory
    """

    source: str
    steps: tuple[Apply, ...]
    operands: Mapping[str, str]
    constants: Mapping[str, float]
    outputs: tuple[str, ...]
    rounded: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, DType] = field(default_factory=dict)

    def dtype(self, name: str) -> DType:
        """How an operand or an output lies in memory."""
        return self.dtypes.get(name, f32)

    @property
    def cheap(self) -> bool:
        return all(step.fn in CHEAP for step in self.steps) and len(self.steps) <= 4

    def is_full(self, name: str) -> bool:
        """Whether it has an element beside each of the result's: an output, or such an operand."""
        return name in self.outputs or self.operands.get(name) == "full"

    def of_kind(self, kind: str) -> list[str]:
        return [name for name, own in self.operands.items() if own == kind]

    def write(
        self, b: Builder, target: Target, vector: Vector, value: str, place: Place, count: int = 0
    ) -> None:
        """Apply the steps to a vector of the anchor's result, and store what they make of it.

        place:  where an operand or an output has what belongs beside the vector
        count:  of the first lanes, if no others may be read or written
        """
        results = self.apply(b, target, vector, value, place, count)
        for name, result in zip(self.outputs, results, strict=True):
            vector.store(b, result, place(name), self.dtype(name), count)

    def apply(
        self, b: Builder, target: Target, vector: Vector, value: str, place: Place, count: int = 0
    ) -> list[str]:
        """The vectors to store, one for each output."""
        known = {self.source: value}
        for name, number in self.constants.items():
            known[name] = splat(vector.kind, number)
        for step in self.steps:
            for name in step.args:
                if name in known:
                    continue
                if self.operands[name] == "scalar":
                    known[name] = vector.broadcast(b, place(name), self.dtype(name))
                else:
                    known[name] = vector.load(b, place(name), self.dtype(name), count)
            arguments = [known[name] for name in step.args]
            known[step.result] = emit(b, step.fn, arguments, vector.kind, target)
        return [known[self.rounded.get(name, name)] for name in self.outputs]
