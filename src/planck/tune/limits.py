"""Measures what this machine can do at most, by code that does nothing else.

One plan, run by the engine as a network would be: a step of fused multiply-adds that stay in
registers, one of products of bfloat16 where the processor has those, and for each cache and for
memory a step that reads what only this level holds. Each step has more tiles than threads, and the
best of many runs counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from planck.benchmark.limits import MEMORY, Level, Limits
from planck.codegen import engine as engine_code
from planck.codegen.link import link
from planck.codegen.llvm import compile_object, function
from planck.codegen.microkernel import Carried, Vector
from planck.codegen.tables import TableBuilder
from planck.device.system import separate_cpus
from planck.plan.model import Place, Plan, Step
from planck.runtime import Engine
from planck.target import Target

TILES: Final = 8  # a thread, so that one that comes late is not waited for
TRIPS: Final = 20_000  # of the multiply-add loop in a tile: 150 us
TILE_BYTES: Final = 16 << 20  # that a tile of a private cache reads, in as many passes as it takes
READS: Final = 16  # vectors in one trip of the reading loop
SUMS: Final = 8  # that they go into in turn
MOST_BYTES: Final = 1 << 30  # that memory is measured with
SECONDS: Final = 0.7
MOST_SECONDS: Final = 8.0
NEWS: Final = 0.98  # a time is less if it is this much less


def measure_limits(
    target: Target, threads: int, cpus: Sequence[int] | None = None, seconds: float = SECONDS
) -> Limits:
    """The limits of so many threads.

    cpus:    processors to keep them on; those of different cores if left out. Threads that the
             system places share one for a while, if the other has work of its own
    seconds: how long to go on after the last better time
    raises:  BuildError, InputError
    """
    levels = _levels(target, threads)
    steps, objects = [_peak_step("peak", target, threads)], {"peak": _peak(target)}
    if target.multiplies_bfloat16:
        steps.append(_peak_step("pairs", target, threads))
        objects["pairs"] = _peak_of_pairs(target)
    first = len(steps)
    for level, chunk_bytes, tiles, passes in levels:
        objects[level.name] = _reader(target, level.name, chunk_bytes, passes)
        steps.append(_step(level.name, tiles, _vector(target).bytes))
    compiled = {name: compile_object(target, text, 2) for name, text in objects.items()}
    most = max(chunk_bytes * tiles for _, chunk_bytes, tiles, _ in levels)
    plan = _plan(target, threads, steps, {"engine": engine_code.compiled(target), **compiled}, most)
    best = _least_us(plan, threads, cpus, seconds)
    flops = steps[0].tiles * TRIPS * _chains(target) * target.lanes * (1 + _fuses(target))
    return Limits(
        threads,
        flops / best[0] / 1e3,
        tuple(
            Level(level.name, level.bytes, chunk_bytes * tiles * passes / us / 1e3)
            for (level, chunk_bytes, tiles, passes), us in zip(levels, best[first:], strict=True)
        ),
        2 * flops / best[1] / 1e3 if target.multiplies_bfloat16 else 0.0,
    )


def _levels(target: Target, threads: int) -> list[tuple[Level, int, int, int]]:
    """Each level with what measures it: bytes of a tile, tiles, passes over each.

    A tile of a private cache fits into half of it. One of L3 is more than a core's L2, and all of
    them are half of L3; those of memory are four times all caches.
    """
    many = TILES * threads
    found = []
    for name, bytes_ in (("L1", target.l1_bytes), ("L2", target.l2_bytes)):
        chunk = _whole(target, bytes_ // 2)
        found.append((Level(name, threads * bytes_, 0.0), chunk, many, -(-TILE_BYTES // chunk)))
    if target.l3_bytes:
        chunk = _whole(target, max(2 * target.l2_bytes, target.l3_bytes // 2 // many))
        tiles = max(threads, target.l3_bytes // 2 // chunk)
        found.append((Level("L3", target.l3_bytes, 0.0), chunk, tiles, 4))
    chunk = _whole(target, 1 << 20)
    all_bytes = min(4 * max(target.l3_bytes, threads * target.l2_bytes), MOST_BYTES)
    found.append((Level(MEMORY, 0, 0.0), chunk, -(-all_bytes // chunk), 1))
    return found


def _whole(target: Target, bytes_: int) -> int:
    trip = READS * target.vector_bytes
    return max(bytes_ // trip, 1) * trip


def _least_us(plan: Plan, threads: int, cpus: Sequence[int] | None, seconds: float) -> list[float]:
    """The least time of each step, once none has become less for so long.

    With other work on the machine, several threads rarely run undisturbed at the same time.
    """
    best = [float("inf")] * len(plan.steps)
    with Engine(plan).create_execution_context(threads, cpus or separate_cpus(threads)) as context:
        start = since = time.perf_counter()
        while (now := time.perf_counter()) - since < seconds and now - start < MOST_SECONDS:
            times = context.times_us({})
            if any(us < NEWS * least for us, least in zip(times, best, strict=True)):
                since = now
            best = list(map(min, best, times))
    return best


def _plan(
    target: Target, threads: int, steps: list[Step], objects: dict[str, bytes], bytes_: int
) -> Plan:
    image = link(objects)
    return Plan(
        name="limits",
        target=target,
        precision="fp32",
        threads=threads,
        inputs=(),
        outputs=(),
        slots=(),
        steps=tuple(steps),
        arena_bytes=0,
        code=image.code,
        symbols=image.symbols,
        weights=np.ones(bytes_, np.uint8).data,  # written, or no page of it is really there
    )


def _step(name: str, tiles: int, scratch_bytes: int) -> Step:
    return Step(
        name=name,
        tactic="limits",
        symbol=name,
        arguments=(Place("weights"),),
        reads=(),
        writes=(),
        tiles=tiles,
        scratch_bytes=scratch_bytes,
    )


def _vector(target: Target) -> Vector:
    return Vector(target.lanes)


def _chains(target: Target) -> int:
    """Sums side by side: enough to hide the latency of two units, few enough for the registers."""
    return target.registers - 4


def _fuses(target: Target) -> bool:
    return target.isa != "portable"


def _peak_step(name: str, target: Target, threads: int) -> Step:
    return _step(name, TILES * threads, _chains(target) * _vector(target).bytes)


def _peak(target: Target) -> str:
    """A tile multiplies and adds in registers only: at once, or turn about without such a unit."""
    b, vector, chains = TableBuilder(), _vector(target), _chains(target)
    x = vector.load(b, "%scratch")
    with b.loop("%begin", "%end"):
        zeros = ["zeroinitializer"] * chains
        with Carried(b, 0, TRIPS, [vector.kind] * chains, zeros) as loop:
            b.do('call void asm sideeffect "", "~{memory}"()')
            # Every result needs the one before: nothing can be taken out of the loop.
            if _fuses(target):
                loop.values = [vector.fma(b, x, own, own) for own in loop.values]
            else:
                kinds = ("fmul", "fadd") * (chains // 2)
                loop.values = [
                    b.let(f"{kind} {vector.kind} {own}, {x}")
                    for kind, own in zip(kinds, loop.values, strict=True)
                ]
        for i, value in enumerate(loop.values):
            vector.store(b, value, b.offset("%scratch", i * vector.bytes))
    b.do("ret void")
    return function(target, "peak", b)


def _peak_of_pairs(target: Target) -> str:
    """The same by products of pairs of bfloat16, which are twice as many operations."""
    b, vector, chains = TableBuilder(), Vector.of(target), _chains(target)
    pair = b.load(vector.pairs, "%scratch", 4)
    with b.loop("%begin", "%end"):
        zeros = ["zeroinitializer"] * chains
        with Carried(b, 0, TRIPS, [vector.kind] * chains, zeros) as loop:
            b.do('call void asm sideeffect "", "~{memory}"()')
            loop.values = [vector.dot(b, pair, pair, own) for own in loop.values]
        for i, value in enumerate(loop.values):
            vector.store(b, value, b.offset("%scratch", i * vector.bytes))
    b.do("ret void")
    return function(target, "pairs", b)


def _reader(target: Target, symbol: str, chunk_bytes: int, passes: int) -> str:
    """A tile reads its chunk of the first argument, in several passes."""
    b, vector = TableBuilder(), _vector(target)
    kind = f"<{target.lanes} x i32>"
    memory = b.load("ptr", "%args", 8)
    with b.loop("%begin", "%end", hint="tile") as tile:
        chunk = b.offset(memory, b.times(tile, chunk_bytes))
        with b.loop(0, passes):
            zeros = ["zeroinitializer"] * SUMS
            with Carried(b, 0, chunk_bytes, [kind] * SUMS, zeros, READS * vector.bytes) as loop:
                b.do('call void asm sideeffect "", "~{memory}"()')
                at = b.offset(chunk, loop.counter)
                for i in range(READS):
                    part = b.load(kind, b.offset(at, i * vector.bytes), vector.bytes)
                    own = loop.values[i % SUMS]
                    loop.values[i % SUMS] = b.let(f"xor {kind} {own}, {part}")
            for value in loop.values:
                b.store(kind, value, "%scratch", 4)
                b.do('call void asm sideeffect "", "~{memory}"()')
    b.do("ret void")
    return function(target, symbol, b)
