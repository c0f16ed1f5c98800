"""Sampling, unpooling and choosing boxes: ONNX nodes to canonical operators."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from planck.dtypes import i64
from planck.errors import ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.counted import Rows
from planck.frontends.onnx.emit import cast, concat, reshape
from planck.ops.movement import Pad, ScatterElements
from planck.ops.nn import ConvTranspose, GridSample, NonMaxSuppression, RoiAlign
from planck.ops.pointwise import Pointwise


def _grid_sample(ctx: NodeContext) -> Item:
    mode = ctx.text("mode", "linear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    op = GridSample(mode, ctx.text("padding_mode", "zeros"), bool(ctx.integer("align_corners", 0)))
    return ctx.emit(op, ctx.input(0), ctx.input(1))


def _roi_align(ctx: NodeContext) -> Item:
    half = (
        ctx.version >= 16
        and ctx.text("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    )
    op = RoiAlign(
        ctx.text("mode", "avg"),
        ctx.integer("output_height", 1),
        ctx.integer("output_width", 1),
        ctx.integer("sampling_ratio", 0),
        ctx.number("spatial_scale", 1.0),
        0.5 if half else 0.0,
    )
    return ctx.emit(op, ctx.input(0), ctx.input(1), cast(ctx, ctx.input(2), i64))


def _col_to_im(ctx: NodeContext) -> Item:
    """Columns back to where they came from: a transposed convolution with unit kernels."""
    x = ctx.input(0)
    image, block = ctx.need_integers(1, "the image's shape"), ctx.need_integers(2, "the block")
    rank, taps = len(image), math.prod(block)
    if x.type.rank != 3 or len(block) != rank or taps < 1 or x.type.dims[1] % taps:
        raise ShapeError(f"Col2Im of {x.type} to {list(image)} in blocks {list(block)}")
    strides, dilations = (
        ctx.integers("strides", (1,) * rank),
        ctx.integers("dilations", (1,) * rank),
    )
    pads = ctx.integers("pads", (0,) * (2 * rank))
    if not len(strides) == len(dilations) == len(pads) // 2 == rank or min(strides) < 1:
        raise ShapeError(f"Col2Im has strides {strides}, dilations {dilations}, pads {pads}")
    channels = x.type.dims[1] // taps
    spans = [(b - 1) * d + 1 for b, d in zip(block, dilations, strict=True)]
    padded = [n + pads[a] + pads[a + rank] for a, n in enumerate(image)]
    counts = [(n - k) // s + 1 for n, k, s in zip(padded, spans, strides, strict=True)]
    rest = tuple(
        n - (c - 1) * s - k for n, c, s, k in zip(padded, counts, strides, spans, strict=True)
    )
    columns = reshape(ctx, x, (x.type.dims[0], channels * taps, *counts))
    kernel = np.eye(taps, dtype=x.type.dtype.numpy).reshape(taps, 1, *block)
    weights = ctx.const(np.tile(kernel, (channels, *[1] * (rank + 1))))
    return ctx.emit(ConvTranspose(strides, pads, dilations, channels, rest), columns, weights)


def _max_unpool(ctx: NodeContext) -> Item:
    """Each element back to where MaxPool found it; zeros elsewhere."""
    x, indices = ctx.input(0), ctx.input(1)
    rank = x.type.rank - 2
    kernel, strides = ctx.integers("kernel_shape"), ctx.integers("strides", (1,) * rank)
    pads = ctx.integers("pads", (0,) * (2 * rank))
    if rank < 1 or not len(kernel) == len(strides) == len(pads) // 2 == rank:
        raise ShapeError(f"MaxUnpool of {x.type} has kernel_shape {kernel}, strides {strides}")
    spatial = [
        (n - 1) * strides[a] + kernel[a] - pads[a] - pads[a + rank]
        for a, n in enumerate(x.type.dims[2:])
    ]
    own = (*x.type.dims[:2], *spatial)
    shape = ctx.need_integers(2, "the output's shape") if ctx.optional(2) else own
    if len(shape) != x.type.rank or any(n < m for n, m in zip(shape, own, strict=False)):
        raise ShapeError(f"MaxUnpool of {x.type} to {list(shape)}")
    zeros = ctx.const(np.zeros(math.prod(own), x.type.dtype.numpy))
    flat = ctx.emit(
        ScatterElements(0),
        zeros,
        reshape(ctx, cast(ctx, indices, i64), (x.type.size,)),
        reshape(ctx, x, (x.type.size,)),
    )
    image = reshape(ctx, flat, own)
    if tuple(shape) == own:
        return image
    pads_to = [0] * len(shape) + [n - m for n, m in zip(shape, own, strict=True)]
    return ctx.emit(Pad(tuple(pads_to)), image, ctx.like(0, x))


# Boxes


def _non_max_suppression(ctx: NodeContext) -> Item:
    """Rows for as many boxes as may stay; only those that do where the boxes are known.

    Behind the last is -1, which indexes nothing. Nodes read the first box of the first class and
    image instead: a row like any other, so that whatever may be done with rows may be done with it.
    """
    boxes, scores = ctx.input(0), ctx.input(1)
    op = NonMaxSuppression(
        max(int(ctx.scalar(2, "the number of boxes", 0)), 0),
        float(ctx.scalar(3, "the overlap", 0)),
        float(ctx.scalar(4, "the lowest score", -math.inf)),
        bool(ctx.integer("center_point_box", 0)),
    )
    rows, count = ctx.emit_all(op, boxes, scores)
    found, number = ctx.constant(rows), ctx.constant(count)
    if found is not None and number is not None:
        return ctx.const(found[: int(number)])
    if not rows.type.size:
        return ctx.const(np.zeros((0, 3), np.int64))
    valid = ctx.emit(Pointwise("max"), rows, ctx.like(0, rows))
    if rows.type.dims[0] == 1:  # an axis of one element could be any that a reshape adds
        valid = concat(ctx, [valid, ctx.const(np.zeros((1, 3), np.int64))], 0)
    ctx.count_rows(rows, Rows(0, count, valid))
    ctx.count_rows(valid, Rows(0, count))
    return rows


TABLE: Final[Table] = {
    ("", "Col2Im"): _col_to_im,
    ("", "GridSample"): _grid_sample,
    ("", "MaxUnpool"): _max_unpool,
    ("", "NonMaxSuppression"): _non_max_suppression,
    ("", "RoiAlign"): _roi_align,
}
