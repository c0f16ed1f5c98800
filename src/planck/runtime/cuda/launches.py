"""The steps of a plan as launches that are ready, and the graphs that they are captured in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from planck.device.cuda.device import Device, Resources
from planck.device.cuda.driver import Driver, Handle, Parameters, TensorMap
from planck.device.cuda.library import Call
from planck.errors import DeviceError
from planck.plan.model import Place, Plan, Step
from planck.runtime.cuda.lanes import Entry, Lanes
from planck.runtime.cuda.libraries import Put

if TYPE_CHECKING:
    from planck.runtime.cuda.engine import CudaEngine

Spot = tuple[str, int]  # a space, and which input or output
Key = tuple[int, ...]  # addresses of all inputs, then of all outputs
Ready = tuple[Put, Put]  # puts a step in a stream: as the plan says, or when all before it is done

GRAPHS: Final = 8  # sets of pointers whose graphs a context keeps


def runs(plan: Plan) -> list[range]:
    """The numbers of compiled steps that follow each other, each run one graph."""
    found: list[range] = []
    for number, step in enumerate(plan.steps):
        if not step.symbol:
            continue
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def captured(driver: Driver, stream: Handle, put: Callable[[], None]) -> Handle:
    """The graph of what `put` puts in a stream, and in those that it lets wait for it."""
    driver.begin_capture(stream)
    try:
        put()
    except BaseException:
        with suppress(DeviceError):  # of the graph that is spoilt, beside the error that did it
            if (spoilt := driver.end_capture(stream)) is not None:
                driver.destroy_graph(spoilt)
        raise
    return driver.end_capture(stream)


def prepare(engine: CudaEngine, step: Step, parameters: Parameters, resources: Resources) -> Ready:
    """A compiled step, or one that a library runs: it never begins before the one before it ends.

    resources:  of who will run it
    """
    launch = step.launch
    assert launch is not None, f"{step.name} is a reference step"
    if isinstance(launch, Call):
        put = engine.libraries.prepare(launch, parameters, resources)
        return put, put
    driver = engine.device.driver
    dependent, apart = (
        driver.prepare(
            engine.functions[step.symbol], launch.grid, launch.threads, launch.shared_bytes, early,
            parameters,
        )
        for early in (launch.dependent, False)
    )  # fmt: skip
    return partial(driver.launch, dependent), partial(driver.launch, apart)


class Launches:
    """Prepared launches of all compiled steps, by number.

    resources:  the context's
    bases:      addresses of the memory that stays; inputs and outputs come by `point`
    """

    def __init__(self, engine: CudaEngine, resources: Resources, bases: Mapping[Spot, int]) -> None:
        plan, self._driver = engine.plan, engine.device.driver
        self._ports = [slot.place for slot in (*plan.inputs, *plan.outputs)]
        self._cells: dict[Spot, list[tuple[Parameters, int, int]]] = {}
        self._entries: dict[int, Entry] = {}
        self._lanes = Lanes(plan.steps, resources)
        self.runs = runs(plan)
        for number, step in enumerate(plan.steps):
            if step.launch:
                parameters = self._parameters(step.arguments, step.launch.tensors, bases)
                ready = prepare(engine, step, parameters, resources)
                self._entries[number] = Entry(number, step, *ready)

    def point(self, key: Key) -> None:
        """Let later launches and captures use these inputs and outputs."""
        for place, address in zip(self._ports, key, strict=True):
            for parameters, position, offset in self._cells.get((place.space, place.index), ()):
                parameters.point(position, address + offset)

    def capture(
        self, run: range, stream: Handle, events: Mapping[int, Handle] | None = None
    ) -> Handle:
        """The graph of a run of steps.

        events:  by step number, recorded before the step, and by one more after the last; steps
                 do not overlap then
        """
        return captured(self._driver, stream, lambda: self.put(run, stream, events))

    def put(self, run: range, stream: Handle, events: Mapping[int, Handle] | None = None) -> None:
        """Put a run of steps in a stream that is captured; events as in `capture`."""
        if not events:
            self._lanes.put([self._entries[number] for number in run], stream)
            return
        for number in run:
            self._driver.record(events[number], stream, in_graph=True)
            self._entries[number].apart(stream)
        self._driver.record(events[run.stop], stream, in_graph=True)

    def _parameters(
        self, arguments: Sequence[Place], tensors: Sequence[TensorMap], bases: Mapping[Spot, int]
    ) -> Parameters:
        spots = [(place.space, place.index) for place in arguments]
        offsets = [place.offset_bytes for place in arguments]
        addresses = [
            bases[spot] + offset if spot in bases else 0
            for spot, offset in zip(spots, offsets, strict=True)
        ]
        parameters = Parameters(addresses, tensors, self._driver.encode)
        for position, (spot, offset) in enumerate(zip(spots, offsets, strict=True)):
            if spot not in bases:
                self._cells.setdefault(spot, []).append((parameters, position, offset))
        return parameters


class Graphs:
    """The executable graphs of the sets of pointers that were last used.

    pinned:  a set whose graphs stay
    """

    def __init__(self, device: Device, launches: Launches, stream: Handle) -> None:
        self._driver, self._launches, self._stream = device.driver, launches, stream
        self._kept: OrderedDict[Key, list[Handle]] = OrderedDict()
        self.pinned: Key | None = None

    def of(self, key: Key) -> list[Handle]:
        """One executable for each run of steps, captured if the set is new."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        self._launches.point(key)
        driver = self._driver
        # An executable of another set is made into a new one's faster than a new one is made.
        spare = self._oldest() if len(self._kept) >= GRAPHS else []
        made: list[Handle] = []
        try:
            for run in self._launches.runs:
                graph = self._launches.capture(run, self._stream)
                try:
                    if spare and driver.update(spare[0], graph):
                        made.append(spare.pop(0))
                    else:
                        made.append(driver.instantiate(graph))
                finally:
                    driver.destroy_graph(graph)
        except BaseException:
            spare += made
            raise
        finally:
            for executable in spare:
                driver.destroy_executable(executable)
        self._kept[key] = made
        return made

    def close(self) -> None:
        while self._kept:
            for executable in self._kept.popitem()[1]:
                self._driver.destroy_executable(executable)

    def _oldest(self) -> list[Handle]:
        key = next(key for key in self._kept if key != self.pinned)
        return self._kept.pop(key)
