"""Plan, Step, Slot: the treaty between the build wing and the run wing.

Kernel ABI: `void symbol(ptr args, i64 begin, i64 end, ptr scratch, i64 direction)` runs tiles
[begin, end). `args` is an array of pointers, one for each of Step.arguments; `scratch` is the
thread's own, 64-byte aligned. A step has `tiles` independent units of work, which threads claim in
ranges of `grain`; direction is 1 if the thread goes on to higher ones, -1 if to lower ones, which
tells a kernel what to fetch ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from planck.device.cuda.driver import TensorMap
from planck.device.cuda.library import Call
from planck.ir.types import TensorType
from planck.target import Target

# A vector load may read past the last element: so many bytes follow the arena and the weights.
OVERREAD_BYTES: Final = 64
ALIGNMENT: Final = 64  # tensors begin at its multiples in the arena and in the weights


def aligned(bytes_: int, to: int = ALIGNMENT) -> int:
    """The next multiple, of what tensors begin at or of another number."""
    return -(-bytes_ // to) * to


Space = Literal["arena", "weights", "input", "output", "workspace", "counters"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pointer points: a space, which input or output, and bytes from its start."""

    space: Space
    offset_bytes: int = 0
    index: int = 0


# What the threads of a step share, by the names that code has for it.
WORKSPACE: Final = "workspace"
COUNTERS: Final = "counters"
SHARED: Final = {WORKSPACE: Place("workspace"), COUNTERS: Place("counters")}


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor in memory.

    strides:  in elements, one for each physical extent; dense unless it lives inside another's
    """

    name: str
    type: TensorType
    place: Place
    strides: tuple[int, ...] = ()

    @property
    def extent_bytes(self) -> int:
        """From its first element to the end of its last."""
        extents = self.type.physical
        if 0 in extents or not self.strides:
            return self.type.bytes
        last = sum((e - 1) * stride for e, stride in zip(extents, self.strides, strict=True))
        return (last + 1) * self.type.dtype.bytes


@dataclass(frozen=True, slots=True)
class Launch:
    """How a GPU runs a step: blocks of threads, and whether they may start before others are done.

    grid:       blocks
    threads:    of one block
    dependent:  launched programmatically dependent on the step before: the kernel waits by itself
    tensors:    arguments that the kernel takes as tensor maps
    """

    grid: int
    threads: int
    shared_bytes: int = 0
    dependent: bool = False
    tensors: tuple[TensorMap, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One launch of one kernel.

    symbol:     name of the machine code in Plan.code; "" for a reference step
    arguments:  what the pointer table holds, in order
    reads, writes:  slot numbers, for inspection and for reference steps
    flops:      as the operators count them
    work_flops: what the tactic really does, where its algorithm saves some; 0: flops
    pairs:      whether what it does are products of pairs of bfloat16 in one instruction
    bytes:      read and written at the least, with the weights as they are packed
    weight_bytes:  of these, weights
    reference:  text of a one-node graph that the interpreter runs, for a step nobody has compiled
    lane:       on a GPU, which of the graph's parallel branches it is in
    after:      numbers of steps of other lanes that must have ended
    launch:     on a GPU, how: of code of the plan, or by a call of a library; None on a CPU
    """

    name: str
    tactic: str
    symbol: str
    arguments: tuple[Place, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    tiles: int = 1
    grain: int = 1
    scratch_bytes: int = 0
    kernel: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    measured_us: float = 0.0
    flops: int = 0
    work_flops: int = 0
    pairs: bool = False
    bytes: int = 0
    weight_bytes: int = 0
    origin: tuple[str, ...] = ()
    reference: str = ""
    launch: Launch | Call | None = None
    lane: int = 0
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run needs.

    inputs, outputs:  slots of the network's own tensors, plain row-major, in the model's order
    code:             one position-independent image of machine code; symbols give byte offsets
                      ("planck_run" is the engine loop)
    weights:          packed weights, 64-byte aligned, in execution order
    names:            the model's own names of inputs and outputs, by slot name
    workspace_bytes:  memory that the threads of a step share: each step uses it as it likes
    counter_bytes:    32-bit counters: zero before the first step, left zero by each

    On a GPU, code is cubins one behind the other, and symbols say where each begins; the function
    in it has the symbol's name. Its parameters are pointers, one for each of Step.arguments. A step
    that a library runs has a symbol that is only a name.
    """

    name: str
    target: Target
    precision: str
    threads: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    arena_bytes: int
    code: bytes
    symbols: dict[str, int]
    weights: memoryview | bytes
    graph: str = ""
    names: dict[str, str] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    workspace_bytes: int = 0
    counter_bytes: int = 0
