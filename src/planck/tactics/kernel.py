"""Kernel, Config, Code, Tactic: what one launch computes, and the ways to make code for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from planck.dtypes import Array
from planck.ir.graph import Graph
from planck.ir.text import text
from planck.ir.types import TensorType, strides_of
from planck.refusal import No
from planck.target import Target

Config = Mapping[str, Any]  # one point of a tactic's tuning space; JSON values


@dataclass(frozen=True, slots=True)
class Operand:
    """How one tensor of a kernel lies in memory.

    strides:  in elements, one for each extent of type.physical; the innermost is 1 for blocked
              types. Dense unless the tensor is a part of a larger one (concat and slice in place).
    aligned:  whether it begins at a multiple of 16 bytes; GPU kernels want to know
    """

    type: TensorType
    strides: tuple[int, ...]
    aligned: bool = True

    @classmethod
    def dense(cls, type_: TensorType) -> Operand:
        return cls(type_, strides_of(type_.physical))

    @property
    def span(self) -> int:
        """Elements from the first to the last, with what lies between them."""
        return 1 + sum((n - 1) * s for n, s in zip(self.type.physical, self.strides, strict=True))

    @property
    def span_bytes(self) -> int:
        return self.span * self.type.dtype.bytes


@dataclass(frozen=True)
class Kernel:
    """A small graph from memory to memory.

    graph:      inputs, nodes, outputs; graph.weights holds only constants small enough to be
                written into the code (they are part of the key)
    operands:   for each input and output of the graph, how it lies in memory
    constants:  inputs whose value is known at build time, so that a tactic may pack them
    """

    graph: Graph
    operands: Mapping[str, Operand]
    constants: frozenset[str]
    target: Target
    threads: int = 1

    @cached_property
    def key(self) -> str:
        """Digest of the text: equal kernels share code and timings. Split gives canonical names."""
        rows = [text(self.graph, origins=False), self.target.isa, *self.target.extras]
        for value in (*self.graph.inputs, *self.graph.outputs):
            operand = self.operands[value.name]
            rows.append(f"{operand.type} {operand.strides} {value.name in self.constants}")
            if not operand.aligned:
                rows.append("not aligned")
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Code:
    """LLVM IR of one kernel, ready to compile.

    symbol:     the function's name, a valid LLVM identifier unique to kernel key and config
    arguments:  the pointer table: names of the kernel's inputs and outputs, of arrays that
                `Tactic.pack` makes (in place of constant inputs), and of what is SHARED
    tiles:      independent units of work
    level:      LLVM's optimisation level: 1 or 2 for code whose registers are already decided,
                3 where LLVM should vectorise
    work_flops: operations that the algorithm does, where it saves some; 0: those of the operators
    pairs:      whether these are products of pairs of bfloat16 in one instruction
    growth_bytes: by which the packed weights are more than the weights; below zero if they are less
    workspace_bytes, counter_bytes: of what the threads share, WORKSPACE and COUNTERS; the counters
                are zero when a step begins, and left zero
    """

    symbol: str
    llvm: str
    arguments: tuple[str, ...]
    tiles: int
    scratch_bytes: int = 0
    grain: int = 1
    level: int = 2
    work_flops: int = 0
    pairs: bool = False
    growth_bytes: int = 0
    workspace_bytes: int = 0
    counter_bytes: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Offering(Protocol):
    """What a tactic is to who only asks whether it takes a kernel."""

    @property
    def name(self) -> str: ...

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No: ...


class Tactic(Protocol):
    """One way to run kernels.

    exact:  its results are sums of the definition's own products, in whatever order; where they are
            not, as in Winograd's transforms, a build measures the error (tune/error.py)
    """

    name: str
    exact: bool

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        """The tuning space, the best guess first; or why this tactic cannot run the kernel."""
        ...

    def build(self, kernel: Kernel, config: Config) -> Code:
        """The code of one configuration. Runs in a worker process."""
        ...

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """The constant arrays as the code wants them, by the names used in Code.arguments."""
        ...
