"""Resize: nearest, linear and cubic interpolation along any axes, in all of ONNX's coordinates.

Coordinates are affine in the output index; the loop body keeps them as fractions of integers, so
that a nearest neighbour is exact and a weight has no rounding error from large indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import product
from typing import Final

import numpy as np

from planck.dtypes import Array, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import count, need_kind

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize", "tf_half_pixel_for_nn",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TOLERANCE = 1e-4  # of a pixel, between a coordinate and the fraction that stands for it


@dataclass(frozen=True)
class Resize(Op):
    """x resampled to another shape of the same rank.

    sizes:     the output's shape
    scales:    output over input for each axis, as coordinates are computed with
    rounding:  which neighbour is the nearest
    cubic_a:   the cubic kernel's parameter
    exclude:   weights of taps outside are 0 and the others grow, instead of repeating the edge
    roi:       all begins, then all ends, in 0..1; tf_crop_and_resize only
    fill:      what stands outside the input; tf_crop_and_resize only
    antialias: widen the kernel where the output is smaller
    source:    ONNX operator Resize
    """

    mode: str
    sizes: tuple[int, ...]
    scales: tuple[float, ...]
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude: bool = False
    roi: tuple[float, ...] = ()
    fill: float = 0.0
    antialias: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Resize", inputs, 1)
        (x,) = inputs
        need_kind("Resize", x.dtype, "fiub" if self.mode == "nearest" else "fiu")
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("coordinates", self.coordinates, COORDINATES),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise ShapeError(f"Resize has {name} {value!r}, must be one of {', '.join(known)}")
        if len(self.sizes) != x.rank or len(self.scales) != x.rank:
            raise ShapeError(f"Resize to {list(self.sizes)} by {list(self.scales)} of {x}")
        if any(n < 1 for n in (*self.sizes, *x.dims)) or not all(s > 0 for s in self.scales):
            raise ShapeError(f"Resize to {list(self.sizes)} by {list(self.scales)} of {x}")
        if self.coordinates == "tf_crop_and_resize" and len(self.roi) != 2 * x.rank:
            raise ShapeError(f"Resize has a roi of {len(self.roi)} numbers for rank {x.rank}")
        return (x.with_shape(self.sizes),)

    def coordinate(self, axis: int, size: int) -> tuple[float, float]:
        """(a, b): output index o stands at a * o + b of an axis of `size` elements."""
        out, scale = self.sizes[axis], self.scales[axis]
        span = scale * size  # ONNX's output width: not rounded
        match self.coordinates:
            case "asymmetric":
                return 1 / scale, 0.0
            case "tf_half_pixel_for_nn":
                return 1 / scale, 0.5 / scale
            case "align_corners":
                return (0.0, 0.0) if out == 1 else ((size - 1) / (span - 1), 0.0)
            case "tf_crop_and_resize":
                begin, end = self.roi[axis], self.roi[axis + len(self.sizes)]
                if out == 1:
                    return 0.0, (begin + end) / 2 * (size - 1)
                return (end - begin) * (size - 1) / (span - 1), begin * (size - 1)
            case "pytorch_half_pixel" if out == 1:
                return 0.0, -0.5
            case "half_pixel_symmetric":
                offset = size / 2 * (1 - out / span)
                return 1 / scale, offset + 0.5 / scale - 0.5
        return 1 / scale, 0.5 / scale - 0.5

    def taps(self, axis: int, size: int) -> tuple[Array, Array]:
        """The input indices and weights of each output element: i64[out, T], f64[out, T]."""
        a, b = self.coordinate(axis, size)
        at = np.arange(self.sizes[axis]) * a + b
        at = np.round(at, 9)  # 2.9999999999 is 3
        if self.mode == "nearest":
            near = _ROUND[self.rounding](at).astype(np.int64)
            return np.clip(near, 0, size - 1)[:, None], np.ones((len(at), 1))
        base = np.floor(at)
        narrow = min(self.scales[axis], 1.0) if self.antialias else 1.0
        reach = 1 if self.mode == "linear" else 2
        first = math.floor(-reach / narrow) + 1
        steps = np.arange(first, 2 - first)
        away = np.abs((steps - (at - base)[:, None]) * narrow)
        linear = self.mode == "linear"
        weights = np.clip(1 - away, 0, 1) if linear else _cubic(away, self.cubic_a)
        indices = base.astype(np.int64)[:, None] + steps
        if self.exclude:
            weights = np.where((indices < 0) | (indices >= size), 0, weights)
        if self.exclude or self.antialias:
            weights = weights / weights.sum(axis=1, keepdims=True)
        return np.clip(indices, 0, size - 1), weights

    def moved(self, shape: Sequence[int]) -> list[int]:
        """The axes along which something happens."""
        crop = self.coordinates == "tf_crop_and_resize"
        return [
            axis for axis, size in enumerate(shape)
            if self.sizes[axis] != size or self.scales[axis] != 1
            or (crop and (self.roi[axis], self.roi[axis + len(shape)]) != (0, 1))
        ]  # fmt: skip

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        wide = (
            np.dtype(np.float32) if x.dtype.kind in "iu" else accumulator(from_numpy(x.dtype)).numpy
        )
        y = x if self.mode == "nearest" else x.astype(wide, copy=False)
        for axis in self.moved(x.shape):
            indices, weights = self.taps(axis, x.shape[axis])
            if self.mode == "nearest":
                y = y.take(indices[:, 0], axis)
                continue
            column = (-1, *[1] * (x.ndim - 1 - axis))
            parts = (
                y.take(indices[:, t], axis) * weights[:, t].astype(wide).reshape(column)
                for t in range(indices.shape[1])
            )
            y = reduce(np.add, parts)
        for axis in self.moved(x.shape) if self.coordinates == "tf_crop_and_resize" else ():
            a, b = self.coordinate(axis, x.shape[axis])
            at = np.arange(self.sizes[axis]) * a + b
            outside = (at < 0) | (at > x.shape[axis] - 1)
            y = np.where(outside.reshape(-1, *[1] * (x.ndim - 1 - axis)), self.fill, y)
        return (np.ascontiguousarray(y).astype(x.dtype, copy=False),)

    @property
    def has_body(self) -> bool:
        return not self.antialias and not self.exclude

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        (x,) = inputs
        dtype = x.dtype
        wide = accumulator(dtype) if dtype.is_float else from_numpy(np.float32)
        choices: list[list[tuple[Expr, Expr | None]]] = [[(o, None)] for o in index]
        outside: list[Expr] = []
        for axis in self.moved(x.shape):
            line = _fraction(self, axis, x.shape[axis])
            far = expr.add(expr.mul(index[axis], line.step), line.start)
            last = x.shape[axis] - 1
            if self.coordinates == "tf_crop_and_resize":
                outside.append(expr.compare("less", far, line.shift * line.over))
                outside.append(expr.compare("greater", far, (line.shift + last) * line.over))
            if self.mode == "nearest":
                near = expr.add(_nearest(far, line.over, self.rounding), -line.shift)
                choices[axis] = [(_clip(near, last, *line.reach(self.rounding)), None)]
                continue
            base = expr.floordiv(far, line.over)
            rest = expr.cast(expr.sub(far, expr.mul(base, line.over)), wide)
            ratio = expr.apply("mul", rest, 1 / line.over)
            low = 0 if self.mode == "linear" else -1
            weights = _linear(ratio) if self.mode == "linear" else _bicubic(ratio, self.cubic_a)
            choices[axis] = [
                (_clip(expr.add(base, k - line.shift), last, -1, last + 1), weight)
                for k, weight in enumerate(weights, low)
            ]
        total: Expr | None = None
        for taps in product(*choices):
            value = x(*(place for place, _ in taps))
            if self.mode != "nearest":
                value = expr.cast(value, wide)
            for _, weight in taps:
                value = value if weight is None else expr.apply("mul", value, weight)
            total = value if total is None else expr.apply("add", total, value)
        assert total is not None, "each axis has a tap"
        total = expr.cast(total, dtype)
        for condition in outside:
            total = Select(condition, Const(self.fill, dtype), total)
        return total


@dataclass(frozen=True, slots=True)
class _Fraction:
    """A coordinate as (step * o + start) / over - shift; what is divided is never negative."""

    step: int
    start: int
    over: int
    shift: int
    out: int

    def reach(self, rounding: str) -> tuple[int, int]:
        """The smallest and the largest neighbour that the formula gives, before it is clipped."""
        ends = [Fraction(self.start + self.step * o, self.over) for o in (0, self.out - 1)]
        exact = [round_exact(end - self.shift, rounding) for end in ends]
        return min(exact), max(exact)


@lru_cache(maxsize=256)
def _fraction(op: Resize, axis: int, size: int) -> _Fraction:
    """A coordinate's fraction, the simplest that is true to TOLERANCE."""
    a, b = op.coordinate(axis, size)
    out = op.sizes[axis]
    largest = 1
    while True:
        slope = Fraction(a).limit_denominator(largest)
        start = Fraction(b).limit_denominator(2 * largest)
        if abs(float(slope) - a) * out < TOLERANCE and abs(float(start) - b) < TOLERANCE:
            break
        largest *= 2
    over = math.lcm(slope.denominator, start.denominator)
    step, first = int(slope * over), int(start * over)
    lowest = min(first, first + step * (out - 1))
    shift = max(0, -((lowest - over) // over))  # one spare, for rounding down by a half
    return _Fraction(step, first + shift * over, over, shift, out)


def round_exact(at: Fraction, rounding: str) -> int:
    """The neighbour nearest to a coordinate."""
    half = Fraction(1, 2)
    match rounding:
        case "floor":
            return math.floor(at)
        case "ceil":
            return math.ceil(at)
        case "round_prefer_ceil":
            return math.floor(at + half)
    return math.ceil(at - half)


_ROUND: Final[dict[str, Callable[[Array], Array]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
}


def _nearest(far: Expr, over: int, rounding: str) -> Expr:
    """The rounded quotient far / over, far >= 0."""
    match rounding:
        case "floor":
            return expr.floordiv(far, over)
        case "ceil":
            return expr.floordiv(expr.add(far, over - 1), over)
        case "round_prefer_ceil":
            return expr.floordiv(expr.add(expr.mul(far, 2), over), 2 * over)
    return expr.floordiv(expr.add(expr.mul(far, 2), over - 1), 2 * over)


def _clip(place: Expr, last: int, lowest: int, highest: int) -> Expr:
    """The place in 0..last, where it is known to lie in lowest..highest."""
    if lowest < 0:
        place = expr.Apply("max", (place, expr.integer(0)), i64)
    return expr.Apply("min", (place, expr.integer(last)), i64) if highest > last else place


def _linear(ratio: Expr) -> tuple[Expr, ...]:
    return expr.apply("sub", Const(1.0, ratio.dtype), ratio), ratio


def _bicubic(ratio: Expr, a: float) -> tuple[Expr, ...]:
    """The weights of the taps at -1, 0, 1, 2."""

    def near(x: Expr) -> Expr:  # |x| <= 1: ((a + 2) x - (a + 3)) x x + 1
        inner = expr.apply("sub", expr.apply("mul", x, a + 2), a + 3)
        return expr.apply("add", expr.apply("mul", expr.apply("mul", inner, x), x), 1.0)

    def far(x: Expr) -> Expr:  # 1 < |x| < 2: ((a x - 5 a) x + 8 a) x - 4 a
        inner = expr.apply("sub", expr.apply("mul", x, a), 5 * a)
        inner = expr.apply("add", expr.apply("mul", inner, x), 8 * a)
        return expr.apply("sub", expr.apply("mul", inner, x), 4 * a)

    rest = expr.apply("sub", Const(1.0, ratio.dtype), ratio)
    return (
        far(expr.apply("add", ratio, 1.0)),
        near(ratio),
        near(rest),
        far(expr.apply("add", rest, 1.0)),
    )


def _cubic(away: Array, a: float) -> Array:
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, np.where(away < 2, far, 0))
