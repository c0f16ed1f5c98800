"""Assembly: launches and choices -> the plan. Lifetimes packed, weights laid out, code linked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from planck.codegen import engine
from planck.codegen.link import link
from planck.compiler import memory, work
from planck.compiler.place import Placement
from planck.compiler.split import Launch
from planck.dtypes import Array
from planck.errors import BuildError
from planck.ir.graph import Graph, Node, Value
from planck.ir.text import text
from planck.ir.types import strides_of
from planck.plan.model import OVERREAD_BYTES, SHARED, Place, Plan, Slot, Space, Step, aligned
from planck.tactics.kernel import Config, Kernel
from planck.target import Target
from planck.tune.cache import Timing
from planck.tune.choose import Choice

Packs = dict[tuple[str, str, str, tuple[str, ...]], Mapping[str, Array]]


class _Packer(Protocol):
    @property
    def name(self) -> str: ...

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]: ...


class _Code(Protocol):
    @property
    def symbol(self) -> str: ...
    @property
    def arguments(self) -> tuple[str, ...]: ...
    @property
    def work_flops(self) -> int: ...


class Chosen(Protocol):
    """How a kernel will run, on whatever target."""

    @property
    def tactic(self) -> _Packer: ...
    @property
    def config(self) -> Config: ...
    @property
    def code(self) -> _Code: ...
    @property
    def timings(self) -> tuple[Timing, ...]: ...


class Weights:
    """The weights section: packed arrays one after the other, 64-byte aligned, equal ones once."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Array]] = []
        self._known: dict[object, int] = {}
        self.bytes = 0

    def add(self, key: object, array: Array) -> int:
        """Its offset. Arrays of equal key are the same."""
        if key not in self._known:
            self._known[key] = self.bytes
            self._parts.append((self.bytes, np.ascontiguousarray(array)))
            self.bytes += aligned(array.nbytes)
        return self._known[key]

    def image(self) -> bytes:
        whole = np.zeros(self.bytes + OVERREAD_BYTES, np.uint8)
        for offset, array in self._parts:
            whole[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
        return whole.tobytes()


def assemble(
    graph: Graph,
    placement: Placement,
    launches: Sequence[Launch],
    choices: Mapping[str, Choice],
    *,
    target: Target,
    threads: int,
    precision: str,
    build: dict[str, Any],
    packs: Packs | None = None,
) -> Plan:
    """The plan of a graph whose kernels have all been chosen. raises: BuildError

    packs:  keeps packed weights for another call with other choices
    """
    packs = {} if packs is None else packs
    places = Places(placement, launches, graph)
    steps = tuple(_step(launch, choices, places, packs) for launch in launches)
    objects = {"engine": engine.compiled(target)}
    chosen = [choices[launch.kernel.key] for launch in launches if launch.kernel]
    objects |= {choice.code.symbol: choice.object for choice in chosen}
    image = link(objects)
    return Plan(
        name=graph.name,
        target=target,
        precision=precision,
        threads=threads,
        inputs=network_slots(graph.inputs, "input"),
        outputs=network_slots(graph.outputs, "output"),
        slots=tuple(places.slots.values()),
        steps=steps,
        arena_bytes=places.arena_bytes,
        code=image.code,
        symbols=image.symbols,
        weights=places.weights.image(),
        names=network_names(graph),
        build={**build, **places.notes(graph)},
        workspace_bytes=max((choice.code.workspace_bytes for choice in chosen), default=0),
        counter_bytes=max((choice.code.counter_bytes for choice in chosen), default=0),
    )


def network_slots(values: Sequence[Value], space: Space) -> tuple[Slot, ...]:
    """The network's own tensors, where a caller's arrays lie."""
    return tuple(
        Slot(v.name, v.type, Place(space, 0, i), strides_of(v.type.physical))
        for i, v in enumerate(values)
    )


def network_names(graph: Graph) -> dict[str, str]:
    """The model's own names of inputs and outputs."""
    return {v.name: graph.names.get(v.name, v.name) for v in (*graph.inputs, *graph.outputs)}


def _arena(
    placement: Placement, launches: Sequence[Launch], parallel: Sequence[range]
) -> tuple[dict[str, int], int, int]:
    """Offsets of the roots in the arena, its bytes, and the least that liveness allows."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, launch in enumerate(launches):
        for value in (*launch.node.inputs, *launch.node.outputs):
            root = placement.spots[value.name].root
            if root not in placement.spaces:
                first.setdefault(root, number)
                last[root] = number
    for span in parallel:  # in which any step may run beside any other
        for root in first:
            if first[root] in span:
                first[root] = span.start
            if last[root] in span:
                last[root] = span.stop - 1
    buffers = [
        memory.Buffer(name, placement.roots[name], first[name], last[name]) for name in first
    ]
    if not buffers:
        return {}, 0, 0
    offsets, arena_bytes = memory.pack(buffers)
    return offsets, arena_bytes, memory.lower_bound(buffers)


class Places:
    """Turns values into places: a space and bytes from its start.

    parallel:  steps that run side by side, so that what they touch shares no memory
    weights:   the constants that places were asked for so far
    slots:     of all tensors in memory, by name
    """

    def __init__(
        self,
        placement: Placement,
        launches: Sequence[Launch],
        graph: Graph,
        parallel: Sequence[range] = (),
    ) -> None:
        self.placement, self.constants, self.weights = placement, graph.weights, Weights()
        packed = _arena(placement, launches, parallel)
        self.offsets, self.arena_bytes, self.lower_bound_bytes = packed
        self.slots = {
            value.name: self.slot(value)
            for launch in launches
            for value in (*launch.node.inputs, *launch.node.outputs)
            if value.name not in graph.weights or launch.kernel is None
        }
        self.numbers = {name: i for i, name in enumerate(self.slots)}

    def notes(self, graph: Graph) -> dict[str, Any]:
        """What Plan.build says of memory and model."""
        return {
            "arena_lower_bound_bytes": self.lower_bound_bytes,
            "metadata": dict(sorted(graph.metadata.items())),
        }

    def of(self, value: Value) -> Place:
        if value.name in self.constants:
            array = self.constants[value.name]
            return Place("weights", self.weights.add(("raw", value.name), array))
        spot = self.placement.spots[value.name]
        inside = spot.offset * value.type.dtype.bytes
        space, index = self.placement.spaces.get(spot.root, ("arena", 0))
        start = self.offsets[spot.root] if space == "arena" else 0
        return Place(space, start + inside, index)  # type: ignore[arg-type]

    def slot(self, value: Value) -> Slot:
        return Slot(
            value.name, value.type, self.of(value), self.placement.spots[value.name].strides
        )


def _step(launch: Launch, choices: Mapping[str, Choice], places: Places, packs: Packs) -> Step:
    if launch.kernel is None:
        return reference_step(launch, places)
    choice = choices[launch.kernel.key]
    code = choice.code
    return replace(
        compiled_step(launch, launch.kernel, choice, places, packs),
        tiles=code.tiles,
        grain=code.grain,
        scratch_bytes=code.scratch_bytes,
        pairs=code.pairs,
    )


def reference_step(launch: Launch, places: Places) -> Step:
    """A step that the interpreter runs."""
    node = launch.node
    return Step(
        name=_name(node),
        tactic="reference",
        symbol="",
        arguments=(),
        reads=_reads(node, places),
        writes=tuple(places.numbers[v.name] for v in node.outputs),
        flops=work.flops(node),
        bytes=sum(v.type.bytes for v in (*node.inputs, *node.outputs)),
        weight_bytes=sum(v.type.bytes for v in node.inputs if v.name in places.constants),
        origin=node.origin,
        reference=_reference_text(node),
    )


def compiled_step(
    launch: Launch, kernel: Kernel, choice: Chosen, places: Places, packs: Packs
) -> Step:
    """A step that a kernel runs, without what only one kind of machine has. raises: BuildError"""
    node, own, name = launch.node, launch.names, _name(launch.node)
    constants = {n: places.constants[own[n].name] for n in kernel.constants}
    sources = tuple(own[n].name for n in sorted(kernel.constants))
    way = (kernel.key, choice.tactic.name, str(choice.config), sources)
    if way not in packs:
        packs[way] = choice.tactic.pack(kernel, choice.config, constants)
    packed = packs[way]
    arguments = []
    bytes_ = weight_bytes = 0
    for argument in choice.code.arguments:
        whole = 0
        if argument in packed:
            array = packed[argument]
            key = (kernel.key, argument, sources, str(choice.config))
            arguments.append(Place("weights", places.weights.add(key, array)))
            whole = array.nbytes
        elif argument in own:
            arguments.append(places.of(own[argument]))
            whole = own[argument].type.bytes
        elif argument in SHARED:
            arguments.append(SHARED[argument])
        else:
            raise BuildError(
                f"tactic {choice.tactic.name} asks for an operand {argument!r} that nobody has",
                at=name,
            )
        touched = work.touched_bytes(kernel.graph, argument, whole)
        bytes_ += touched
        weight_bytes += touched if arguments[-1].space == "weights" else 0
    return Step(
        name=name,
        tactic=choice.tactic.name,
        symbol=choice.code.symbol,
        arguments=tuple(arguments),
        reads=_reads(node, places),
        writes=tuple(places.numbers[v.name] for v in node.outputs),
        kernel=kernel.key,
        config=dict(choice.config),
        measured_us=choice.timings[0].us if choice.timings else 0.0,
        flops=work.flops(node),
        work_flops=choice.code.work_flops,
        bytes=bytes_,
        weight_bytes=weight_bytes,
        origin=node.origin,
    )


def _name(node: Node) -> str:
    return node.outputs[0].name if node.outputs else "nothing"


def _reads(node: Node, places: Places) -> tuple[int, ...]:
    names = dict.fromkeys(v.name for v in node.inputs)
    return tuple(places.numbers[name] for name in names if name in places.numbers)


def _reference_text(node: Node) -> str:
    """A one-node graph that parses back; constants are inputs like any other."""
    inputs = tuple({v.name: v for v in node.inputs}.values())
    return text(Graph("reference", inputs, (node,), node.outputs))
