"""Times one candidate: a plan of that kernel alone, run by the engine as a network would run it.

The kernel is repeated with copies of its weights, so many that a core's L2 cannot hold them all:
in a network, a layer's weights have been pushed out by the other layers'.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from planck.codegen import engine as engine_code
from planck.codegen.link import link
from planck.codegen.llvm import compile_object
from planck.dtypes import Array
from planck.ir.types import TensorType
from planck.plan.model import Place, Plan, Step
from planck.runtime import Engine
from planck.tactics.kernel import Code, Config, Kernel, Tactic
from planck.target import Target

_OVERREAD_BYTES = 64
_MAX_COPIES = 8
_LEAST_US, _MOST_US = 4_000.0, 60_000.0  # time to spend on one candidate
_REPEATS = 12


def measure(kernel: Kernel, tactic: Tactic, config: Config, code: Code, object_: bytes) -> float:
    """Microseconds of one launch on kernel.threads threads: the lower quartile of the repeats."""
    plan = plan_of(kernel, tactic, config, code, object_)
    with Engine(plan).create_execution_context(threads=kernel.threads) as context:
        once = context.profile({}, runs=1)
        spent = sum(step.us for step in once.steps)
        runs = int(np.clip(_LEAST_US / max(spent, 1.0), 3, _REPEATS))
        if spent * runs > _MOST_US:
            runs = 2
        rounds = context.profile({}, runs=runs)
    return float(np.median([step.us for step in rounds.steps]))


def plan_of(kernel: Kernel, tactic: Tactic, config: Config, code: Code, object_: bytes) -> Plan:
    """A plan of one kernel, repeated; it has no inputs and no outputs."""
    arena: dict[str, int] = {}
    arena_bytes = 0
    for name, operand in kernel.operands.items():
        if name not in kernel.constants:
            arena[name] = arena_bytes
            arena_bytes += _aligned(_span_bytes(operand.type, operand.strides))
    constants = {name: _numbers(kernel.operands[name].type) for name in sorted(kernel.constants)}
    packed = dict(tactic.pack(kernel, config, constants))
    arrays = {n: packed.get(n, constants.get(n)) for n in code.arguments if n not in arena}
    one = sum(_aligned(a.nbytes) for a in arrays.values() if a is not None)
    copies = min(_MAX_COPIES, max(1, math.ceil(2 * kernel.target.l2_bytes / one))) if one else 1
    if one <= 1 << 14:
        copies = 1
    weights = np.zeros(one * copies + _OVERREAD_BYTES, np.uint8)
    steps = []
    at = 0
    for number in range(max(copies, 4)):
        at = at if number < copies else 0
        arguments = []
        for name in code.arguments:
            array = arrays.get(name)
            if array is None:
                arguments.append(Place("arena", arena[name]))
                continue
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            weights[at : at + flat.size] = flat
            arguments.append(Place("weights", at))
            at += _aligned(flat.size)
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
    image = link({"engine": _engine_object(kernel.target), code.symbol: object_})
    return Plan(
        name="measure",
        target=kernel.target,
        precision="fp32",
        threads=kernel.threads,
        inputs=(),
        outputs=(),
        slots=(),
        steps=tuple(steps),
        arena_bytes=arena_bytes + _OVERREAD_BYTES,
        code=image.code,
        symbols=image.symbols,
        weights=weights.tobytes(),
    )


@lru_cache(maxsize=4)
def _engine_object(target: Target) -> bytes:
    return compile_object(target, engine_code.source(target), 2)


def _span_bytes(type_: TensorType, strides: tuple[int, ...]) -> int:
    last = sum((n - 1) * s for n, s in zip(type_.physical, strides, strict=True))
    return (last + 1) * type_.dtype.bytes


def _aligned(bytes_: int) -> int:
    return -(-bytes_ // 64) * 64


def _numbers(type_: TensorType) -> Array:
    """Small random reals; zeros where integers may be indices."""
    if type_.dtype.is_float:
        draw = np.random.default_rng(0).standard_normal(type_.dims, np.float32)
        return (draw * 0.1).astype(type_.dtype.numpy)
    return np.zeros(type_.dims, type_.dtype.numpy)
