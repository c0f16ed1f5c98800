"""Assembly: launches and choices -> the plan. Lifetimes packed, weights laid out, code linked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from planck.plan.model import Place, Plan, Slot, Step
from planck.target import Target
from planck.tune.choose import Choice

# A vector load may read past the last element: so many bytes follow the arena and the weights.
OVERREAD_BYTES = 64

Packs = dict[tuple[str, str, str, tuple[str, ...]], Mapping[str, Array]]


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
            self.bytes += memory.aligned(array.nbytes)
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
    offsets, arena_bytes, bound = _arena(placement, launches)
    weights = Weights()
    places = _Places(placement, graph, offsets, weights)
    slots = {
        value.name: places.slot(value)
        for launch in launches
        for value in (*launch.node.inputs, *launch.node.outputs)
        if value.name not in graph.weights or launch.kernel is None
    }
    numbers = {name: i for i, name in enumerate(slots)}
    steps = tuple(
        _step(launch, choices, places, numbers, graph.weights, packs) for launch in launches
    )
    objects = {"engine": engine.compiled(target)}
    for launch in launches:
        if launch.kernel:
            choice = choices[launch.kernel.key]
            objects[choice.code.symbol] = choice.object
    image = link(objects)
    return Plan(
        name=graph.name,
        target=target,
        precision=precision,
        threads=threads,
        inputs=tuple(_network_slot(v, "input", i) for i, v in enumerate(graph.inputs)),
        outputs=tuple(_network_slot(v, "output", i) for i, v in enumerate(graph.outputs)),
        slots=tuple(slots.values()),
        steps=steps,
        arena_bytes=arena_bytes,
        code=image.code,
        symbols=image.symbols,
        weights=weights.image(),
        names={v.name: graph.names.get(v.name, v.name) for v in (*graph.inputs, *graph.outputs)},
        build={
            **build,
            "arena_lower_bound_bytes": bound,
            "metadata": dict(sorted(graph.metadata.items())),
        },
    )


def _network_slot(value: Value, space: str, index: int) -> Slot:
    place = Place(space, 0, index)  # type: ignore[arg-type]
    return Slot(value.name, value.type, place, strides_of(value.type.physical))


def _arena(placement: Placement, launches: Sequence[Launch]) -> tuple[dict[str, int], int, int]:
    """Offsets of the roots in the arena, its bytes, and the least that liveness allows."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, launch in enumerate(launches):
        for value in (*launch.node.inputs, *launch.node.outputs):
            root = placement.spots[value.name].root
            if root not in placement.spaces:
                first.setdefault(root, number)
                last[root] = number
    buffers = [
        memory.Buffer(name, placement.roots[name], first[name], last[name]) for name in first
    ]
    if not buffers:
        return {}, 0, 0
    offsets, arena_bytes = memory.pack(buffers)
    return offsets, arena_bytes, memory.lower_bound(buffers)


class _Places:
    """Turns values into places: a space and bytes from its start."""

    def __init__(
        self, placement: Placement, graph: Graph, offsets: Mapping[str, int], weights: Weights
    ) -> None:
        self.placement, self.graph = placement, graph
        self.offsets, self.weights = offsets, weights

    def of(self, value: Value) -> Place:
        if value.name in self.graph.weights:
            array = self.graph.weights[value.name]
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


def _step(
    launch: Launch,
    choices: Mapping[str, Choice],
    places: _Places,
    numbers: Mapping[str, int],
    weights: Mapping[str, Array],
    packs: Packs,
) -> Step:
    node = launch.node
    inputs = dict.fromkeys(v.name for v in node.inputs)
    reads = tuple(numbers[name] for name in inputs if name in numbers)
    writes = tuple(numbers[v.name] for v in node.outputs)
    name = node.outputs[0].name if node.outputs else "nothing"
    if launch.kernel is None:
        return Step(
            name=name,
            tactic="reference",
            symbol="",
            arguments=(),
            reads=reads,
            writes=writes,
            flops=work.flops(node),
            bytes=sum(v.type.bytes for v in (*node.inputs, *node.outputs)),
            weight_bytes=sum(v.type.bytes for v in node.inputs if v.name in weights),
            origin=node.origin,
            reference=_reference_text(node),
        )
    choice = choices[launch.kernel.key]
    code = choice.code
    own = launch.names
    constants = {n: weights[own[n].name] for n in launch.kernel.constants}
    sources = tuple(own[n].name for n in sorted(launch.kernel.constants))
    way = (launch.kernel.key, choice.tactic.name, str(choice.config), sources)
    if way not in packs:
        packs[way] = choice.tactic.pack(launch.kernel, choice.config, constants)
    packed = packs[way]
    arguments = []
    bytes_ = weight_bytes = 0
    for argument in code.arguments:
        if argument in packed:
            array = packed[argument]
            key = (launch.kernel.key, argument, sources, str(choice.config))
            arguments.append(Place("weights", places.weights.add(key, array)))
            whole = array.nbytes
        elif argument in own:
            arguments.append(places.of(own[argument]))
            whole = own[argument].type.bytes
        else:
            raise BuildError(
                f"tactic {choice.tactic.name} asks for an operand {argument!r} that nobody has",
                at=name,
            )
        touched = work.touched_bytes(launch.kernel.graph, argument, whole)
        bytes_ += touched
        weight_bytes += touched if arguments[-1].space == "weights" else 0
    return Step(
        name=name,
        tactic=choice.tactic.name,
        symbol=code.symbol,
        arguments=tuple(arguments),
        reads=reads,
        writes=writes,
        tiles=code.tiles,
        grain=code.grain,
        scratch_bytes=code.scratch_bytes,
        kernel=launch.kernel.key,
        config=dict(choice.config),
        measured_us=choice.timings[0].us if choice.timings else 0.0,
        flops=work.flops(node),
        work_flops=code.work_flops,
        pairs=code.pairs,
        bytes=bytes_,
        weight_bytes=weight_bytes,
        origin=node.origin,
    )


def _reference_text(node: Node) -> str:
    """A one-node graph that parses back; constants are inputs like any other."""
    inputs = tuple({v.name: v for v in node.inputs}.values())
    return text(Graph("reference", inputs, (node,), node.outputs))
