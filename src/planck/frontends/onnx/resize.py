"""Resize and Upsample: sizes and scales of all opsets to the one canonical Resize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

from planck.errors import ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, cast, total
from planck.ir.graph import Value
from planck.ops.movement import Gather
from planck.ops.nn import Resize
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import axes_of

Number = TypeVar("Number", int, float)


def _upsample(ctx: NodeContext) -> Item:
    """Upsample, and Resize of opset 10: corner to corner, nearest is rounded outwards."""
    x = ctx.input(0)
    if ctx.has("scales"):
        scales = [float(s) for s in ctx.attribute("scales")]
    else:
        scales = _floats(ctx, 1, "the scales")
    sizes = _sizes(ctx, x, scales)
    rounding = "ceil" if min(scales) < 1 else "floor"
    mode = {"bilinear": "linear"}.get(ctx.text("mode", "nearest"), ctx.text("mode", "nearest"))
    return ctx.emit(Resize(mode, sizes, tuple(scales), "asymmetric", rounding), x)


def _floats(ctx: NodeContext, i: int, why: str) -> list[float]:
    return [float(n) for n in ctx.need_constant(i, why).reshape(-1)]


def _sizes(ctx: NodeContext, x: Value, scales: list[float]) -> tuple[int, ...]:
    if len(scales) != x.type.rank or not all(0 < s < math.inf for s in scales):
        raise ShapeError(f"{ctx.type} of {x.type} has scales {scales}")
    return tuple(math.floor(n * s + 1e-6) for n, s in zip(x.type.dims, scales, strict=True))


def _resize(ctx: NodeContext) -> Item:
    if ctx.version < 11:
        return _upsample(ctx)
    x = ctx.input(0)
    rank, dims = x.type.rank, x.type.dims
    axes = axes_of("Resize", ctx.integers("axes", range(rank)), rank)
    scales, sizes = [1.0] * rank, list(dims)
    given = _floats(ctx, 2, "the scales") if ctx.optional(2) else []
    if given:
        _fill(ctx, scales, axes, given)
        sizes = list(_sizes(ctx, x, scales))
    else:
        _fill(ctx, sizes, axes, ctx.need_integers(3, "the sizes"))
        _keep_ratio(ctx, dims, axes, sizes, scales)
    coordinates = ctx.text("coordinate_transformation_mode", "half_pixel")
    roi: tuple[float, ...] = ()
    if coordinates == "tf_crop_and_resize":
        begins, ends = [0.0] * rank, [1.0] * rank
        both = _floats(ctx, 1, "the region of interest")
        _fill(ctx, begins, axes, both[: len(axes)])
        _fill(ctx, ends, axes, both[len(axes) :])
        roi = (*begins, *ends)
    mode = ctx.text("mode", "nearest")
    op = Resize(
        mode,
        tuple(sizes),
        tuple(scales),
        coordinates,
        ctx.text("nearest_mode", "round_prefer_floor"),
        ctx.number("cubic_coeff_a", -0.75),
        mode != "nearest" and bool(ctx.integer("exclude_outside", 0)),
        roi,
        ctx.number("extrapolation_value", 0.0),
        mode != "nearest" and bool(ctx.integer("antialias", 0)),
    )
    return ctx.emit(op, x) if op.has_body or roi or not x.type.dtype.is_float else _sums(ctx, op, x)


def _sums(ctx: NodeContext, op: Resize, x: Value) -> Value:
    """A resize whose weights no formula gives, along one axis after the other: tables hold them."""
    op.infer(x.type)
    y = cast(ctx, x, accumulator(x.type.dtype))
    for axis in op.moved(x.type.dims):
        places, weights = op.taps(axis, x.type.dims[axis])
        column = weights.reshape(*weights.shape, *[1] * (x.type.rank - 1 - axis))
        taps = ctx.emit(Gather(axis), y, ctx.const(places))
        taps = apply(ctx, "mul", taps, ctx.const(column.astype(y.type.dtype.numpy)))
        y = total(ctx, "sum", taps, (axis + 1,), keep=False)
    return cast(ctx, y, x.type.dtype)


def _fill(
    ctx: NodeContext, whole: list[Number], axes: tuple[int, ...], given: Sequence[Number]
) -> None:
    """Put the numbers given for some axes among those of all."""
    if len(given) != len(axes):
        raise ShapeError(f"{ctx.type} is given {len(given)} numbers for {len(axes)} axes")
    for axis, number in zip(axes, given, strict=True):
        whole[axis] = number


def _keep_ratio(
    ctx: NodeContext,
    dims: tuple[int, ...],
    axes: tuple[int, ...],
    sizes: list[int],
    scales: list[float],
) -> None:
    """The scales that sizes mean, and the sizes once all axes scale alike, where that is asked."""
    policy = ctx.text("keep_aspect_ratio_policy", "stretch")
    for axis in axes:
        if not dims[axis]:
            raise ShapeError(f"{ctx.type} of an empty tensor {list(dims)}")
        scales[axis] = sizes[axis] / dims[axis]
    if policy == "stretch":
        return
    choose = min if policy == "not_larger" else max
    scale = choose(scales[axis] for axis in axes)
    for axis in axes:
        scales[axis] = scale
        sizes[axis] = math.floor(scale * dims[axis] + 0.5)


TABLE: Final[Table] = {("", "Resize"): _resize, ("", "Upsample"): _upsample}
