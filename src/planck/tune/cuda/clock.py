"""Clock, Session: what times steps of a plan on a GPU; the tests have one that only pretends.

A session holds a plan, of which any steps can be captured in a graph, in any order and number. So
one upload of weights and code serves all graphs that are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np

from planck.device import system
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device, Resources
from planck.device.cuda.driver import Handle, Parameters
from planck.device.cuda.libraries import Shared, open_library
from planck.device.cuda.library import Open
from planck.dtypes import Array
from planck.errors import CudaError
from planck.plan.model import Plan, Step
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.lanes import Entry, Lanes
from planck.runtime.cuda.launches import captured, prepare
from planck.tune.cache import LOCK, turn

_FLUSH: Final = 2  # times the L2 cache: so much is written to push all else out of it


@dataclass(frozen=True)
class Trial:
    """A plan to time.

    fills:   what lies in the arena before: (bytes from its start, array)
    copies:  and what of the weights: (bytes from the arena's start, from the weights' start, size)
    inputs:  numbers for each of the network's inputs
    """

    plan: Plan
    fills: tuple[tuple[int, Array], ...] = ()
    copies: tuple[tuple[int, int, int], ...] = ()
    inputs: tuple[Array, ...] = ()


class Session(Protocol):
    """A plan on a GPU; a context manager, which waits for its turn and gives all back."""

    def capture(self, steps: Sequence[int]) -> Any:
        """A graph of steps, by number; what they come after are places in it."""
        ...

    def drop(self, graph: Any) -> None:
        """Give a graph back before the session ends."""
        ...

    def run_us(self, graph: Any, cold: bool) -> float:
        """Microseconds of one run, right behind another, or cold: with nothing of it in L2."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Clock(Protocol):
    def open(self, trial: Trial) -> Session: ...


class FaultError(Exception):
    """The GPU failed in a run of a graph, and with it all that this process has on it.

    number:  of the graph
    error:   the driver's
    """

    def __init__(self, number: int, error: CudaError) -> None:
        super().__init__(number, error)
        self.number, self.error = number, error


def medians_us(session: Session, graphs: Sequence[Any], runs: int, cold: bool) -> list[float]:
    """Each graph's median; they take turns, so that a change of clocks hits all of them.

    raises: FaultError
    """

    def run_us(number: int) -> float:
        try:
            return session.run_us(graphs[number], cold)
        except CudaError as error:
            raise FaultError(number, error) from error

    times: list[list[float]] = [[] for _ in graphs]
    for number in range(len(graphs)):
        run_us(number)  # the first run loads code
    for _ in range(runs):
        for number, own in enumerate(times):
            own.append(run_us(number))
    return [statistics.median(own) for own in times]


def gpu_turn(device: Device) -> AbstractContextManager[None]:
    """Wait until nobody else times anything on this GPU, in any process."""
    return turn(LOCK.with_stem(f"{LOCK.stem}-{device.properties.bus}"))


class GpuClock:
    """Times on a GPU of this machine. raises: MissingExtraError, DeviceError"""

    def __init__(self, device: Device | None = None, libraries: Open = open_library) -> None:
        self.device = device or Device(open_driver())
        self.libraries: Open = Shared(libraries, self.device)

    def open(self, trial: Trial) -> GpuSession:
        return GpuSession(trial, self.device, self.libraries)


class GpuSession:
    """As `Session` says."""

    def __init__(self, trial: Trial, device: Device, libraries: Open) -> None:
        self.engine = CudaEngine(trial.plan, device.driver, libraries)
        self.device, self.driver = self.engine.device, device.driver
        self.resources = Resources(self.device, self.engine.resources)
        self.turn = ExitStack()
        with self.resources.filling():
            self.stream = self.resources.stream()
            self.events = [self.resources.event(timed=True) for _ in range(2)]
            self.bases = self._memory(trial)
            self.flush_bytes = _FLUSH * device.properties.l2_bytes
            self.flush = self.resources.memory(self.flush_bytes)
            self._bring(trial)
            self.lanes = Lanes(trial.plan.steps, self.resources)
            self.launches = [
                self._prepared(step) if step.launch else None for step in trial.plan.steps
            ]
            self.graphs: list[Handle] = []

    def _memory(self, trial: Trial) -> dict[tuple[str, int], int]:
        plan, memory = trial.plan, self.resources.memory
        bases = {
            ("weights", 0): self.engine.weights_address,
            ("arena", 0): memory(plan.arena_bytes),
            ("workspace", 0): memory(plan.workspace_bytes),
            ("counters", 0): memory(plan.counter_bytes),
        }
        for slot in (*plan.inputs, *plan.outputs):
            bases[slot.place.space, slot.place.index] = memory(slot.extent_bytes)
        for space, size in (("arena", plan.arena_bytes), ("counters", plan.counter_bytes)):
            if size:
                self.driver.fill(bases[space, 0], 0, size, self.stream)
        return bases

    def _bring(self, trial: Trial) -> None:
        arena, weights = self.bases["arena", 0], self.bases["weights", 0]
        brought = [(arena + offset, array) for offset, array in trial.fills]
        brought += [(self.bases["input", i], array) for i, array in enumerate(trial.inputs)]
        for address, array in brought:
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self.driver.upload(address, system.address(flat), flat.nbytes, self.stream)
            self.driver.synchronize(self.stream)
        for to, from_, size in trial.copies:
            self.driver.copy(arena + to, weights + from_, size, self.stream)
        self.driver.synchronize(self.stream)

    def _prepared(self, step: Step) -> Entry:
        places = [self.bases[p.space, p.index] + p.offset_bytes for p in step.arguments]
        assert step.launch is not None
        parameters = Parameters(places, step.launch.tensors, self.driver.encode)
        return Entry(0, step, *prepare(self.engine, step, parameters, self.resources))

    def capture(self, steps: Sequence[int]) -> Handle:
        with self.device:
            entries = []
            for place, number in enumerate(steps):
                prepared = self.launches[number]
                assert prepared is not None, "a reference step cannot be captured"
                entries.append(replace(prepared, number=place))
            graph = captured(self.driver, self.stream, lambda: self.lanes.put(entries, self.stream))
            try:
                executable = self.driver.instantiate(graph)
            finally:
                self.driver.destroy_graph(graph)
        self.graphs.append(executable)
        return executable

    def drop(self, graph: Handle) -> None:
        self.graphs.remove(graph)
        with self.device:
            self.driver.destroy_executable(graph)

    def run_us(self, graph: Handle, cold: bool) -> float:
        first, last = self.events
        with self.device:
            # Either keeps the GPU busy until the graph is in the stream behind it.
            if cold:
                self.driver.fill(self.flush, 1, self.flush_bytes, self.stream)
            else:
                self.driver.launch_graph(graph, self.stream)
            self.driver.record(first, self.stream)
            self.driver.launch_graph(graph, self.stream)
            self.driver.record(last, self.stream)
            self.driver.synchronize(self.stream)
            return self.driver.elapsed_us(first, last)

    def __enter__(self) -> GpuSession:
        self.turn.enter_context(gpu_turn(self.device))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            for graph in tuple(self.graphs):
                self.drop(graph)
        except CudaError:
            if error is None:  # else this GPU failed before, which is what to tell
                raise
        finally:
            self.turn.close()
            self.engine.close()
