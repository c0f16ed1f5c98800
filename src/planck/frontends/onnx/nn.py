"""Convolutions, matrix products, pools: ONNX nodes to canonical operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from planck.dtypes import i32
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, cast, reshape, total, transpose
from planck.ir.graph import Value
from planck.ops.nn import Conv, ConvTranspose, DeformColumns, MatMul, MaxPoolIndices, Pool


def window_attributes(
    ctx: NodeContext, kernel: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(strides, pads, dilations) of a convolution or pool of input 0; auto_pad resolved."""
    spatial = ctx.input(0).type.dims[2:]
    rank = len(spatial)
    strides = ctx.integers("strides", (1,) * rank)
    dilations = ctx.integers("dilations", (1,) * rank)
    pads = ctx.integers("pads", (0,) * (2 * rank))
    mode = ctx.text("auto_pad", "NOTSET")
    for name, values, length in (
        ("strides", strides, rank), ("dilations", dilations, rank), ("pads", pads, 2 * rank),
        ("kernel_shape", kernel, rank),
    ):  # fmt: skip
        if len(values) != length or (name != "pads" and any(n < 1 for n in values)):
            raise ShapeError(f"{ctx.type} has {name} {list(values)} for {rank} spatial axes")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        begins, ends = [], []
        for size, k, s, d in zip(spatial, kernel, strides, dilations, strict=True):
            missing = max(0, (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size)
            less, more = missing // 2, missing - missing // 2
            begins.append(less if mode == "SAME_UPPER" else more)
            ends.append(more if mode == "SAME_UPPER" else less)
        pads = (*begins, *ends)
    elif mode == "VALID":
        pads = (0,) * (2 * rank)
    elif mode != "NOTSET":
        raise ModelFormatError(f"{ctx.type} has auto_pad {mode!r}")
    return strides, pads, dilations


def _kernel(ctx: NodeContext, weights: Value) -> tuple[int, ...]:
    """The kernel's extents: the weights'. raises: ShapeError where the attribute differs"""
    shape = weights.type.dims[2:]
    stated = ctx.integers("kernel_shape", shape)
    if stated != shape:
        raise ShapeError(f"{ctx.type} has kernel_shape {stated} and weights {weights.type}")
    return shape


def convolve(ctx: NodeContext, *values: Value) -> Value:
    """A Conv with this node's attributes on x, w(, b)."""
    strides, pads, dilations = window_attributes(ctx, _kernel(ctx, values[1]))
    return ctx.emit(Conv(strides, pads, dilations, ctx.integer("group", 1)), *values)


def _conv(ctx: NodeContext) -> Item:
    bias = ctx.optional(2)
    return convolve(ctx, ctx.input(0), ctx.input(1), *([bias] if bias else []))


def _conv_integer(ctx: NodeContext) -> Item:
    x, w = centred(ctx, 0, 2), centred(ctx, 1, 3, axis=0)
    return convolve(ctx, x, w)


def centred(ctx: NodeContext, i: int, zero: int, axis: int | None = None) -> Value:
    """Input i as i32, less its zero point (input `zero`): one number, or some along an axis."""
    value, point = cast(ctx, ctx.input(i), i32), ctx.optional(zero)
    if point is None:
        return value
    point = cast(ctx, point, i32)
    if point.type.size == 1:
        point = reshape(ctx, point, ())
    elif axis is not None and point.type.rank == 1:
        below = value.type.rank - 1 - axis
        point = reshape(ctx, point, (point.type.size, *[1] * below))
    return apply(ctx, "sub", value, point)


def _conv_transpose(ctx: NodeContext) -> Item:
    x, w, bias = ctx.input(0), ctx.input(1), ctx.optional(2)
    kernel, spatial = _kernel(ctx, w), x.type.dims[2:]
    rank = len(spatial)
    strides, pads, dilations = (
        ctx.integers("strides", (1,) * rank),
        ctx.integers("pads", (0,) * (2 * rank)),
        ctx.integers("dilations", (1,) * rank),
    )
    extra = ctx.integers("output_padding", (0,) * rank)
    wanted = ctx.integers("output_shape", ())[-rank:]
    for name, values in (
        ("strides", strides), ("dilations", dilations), ("output_padding", extra),
        ("output_shape", wanted or spatial), ("kernel_shape", kernel),
    ):  # fmt: skip
        if len(values) != rank:
            raise ShapeError(f"ConvTranspose has {name} {list(values)} for {rank} spatial axes")
    mode = ctx.text("auto_pad", "NOTSET")
    if not wanted and mode.startswith("SAME"):
        wanted = tuple(n * s for n, s in zip(spatial, strides, strict=True))
    if mode == "VALID":
        pads = (0,) * (2 * rank)
    if wanted:
        begins, ends = [], []
        for a in range(rank):
            full = (spatial[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 + extra[a]
            surplus = full - wanted[a]
            less = surplus // 2
            upper = mode == "SAME_UPPER"
            begins.append(less if upper else surplus - less)
            ends.append(surplus - less if upper else less)
        pads = (*begins, *ends)
    op = ConvTranspose(strides, pads, dilations, ctx.integer("group", 1), extra)
    return ctx.emit(op, x, w, *([bias] if bias else []))


def _deform_conv(ctx: NodeContext) -> Item:
    """What the taps read, channels last, times the weights."""
    x, w, offsets = ctx.input(0), ctx.input(1), ctx.input(2)
    bias, mask = ctx.optional(3), ctx.optional(4)
    parts, groups = ctx.integer("offset_group", 1), ctx.integer("group", 1)
    kernel = _kernel(ctx, w)
    strides, pads, dilations = window_attributes(ctx, kernel)
    (n, c, *_), (m, each, *_) = x.type.dims, w.type.dims
    if len(kernel) != 2 or x.type.rank != 4 or groups < 1 or c != each * groups or m % groups:
        raise ShapeError(f"DeformConv of {x.type} with weights {w.type} in {groups} groups")
    if mask is None:
        shape = (n, offsets.type.dims[1] // 2, *offsets.type.dims[2:])
        mask = ctx.const(np.ones(shape, x.type.dtype.numpy))
    op = DeformColumns((kernel[0], kernel[1]), strides, pads, dilations, parts)
    columns = ctx.emit(op, transpose(ctx, x, (0, 2, 3, 1)), offsets, mask)
    at = columns.type.dims[1:3]
    beside = reshape(ctx, columns, (n * math.prod(at), op.taps, groups, each))
    beside = transpose(ctx, beside, (2, 0, 1, 3))
    beside = reshape(ctx, beside, (groups, n * math.prod(at), op.taps * each))
    weights = reshape(ctx, w, (groups, m // groups, each, op.taps))
    weights = transpose(ctx, weights, (0, 3, 2, 1))
    weights = reshape(ctx, weights, (groups, op.taps * each, m // groups))
    y = ctx.emit(MatMul(), beside, weights)
    if bias is not None:
        y = apply(ctx, "add", y, reshape(ctx, bias, (groups, 1, m // groups)))
    y = reshape(ctx, y, (groups, n, *at, m // groups))
    return reshape(ctx, transpose(ctx, y, (1, 0, 4, 2, 3)), (n, m, *at))


# Matrix products


def multiply(ctx: NodeContext, a: Value, b: Value) -> Value:
    """NumPy's matmul: a vector is a row on the left and a column on the right."""
    if not a.type.rank or not b.type.rank:
        raise ShapeError(f"{ctx.type} multiplies a scalar: {a.type} and {b.type}")
    left = reshape(ctx, a, (1, *a.type.dims)) if a.type.rank == 1 else a
    right = reshape(ctx, b, (*b.type.dims, 1)) if b.type.rank == 1 else b
    y = ctx.emit(MatMul(), left, right)
    shape = list(y.type.dims)
    if b.type.rank == 1:
        del shape[-1]
    if a.type.rank == 1:
        del shape[len(shape) - (1 if b.type.rank == 1 else 2)]
    return reshape(ctx, y, shape)


def _matmul(ctx: NodeContext) -> Item:
    return multiply(ctx, ctx.input(0), ctx.input(1))


def _matmul_integer(ctx: NodeContext) -> Item:
    rank = ctx.input(0).type.rank
    a = centred(ctx, 0, 2, axis=max(rank - 2, 0))
    b = centred(ctx, 1, 3, axis=ctx.input(1).type.rank - 1)
    return multiply(ctx, a, b)


def _gemm(ctx: NodeContext) -> Item:
    a, b, c = ctx.input(0), ctx.input(1), ctx.optional(2)
    if a.type.rank != 2 or b.type.rank != 2:
        raise ShapeError(f"Gemm takes matrices, was given {a.type} and {b.type}")
    y = ctx.emit(MatMul(bool(ctx.integer("transA", 0)), bool(ctx.integer("transB", 0))), a, b)
    alpha, beta = ctx.number("alpha", 1.0), ctx.number("beta", 1.0)
    if alpha != 1:
        y = apply(ctx, "mul", y, alpha)
    if c is None or beta == 0:
        return y
    if beta != 1:
        c = apply(ctx, "mul", c, beta)
    return apply(ctx, "add", y, c)


# Pools


def _pool(ctx: NodeContext, kind: str, include_pad: bool = False, p: int = 2) -> Pool:
    kernel = ctx.integers("kernel_shape")
    strides, pads, dilations = window_attributes(ctx, kernel)
    ceil = bool(ctx.integer("ceil_mode", 0))
    return Pool(kind, kernel, strides, pads, dilations, ceil, include_pad, p)


def _max_pool(ctx: NodeContext) -> tuple[Item | None, ...]:
    op, x = _pool(ctx, "max"), ctx.input(0)
    y = ctx.emit(op, x)
    if not ctx.wants(1):
        return (y,)
    order = bool(ctx.integer("storage_order", 0))
    indices = MaxPoolIndices(op.kernel, op.strides, op.pads, op.dilations, op.ceil, order)
    return y, ctx.emit(indices, x)


def _average_pool(ctx: NodeContext) -> Item:
    include = bool(ctx.integer("count_include_pad", 0))
    return ctx.emit(_pool(ctx, "average", include), ctx.input(0))


def _lp_pool(ctx: NodeContext) -> Item:
    return ctx.emit(_pool(ctx, "lp", p=ctx.integer("p", 2)), ctx.input(0))


def _global(kind: str, ctx: NodeContext) -> Item:
    x = ctx.input(0)
    return total(ctx, kind, x, range(2, x.type.rank))


def _global_lp_pool(ctx: NodeContext) -> Item:
    x, p = ctx.input(0), ctx.integer("p", 2)
    if p in (1, 2):
        return _global(f"l{p}", ctx)
    powers = apply(ctx, "pow", apply(ctx, "abs", x), p)
    return apply(ctx, "pow", total(ctx, "sum", powers, range(2, x.type.rank)), 1 / p)


# Pixels and channels


def _depth_to_space(ctx: NodeContext) -> Item:
    x, block = ctx.input(0), ctx.integer("blocksize")
    if x.type.rank != 4 or block < 1 or x.type.dims[1] % (block * block):
        raise ShapeError(f"DepthToSpace by {block} of {x.type}")
    n, c, h, w = x.type.dims
    own = c // (block * block)
    if ctx.text("mode", "DCR") == "CRD":
        split, perm = (n, own, block, block, h, w), (0, 1, 4, 2, 5, 3)
    else:
        split, perm = (n, block, block, own, h, w), (0, 3, 4, 1, 5, 2)
    y = transpose(ctx, reshape(ctx, x, split), perm)
    return reshape(ctx, y, (n, own, h * block, w * block))


def _space_to_depth(ctx: NodeContext) -> Item:
    x, block = ctx.input(0), ctx.integer("blocksize")
    if x.type.rank != 4 or block < 1 or x.type.dims[2] % block or x.type.dims[3] % block:
        raise ShapeError(f"SpaceToDepth by {block} of {x.type}")
    n, c, h, w = x.type.dims
    split = reshape(ctx, x, (n, c, h // block, block, w // block, block))
    perm = (0, 1, 3, 5, 2, 4) if ctx.text("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    moved = transpose(ctx, split, perm)
    return reshape(ctx, moved, (n, c * block * block, h // block, w // block))


def _dropout(ctx: NodeContext) -> tuple[Item | None, ...]:
    x = ctx.input(0)
    training = bool(ctx.scalar(2, "training_mode", False)) if ctx.version >= 12 else False
    if training and ctx.scalar(1, "ratio", 0.5) != 0:
        ctx.refuse("training drops at random; export the model for inference")
    return x, ctx.const(np.ones(x.type.dims, bool)) if ctx.wants(1) else None


TABLE: Final[Table] = {
    ("", "AveragePool"): _average_pool,
    ("", "Conv"): _conv,
    ("", "ConvInteger"): _conv_integer,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _deform_conv,
    ("", "DepthToSpace"): _depth_to_space,
    ("", "Dropout"): _dropout,
    ("", "Gemm"): _gemm,
    ("", "GlobalAveragePool"): lambda ctx: _global("mean", ctx),
    ("", "GlobalLpPool"): _global_lp_pool,
    ("", "GlobalMaxPool"): lambda ctx: _global("max", ctx),
    ("", "LpPool"): _lp_pool,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul_integer,
    ("", "MaxPool"): _max_pool,
    ("", "SpaceToDepth"): _space_to_depth,
}
