"""Engine: a plan made ready to run, immutable and shared by all its execution contexts."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from planck.device import system
from planck.dtypes import Array, DType
from planck.errors import DeviceError, MissingExtraError, PlanckError, PlanTargetError
from planck.plan.check import check_plan
from planck.plan.format import load_plan, read_header, save_plan
from planck.plan.model import Plan, Slot
from planck.runtime.context import ExecutionContext
from planck.runtime.report import Report, report

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of the network.

    name:  the model's own
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType


class Engine:
    """Runs a plan.

        engine = Engine.load("yolov5s.plan")
        outputs = engine({"images": x})          # or engine(x): the network has one input

    Calls may come from any number of threads: each takes an idle execution context, or makes one.
    For control over threads, memory and output arrays, make contexts yourself.

    raises: PlanFormatError for a plan whose numbers point outside of it,
            PlanTargetError where the system does not run generated code
    """

    def __init__(self, plan: Plan) -> None:
        check_plan(plan)
        self.plan = plan
        self.inputs = tuple(_binding(plan, slot) for slot in plan.inputs)
        self.outputs = tuple(_binding(plan, slot) for slot in plan.outputs)
        self.metadata: dict[str, str] = dict(plan.build.get("metadata", {}))
        self._ready()
        self._idle: list[ExecutionContext] = []
        slow = [step.name for step in plan.steps if not step.symbol]
        if slow:
            _log.warning(
                "%s: %d steps run by their NumPy reference, slowly: %s",
                plan.name,
                len(slow),
                ", ".join(slow),
            )

    def _ready(self) -> None:
        """Bring code and weights where they are used."""
        if self.plan.target.is_cuda:
            raise PlanTargetError(
                f"this engine runs on processors, and the plan is for {self.plan.target}",
                try_="planck.load(path), or planck.runtime.engine_of(plan)",
            )
        self.image = system.CodeImage(self.plan.code)
        self.weights = _readable(self.plan.weights)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], any_machine: bool = False, mapped: bool = False
    ) -> Engine:
        """The engine of a plan file.

        any_machine:  accept a plan tuned for another processor that has the same instructions
        mapped:       leave the weights in the file's pages, which processes that run the same plan
                      share; large networks run up to 5 % faster from memory of their own, as it
                      has huge pages
        raises:       FileError, PlanFormatError, PlanVersionError, PlanTargetError; for a plan for
                      GPUs MissingExtraError and DeviceError
        """
        mapped = mapped or read_header(path).target.is_cuda  # whose weights go to the GPU's memory
        return engine_of(load_plan(path, any_machine, None if mapped else system.allocate))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan file. raises: FileError"""
        save_plan(self.plan, path)

    def create_execution_context(
        self, threads: int | None = None, cpus: Sequence[int] | None = None
    ) -> ExecutionContext:
        """A context with memory and threads of its own.

        threads:  the calling one included; by default as many as the plan was tuned for, but no
                  more than there are processors
        cpus:     processors to keep the threads on, one for each; the first is the caller's for
                  the length of each call
        raises:   InputError
        """
        return ExecutionContext(self, threads, cpus)

    def empty_inputs(self) -> dict[str, Array]:
        """New arrays to write the inputs to, by name; where runs take them from fastest.

        raises: DeviceError
        """
        return {b.name: np.empty(b.shape, b.dtype.numpy) for b in self.inputs}

    def __call__(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, in new arrays.

        inputs:  an array for each input, by name; or the array, where there is only one
        raises:  InputError, ShapeError, DTypeError with what was expected and what was given
        """
        try:
            context = self._idle.pop()
        except IndexError:
            context = self.create_execution_context()
        try:
            return context(inputs)
        finally:
            self._idle.append(context)

    def close(self) -> None:
        """Give back memory and threads of the contexts that calls have left idle.

        A second call does nothing. On a processor the engine can be called again after it.
        """
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inspect(self) -> Report:
        """What the plan does, step by step."""
        return report(self.plan)

    def __repr__(self) -> str:
        rows = [f"Engine({self.plan.name!r}, {self.plan.target}, {len(self.plan.steps)} steps"]
        for word, bindings in (("in", self.inputs), ("out", self.outputs)):
            rows += [f"  {word:<4}{b.name}: {b.dtype}{list(b.shape)}" for b in bindings]
        return "\n".join(rows) + ")"


def engine_of(plan: Plan) -> Engine:
    """The engine of a plan, on the processor or the GPU that it is for.

    raises: as Engine; for a plan for GPUs PlanTargetError, MissingExtraError, DeviceError
    """
    if not plan.target.is_cuda:
        return Engine(plan)
    from planck.runtime.cuda.engine import CudaEngine

    return CudaEngine(plan)


def engine_or_plan(plan: Plan) -> Engine:
    """The engine of a plan; where it is for a GPU that is not here, one that only says and saves.

    raises: as Engine
    """
    try:
        return engine_of(plan)
    except (DeviceError, MissingExtraError, PlanTargetError) as error:
        if not plan.target.is_cuda:
            raise
        return PlanOnly(plan, error)


class PlanOnly(Engine):
    """An engine without its GPU: it can be inspected and saved.

    why:  the error that whoever runs it gets
    """

    def __init__(self, plan: Plan, why: PlanckError) -> None:
        self.why = why
        super().__init__(plan)

    def _ready(self) -> None:
        """Nothing is brought anywhere."""

    def create_execution_context(
        self, threads: int | None = None, cpus: Sequence[int] | None = None
    ) -> ExecutionContext:
        """raises: why there is no GPU to run on"""
        raise self.why


def _binding(plan: Plan, slot: Slot) -> Binding:
    return Binding(plan.names.get(slot.name, slot.name), slot.type.dims, slot.type.dtype)


def _readable(weights: memoryview | bytes) -> Array:
    """The weights as u8, 64-byte aligned and readable for 64 bytes past their end.

    Those that a plan file was mapped or read to are both already; others are copied.
    """
    array = np.frombuffer(weights, np.uint8)
    source = weights.obj if isinstance(weights, memoryview) else None
    ready = isinstance(source, mmap.mmap) or system.is_allocated(source)
    if ready and system.address(array) % system.ALIGN == 0:
        return array
    memory = system.allocate(len(array))
    memory[:] = array
    memory.flags.writeable = False
    return memory
