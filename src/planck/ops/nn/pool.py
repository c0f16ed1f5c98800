"""Pooling: the largest, the mean or the norm of each window, and where the largest stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, DType, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator, extents, inside, positions, views
from planck.ops.shapes import count, need_kind

KINDS = ("max", "average", "lp")


@dataclass(frozen=True)
class Pool(Op):
    """One number for each window of x[N, C, *S].

    kind:         "max"; "average"; "lp", the p-norm
    pads:         all begins, then all ends
    ceil:         the last window may hang over the end
    include_pad:  an average counts the padding (what hangs over the end it never counts)
    source:       ONNX operators MaxPool, AveragePool, LpPool
    """

    kind: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil: bool = False
    include_pad: bool = False
    p: int = 2

    def counts(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """The output's spatial extents."""
        return extents(
            "Pool", spatial, self.kernel, self.strides, self.pads, self.dilations, self.ceil
        )

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Pool", inputs, 1)
        if self.kind not in KINDS:
            raise ShapeError(f"Pool has kind {self.kind!r}, must be one of {', '.join(KINDS)}")
        return (_infer("Pool", inputs[0], self, "fiu" if self.kind == "max" else "f"),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        counts, rank = self.counts(x.shape[2:]), x.ndim - 2
        taps = tuple(range(-rank, 0))
        if self.kind == "max":
            fill = lowest(from_numpy(x.dtype))
            return (self._views(x, counts, fill).max(axis=taps),)
        wide = x.astype(accumulator(from_numpy(x.dtype)).numpy)
        windows = self._views(wide, counts, 0)
        if self.kind == "lp":
            total = (np.abs(windows) ** self.p).sum(axis=taps)
            return ((total ** (1 / self.p)).astype(x.dtype),)
        ones = np.ones((1, 1, *x.shape[2:]), wide.dtype)
        if self.include_pad:
            widths = zip(self.pads[:rank], self.pads[rank:], strict=True)
            ones = np.pad(ones, [(0, 0), (0, 0), *widths], constant_values=1)
            none = (0,) * (2 * rank)
            held = views(ones, counts, self.kernel, self.strides, none, self.dilations, 0)
        else:
            held = self._views(ones, counts, 0)
        return ((windows.sum(axis=taps) / held.sum(axis=taps)).astype(x.dtype),)

    def _views(self, x: Array, counts: Sequence[int], fill: float) -> Array:
        return views(x, counts, self.kernel, self.strides, self.pads, self.dilations, fill)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        wide = x.dtype if self.kind == "max" else accumulator(x.dtype)
        taps = expr.variables(index, self.kernel)
        value = expr.cast(tap(self, x, index, taps), wide)
        if self.kind == "lp":
            value = expr.apply("abs", value)
            value = expr.apply("mul", value, value) if self.p == 2 else _power(value, self.p)
        value = _guarded(self, x, index, taps, value, lowest(wide) if self.kind == "max" else 0)
        total = expr.reduce("max" if self.kind == "max" else "sum", taps, value)
        if self.kind == "lp":
            root = expr.apply("sqrt", total) if self.p == 2 else _power(total, 1 / self.p)
            return expr.cast(root, x.dtype)
        if self.kind == "average":
            total = expr.apply("div", total, self._held(x, index[2:], wide))
        return expr.cast(total, x.dtype)

    def _held(self, x: Tensor, at: Sequence[Expr], dtype: DType) -> Expr:
        """The number of elements that an average counts, as a number of a dtype."""
        fixed, moving = 1, []
        counts = self.counts(x.shape[2:])
        for axis, o in enumerate(at):
            n, s, d = self.kernel[axis], self.strides[axis], self.dilations[axis]
            begin, end = self.pads[axis], self.pads[axis + len(at)]
            low = 0 if self.include_pad else begin
            high = x.shape[2 + axis] + begin + (end if self.include_pad else 0)
            last = (counts[axis] - 1) * s + (n - 1) * d
            if low <= 0 and last < high:
                fixed *= n
                continue
            start = expr.mul(o, s)  # counted from the begin of the padding
            short = expr.apply("max", expr.sub(expr.integer(low), start), expr.integer(0))
            skipped = expr.floordiv(expr.add(short, d - 1), d)
            fitting = expr.floordiv(expr.sub(expr.integer(high + d - 1), start), d)
            reached = expr.apply("min", fitting, expr.integer(n))
            moving.append(expr.sub(reached, skipped))
        if not moving:
            return Const(float(fixed), dtype)
        product = moving[0]
        for factor in moving[1:]:
            product = expr.mul(product, factor)
        return expr.cast(expr.mul(product, expr.integer(fixed)), dtype)


@dataclass(frozen=True)
class MaxPoolIndices(Op):
    """Where the largest element of each window stands in the whole of x[N, C, *S]: i64.

    column_major:  counts the last spatial axis slowest (ONNX's storage_order 1)
    source:        ONNX operator MaxPool, its output Indices
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil: bool = False
    column_major: bool = False

    def counts(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """The output's spatial extents."""
        return extents(
            "MaxPoolIndices",
            spatial,
            self.kernel,
            self.strides,
            self.pads,
            self.dilations,
            self.ceil,
        )

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("MaxPoolIndices", inputs, 1)
        return (_infer("MaxPoolIndices", inputs[0], self, "fiu").with_dtype(i64),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        counts, spatial = self.counts(x.shape[2:]), x.shape[2:]
        geometry = (counts, self.kernel, self.strides, self.pads, self.dilations)
        windows = views(x, *geometry, lowest(from_numpy(x.dtype)))
        plane = np.arange(np.prod(spatial, dtype=np.int64)).reshape(spatial)
        if self.column_major:
            plane = plane.reshape(spatial[::-1]).T
        first = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(spatial))
        places = views(plane[None, None], *geometry, -1).reshape(1, 1, *counts, -1)
        flat = np.where(places < 0, lowest(from_numpy(x.dtype)), windows.reshape(
            *windows.shape[: 2 + len(counts)], -1
        ))  # fmt: skip
        best = flat.argmax(axis=-1)[..., None]
        chosen = np.take_along_axis(np.broadcast_to(places, flat.shape), best, -1)[..., 0]
        return (chosen + first * plane.size,)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        taps = expr.variables(index, self.kernel)
        value = _guarded(self, x, index, taps, tap(self, x, index, taps), lowest(x.dtype))
        best = expr.reduce("argmax", taps, value)
        chosen = []
        for extent in reversed(self.kernel):
            chosen.append(expr.mod(best, extent))
            best = expr.floordiv(best, extent)
        at = positions(index[2:], chosen[::-1], self.strides, self.pads, self.dilations)
        where = expr.add(expr.mul(index[0], x.shape[1]), index[1])
        spatial = list(zip(at, x.shape[2:], strict=True))
        flat: Expr = expr.integer(0)
        size = 1
        for _, extent in spatial:
            size *= extent
        for place, extent in reversed(spatial) if self.column_major else spatial:
            flat = expr.add(expr.mul(flat, extent), place)
        return expr.add(expr.mul(where, size), flat)


def lowest(dtype: DType) -> float | int:
    """What is below all other numbers of a dtype."""
    return -np.inf if dtype.is_float else int(np.iinfo(dtype.numpy).min)


def tap(
    op: Pool | MaxPoolIndices, x: Tensor, index: tuple[Expr, ...], taps: Sequence[Expr]
) -> Expr:
    """The element of x that a tap of the window at an output index reads."""
    return x(*index[:2], *positions(index[2:], taps, op.strides, op.pads, op.dilations))


def _guarded(
    op: Pool | MaxPoolIndices,
    x: Tensor,
    index: tuple[Expr, ...],
    taps: Sequence[Expr],
    value: Expr,
    fill: float,
) -> Expr:
    """The value where the tap is in the input, else the fill."""
    place = positions(index[2:], taps, op.strides, op.pads, op.dilations)
    counts = op.counts(x.shape[2:])
    conditions = inside(place, x.shape[2:], counts, op.kernel, op.strides, op.pads, op.dilations)
    return Select(expr.both(*conditions), value, Const(fill, value.dtype)) if conditions else value


def _power(value: Expr, exponent: float) -> Expr:
    return value if exponent == 1 else expr.apply("pow", value, float(exponent))


def _infer(op: str, x: TensorType, windows: Pool | MaxPoolIndices, kinds: str) -> TensorType:
    need_kind(op, x.dtype, kinds)
    if x.rank < 3:
        raise ShapeError(f"{op} takes x[N, C, *S], was given {list(x.dims)}")
    counts = windows.counts(x.dims[2:])
    for axis, extent in enumerate(windows.kernel):
        reach = (extent - 1) * windows.dilations[axis]
        if any(not 0 <= windows.pads[i] <= reach for i in (axis, axis + len(counts))):
            raise ShapeError(f"{op} has windows of padding alone: pads {windows.pads}")
    return TensorType((*x.dims[:2], *counts), x.dtype)
