"""The plan in which the candidates of one kernel are timed.

Each candidate is launched many times in one graph, as a network launches its layers: what it reads
has just been written and lies in L2, if it fits there. Where the network's weights together are
more than L2 holds, each launch reads weights of its own, and L2 is flushed before each run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from planck.codegen.triton.image import join, launch_of
from planck.dtypes import Array
from planck.errors import DeviceMemoryError
from planck.ir.types import TensorType
from planck.plan.model import Place, Plan, Step, aligned
from planck.tactics.kernel import Kernel
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.clock import Clock, FaultError, Trial, medians_us

LAUNCHES: Final = 24  # of a candidate in a graph, at least: the graph's own start is divided by it
RUNS: Final = 9
COPIED_BYTES: Final = 64 << 20  # of one candidate's weights, all copies together
_ALIGN: Final = 256
_DRAWN: Final = 1 << 16  # random numbers, of which larger tensors hold many copies


def time_us(kernel: Kernel, ways: Sequence[Choice], clock: Clock, cold: bool) -> list[float]:
    """Microseconds of one launch of each way.

    cold:    with weights that L2 does not hold
    raises:  FaultError, with the way's number; DeviceMemoryError for what takes too much alone
    """
    try:
        return _timed(kernel, ways, clock, cold)
    except DeviceMemoryError:
        if len(ways) == 1:
            raise
    half = len(ways) // 2
    first = time_us(kernel, ways[:half], clock, cold)
    try:
        return first + time_us(kernel, ways[half:], clock, cold)
    except FaultError as fault:
        raise FaultError(half + fault.number, fault.error) from fault


def _timed(kernel: Kernel, ways: Sequence[Choice], clock: Clock, cold: bool) -> list[float]:
    cold = cold and bool(kernel.constants)
    trial, graphs = _trial(kernel, ways, cold)
    with clock.open(trial) as session:
        captured = [session.capture(steps) for steps in graphs]
        times = medians_us(session, captured, RUNS, cold)
        for graph in captured:
            session.drop(graph)
    return [us / len(steps) for us, steps in zip(times, graphs, strict=True)]


def _trial(kernel: Kernel, ways: Sequence[Choice], cold: bool) -> tuple[Trial, list[list[int]]]:
    """The plan of all ways, and which of its steps are whose."""
    arena: dict[str, int] = {}
    top = 0
    for name, operand in kernel.operands.items():
        if name not in kernel.constants:
            arena[name] = top
            top += aligned(operand.span_bytes, _ALIGN)
    constants = {name: numbers(kernel.operands[name].type) for name in sorted(kernel.constants)}
    weights, copies = bytearray(), []
    packings: dict[str, tuple[dict[str, int], list[Place]]] = {}  # many ways pack alike
    steps: list[Step] = []
    graphs: list[list[int]] = []
    for way in ways:
        packed = way.tactic.pack(kernel, way.config, constants)
        arrays = {
            name: np.ascontiguousarray(packed[name] if name in packed else constants[name])
            for name in way.code.arguments
            if name in packed or name in constants
        }
        digest = _digest(arrays)
        if digest not in packings:
            start, inside = len(weights), {}
            for name, array in arrays.items():
                inside[name] = len(weights) - start
                weights += array.reshape(-1).view(np.uint8).data
                weights += bytes(-len(weights) % _ALIGN)
            size = len(weights) - start
            count = max(1, min(LAUNCHES, math.ceil(COPIED_BYTES / size))) if cold and size else 1
            places = [Place("weights", start)]
            for _ in range(count - 1):
                copies.append((top, start, size))
                places.append(Place("arena", top))
                top += size
            packings[digest] = inside, places
        inside, places = packings[digest]
        graphs.append([len(steps) + i % len(places) for i in range(LAUNCHES)])
        steps += [_step(way, arena, inside, place) for place in places]
    code, symbols = join({way.code.symbol: way.cubin for way in ways})
    plan = Plan(
        name="measure",
        target=kernel.target,
        precision="fp32",
        threads=1,
        inputs=(),
        outputs=(),
        slots=(),
        steps=tuple(steps),
        arena_bytes=top,
        code=code,
        symbols=symbols,
        weights=memoryview(weights),
        workspace_bytes=max(way.code.workspace_bytes for way in ways),
        counter_bytes=4 * max(way.code.counters for way in ways),
    )
    read = [v for v in kernel.graph.inputs if v.name in arena]
    fills = tuple((arena[v.name], _lying(kernel, v.name)) for v in read)
    return Trial(plan, fills, tuple(copies)), graphs


def _digest(arrays: Mapping[str, Array]) -> str:
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.nbytes}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _step(way: Choice, arena: Mapping[str, int], inside: Mapping[str, int], weights: Place) -> Step:
    arguments = []
    for name in way.code.arguments:
        if name in arena:
            arguments.append(Place("arena", arena[name]))
        elif name in inside:
            arguments.append(Place(weights.space, weights.offset_bytes + inside[name]))
        else:
            arguments.append(Place(name))  # type: ignore[arg-type]
    return Step(
        name=way.tactic.name,
        tactic=way.tactic.name,
        symbol=way.code.symbol,
        arguments=tuple(arguments),
        reads=(),
        writes=(),
        launch=launch_of(way.code, way.cubin),
    )


def _lying(kernel: Kernel, name: str) -> Array:
    """Numbers for an operand and what lies between its elements, as they lie in memory."""
    operand = kernel.operands[name]
    return numbers(operand.type.with_block(0).with_shape((operand.span,)))


def numbers(type_: TensorType) -> Array:
    """Small random reals; zeros where integers may be indices."""
    if not type_.dtype.is_float:
        return np.zeros(type_.dims, type_.dtype.numpy)
    drawn = np.random.default_rng(0).standard_normal(min(type_.size, _DRAWN), np.float32) * 0.1
    return np.resize(drawn.astype(type_.dtype.numpy), type_.dims)
