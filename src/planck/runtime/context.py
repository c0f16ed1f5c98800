"""ExecutionContext: the memory, the threads and the bindings of one inference at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planck.device import system
from planck.dtypes import Array
from planck.errors import ContextInUseError, InputError
from planck.plan.model import Plan
from planck.runtime.binding import Port, bind_inputs, bind_outputs
from planck.runtime.profile import Profile, profile_of
from planck.runtime.records import Records
from planck.runtime.reference import ReferenceStep

if TYPE_CHECKING:
    from planck.runtime.engine import Engine


@dataclass(frozen=True, slots=True)
class _Native:
    """Compiled steps [first, last)."""

    first: int
    last: int


class ExecutionContext:
    """Runs an engine, for one thread at a time; several contexts run at the same time.

        with engine.create_execution_context(threads=2) as context:
            outputs = context({"images": x})
            context({"images": x}, out=outputs)      # into the same arrays

    A context owns its arena and its threads, which sleep while there is nothing to do.
    """

    def __init__(
        self, engine: Engine, threads: int | None = None, cpus: Sequence[int] | None = None
    ) -> None:
        plan = engine.plan
        self.engine = engine
        self.threads = _thread_count(plan, threads, cpus)
        self.cpus = tuple(cpus or ())
        self._lock = threading.Lock()
        self._closed = False
        self._records = Records(plan, engine.image, engine.weights, self.threads)
        self._inputs = tuple(Port(plan, slot, self._records) for slot in plan.inputs)
        self._outputs = tuple(Port(plan, slot, self._records) for slot in plan.outputs)
        self._program = _program(plan, self._records)
        self._crew = self._records.crew(self.cpus)

    def execute(
        self, inputs: Array | Mapping[str, Array], out: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """The outputs by name. The interpreter lock is released while compiled steps run.

        inputs:  an array for each input, by name; or the array, where there is only one.
                 Contiguous arrays are read where they lie, others are copied
        out:     arrays to write to, contiguous, of the outputs' shapes and dtypes; any that are
                 missing are made new
        raises:  InputError, ShapeError, DTypeError; ContextInUseError if another thread is in here
        """
        if not self._lock.acquire(blocking=False):
            raise in_use()
        try:
            if self._closed:
                raise closed()
            bound = bind_inputs(self._inputs, inputs)
            results = bind_outputs(self._outputs, out, self._inputs)
            if self.cpus:
                with system.pinned(self.cpus[0]):
                    self._run(bound, results)
            else:
                self._run(bound, results)
            return results
        finally:
            self._lock.release()

    __call__ = execute

    def profile(self, inputs: Array | Mapping[str, Array], runs: int = 20) -> Profile:
        """Times of each step over several runs, after one that warms up.

        raises: as execute; InputError for runs < 1
        """
        if runs < 1:
            raise InputError(f"a profile needs a run, and runs is {runs}")
        out = self.execute(inputs)
        times = np.zeros((runs, len(self.engine.plan.steps)))
        totals = np.zeros(runs)
        with self._measuring():
            begin_ns, begin = time.perf_counter_ns(), self._records.clock()
            for run in range(runs):
                self._records.ticks[:] = 0
                start = time.perf_counter_ns()
                self.execute(inputs, out)
                totals[run] = (time.perf_counter_ns() - start) / 1e3
                times[run] = self._records.ticks[: times.shape[1]]
            ticks, spent_ns = self._records.clock() - begin, time.perf_counter_ns() - begin_ns
        # The clock's rate over all runs: the host's time is a small difference of large ones.
        times *= spent_ns / 1e3 / max(ticks, 1)
        return profile_of(self.engine.plan, times, totals, self.threads)

    def times_us(self, inputs: Array | Mapping[str, Array]) -> list[float]:
        """Microseconds of each step in one run. raises: as execute"""
        with self._measuring():
            self._records.ticks[:] = 0
            self.execute(inputs)
            steps = self._records.ticks[: len(self.engine.plan.steps)]
            times: list[float] = (steps / self._records.ticks_per_us()).tolist()
        return times

    def close(self) -> None:
        """Stop the context's threads; it cannot run any more. A second call does nothing.

        raises: ContextInUseError while another thread is in it
        """
        if not self._lock.acquire(blocking=False):
            raise in_use()
        try:
            self._closed = True
            self._crew.close()
        finally:
            self._lock.release()

    def __enter__(self) -> ExecutionContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        self._records.measure(True)
        try:
            yield
        finally:
            self._records.measure(False)

    def _run(self, inputs: Sequence[Array], results: Mapping[str, Array]) -> None:
        """Run the program; the arrays are bound already, reference steps need them once more."""
        for part in self._program:
            if isinstance(part, _Native):
                self._records.run(part.first, part.last)
            else:
                bound = {("input", i): array for i, array in enumerate(inputs)}
                bound |= {("output", i): array for i, array in enumerate(results.values())}
                start = self._records.clock()
                part.run(bound)
                self._records.ticks[part.number] = self._records.clock() - start


def _program(plan: Plan, records: Records) -> list[_Native | ReferenceStep]:
    """The steps in order: runs of compiled ones joined, reference steps between them."""
    program: list[_Native | ReferenceStep] = []
    first = 0
    for number, step in enumerate(plan.steps):
        if not step.symbol:
            if first < number:
                program.append(_Native(first, number))
            program.append(ReferenceStep(number, step, plan.slots, records))
            first = number + 1
    if first < len(plan.steps):
        program.append(_Native(first, len(plan.steps)))
    return program


def _thread_count(plan: Plan, threads: int | None, cpus: Sequence[int] | None) -> int:
    if cpus is not None:
        system.check_cpus(cpus)
        if threads is None:
            threads = len(cpus)
        if len(cpus) != threads or not cpus:
            raise InputError(
                f"{threads} threads cannot be kept on {len(cpus)} cpus",
                try_="name one cpu for each thread",
            )
    if threads is None:
        threads = max(min(plan.threads, system.available_cpus()), 1)
    if threads < 1:
        raise InputError(f"a context needs a thread, and threads is {threads}")
    return threads if system.has_futex() else 1


def in_use() -> ContextInUseError:
    return ContextInUseError(
        "the execution context is running in another thread",
        try_="make one context for each thread: engine.create_execution_context()",
    )


def closed() -> InputError:
    return InputError("the execution context is closed", try_="make another one")
