"""Sliding windows: output extents, window views of arrays, window positions in loop expressions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from planck.dtypes import Array, DType, f32
from planck.errors import ShapeError
from planck.loops import expr
from planck.loops.expr import Expr


def accumulator(dtype: DType) -> DType:
    """The dtype that sums of a dtype are kept in: short floats in f32, all others in their own."""
    return f32 if dtype.is_float and dtype.bits < 32 else dtype


def check_windows(
    op: str,
    rank: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> None:
    """raises: ShapeError unless the windows' attributes fit `rank` spatial axes and each other"""
    for name, values, length in (
        ("kernel", kernel, rank),
        ("strides", strides, rank),
        ("pads", pads, 2 * rank),
        ("dilations", dilations, rank),
    ):
        if len(values) != length:
            raise ShapeError(f"{op} has {name} {tuple(values)} for {rank} spatial axes")
        if name != "pads" and any(n < 1 for n in values):
            raise ShapeError(f"{op} has {name} {tuple(values)}, all must be positive")


def extents(
    op: str,
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    ceil: bool = False,
) -> tuple[int, ...]:
    """The number of windows along each spatial axis; with ceil, the last may hang over the end.

    raises: ShapeError where not one window fits
    """
    check_windows(op, len(spatial), kernel, strides, pads, dilations)
    result = []
    for axis, size in enumerate(spatial):
        begin, end = pads[axis], pads[axis + len(spatial)]
        room = size + begin + end - (kernel[axis] - 1) * dilations[axis] - 1
        windows = (math.ceil(room / strides[axis]) if ceil else room // strides[axis]) + 1
        if ceil and (windows - 1) * strides[axis] >= size + begin:
            windows -= 1  # the last window would stand in the padding alone
        if room < 0 or windows < 1:
            raise ShapeError(
                f"{op}: no window fits along spatial axis {axis}",
                know=f"size {size}, kernel {kernel[axis]}, dilation {dilations[axis]}, "
                f"pads {begin} and {end}",
            )
        result.append(windows)
    return tuple(result)


def views(
    x: Array,
    counts: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    fill: float,
) -> Array:
    """All windows of x[N, C, *S] as an array [N, C, *counts, *kernel]; `fill` in the padding."""
    rank = len(counts)
    spans = [(kernel[a] - 1) * dilations[a] + 1 for a in range(rank)]
    needed = [(counts[a] - 1) * strides[a] + spans[a] for a in range(rank)]
    before = [pads[a] for a in range(rank)]
    after = [needed[a] - before[a] - x.shape[2 + a] for a in range(rank)]
    if any(n > 0 for n in (*before, *after)):
        widths = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
        x = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=fill)
    crop = tuple(slice(max(-b, 0), max(-b, 0) + n) for b, n in zip(before, needed, strict=True))
    x = x[(slice(None), slice(None), *crop)]
    spatial = tuple(range(2, 2 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, spatial)
    steps = (*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))
    found: Array = windows[(slice(None), slice(None), *steps)]
    return found


def positions(
    at: Sequence[Expr],
    taps: Sequence[Expr],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> tuple[Expr, ...]:
    """Where the taps of the window at `at` stand in the input, padding counted as negative."""
    return tuple(
        expr.add(expr.add(expr.mul(o, s), expr.mul(k, d)), -pad)
        for o, k, s, d, pad in zip(at, taps, strides, dilations, pads, strict=False)
    )


def inside(
    place: Sequence[Expr],
    spatial: Sequence[int],
    counts: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> list[Expr]:
    """The conditions under which `place` is in the input; none along axes where it always is."""
    conditions = []
    for axis, size in enumerate(spatial):
        last = (counts[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis]
        if pads[axis] > 0:
            conditions.append(expr.compare("greater_equal", place[axis], 0))
        if last - pads[axis] >= size:
            conditions.append(expr.compare("less", place[axis], size))
    return conditions
