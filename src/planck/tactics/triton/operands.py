"""How kernels' operands lie, as GPU kernels ask: places of images, alignment, constants packed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from planck.codegen.triton.convolution import Place
from planck.codegen.triton.epilogue import Tail
from planck.codegen.triton.views import View
from planck.dtypes import SHORT_FLOATS, Array, DType, f32
from planck.ir.graph import Value
from planck.ir.types import strides_of
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.tactics.pattern import Anchored, constant

DEPENDENT_SM: Final = 90
REACH: Final = 2**31  # kernels count elements in 32 bits
VECTOR_BYTES: Final = 16  # that one thread loads at once
LANES: Final = 32  # of a warp
MOST_MOVED: Final = 32  # results of one thread


@dataclass(frozen=True, slots=True)
class Moved(Anchored):
    """A kernel taken apart whose results are moved on their way to memory.

    views:  of all outputs, and of operands, which are of the kind "moved"
    """

    views: Mapping[str, View] = field(default_factory=dict)


def has_room(form: Anchored, bm: int, bn: int, warps: int) -> bool:
    """Whether registers hold a tile's results: those that are moved have addresses of their own."""
    return not isinstance(form, Moved) or bm * bn <= MOST_MOVED * LANES * warps


def check_operands(form: Anchored) -> No | None:
    """Whether all that a kernel reads and writes can be read and written here."""
    kernel = form.kernel
    for value in (*kernel.graph.inputs, *kernel.graph.outputs):
        if kernel.operands[value.name].span >= REACH:
            return No(f"%{value.name} reaches over 2^31 elements")
        if value.type.dtype is not f32 and value.type.dtype not in SHORT_FLOATS:
            return No(f"%{value.name} is {value.type.dtype}")
    for name in form.written:
        if name in {v.name for v in kernel.graph.inputs}:
            return No(f"%{name} is read and written")
    return None


def memory_strides(kernel: Kernel, value: Value) -> tuple[int, ...]:
    """Strides of a value's own axes, in elements; those of a constant once it is packed densely."""
    operand = kernel.operands.get(value.name)
    dims = value.type.dims
    if operand is None or value.name in kernel.constants:
        return strides_of(dims)
    if not operand.type.block:
        return operand.strides
    batch, _, *spatial, one = operand.strides
    return (batch, one, *spatial)


def place_of(kernel: Kernel, value: Value, first: int = 0) -> Place | No:
    """An image of one or two axes; No if its channels lie in several blocks."""
    block, dims = value.type.block, value.type.dims
    if block and dims[1] > block and value.name not in kernel.constants:
        return No(f"the channels of %{value.name} lie in blocks of {block}")
    batch, channel, *spatial = memory_strides(kernel, value)
    row, column = spatial if len(spatial) == 2 else (0, *spatial)
    return Place(batch, channel or 1, row, column, first)


def channel_stride(kernel: Kernel, value: Value, rank: int, axis: int) -> int:
    """From one channel to the next, of an operand along the channels of a result of this rank."""
    own = value.type.dims
    at = axis % rank - (rank - len(own))
    return memory_strides(kernel, value)[at] or 1


def aligned_names(kernel: Kernel) -> frozenset[str]:
    """Operands that begin at multiples of 16 bytes: packed ones do."""
    apart = {name for name, operand in kernel.operands.items() if not operand.aligned}
    values = {v.name for n in kernel.graph.nodes for v in (*n.inputs, *n.outputs)}
    return frozenset(values - (apart - kernel.constants))


def is_vectored(kernel: Kernel, value: Value) -> bool:
    """Whether every pixel of an image begins at a multiple of 16 bytes."""
    lanes = VECTOR_BYTES // value.type.dtype.bytes
    operand = kernel.operands[value.name]
    dims = zip(operand.type.physical[:-1], operand.strides[:-1], strict=True)
    return operand.aligned and all(n == 1 or s % lanes == 0 for n, s in dims)


def values_of(kernel: Kernel) -> Mapping[str, Value]:
    """What the kernel reads and writes, by name."""
    graph = kernel.graph
    found = {v.name: v for n in graph.nodes for v in (*n.inputs, *n.outputs)}
    return {**found, **{v.name: v for v in (*graph.inputs, *graph.outputs)}}


def tail_of(form: Anchored) -> Tail:
    """The epilogue behind an anchor, with the bias that the anchor itself adds."""
    kernel, inputs = form.kernel, form.node.inputs
    ends = [first for _, first in form.parts[1:]] + [form.result.type.dims[1]]
    return Tail(
        epilogue=form.epilogue,
        aligned=aligned_names(kernel),
        bias=inputs[2].name if len(inputs) > 2 else "",
        bias_dtype=f32,
        constants=frozenset(
            name
            for name in (*form.epilogue.operands, *(v.name for v in inputs[2:]))
            if form.is_constant(name)
        ),
        parts=tuple(
            (name, first, end) for (name, first), end in zip(form.parts, ends, strict=False)
        ),
        views=form.views if isinstance(form, Moved) else {},
        short=all(v.type.dtype in SHORT_FLOATS for v in inputs[:2]),
    )


def pack_operands(
    form: Anchored, constants: Mapping[str, Array], skipped: frozenset[str]
) -> dict[str, Array]:
    """The constants that an epilogue reads and a bias, dense."""
    names = [*form.epilogue.operands, *(v.name for v in form.node.inputs)]
    return {
        name: np.ascontiguousarray(constant(form.kernel, constants, name))
        for name in names
        if form.is_constant(name) and name not in skipped
    }


def tf32(array: Array) -> Array:
    """float32 rounded to TF32's 10 bits of fraction, halves away from zero.

    Tensor cores cut off what stands behind them, which errs twice as much, and always towards zero.
    """
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(array), nearest, array)


def dependent(kernel: Kernel) -> bool:
    """Whether the GPU knows programmatic dependent launches."""
    return kernel.target.sm >= DEPENDENT_SM


def multiplied(x: DType, w: DType) -> DType:
    """The dtype in which two operands meet: their own, or float32 where they differ."""
    return x if x is w else f32


def precisions(kernel: Kernel, dtype: DType, short: bool) -> tuple[str, ...]:
    """Ways to multiply: of 16 bits one; float32 by TF32 where that is allowed or loses nothing.

    Where float32 meets 16 bits and the result has 16, TF32 keeps as much of it as the network's
    precision keeps of every other.

    dtype:  in which the operands meet
    short:  whether one of them has 16 bits
    """
    if dtype is not f32:
        return ("",)
    lost = short and all(v.type.dtype in SHORT_FLOATS for v in kernel.graph.outputs)
    return ("tf32",) if lost or "tf32" in kernel.target.extras else ("tf32x3", "ieee")


def written_bytes(form: Anchored) -> int:
    """What a kernel at least reads and writes."""
    kernel = form.kernel
    values = (*kernel.graph.inputs, *kernel.graph.outputs)
    return sum(math.prod(v.type.dims) * v.type.dtype.bytes for v in values)
