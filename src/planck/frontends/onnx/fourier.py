"""Fourier transforms, as products with a matrix of cosines and sines."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from planck.dtypes import Array
from planck.errors import ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, part, reshape, transpose
from planck.ir.graph import Value
from planck.ops.movement import Gather
from planck.ops.nn import MatMul
from planck.ops.shapes import axis_of

LONGEST_TRANSFORM: Final = 4096  # the matrix of a longer one would not fit the caches


def _matrix(length: int, size: int, out: int, inverse: bool, dtype: np.dtype[Any]) -> Array:
    """[size * 2, out * 2]: complex inputs, real and imaginary part in turn, to complex outputs."""
    turn = 2j * np.pi * np.outer(np.arange(size), np.arange(out)) / length
    factor = np.exp(turn) / length if inverse else np.exp(-turn)
    both = np.empty((size, 2, out, 2))
    both[:, 0, :, 0], both[:, 0, :, 1] = factor.real, factor.imag
    both[:, 1, :, 0], both[:, 1, :, 1] = -factor.imag, factor.real
    return both.reshape(size * 2, out * 2).astype(dtype)


def _dft(ctx: NodeContext) -> Item:
    x = ctx.input(0)
    rank, dims = x.type.rank, x.type.dims
    axis = int(ctx.scalar(2, "the axis", -2)) if ctx.version >= 20 else ctx.integer("axis", 1)
    axis = axis_of("DFT", axis, rank)
    inverse, one_sided = bool(ctx.integer("inverse", 0)), bool(ctx.integer("onesided", 0))
    if rank < 2 or axis == rank - 1 or dims[-1] not in (1, 2):
        raise ShapeError(f"DFT along axis {axis} of {x.type}; the last axis is real, imaginary")
    length = int(ctx.scalar(1, "the length", dims[axis]))
    if one_sided and inverse and ctx.optional(1) is None:
        length = 2 * (dims[axis] - 1)
    if not 0 < length <= LONGEST_TRANSFORM:
        ctx.refuse(f"a transform of length {length}; 1 to {LONGEST_TRANSFORM} are read")
    return _transformed(ctx, x, axis, length, inverse, one_sided)


def _transformed(
    ctx: NodeContext, x: Value, axis: int, length: int, inverse: bool, one_sided: bool
) -> Value:
    """The Fourier transform of x[..., 1 or 2] along an axis, as a product with a matrix."""
    dims, rank = x.type.dims, x.type.rank
    half = length // 2 + 1
    size = min(dims[axis], half if one_sided and inverse else length)
    out = half if one_sided and not inverse else length
    matrix = _matrix(length, size, out, inverse, x.type.dtype.numpy)
    if one_sided and inverse:  # the other half is the conjugate: all but the ends count twice
        ends = np.ones(size)
        ends[1 : (length + 1) // 2] = 2
        matrix = matrix * np.repeat(ends, 2)[:, None].astype(matrix.dtype)
        matrix = matrix.reshape(size * 2, out, 2)[:, :, :1].reshape(size * 2, out)
    if dims[-1] == 1:
        matrix = matrix[::2]
    others = [a for a in range(rank - 1) if a != axis]
    moved = transpose(ctx, part(ctx, x, axis, 0, size), (*others, axis, rank - 1))
    lead = [dims[a] for a in others]
    rows = reshape(ctx, moved, (math.prod(lead), size * dims[-1]))
    parts = matrix.shape[1] // out
    y = reshape(ctx, ctx.emit(MatMul(), rows, ctx.const(matrix)), (*lead, out, parts))
    back = [others.index(a) if a != axis else len(others) for a in range(rank - 1)]
    return transpose(ctx, y, (*back, rank - 1))


def _stft(ctx: NodeContext) -> Item:
    """Overlapping frames, each times the window, each transformed."""
    signal, window = ctx.input(0), ctx.optional(2)
    step = int(ctx.need_integers(1, "the step")[0])
    length = int(ctx.scalar(3, "the length", window.type.size if window else 0))
    if signal.type.rank == 2:
        signal = reshape(ctx, signal, (*signal.type.dims, 1))
    samples = signal.type.dims[1]
    if step < 1 or not 0 < length <= min(samples, LONGEST_TRANSFORM):
        raise ShapeError(f"STFT of {signal.type} in frames of {length}, steps of {step}")
    frames = (samples - length) // step + 1
    places = np.arange(frames)[:, None] * step + np.arange(length)
    cut = ctx.emit(Gather(1), signal, ctx.const(places))  # [batch, frames, length, parts]
    if window:
        cut = apply(ctx, "mul", cut, reshape(ctx, window, (length, 1)))
    return _transformed(ctx, cut, 2, length, False, bool(ctx.integer("onesided", 1)))


TABLE: Final[Table] = {("", "DFT"): _dft, ("", "STFT"): _stft}
