"""CudaContext: the memory, the stream and the graphs of one inference at a time on a GPU."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from planck.device.cuda.arrays import DeviceArray
from planck.device.cuda.device import Resources
from planck.device.cuda.driver import Handle
from planck.dtypes import Array
from planck.errors import InputError
from planck.plan.model import Plan
from planck.runtime.binding import named_inputs, shares_memory, wrong_names
from planck.runtime.context import ExecutionContext, closed, in_use
from planck.runtime.cuda.launches import Graphs, Key, Launches, Spot
from planck.runtime.cuda.ports import DevicePort, Operand
from planck.runtime.cuda.reference import HostStep
from planck.runtime.profile import Profile, profile_of

if TYPE_CHECKING:
    from planck.runtime.cuda.engine import CudaEngine


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that was put in the stream, and what must stay until it has ended.

    landings:  where outputs come to lie that the host wants; None for others
    """

    operands: list[Operand]
    targets: list[Operand]
    landings: list[Array | None]


class CudaContext(ExecutionContext):
    """Runs an engine on a GPU, for one thread at a time.

        with engine.create_execution_context() as context:
            outputs = context({"images": x})                 # NumPy, or arrays of the GPU
            context.bind({"images": tensor})
            context.execute_async(stream)                    # one graph launch, returns at once

    Several contexts run at the same time, each on its stream. The network's memory is taken at the
    start. A call with arrays at other addresses makes a graph, and the first outputs take pinned
    memory; after that calls take none.
    """

    def __init__(self, engine: CudaEngine) -> None:
        plan, device = engine.plan, engine.device
        self.engine: CudaEngine = engine
        self.threads, self.cpus = 1, ()
        self._device, self._driver = device, device.driver
        self._lock = threading.Lock()
        self._bound: tuple[Handle, ...] | None = None
        self._kept: object = None  # what is bound, and so must stay
        self._copied: set[int] = set()  # where copies of bound inputs lie
        self._overwritten: set[int] = set()  # where calls have copied others since
        self._last: Handle | None = None  # where execute_async began a run that nobody waited for
        self._ordering = threading.Lock()  # of that and its event
        self._begun: _Run | None = None
        self._resources = Resources(device, engine.resources)
        weakref.finalize(self, self._resources.close)
        with self._resources.filling():
            self._stream, self._event = self._resources.stream(), self._resources.event()
            self._bases = _memory(plan, engine.weights_address, self._resources, self._stream)
            self._launches = Launches(engine, self._resources, self._bases)
            self._graphs = Graphs(device, self._launches, self._stream)
            self._resources.undo(None, _closing(self._graphs))
            self._ports_in, self._ports_out = (
                tuple(DevicePort(plan, slot, self._resources, self._stream) for slot in slots)
                for slots in (plan.inputs, plan.outputs)
            )
            self._spots: list[Spot] = [
                (s.place.space, s.place.index) for s in (*plan.inputs, *plan.outputs)
            ]
            self._parts = self._parts_of(plan)

    def execute(
        self,
        inputs: Any,
        out: Mapping[str, Any] | None = None,
        *,
        device_outputs: bool = False,
    ) -> dict[str, Any]:
        """The outputs by name, once they are there. The interpreter lock is released meanwhile.

        inputs:          an array for each input, by name; or the array, where there is only one.
                         NumPy arrays are copied to the GPU; arrays that are there, with
                         `__dlpack__` or `__cuda_array_interface__`, are read where they lie if
                         they begin at a multiple of 16 bytes
        out:             arrays to write to, NumPy's or the GPU's
        device_outputs:  give those that are missing in out as arrays of the GPU, which hold them
                         until the context's next run; else as new NumPy arrays
        raises:          InputError, ShapeError, DTypeError; ContextInUseError if another thread is
                         in here; DeviceError
        """
        with self._entered():
            return self._results(self._put_run(inputs, out, device_outputs))

    __call__ = execute

    def begin(self, inputs: Any) -> None:
        """Begin what `execute(inputs)` does, and return.

        NumPy arrays may be changed at once, but for those in pinned memory, which the GPU reads
        where they lie: they must stay as they are until `finish`.

        raises: as execute
        """
        with self._entered():
            self._begun = self._put_run(inputs, None, False)

    def finish(self) -> dict[str, Any]:
        """Wait for what was begun; its outputs, as NumPy arrays. raises: InputError, DeviceError"""
        with self._entered():
            if self._begun is None:
                raise InputError("no run was begun", try_="context.begin(inputs) before")
            begun, self._begun = self._begun, None
            return self._results(begun)

    def bind(
        self, inputs: Any | None = None, out: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Say which arrays `execute_async` reads and writes, and get ready to do so.

        inputs:  as in execute; None: the context's own, which `input_buffers` gives. NumPy arrays,
                 and what does not begin at a multiple of 16, are copied now, once: bind again
                 after a call that copies others there
        out:     arrays of the GPU; those missing are the context's own
        gives:   the arrays of the outputs, by name
        raises:  as execute; InputError for a plan with steps that run in NumPy
        """
        with self._entered():
            if any(isinstance(part, HostStep) for part in self._parts):
                raise InputError(
                    "a plan with steps that run in NumPy cannot run asynchronously",
                    try_="use execute; engine.inspect() lists those steps",
                )
            operands, targets = self._operands(inputs, out)
            for target in targets:
                if target.host is not None:
                    raise InputError(
                        "an output in the host's memory cannot be bound",
                        try_="bind an array of the GPU, or none, and copy from it",
                    )
            for port, operand in zip(self._ports_in, operands, strict=True):
                port.bring(operand)
            key = self._key(operands, targets)
            self._bound = tuple(self._graphs.of(key))
            self._graphs.pinned = key
            self._kept = (operands, targets)
            self._copied = _copies(operands)
            self._overwritten -= self._copied
            self._driver.synchronize(self._stream)
            return {
                port.name: (
                    port.array(target.address, self) if target.given is None else target.given
                )
                for port, target in zip(self._ports_out, targets, strict=True)
            }

    def execute_async(self, stream: Any | None = None) -> None:
        """Begin a run on the bound arrays, and return at once.

        stream:  another library's: its address, or what has it as `cuda_stream` (PyTorch), `ptr`
                 (CuPy) or `__cuda_stream__`; None: the context's own, see `synchronize`
        raises:  InputError if nothing is bound, ContextInUseError, DeviceError

        Runs of one context must not overlap: put them in the same stream, or wait between them.
        Who is given an array of its outputs, in whatever stream, reads it behind the run.
        """
        handle = self._stream if stream is None else self._driver.stream(stream_pointer(stream))
        with self._entered():
            for executable in self._graphs_bound():
                self._driver.launch_graph(executable, handle)
            self._began(handle)

    @contextmanager
    def putting(self) -> Iterator[Callable[[Handle], None]]:
        """What puts the launches of a run on the bound arrays in a stream that is captured.

        raises: InputError if nothing is bound, ContextInUseError
        """
        with self._entered():
            self._graphs_bound()
            assert self._graphs.pinned is not None
            self._launches.point(self._graphs.pinned)
            yield self._put

    def _put(self, stream: Handle) -> None:
        for run in self._launches.runs:
            self._launches.put(run, stream)

    def synchronize(self) -> None:
        """Wait for the context's own stream. raises: DeviceError if what ran there failed"""
        with self._entered():
            self._driver.synchronize(self._stream)
            if self._last is self._stream:
                self._last = None

    def _began(self, stream: Handle) -> None:
        """Note that a stream runs the network, for whoever reads the outputs."""
        with self._ordering:
            if stream is not self._stream:  # it may be gone by then
                self._driver.record(self._event, stream)
            self._last = stream

    def order(self, stream: Handle) -> None:
        """Let a stream wait for what `execute_async` began last. raises: InputError if closed"""
        with self._ordering:
            if self._resources.closed:
                raise closed()
            if self._last is None:
                return
            with self._device:
                if self._last is self._stream:
                    self._driver.record(self._event, self._stream)
                self._driver.wait(stream, self._event)

    def pending(self) -> int | None:
        """The context's stream, behind what `execute_async` began last; None if nothing is.

        raises: InputError if closed
        """
        self.order(self._stream)
        return None if self._last is None else int(self._stream)

    @property
    def input_buffers(self) -> dict[str, DeviceArray]:
        """The context's own arrays of the inputs, which `bind` takes where none is given."""
        return {port.name: port.array(port.buffer, self) for port in self._ports_in}

    def profile(self, inputs: Any, runs: int = 20) -> Profile:
        """Times of each step over several runs, after one that warms up.

        Steps are timed one after the other, without the overlap that they have in `execute`.

        raises: as execute; InputError for runs < 1
        """
        if runs < 1:
            raise InputError(f"a profile needs a run, and runs is {runs}")
        out = self.execute(inputs)
        totals = np.zeros(runs)
        for run in range(runs):
            start = time.perf_counter_ns()
            self.execute(inputs, out)
            totals[run] = (time.perf_counter_ns() - start) / 1e3
        return profile_of(self.engine.plan, self._times(inputs, runs), totals, self.threads)

    def times_us(self, inputs: Any) -> list[float]:
        """Microseconds of each step in one run. raises: as execute"""
        times: list[float] = self._times(inputs, 1)[0].tolist()
        return times

    def close(self) -> None:
        """Give back the context's memory; it cannot run any more. A second call does nothing.

        What `execute_async` began is waited for.

        raises: ContextInUseError while another thread is in it
        """
        if not self._lock.acquire(blocking=False):
            raise in_use()
        try:
            with self._ordering:
                self._resources.close()
            self._bound = self._kept = self._begun = self._last = None
        finally:
            self._lock.release()

    def __enter__(self) -> CudaContext:
        return self

    def _entered(self) -> AbstractContextManager[None]:
        """The context and the GPU are the calling thread's. raises: ContextInUseError"""
        return entered(self._lock, self._resources)

    def _operands(
        self, inputs: Any | None, out: Mapping[str, Any] | None
    ) -> tuple[list[Operand], list[Operand]]:
        """Where inputs and outputs lie. raises: InputError, DTypeError, ShapeError"""
        if self._begun is not None:
            raise InputError("a run was begun and not finished", try_="context.finish() before")
        if inputs is None:
            operands = [Operand(port.buffer) for port in self._ports_in]
        else:
            given = named_inputs(self._ports_in, inputs)
            operands = [port.read(given[port.name]) for port in self._ports_in]
        out = out or {}
        if not out.keys() <= {port.name for port in self._ports_out}:
            raise wrong_names("outputs", self._ports_out, out)
        targets = [
            port.write(out[port.name]) if port.name in out else Operand(port.buffer)
            for port in self._ports_out
        ]
        self._check_apart(operands, targets)
        return operands, targets

    def _check_apart(self, operands: Sequence[Operand], targets: Sequence[Operand]) -> None:
        """raises: InputError for an output in memory that another one, or an input, has too"""
        for number, (port, target) in enumerate(zip(self._ports_out, targets, strict=True)):
            others = [
                *zip(self._ports_in, operands, strict=True),
                *zip(self._ports_out[:number], targets[:number], strict=True),
            ]
            for other, operand in others:
                start, end = operand.address, operand.address + other.bytes
                overlap = target.address < end and start < target.address + port.bytes
                if target.host is not None and operand.host is not None:
                    overlap = overlap or np.may_share_memory(target.host, operand.host)
                if overlap:
                    raise shares_memory(port, other)

    def _key(self, operands: Sequence[Operand], targets: Sequence[Operand]) -> Key:
        for port, target in zip(self._ports_out, targets, strict=True):
            if target.view is not None:
                port.order(target.view)
        return tuple(operand.address for operand in (*operands, *targets))

    def _launch(self, key: Key) -> None:
        graphs = iter(self._graphs.of(key))
        self._bases.update(zip(self._spots, key, strict=True))
        for part in self._parts:
            if isinstance(part, HostStep):
                part.run(self._bases)
            else:
                self._driver.launch_graph(next(graphs), self._stream)

    def _put_run(
        self, inputs: Any | None, out: Mapping[str, Any] | None, device_outputs: bool
    ) -> _Run:
        """Put a run in the stream, between the copies that its inputs and outputs need."""
        operands, targets = self._operands(inputs, out)
        self._overwritten |= _copies(operands)
        for port, operand in zip(self._ports_in, operands, strict=True):
            port.bring(operand)
        self._launch(self._key(operands, targets))
        landings = [
            port.fetch(target)
            if target.host is not None or (target.given is None and not device_outputs)
            else None
            for port, target in zip(self._ports_out, targets, strict=True)
        ]
        return _Run(operands, targets, landings)

    def _results(self, run: _Run) -> dict[str, Any]:
        """Wait for the outputs, and bring them where they are wanted."""
        self._driver.synchronize(self._stream)
        results: dict[str, Any] = {}
        for port, target, landed in zip(self._ports_out, run.targets, run.landings, strict=True):
            if landed is not None:
                results[port.name] = port.give(landed, target)
            elif target.given is not None:
                results[port.name] = target.given
            else:
                results[port.name] = port.array(target.address, self)
        return results

    def _times(self, inputs: Any, runs: int) -> Array:
        """Microseconds, [runs, steps], each step timed between two events of its graph."""
        self.execute(inputs)
        with self._entered():
            operands, targets = self._operands(inputs, None)
            self._launches.point(self._key(operands, targets))
            once = Resources(self._device, self._resources)
            with once.filling():
                times = self._timed(once, runs)
            once.close()
        return times

    def _timed(self, once: Resources, runs: int) -> Array:
        driver, times = self._driver, np.zeros((runs, len(self.engine.plan.steps)))
        graphs: list[tuple[Handle, dict[int, Handle]]] = []
        for span in self._launches.runs:
            events = {number: once.event(timed=True) for number in (*span, span.stop)}
            graph = once.undo(
                self._launches.capture(span, self._stream, events), driver.destroy_graph
            )
            graphs.append((once.undo(driver.instantiate(graph), driver.destroy_executable), events))
        for row in times:
            ahead = iter(graphs)
            for part in self._parts:
                if isinstance(part, HostStep):
                    start = time.perf_counter_ns()
                    part.run(self._bases)
                    row[part.number] = (time.perf_counter_ns() - start) / 1e3
                    continue
                executable, events = next(ahead)
                driver.launch_graph(executable, self._stream)
                driver.synchronize(self._stream)
                for number in part:
                    row[number] = driver.elapsed_us(events[number], events[number + 1])
        return times

    def _graphs_bound(self) -> tuple[Handle, ...]:
        """The graphs of a run on what is bound. raises: InputError if nothing is, or no more"""
        if self._bound is None:
            raise InputError("nothing is bound", try_="context.bind(...) before")
        self._check_copies(self._copied)
        return self._bound

    def _check_copies(self, addresses: set[int]) -> None:
        """raises: InputError if what bind has copied there was overwritten"""
        if addresses & self._overwritten:
            raise InputError(
                "nothing is bound any more",
                know="a call has copied other inputs over those that were copied by bind",
                try_="context.bind(...) with them again",
            )

    def _parts_of(self, plan: Plan) -> list[HostStep | range]:
        """Runs of compiled steps, each a graph, and the reference steps between them."""
        parts: dict[int, HostStep | range] = {run.start: run for run in self._launches.runs}
        for number, step in enumerate(plan.steps):
            if not step.symbol:
                parts[number] = HostStep(number, step, plan.slots, self._device, self._stream)
        return [parts[number] for number in sorted(parts)]


def _memory(plan: Plan, weights: int, resources: Resources, stream: Handle) -> dict[Spot, int]:
    """The memory that a context has for itself, and the weights, by space."""
    bases: dict[Spot, int] = {
        ("weights", 0): weights,
        ("arena", 0): resources.memory(plan.arena_bytes),
        ("workspace", 0): resources.memory(plan.workspace_bytes),
        ("counters", 0): resources.memory(plan.counter_bytes),
    }
    if plan.counter_bytes:
        driver = resources.device.driver
        driver.fill(bases["counters", 0], 0, plan.counter_bytes, stream)
        driver.synchronize(stream)
    return bases


def _copies(operands: Sequence[Operand]) -> set[int]:
    """Where inputs are copied to, of those that are not read where they lie."""
    return {
        operand.address
        for operand in operands
        if operand.host is not None
        or (operand.view is not None and operand.view.address != operand.address)
    }


def _closing(graphs: Graphs) -> Any:
    return lambda _: graphs.close()


@contextmanager
def entered(lock: threading.Lock, resources: Resources) -> Iterator[None]:
    """What a lock guards, and the GPU, are the calling thread's.

    raises: ContextInUseError if another thread has the lock, InputError if all was given back
    """
    if not lock.acquire(blocking=False):
        raise in_use()
    try:
        if resources.closed:
            raise closed()
        with resources.device:
            yield
    finally:
        lock.release()


def stream_pointer(stream: Any) -> int:
    """The address of another library's stream. raises: InputError"""
    if isinstance(stream, int):
        return stream
    for name in ("cuda_stream", "ptr"):
        if isinstance(found := getattr(stream, name, None), int):
            return found
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    raise InputError(
        f"a {type(stream).__name__} is no CUDA stream",
        try_="give its address, or a stream of PyTorch or CuPy",
    )
