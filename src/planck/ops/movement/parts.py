"""Operators that put tensors together and take them apart: concat, slice, pad, reverse, trilu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.dtypes import Array, i64
from planck.errors import DTypeError, ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Tensor, add, compare, integer, maximum, minimum, mul, sub
from planck.ops.shapes import axis_of, count, same_dtype

PAD_MODES: Final = ("constant", "edge", "reflect", "wrap")


@dataclass(frozen=True)
class Concat(Op):
    """Tensors one after another along an axis."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if not inputs:
            raise ShapeError("Concat of nothing")
        dtype = same_dtype("Concat", inputs)
        axis = axis_of("Concat", self.axis, inputs[0].rank)
        shape = list(inputs[0].dims)
        for other in inputs[1:]:
            rest = (*other.dims[:axis], shape[axis], *other.dims[axis + 1 :])
            if other.rank != len(shape) or rest != tuple(shape):
                shapes = ", ".join(str(list(kind.shape)) for kind in inputs)
                raise ShapeError(f"Concat along axis {axis} of shapes {shapes}")
            shape[axis] += other.dims[axis]
        return (TensorType(tuple(shape), dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.concatenate(inputs, self.axis),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        axis = axis_of("Concat", self.axis, len(index))
        tensors = [tensor for tensor in inputs if tensor.shape[axis]] or [inputs[0]]
        ends, end = [], 0
        for tensor in tensors:
            end += tensor.shape[axis]
            ends.append(end)
        result: Expr | None = None
        for tensor, end in zip(reversed(tensors), reversed(ends), strict=True):
            i = sub(index[axis], end - tensor.shape[axis])
            value = tensor(*index[:axis], i, *index[axis + 1 :])
            here = compare("less", index[axis], end)
            result = value if result is None else expr.select(here, value, result)
        assert result is not None, "infer refuses a concat of nothing"
        return result


@dataclass(frozen=True)
class Slice(Op):
    """Elements start, start + step, ... of each axis, size of them; all in range."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Slice", inputs, 1)
        (x,) = inputs
        if not len(self.starts) == len(self.sizes) == len(self.steps) == x.rank:
            raise ShapeError(f"Slice names {len(self.starts)} axes of a tensor of rank {x.rank}")
        for k, (extent, start, size, step) in enumerate(
            zip(x.dims, self.starts, self.sizes, self.steps, strict=True)
        ):
            last = start + (size - 1) * step
            inside = 0 <= start < extent and 0 <= last < extent
            if size < 0 or step == 0 or (size and not inside):
                raise ShapeError(
                    f"Slice leaves axis {k}, of extent {extent}",
                    know=f"it takes {size} elements from {start} in steps of {step}",
                )
        return (TensorType(self.sizes, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        parts = []
        for start, size, step in zip(self.starts, self.sizes, self.steps, strict=True):
            stop = start + size * step
            parts.append(slice(start, stop if stop >= 0 else None, step) if size else slice(0))
        return (inputs[0][tuple(parts)].copy(),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        own = []
        for i, start, step in zip(index, self.starts, self.steps, strict=True):
            if step > 0:
                own.append(add(mul(i, step), start))
            else:
                own.append(sub(integer(start), mul(i, -step)))
        return inputs[0](*own)


@dataclass(frozen=True)
class Pad(Op):
    """Elements added before and after each axis; negative pads are cropped first.

    inputs:  x, and for mode "constant" a scalar of its dtype
    pads:    all befores, then all afters
    mode:    "constant"; "edge"; "reflect" without repeating the edge; "wrap"
    """

    pads: tuple[int, ...]
    mode: str = "constant"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Pad", inputs, 2 if self.mode == "constant" else 1, 2)
        x = inputs[0]
        if self.mode not in PAD_MODES:
            raise ShapeError(f"planck does not pad by {self.mode!r}", know=f"has {PAD_MODES}")
        if len(self.pads) != 2 * x.rank:
            raise ShapeError(f"Pad has {len(self.pads)} pads for a tensor of rank {x.rank}")
        if len(inputs) == 2 and inputs[1].size != 1:
            raise ShapeError(f"Pad's value has the shape {list(inputs[1].shape)}")
        same_dtype("Pad", inputs)
        shape = []
        for extent, before, after in self._axes(x.dims):
            cropped = extent + min(before, 0) + min(after, 0)
            grows = before > 0 or after > 0
            if cropped < 0 or (cropped == 0 and grows and self.mode != "constant"):
                raise ShapeError(f"Pad by {self.pads} of {list(x.shape)}, mode {self.mode}")
            shape.append(extent + before + after)
        return (TensorType(tuple(shape), x.dtype),)

    def _axes(self, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
        rank = len(shape)
        return list(zip(shape, self.pads[:rank], self.pads[rank:], strict=True))

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x = inputs[0]
        crop, grow = [], []
        for extent, before, after in self._axes(x.shape):
            crop.append(slice(max(-before, 0), extent + min(after, 0)))
            grow.append((max(before, 0), max(after, 0)))
        x = x[tuple(crop)]
        if self.mode == "constant":
            shape = tuple(n + sum(pads) for n, pads in zip(x.shape, grow, strict=True))
            result = np.full(shape, inputs[1].reshape(()), x.dtype)
            inside = (
                slice(before, before + n) for n, (before, _) in zip(x.shape, grow, strict=True)
            )
            result[tuple(inside)] = x
            return (result,)
        for axis, (before, after) in enumerate(grow):
            if before or after:
                steps = np.arange(-before, x.shape[axis] + after)
                x = np.take(x, self._source(steps, x.shape[axis]), axis)
        return (x.copy(),)

    def _source(self, steps: Array, extent: int) -> Array:
        """Where an axis reads, for positions that may lie outside of it."""
        if self.mode == "edge":
            return np.clip(steps, 0, extent - 1)
        if self.mode == "wrap":
            return np.mod(steps, extent)
        around: Array = steps % max(2 * (extent - 1), 1)
        mirrored: Array = np.minimum(around, 2 * (extent - 1) - around)
        return mirrored

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x = inputs[0]
        own: list[Expr] = []
        inside: list[Expr] = []
        for i, (extent, before, after) in zip(index, self._axes(x.shape), strict=True):
            cropped = extent + min(before, 0) + min(after, 0)
            here = sub(i, max(before, 0)) if before > 0 else i
            if self.mode == "constant":
                if before > 0:
                    inside.append(compare("greater_equal", i, before))
                if after > 0:
                    inside.append(compare("less", i, cropped + max(before, 0)))
            elif before > 0 or after > 0:
                here = self._source_body(i, cropped, max(before, 0))
            own.append(add(here, max(-before, 0)))
        value = x(*own)
        if not inside:
            return value
        fill = inputs[1](*(integer(0) for _ in inputs[1].shape))
        return expr.select(expr.both(*inside), value, fill)

    def _source_body(self, i: Expr, extent: int, before: int) -> Expr:
        if self.mode == "edge":
            return minimum(maximum(sub(i, before), 0), extent - 1)
        period = extent if self.mode == "wrap" else max(2 * (extent - 1), 1)
        ahead = -(-before // period) * period - before  # keeps the dividend positive
        around = expr.mod(add(i, ahead), period)
        if self.mode == "wrap":
            return around
        return minimum(around, sub(integer(2 * (extent - 1)), around))


@dataclass(frozen=True)
class ReverseSequence(Op):
    """The first lengths[b] elements along the time axis in reverse order, for each batch b.

    inputs:  x, lengths i64[x.shape[batch_axis]]
    """

    batch_axis: int
    time_axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("ReverseSequence", inputs, 2)
        x, lengths = inputs
        batch = axis_of("ReverseSequence", self.batch_axis, x.rank)
        time = axis_of("ReverseSequence", self.time_axis, x.rank)
        if batch == time or lengths.dims != (x.dims[batch],):
            raise ShapeError(
                f"ReverseSequence of {list(x.shape)} by lengths of shape {list(lengths.shape)}",
                know=f"batch axis {batch}, time axis {time}",
            )
        if lengths.dtype is not i64:
            raise DTypeError(f"ReverseSequence takes lengths in i64, was given {lengths.dtype}")
        return (TensorType(x.dims, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, lengths = inputs
        moved = np.moveaxis(x.copy(), (self.batch_axis, self.time_axis), (0, 1))
        for row, length in zip(moved, lengths, strict=True):
            row[: int(length)] = row[: int(length)][::-1].copy()
        return (np.moveaxis(moved, (0, 1), (self.batch_axis, self.time_axis)).copy(),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, lengths = inputs
        batch, time = (axis_of("", axis, len(index)) for axis in (self.batch_axis, self.time_axis))
        length = lengths(index[batch])
        t = index[time]
        mirrored = sub(sub(length, 1), t)
        inside = compare("less", t, length)
        at: Expr = expr.Apply("select", (inside, mirrored, t), i64)
        at = minimum(maximum(at, 0), x.shape[time] - 1)
        return x(*index[:time], at, *index[time + 1 :])


@dataclass(frozen=True)
class Trilu(Op):
    """The upper or lower triangle of the last two axes, 0 elsewhere; k: which diagonal."""

    upper: bool
    k: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Trilu", inputs, 1)
        if inputs[0].rank < 2:
            raise ShapeError(f"Trilu of a tensor of rank {inputs[0].rank}")
        return (TensorType(inputs[0].dims, inputs[0].dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
        keep = columns >= rows + self.k if self.upper else columns <= rows + self.k
        return (np.where(keep, x, np.zeros((), x.dtype)).astype(x.dtype),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        fn = "greater_equal" if self.upper else "less_equal"
        keep = compare(fn, index[-1], add(index[-2], self.k))
        zero: float | int | bool = 0.0 if x.dtype.is_float else 0
        return expr.select(keep, x(*index), Const(zero, x.dtype))
