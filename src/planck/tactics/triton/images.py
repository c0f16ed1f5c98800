"""Convolutions read from kernels, as a GPU's product of pixels by channels sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planck.codegen.triton.convolution import Place, Shape, Sweep
from planck.dtypes import Array
from planck.ir.graph import Value
from planck.ops.nn import Conv, ConvTranspose
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.tactics.pattern import Anchored, anchored, two_dimensional
from planck.tactics.triton.moved import MOVES, read_moved
from planck.tactics.triton.operands import (
    Moved,
    channel_stride,
    check_operands,
    is_vectored,
    multiplied,
    place_of,
    values_of,
)

MERGED: Final = 16  # channels that a group should have at least, for tensor cores
LANES: Final = 8  # what the channels of an image are rounded up to


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution, or a transposed one.

    merged:  groups of the operator that are one of the shape's, with zeros between them
    """

    form: Anchored
    shape: Shape
    transposed: bool
    merged: int

    @property
    def flops(self) -> int:
        shape = self.shape
        taps = shape.down.taps * shape.across.taps
        return 2 * shape.rows * shape.outer * shape.columns * shape.channels * taps


def read_problem(kernel: Kernel, *, moving: bool = False) -> Problem | No:
    """A kernel as a convolution; No where it is none that can be run so.

    moving:  whether who asks writes results that are moved
    """
    form: Anchored | No = anchored(kernel, Conv, 1, bfloat16=True, resizing=True, parting=True)
    transposed = False
    if isinstance(form, No) and moving and any(isinstance(n.op, MOVES) for n in kernel.graph.nodes):
        moved = read_moved(kernel)
        if isinstance(moved, No):
            return moved
        form = moved
    elif isinstance(form, No):
        other = anchored(kernel, ConvTranspose, 1, bfloat16=True)
        if isinstance(other, No):
            return form
        form, transposed = other, True
    node, op = form.node, form.node.op
    assert isinstance(op, Conv | ConvTranspose)
    x, w = node.inputs[:2]
    if x.type.rank not in (3, 4):
        return No(f"convolves one or two axes, not {x.type.rank - 2}")
    if not form.is_constant(w.name):
        return No("the weights are not known at build time")
    if (refusal := check_operands(form)) is not None:
        return refusal
    sweeps = _sweeps(form, op)
    if isinstance(sweeps, No):
        return sweeps
    x_place = place_of(kernel, x)
    places = _places(form)
    if isinstance(x_place, No):
        return x_place
    if isinstance(places, No):
        return places
    channels, columns = x.type.dims[1], form.result.type.dims[1]
    merged = _merge(op.groups, channels // op.groups)
    groups = op.groups // merged
    values = values_of(kernel)
    rank = form.result.type.rank
    whole = -(-channels // LANES) * LANES
    wide = groups == 1 and x.type.block >= whole and is_vectored(kernel, x)
    shape = Shape(
        batch=x.type.dims[0],
        groups=groups,
        channels=channels // groups,
        columns=columns // groups,
        down=sweeps[0],
        across=sweeps[1],
        x=x.name,
        x_dtype=x.type.dtype,
        x_place=x_place,
        x_aligned=kernel.operands[x.name].aligned,
        lanes=whole if wide else channels // groups,
        weights=f"{w.name}_packed",
        weights_dtype=multiplied(x.type.dtype, w.type.dtype),
        multiplied=multiplied(x.type.dtype, w.type.dtype),
        places=places,
        channel_strides={
            name: channel_stride(kernel, values[name], rank, 1) for name in form.channel_operands()
        },
    )
    return Problem(form, shape, transposed, merged)


def _merge(groups: int, channels: int) -> int:
    """Groups to take together, so that each has channels enough."""
    return next((k for k in range(1, groups) if groups % k == 0 and k * channels >= MERGED), groups)


def _sweeps(form: Anchored, op: Conv | ConvTranspose) -> tuple[Sweep, Sweep] | No:
    x, w = form.node.inputs[:2]
    rank = x.type.rank - 2
    sizes = two_dimensional(x.type.dims[2:], 1)
    outs = two_dimensional(form.result.type.dims[2:], 1)
    taps = two_dimensional(w.type.dims[2:], 1)
    strides = two_dimensional(op.strides, 1)
    dilations = two_dimensional(op.dilations, 1)
    pads = two_dimensional(op.pads[:rank], 0)
    made = []
    for size, out, count, stride, dilation, pad in zip(
        sizes, outs, taps, strides, dilations, pads, strict=True
    ):
        if isinstance(op, Conv):
            made.append(Sweep(size, out, count, stride, dilation, (-pad,)))
            continue
        if stride > 1 and dilation > 1:
            return No("a transposed convolution with strides and dilations")
        if stride == 1:
            made.append(Sweep(size, out, count, 1, -dilation, (pad,)))
        else:  # taps of one phase are `stride` apart, and one further tap is one pixel back
            starts = tuple((phase + pad) // stride for phase in range(stride))
            made.append(Sweep(size, out, -(-count // stride), 1, -1, starts))
    return made[0], made[1]


def _places(form: Anchored) -> dict[str, Place] | No:
    kernel, values = form.kernel, values_of(form.kernel)
    firsts = dict(form.parts)
    places: dict[str, Place] = {}
    written = () if isinstance(form, Moved) else form.written
    for name in (*form.epilogue.of_kind("full"), *form.resized, *written):
        place = place_of(kernel, values[name], firsts.get(name, 0))
        if isinstance(place, No):
            return place
        if name in form.resized:
            near = _nearest(form, values[name])
            if isinstance(near, No):
                return near
            place = replace(place, nearest=near)
        places[name] = place
    return places


def _nearest(form: Anchored, value: Value) -> tuple[int, int] | No:
    """The size of an image whose neighbours are at floor(o * size / out)."""
    op, image, outs = form.resized[value.name], value.type.dims[2:], form.result.type.dims[2:]
    for axis, (size, out) in enumerate(zip(image, outs, strict=True)):
        taps = op.taps(2 + axis, size)[0][:, 0]
        if not np.array_equal(taps, np.arange(out) * size // out):
            return No("the nearest neighbours are no quotients")
    return two_dimensional(image, 1)


def dense_weights(problem: Problem, weights: Array) -> Array:
    """[outer, columns, taps down, taps across, channels]: of each phase and group, f32."""
    shape, weights = problem.shape, weights.astype(np.float32)
    if weights.ndim == 3:
        weights = weights[:, :, None, :]
    groups = shape.groups * problem.merged
    per_in, per_out = shape.channels // problem.merged, shape.columns // problem.merged
    if problem.transposed:
        split = weights.reshape(groups, per_in, per_out, *weights.shape[2:]).swapaxes(1, 2)
    else:
        split = weights.reshape(groups, per_out, per_in, *weights.shape[2:])
    phases = _phases(problem, split)  # [phase, groups, out, in, taps, taps]
    made = np.zeros(
        (len(phases), shape.groups, shape.columns, shape.down.taps, shape.across.taps,
         shape.channels), np.float32,
    )  # fmt: skip
    for own in range(groups):
        group, inside = divmod(own, problem.merged)
        into = slice(inside * per_out, (inside + 1) * per_out)
        of = slice(inside * per_in, (inside + 1) * per_in)
        made[:, group, into, :, :, of] = phases[:, own].transpose(0, 1, 3, 4, 2)
    return made.reshape(-1, *made.shape[2:])


def beside_each_other(dense: Array, count: int, stride: int) -> Array:
    """Dense weights of a widened shape: those of several results beside each other as columns.

    stride:  from one result's first tap to the next one's, in taps
    """
    outer, columns, down, across, channels = dense.shape
    taps = across + (count - 1) * stride
    made = np.zeros((outer, count, columns, down, taps, channels), dense.dtype)
    for k in range(count):
        made[:, k, :, :, k * stride : k * stride + across] = dense
    return made.reshape(outer, count * columns, down, taps, channels)


def _phases(problem: Problem, split: Array) -> Array:
    """The taps of each phase of a transposed convolution, zeros where it has fewer than others."""
    down, across = problem.shape.down, problem.shape.across
    if down.phases * across.phases == 1:
        return split[None]
    pads = two_dimensional(_pads(problem), 0)
    made = np.zeros(
        (down.phases * across.phases, *split.shape[:3], down.taps, across.taps), np.float32
    )
    for a in range(down.phases):
        for b in range(across.phases):
            first = ((a + pads[0]) % down.phases, (b + pads[1]) % across.phases)
            own = split[..., first[0] :: down.phases, first[1] :: across.phases]
            made[a * across.phases + b][..., : own.shape[-2], : own.shape[-1]] = own
    return made


def _pads(problem: Problem) -> tuple[int, ...]:
    op = problem.form.node.op
    assert isinstance(op, Conv | ConvTranspose)
    return op.pads[: problem.form.result.type.rank - 2]
