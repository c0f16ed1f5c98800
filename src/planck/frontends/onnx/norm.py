"""Normalisations and softmax: ONNX nodes to canonical operators."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from planck.dtypes import DType, f32
from planck.errors import ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, broadcast, cast, reshape, total
from planck.ir.graph import Value
from planck.ops.nn import (
    LRN,
    BatchNorm,
    GroupNorm,
    Hardmax,
    InstanceNorm,
    LayerNorm,
    LogSoftmax,
    RMSNorm,
    Softmax,
)


def axis_of(ctx: NodeContext, value: Value, default: int) -> int:
    """The attribute axis, counted from the front."""
    axis, rank = ctx.integer("axis", default), value.type.rank
    if not -rank <= axis < max(rank, 1):
        raise ShapeError(f"{ctx.type} names axis {axis} of {value.type}")
    return axis % rank if rank else 0


def _batch_norm(ctx: NodeContext) -> tuple[Item | None, ...]:
    x, scale, bias, mean, var = (ctx.input(i) for i in range(5))
    epsilon = ctx.number("epsilon", 1e-5)
    if ctx.version < 9 and ctx.integer("spatial", 1) == 0:
        ctx.refuse("statistics for each pixel (spatial=0) are not read")
    if not ctx.integer("training_mode", 0):
        return (ctx.emit(BatchNorm(epsilon), x, scale, bias, mean, var),)
    axes = [axis for axis in range(x.type.rank) if axis != 1]
    own_mean, own_var = moments(ctx, x, axes, mean.type.dtype)
    own_mean, own_var = (reshape(ctx, v, mean.type.dims) for v in (own_mean, own_var))
    y = ctx.emit(BatchNorm(epsilon), x, scale, bias, own_mean, own_var)
    keep = ctx.number("momentum", 0.9)
    running = (
        apply(ctx, "add", apply(ctx, "mul", old, keep), apply(ctx, "mul", own, 1 - keep))
        for old, own in ((mean, own_mean), (var, own_var))
    )
    return y, *running


def moments(ctx: NodeContext, x: Value, axes: list[int], dtype: DType) -> tuple[Value, Value]:
    """Mean and variance over axes, which stay with extent 1."""
    wide = cast(ctx, x, dtype)
    mean = total(ctx, "mean", wide, axes)
    away = apply(ctx, "sub", wide, mean)
    return mean, total(ctx, "mean", apply(ctx, "mul", away, away), axes)


def _instance_norm(ctx: NodeContext) -> Item:
    op = InstanceNorm(ctx.number("epsilon", 1e-5))
    return ctx.emit(op, ctx.input(0), ctx.input(1), ctx.input(2))


def _layer_norm(ctx: NodeContext) -> tuple[Item | None, ...]:
    x, scale, bias = ctx.input(0), ctx.input(1), ctx.optional(2)
    axis, epsilon = axis_of(ctx, x, -1), ctx.number("epsilon", 1e-5)
    y = ctx.emit(LayerNorm(axis, epsilon), x, scale, *([bias] if bias else []))
    if not (ctx.wants(1) or ctx.wants(2)):
        return (y,)
    mean, var = moments(ctx, x, list(range(axis, x.type.rank)), f32)
    return y, mean, apply(ctx, "reciprocal", apply(ctx, "sqrt", apply(ctx, "add", var, epsilon)))


def _rms_norm(ctx: NodeContext) -> Item:
    x = ctx.input(0)
    return ctx.emit(RMSNorm(axis_of(ctx, x, -1), ctx.number("epsilon", 1e-5)), x, ctx.input(1))


def _group_norm(ctx: NodeContext) -> Item:
    x, groups = ctx.input(0), ctx.integer("num_groups")
    if x.type.rank < 3 or groups < 1 or x.type.dims[1] % groups:
        raise ShapeError(f"GroupNormalization in {groups} groups of {x.type}")
    channels = x.type.dims[1]
    scale, bias = ctx.input(1), ctx.input(2)
    if ctx.version < 21:  # one scale a group
        rows = (groups, channels // groups)
        scale, bias = (
            reshape(ctx, broadcast(ctx, reshape(ctx, v, (groups, 1)), rows), (channels,))
            for v in (scale, bias)
        )
    return ctx.emit(GroupNorm(groups, ctx.number("epsilon", 1e-5)), x, scale, bias)


def _lrn(ctx: NodeContext) -> Item:
    op = LRN(
        ctx.integer("size"),
        ctx.number("alpha", 1e-4),
        ctx.number("beta", 0.75),
        ctx.number("bias", 1.0),
    )
    return ctx.emit(op, ctx.input(0))


def _lp_norm(ctx: NodeContext) -> Item:
    x, p = ctx.input(0), ctx.integer("p", 2)
    if p not in (1, 2):
        ctx.refuse(f"p is {p}, must be 1 or 2")
    norm = total(ctx, f"l{p}", x, (axis_of(ctx, x, -1),))
    zero = apply(ctx, "equal", norm, 0.0)
    safe = apply(ctx, "select", zero, ctx.like(1, x), norm)  # 0 / 0 is 0
    return apply(ctx, "div", x, safe)


def _along_axis(op: type[Softmax] | type[LogSoftmax] | type[Hardmax], ctx: NodeContext) -> Item:
    x = ctx.input(0)
    if not x.type.rank:
        raise ShapeError(f"{ctx.type} of a scalar")
    if ctx.version >= 13:
        return ctx.emit(op(axis_of(ctx, x, -1)), x)
    axis, dims = axis_of(ctx, x, 1), x.type.dims  # all axes from there on, as one
    if axis == x.type.rank - 1:
        return ctx.emit(op(axis), x)
    flat = reshape(ctx, x, (math.prod(dims[:axis]), math.prod(dims[axis:])))
    return reshape(ctx, ctx.emit(op(1), flat), dims)


TABLE: Final[Table] = {
    ("", "BatchNormalization"): _batch_norm,
    ("", "GroupNormalization"): _group_norm,
    ("", "Hardmax"): partial(_along_axis, Hardmax),
    ("", "InstanceNormalization"): _instance_norm,
    ("", "LRN"): _lrn,
    ("", "LayerNormalization"): _layer_norm,
    ("", "LogSoftmax"): partial(_along_axis, LogSoftmax),
    ("", "LpNormalization"): _lp_norm,
    ("", "RMSNormalization"): _rms_norm,
    ("", "Softmax"): partial(_along_axis, Softmax),
}
