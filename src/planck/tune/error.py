"""How far results are from float64: of one kernel's candidates, and of any pair of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from planck.codegen import engine as engine_code
from planck.codegen.link import link
from planck.device import system
from planck.dtypes import SHORT_FLOATS, Array, bf16, f16
from planck.ir.graph import Graph, Value
from planck.ir.types import TensorType
from planck.ops.float64 import interpret_float64
from planck.ops.pointwise import Cast
from planck.plan.model import ALIGNMENT, OVERREAD_BYTES, SHARED, Place, Plan, Slot, Step
from planck.runtime import Engine
from planck.tactics.kernel import Code, Config, Kernel, Operand, Tactic

# Largest error over largest output that float32 admits of one layer. Sums over 1024 channels err by
# 3.6e-6 in a direct convolution and by 7.7e-6 in F(6,3) (tactics/winograd.py); what errs by more
# than a few times as much is no longer float32.
LAYER_BOUND: Final = 2e-5
# By how much rounding moves a number at most, over the number.
HALF_UNITS: Final = {bf16.numpy: 2.0**-8, f16.numpy: 2.0**-11}
LEAST_UNIT: Final = 2.0**-25  # half of float16's smallest number


def relative_error(got: Array, want: Array) -> float:
    """Largest difference over the largest wanted value.

    A NaN or infinity in one that is none in the other counts as an error of 1, at least.
    """
    if not want.size:
        return 0.0
    with np.errstate(all="ignore"):
        want = want.astype(np.float64)
        here, there = got.astype(np.float64), want.astype(got.dtype).astype(np.float64)
        finite = np.isfinite(here) & np.isfinite(there)
        same = finite | (here == there) | (np.isnan(here) & np.isnan(there))
        scale = float(np.abs(want[finite]).max(initial=0.0)) or 1.0
        error = float(np.abs(here - want)[finite].max(initial=0.0)) / scale
    return error if same.all() else max(error, 1.0)


def rounded(error: float) -> float:
    """Up to two digits: more a figure from one random draw cannot claim.

    >>> rounded(1.01e-4), rounded(0.0)
    (0.00011, 0.0)
    """
    if not error:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(error)) - 1)
    return float(f"{math.ceil(round(error / unit, 6)) * unit:.1e}")


def kernel_errors(
    kernel: Kernel, candidates: Sequence[tuple[Tactic, Config, Code, bytes]]
) -> list[float]:
    """Each candidate's error on random numbers, the largest of the kernel's outputs.

    Activations are normal; weights are too, over the root of their fan-in, so that a layer's
    outputs are about as large as its inputs and an epilogue works where it bends.
    """
    draw = np.random.default_rng(0)
    arrays = {v.name: _numbers(kernel, v.name, draw) for v in kernel.graph.inputs}
    sources = _unrounded(kernel.graph)
    outputs = tuple(sources.get(v.name, v) for v in kernel.graph.outputs)
    found = interpret_float64(kernel.graph.with_(outputs=outputs), arrays)
    want = {v.name: found[o.name] for v, o in zip(kernel.graph.outputs, outputs, strict=True)}
    errors = []
    for candidate in candidates:
        got = _outputs(kernel, arrays, *candidate)
        got = {n: _before_rounding(a, want[n]) if n in sources else a for n, a in got.items()}
        errors.append(rounded(max(relative_error(got[name], want[name]) for name in got)))
    return errors


def _unrounded(graph: Graph) -> dict[str, Value]:
    """Outputs that are written in bfloat16 or float16 -> the values that they round."""
    return {
        node.outputs[0].name: node.inputs[0]
        for node in graph.nodes
        if isinstance(node.op, Cast) and node.outputs[0].type.dtype in SHORT_FLOATS
    }


def _before_rounding(got: Array, want: Array) -> Array:
    """What the rounded may have been rounded from: of such numbers, those closest to the wanted."""
    here = got.astype(np.float64)
    with np.errstate(all="ignore"):
        moved = np.maximum(HALF_UNITS[got.dtype] * np.abs(here), LEAST_UNIT)
        near = np.clip(want, here - moved, here + moved)
    return np.where(np.isfinite(here), near, here)


def _numbers(kernel: Kernel, name: str, draw: np.random.Generator) -> Array:
    type_ = kernel.operands[name].type
    if not type_.dtype.is_float:
        return np.zeros(type_.dims, type_.dtype.numpy)  # zeros are always indices
    array = draw.standard_normal(type_.dims, np.float32)
    if name in kernel.constants and len(type_.dims) > 1:
        matrix = len(type_.dims) == 2
        fan_in = type_.dims[0] if matrix else math.prod(type_.dims[1:])
        array /= np.float32(math.sqrt(max(fan_in, 1)))
    return array.astype(type_.dtype.numpy)


def _outputs(
    kernel: Kernel,
    arrays: Mapping[str, Array],
    tactic: Tactic,
    config: Config,
    code: Code,
    object_: bytes,
) -> dict[str, Array]:
    """What a candidate makes of the arrays: a plan of one step, whose outputs are raw memory."""
    packed = tactic.pack(kernel, config, {name: arrays[name] for name in kernel.constants})
    memory = bytearray()
    outputs = {v.name: i for i, v in enumerate(kernel.graph.outputs)}
    arguments = []
    for name in code.arguments:
        if name in outputs or name in SHARED:
            arguments.append(SHARED.get(name) or Place("output", 0, outputs[name]))
            continue
        array = packed.get(name)
        if array is None:
            array = arrays[name]
            if name not in kernel.constants:
                array = _laid_out(array, kernel.operands[name])
        memory += bytes(-len(memory) % ALIGNMENT)
        arguments.append(Place("weights", len(memory)))
        memory += np.ascontiguousarray(array).tobytes()
    image = link({"engine": engine_code.compiled(kernel.target), code.symbol: object_})
    step = Step(
        name="kernel",
        tactic=tactic.name,
        symbol=code.symbol,
        arguments=tuple(arguments),
        reads=(),
        writes=(),
        tiles=code.tiles,
        grain=code.grain,
        scratch_bytes=code.scratch_bytes,
    )
    plan = Plan(
        name="error",
        target=kernel.target,
        precision="fp32",
        threads=1,
        inputs=(),
        outputs=tuple(_raw(name, kernel.operands[name], i) for name, i in outputs.items()),
        slots=(),
        steps=(step,),
        arena_bytes=OVERREAD_BYTES,
        code=image.code,
        symbols=image.symbols,
        weights=bytes(memory + bytes(OVERREAD_BYTES)),
        workspace_bytes=code.workspace_bytes,
        counter_bytes=code.counter_bytes,
    )
    raw = {name: _aligned(kernel.operands[name]) for name in outputs}
    with Engine(plan).create_execution_context(threads=1) as context:
        context({}, out=raw)
    return {name: _read(raw[name], kernel.operands[name]) for name in outputs}


def _raw(name: str, operand: Operand, index: int) -> Slot:
    """An output of the plan: all memory that the operand spans, as one row."""
    return Slot(name, TensorType((operand.span,), operand.type.dtype), Place("output", 0, index))


def _aligned(operand: Operand) -> Array:
    """Memory for an output that begins where an arena's buffer may."""
    dtype = operand.type.dtype
    return system.allocate(operand.span_bytes).view(dtype.numpy)


def _view(memory: Array, operand: Operand) -> Array:
    size = memory.itemsize
    strides = [size * s for s in operand.strides]
    return np.lib.stride_tricks.as_strided(memory, operand.type.physical, strides)


def _laid_out(array: Array, operand: Operand) -> Array:
    """The array as the operand says; zeros in the lanes past the last channel."""
    memory = np.zeros(operand.span, array.dtype)
    block = operand.type.block
    if block:
        n, c, *spatial = array.shape
        whole = np.zeros((n, -(-c // block) * block, *spatial), array.dtype)
        whole[:, :c] = array
        array = np.moveaxis(whole.reshape(n, -1, block, *spatial), 2, -1)
    _view(memory, operand)[...] = array
    return memory


def _read(memory: Array, operand: Operand) -> Array:
    view = _view(memory, operand)
    if not operand.type.block:
        return view
    n, c, *spatial = operand.type.dims
    return np.moveaxis(view, -1, 2).reshape(n, -1, *spatial)[:, :c]
