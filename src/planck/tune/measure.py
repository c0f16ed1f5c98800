"""Times candidates: a plan of the kernel alone, run by the engine as a network would run it.

In a network, a layer's weights have been pushed out of the caches by the other layers'. So the
kernel is repeated with copies of its weights, so many that a core's L2 cannot hold them all; and
where the network's weights together are more than the last cache keeps, they are flushed to memory
before every run. So are results that no L2 holds, and what threads share: the weights that passed
pushed them out as well. What a recurrent layer multiplies with, step after step, stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from planck.codegen import engine as engine_code
from planck.codegen import flush
from planck.codegen.link import link
from planck.device.system import separate_cpus
from planck.dtypes import Array
from planck.ir.types import TensorType
from planck.plan.model import OVERREAD_BYTES, SHARED, WORKSPACE, Place, Plan, Step, aligned
from planck.runtime import Engine, ExecutionContext
from planck.tactics.kernel import Code, Config, Kernel, Tactic

_MAX_COPIES = 8
_REPEATS = 4  # of the kernel in a plan, at least
_ROUNDS = 6  # each candidate runs at least so often, in turn with the others
_MOST_ROUNDS = 24
_BUDGET_US = 40_000.0  # for one candidate; rounds stop early where a run is long
_HOPELESS = 1.6  # a candidate this much slower than the best after two rounds runs seldom
_SELDOM = 4  # every so many rounds: it may be another process that made it slow


def measure(
    kernel: Kernel,
    candidates: Sequence[tuple[Tactic, Config, Code, bytes]],
    weights_from_memory: bool = False,
    again: bool = False,
) -> list[float]:
    """Microseconds of one launch of each candidate, on kernel.threads threads.

    Each thread has a processor of its own, and of a core of its own while there are any.
    The candidates take turns, and the best of a candidate's runs counts: another process that
    takes the core for a while then hits none of them harder than the others.

    weights_from_memory:  no cache holds a weight, or where a large result goes, when a run begins
    again:  the caches hold what they can of the weights from the run before
    """
    contexts: list[ExecutionContext] = []
    cpus = separate_cpus(kernel.threads)
    best = [math.inf] * len(candidates)
    spent = [0.0] * len(candidates)
    try:
        for tactic, config, code, object_ in candidates:
            row = (tactic, config, code, object_)
            plan = plan_of(kernel, *row, weights_from_memory, again)
            engine = Engine(plan)
            contexts.append(engine.create_execution_context(kernel.threads, cpus))
        for number in range(_MOST_ROUNDS):
            for i, context in enumerate(contexts):
                slow = number >= 2 and best[i] > _HOPELESS * min(best)
                enough = spent[i] > _BUDGET_US
                if slow and (enough or number % _SELDOM):
                    continue
                if enough and number >= _ROUNDS:
                    continue
                steps = zip(context.engine.plan.steps, context.times_us({}), strict=True)
                times = [us for step, us in steps if step.symbol != flush.SYMBOL]
                best[i] = min(best[i], min(times))
                spent[i] += sum(times)
            if all(s > _BUDGET_US for s in spent):
                break
    finally:
        for context in contexts:
            context.close()
    return best


def plan_of(
    kernel: Kernel,
    tactic: Tactic,
    config: Config,
    code: Code,
    object_: bytes,
    weights_from_memory: bool = False,
    again: bool = False,
) -> Plan:
    """A plan of one kernel, repeated; it has no inputs and no outputs."""
    arena: dict[str, int] = {}
    arena_bytes = 0
    for name, operand in kernel.operands.items():
        if name not in kernel.constants:
            arena[name] = arena_bytes
            arena_bytes += aligned(operand.span_bytes)
    constants = {name: _numbers(kernel.operands[name].type) for name in sorted(kernel.constants)}
    packed = dict(tactic.pack(kernel, config, constants))
    arrays = {n: packed.get(n, constants.get(n)) for n in code.arguments if n not in arena}
    one = sum(aligned(a.nbytes) for a in arrays.values() if a is not None)
    copies = min(_MAX_COPIES, max(1, math.ceil(2 * kernel.target.l2_bytes / one))) if one else 1
    cold = cold_outputs(kernel) if weights_from_memory else []
    flushed = weights_from_memory and bool(one or cold) and flush.can_flush(kernel.target)
    if one <= 1 << 14 or flushed or again:
        copies = 1
    pages = -(-one * copies // flush.TILE_BYTES)
    weights = np.zeros(pages * flush.TILE_BYTES + OVERREAD_BYTES, np.uint8)
    objects = {"engine": engine_code.compiled(kernel.target), code.symbol: object_}
    if flushed:
        objects[flush.SYMBOL] = flush.compiled(kernel.target)
    steps = []
    at = 0
    for number in range(max(copies, _REPEATS)):
        at = at if number < copies else 0
        if flushed:
            steps += [_flush_step(Place("weights", 0), pages)] if pages else []
            if code.workspace_bytes:
                steps.append(
                    _flush_step(SHARED[WORKSPACE], code.workspace_bytes // flush.TILE_BYTES)
                )
            for name in cold:
                bytes_ = kernel.operands[name].span_bytes
                steps.append(_flush_step(Place("arena", arena[name]), bytes_ // flush.TILE_BYTES))
        arguments = []
        for name in code.arguments:
            array = arrays.get(name)
            if array is None:
                place = SHARED[name] if name in SHARED else Place("arena", arena[name])
                arguments.append(place)
                continue
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            weights[at : at + flat.size] = flat
            arguments.append(Place("weights", at))
            at += aligned(flat.size)
        steps.append(
            Step(
                name=f"copy{number}",
                tactic=tactic.name,
                symbol=code.symbol,
                arguments=tuple(arguments),
                reads=(),
                writes=(),
                tiles=code.tiles,
                grain=code.grain,
                scratch_bytes=code.scratch_bytes,
            )
        )
    image = link(objects)
    return Plan(
        name="measure",
        target=kernel.target,
        precision="fp32",
        threads=kernel.threads,
        inputs=(),
        outputs=(),
        slots=(),
        steps=tuple(steps),
        arena_bytes=arena_bytes + OVERREAD_BYTES,
        code=image.code,
        symbols=image.symbols,
        weights=weights.tobytes(),
        workspace_bytes=code.workspace_bytes,
        counter_bytes=code.counter_bytes,
    )


def cold_outputs(kernel: Kernel) -> list[str]:
    """Results that are more than the threads' L2: in a network that streams its weights, cold."""
    most = kernel.target.l2_bytes * kernel.threads
    return [v.name for v in kernel.graph.outputs if kernel.operands[v.name].type.bytes > most]


def _flush_step(place: Place, tiles: int) -> Step:
    return Step(
        name=flush.SYMBOL,
        tactic=flush.SYMBOL,
        symbol=flush.SYMBOL,
        arguments=(place,),
        reads=(),
        writes=(),
        tiles=tiles,
    )


def _numbers(type_: TensorType) -> Array:
    """Small random reals; zeros where integers may be indices."""
    if type_.dtype.is_float:
        draw = np.random.default_rng(0).standard_normal(type_.dims, np.float32)
        return (draw * 0.1).astype(type_.dtype.numpy)
    return np.zeros(type_.dims, type_.dtype.numpy)
