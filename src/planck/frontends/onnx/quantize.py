"""Quantised operators in plain ones: scales divide, zero points add, casts saturate."""

from __future__ import annotations

from typing import Final

from planck import dtypes
from planck.dtypes import DType, f32
from planck.errors import ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, broadcast, cast, part, reshape, total
from planck.frontends.onnx.nn import centred, convolve, multiply
from planck.frontends.onnx.tensors import dtype_of
from planck.ir.graph import Value
from planck.ops.pointwise import Cast


def _spread(ctx: NodeContext, value: Value, x: Value) -> Value:
    """A scale or zero point so that it broadcasts to x: one number, along an axis, or in blocks."""
    shape, dims = value.type.dims, x.type.dims
    if value.type.size == 1 and len(shape) <= 1:
        return reshape(ctx, value, ())
    axis, block = ctx.integer("axis", 1), ctx.integer("block_size", 0)
    if not -len(dims) <= axis < len(dims):
        raise ShapeError(f"{ctx.type} names axis {axis} of {x.type}")
    axis %= len(dims)
    if len(shape) == 1 and not block:
        return reshape(ctx, value, (shape[0], *[1] * (len(dims) - 1 - axis)))
    if len(shape) != len(dims):
        raise ShapeError(f"{ctx.type} of {x.type} has a scale {value.type}")
    if shape[axis] == dims[axis]:
        return value
    block = block or -(-dims[axis] // shape[axis])
    apart = reshape(ctx, value, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    apart = broadcast(ctx, apart, (*shape[: axis + 1], block, *shape[axis + 1 :]))
    whole = reshape(ctx, apart, (*shape[:axis], shape[axis] * block, *shape[axis + 1 :]))
    return part(ctx, whole, axis, 0, dims[axis])


def saturate(ctx: NodeContext, value: Value, dtype: DType) -> Value:
    """Whole numbers as floats or wider integers -> the nearest of an integer dtype."""
    low, high = _range_of(dtype)
    return cast(ctx, apply(ctx, "max", apply(ctx, "min", value, high), low), dtype)


def _range_of(dtype: DType) -> tuple[int, int]:
    if dtype.kind == "u":
        return 0, (1 << dtype.bits) - 1
    return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1


def _quantize(ctx: NodeContext) -> Item:
    x, scale, zero = ctx.input(0), ctx.input(1), ctx.optional(2)
    code = ctx.integer("output_dtype", 0)
    to = zero.type.dtype if zero else dtype_of(code) if code else dtypes.u8
    wide = f32 if not x.type.dtype.is_float or x.type.dtype.bits < 32 else x.type.dtype
    scale = _spread(ctx, scale, x)
    quotient = apply(ctx, "div", cast(ctx, x, wide), cast(ctx, scale, wide))
    if to.is_float:
        return ctx.emit(Cast(to, bool(ctx.integer("saturate", 1))), quotient)
    whole = apply(ctx, "round", quotient)
    if zero:
        whole = apply(ctx, "add", whole, cast(ctx, _spread(ctx, zero, x), wide))
    return saturate(ctx, whole, to)


def _dequantize(ctx: NodeContext) -> Item:
    x, scale, zero = ctx.input(0), ctx.input(1), ctx.optional(2)
    code = ctx.integer("output_dtype", 0)
    to = dtype_of(code) if code else scale.type.dtype
    value = cast(ctx, x, f32)
    if zero:
        value = apply(ctx, "sub", value, cast(ctx, _spread(ctx, zero, x), f32))
    product = apply(ctx, "mul", value, cast(ctx, _spread(ctx, scale, x), f32))
    return cast(ctx, product, to)


def _rescaled(
    ctx: NodeContext, value: Value, scales: tuple[Value, Value, Value], zero: Value
) -> Value:
    """i32 sums of products -> quantised: times two scales, over the third, plus the zero point."""
    a, b, y = scales
    factor = apply(ctx, "div", apply(ctx, "mul", a, b), y)
    wide = apply(ctx, "round", apply(ctx, "mul", cast(ctx, value, f32), factor))
    return saturate(ctx, apply(ctx, "add", wide, cast(ctx, zero, f32)), zero.type.dtype)


def _scalar(ctx: NodeContext, i: int) -> Value:
    value = ctx.input(i)
    return reshape(ctx, value, ()) if value.type.size == 1 else value


def _column(ctx: NodeContext, value: Value, rank: int) -> Value:
    """[M] along the channels of a tensor of `rank` axes."""
    if value.type.rank != 1:
        return value
    return reshape(ctx, value, (value.type.size, *[1] * (rank - 2)))


def _qlinear_conv(ctx: NodeContext) -> Item:
    x, w, bias = centred(ctx, 0, 2), centred(ctx, 3, 5, axis=0), ctx.optional(8)
    y = convolve(ctx, x, w)
    rank = y.type.rank
    if bias:
        y = apply(ctx, "add", y, _column(ctx, bias, rank))
    scales = (_scalar(ctx, 1), _column(ctx, _scalar(ctx, 4), rank), _scalar(ctx, 6))
    return _rescaled(ctx, y, scales, _scalar(ctx, 7))


def _qlinear_matmul(ctx: NodeContext) -> Item:
    rank = ctx.input(0).type.rank
    a = centred(ctx, 0, 2, axis=max(rank - 2, 0))
    b = centred(ctx, 3, 5, axis=ctx.input(3).type.rank - 1)
    a_scale = _scalar(ctx, 1)
    if a_scale.type.rank == 1:  # one a row
        a_scale = reshape(ctx, a_scale, (a_scale.type.size, 1))
    scales = tuple(cast(ctx, v, f32) for v in (a_scale, _scalar(ctx, 4), _scalar(ctx, 6)))
    return _rescaled(ctx, multiply(ctx, a, b), (scales[0], scales[1], scales[2]), _scalar(ctx, 7))


def _dynamic_quantize(ctx: NodeContext) -> tuple[Item | None, ...]:
    x = ctx.input(0)
    low, high = (
        apply(ctx, kind, total(ctx, kind, x, range(x.type.rank), keep=False), 0.0)
        for kind in ("min", "max")
    )
    scale = apply(ctx, "div", apply(ctx, "sub", high, low), 255.0)
    scale = apply(ctx, "select", apply(ctx, "equal", scale, 0.0), ctx.like(1, scale), scale)
    point = apply(ctx, "round", apply(ctx, "div", apply(ctx, "neg", low), scale))
    zero = saturate(ctx, point, dtypes.u8)
    quotient = apply(ctx, "round", apply(ctx, "div", x, scale))
    y = saturate(ctx, apply(ctx, "add", quotient, cast(ctx, zero, f32)), dtypes.u8)
    return y, scale, zero


TABLE: Final[Table] = {
    ("", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): _dynamic_quantize,
    ("", "QLinearConv"): _qlinear_conv,
    ("", "QLinearMatMul"): _qlinear_matmul,
    ("", "QuantizeLinear"): _quantize,
}
