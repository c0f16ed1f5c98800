"""Sampling at computed places: grids of coordinates, regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from planck.dtypes import Array, bool_, from_numpy, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import count, need_kind, same_dtype

CUBIC_A = -0.75  # ONNX operator GridSample


@dataclass(frozen=True)
class GridSample(Op):
    """x[N, C, *S] at the places of grid[N, *O, R], R = rank of S: [N, C, *O].

    mode:     "nearest", "linear", "cubic"
    padding:  what stands outside: "zeros", "border", "reflection"; each tap of "cubic" is brought
              to the border by itself, as PyTorch does
    align:    -1 and 1 are the centres of the outermost elements, not their outer edges
    source:   ONNX operator GridSample; the grid's last axis runs x, y, z: the last axis of S first
    """

    mode: str
    padding: str
    align: bool

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("GridSample", inputs, 2)
        x, grid = inputs
        need_kind("GridSample", x.dtype, "f")
        need_kind("GridSample", grid.dtype, "f")
        if self.mode not in ("nearest", "linear", "cubic"):
            raise ShapeError(f"GridSample has mode {self.mode!r}")
        if self.padding not in ("zeros", "border", "reflection"):
            raise ShapeError(f"GridSample has padding {self.padding!r}")
        fits = x.rank >= 3 and grid.rank == x.rank and grid.dims[-1] == x.rank - 2
        if not fits or grid.dims[0] != x.dims[0] or 0 in x.dims[2:]:
            raise ShapeError(f"GridSample of {x} at {grid}")
        return (TensorType((*x.dims[:2], *grid.dims[1:-1]), x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, grid = inputs
        wide = accumulator(from_numpy(x.dtype)).numpy
        spatial = x.shape[2:]
        bases, weights = [], []
        for axis, size in enumerate(spatial):
            at = self._placed(grid[..., len(spatial) - 1 - axis].astype(wide), size)
            base = np.floor(at)
            bases.append(base)
            weights.append(self._weights(at - base))
        total = np.zeros((x.shape[0], *grid.shape[1:-1], x.shape[1]), wide)
        batch = np.arange(x.shape[0]).reshape(-1, *[1] * len(spatial))
        last = np.moveaxis(x, 1, -1)
        for taps in product(*weights):
            index, weight, inside = [], np.ones((), wide), np.ones((), bool)
            for axis, (step, own) in enumerate(taps):
                place = bases[axis] + step
                weight = weight * own
                inside = inside & (place >= 0) & (place < spatial[axis])
                index.append(self._pixel(place, spatial[axis]))
            read = last[(batch, *index)].astype(wide)
            shown = inside[..., None] | (self.padding != "zeros")
            total += np.where(shown, read * weight[..., None], 0)
        return (np.ascontiguousarray(np.moveaxis(total, -1, 1)).astype(x.dtype),)

    def _placed(self, at: Array, size: int) -> Array:
        """Coordinates -1..1 as positions on an axis, brought inside as the padding says."""
        at = (at + 1) / 2 * (size - 1) if self.align else ((at + 1) * size - 1) / 2
        at = np.rint(at) if self.mode == "nearest" else at
        low, high = self._edges(size)
        outside = (at < low) | (at > high)
        if self.padding == "border" and self.mode != "cubic":
            return np.where(outside, np.clip(at, 0, size - 1), at)
        if self.padding == "reflection":
            return np.where(outside, _reflect(at, low, high), at)
        return at

    def _edges(self, size: int) -> tuple[float, float]:
        return (0.0, size - 1.0) if self.align else (-0.5, size - 0.5)

    def _pixel(self, place: Array, size: int) -> Array:
        if self.padding == "reflection":
            low, high = self._edges(size)
            place = np.where((place < low) | (place > high), _reflect(place, low, high), place)
        index: Array = np.clip(np.nan_to_num(place), 0, size - 1).astype(np.int64)
        return index

    def _weights(self, rest: Array) -> list[tuple[int, Array]]:
        if self.mode == "nearest":
            return [(0, np.ones_like(rest))]
        if self.mode == "linear":
            return [(0, 1 - rest), (1, rest)]
        return [(k, _cubic(np.abs(rest - k))) for k in (-1, 0, 1, 2)]

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        x, grid = inputs
        n, c, *at = index
        wide = accumulator(x.dtype)
        spatial = x.shape[2:]
        choices: list[list[tuple[Expr, Expr | None]]] = []
        for axis, size in enumerate(spatial):
            coordinate = grid(n, *at, expr.integer(len(spatial) - 1 - axis))
            place = self._placed_expr(expr.cast(coordinate, wide), size)
            base = expr.apply("floor", place)
            rest = expr.apply("sub", place, base)
            if self.mode == "nearest":
                choices.append([(base, None)])
            elif self.mode == "linear":
                other = expr.apply("sub", Const(1.0, wide), rest)
                choices.append([(base, other), (expr.apply("add", base, 1.0), rest)])
            else:
                steps = (-1.0, 0.0, 1.0, 2.0)
                choices.append([
                    (expr.apply("add", base, k), _cubic_expr(rest, k)) for k in steps
                ])  # fmt: skip
        total: Expr | None = None
        for taps in product(*choices):
            value = self._read(x, n, c, [place for place, _ in taps])
            for _, weight in taps:
                value = value if weight is None else expr.apply("mul", value, weight)
            total = value if total is None else expr.apply("add", total, value)
        assert total is not None, "each axis has a tap"
        return expr.cast(total, x.dtype)

    def _placed_expr(self, at: Expr, size: int) -> Expr:
        at = expr.apply("add", at, 1.0)
        if self.align:
            at = expr.apply("mul", at, (size - 1) / 2)
        else:
            at = expr.apply("mul", expr.apply("sub", expr.apply("mul", at, float(size)), 1.0), 0.5)
        at = expr.apply("round", at) if self.mode == "nearest" else at
        if self.padding == "border" and self.mode != "cubic":
            low, high = (Const(edge, at.dtype) for edge in self._edges(size))
            below = expr.Apply("less", (at, low), bool_)
            above = expr.Apply("greater", (at, high), bool_)
            clipped = expr.apply("min", expr.apply("max", at, 0.0), float(size - 1))
            return Select(expr.Apply("or", (below, above), bool_), clipped, at)
        return self._reflected(at, size) if self.padding == "reflection" else at

    def _reflected(self, at: Expr, size: int) -> Expr:
        """A position mirrored at the edges until it lies between them."""
        low, high = self._edges(size)
        span = high - low
        if span == 0:
            return expr.apply("mul", at, 0.0)
        away = expr.apply("abs", expr.apply("sub", at, low))
        turns = expr.apply("floor", expr.apply("mul", away, 1 / (2 * span)))
        away = expr.apply("sub", away, expr.apply("mul", turns, 2 * span))
        back = expr.apply("sub", Const(2 * span, at.dtype), away)
        return expr.apply("add", expr.apply("min", away, back), low)

    def _read(self, x: Tensor, n: Expr, c: Expr, places: Sequence[Expr]) -> Expr:
        """The element at whole positions given as floats; 0 outside where the padding is zeros."""
        index, conditions = [], []
        for place, size in zip(places, x.shape[2:], strict=True):
            inner = self._reflected(place, size) if self.padding == "reflection" else place
            bound = expr.apply("min", expr.apply("max", inner, 0.0), float(size - 1))
            index.append(expr.cast(bound, i64))
            if self.padding == "zeros":
                low = expr.Apply("less_equal", (Const(0.0, place.dtype), place), bool_)
                high = Const(float(size - 1), place.dtype)
                conditions += [low, expr.Apply("less_equal", (place, high), bool_)]
        value = expr.cast(x(n, c, *index), accumulator(x.dtype))
        if not conditions:
            return value
        return Select(expr.both(*conditions), value, Const(0.0, value.dtype))


def _reflect(at: Array, low: float, high: float) -> Array:
    span = high - low
    if span == 0:
        return np.full_like(at, low)
    away = np.mod(np.abs(at - low), 2 * span)
    return low + np.minimum(away, 2 * span - away)


def _cubic(away: Array) -> Array:
    a = CUBIC_A
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, np.where(away < 2, far, 0))


def _cubic_expr(rest: Expr, step: float) -> Expr:
    """The weight of the tap `step` elements after the one before a position, 0 <= rest < 1."""
    a = CUBIC_A
    away = expr.apply("abs", expr.apply("sub", rest, step))
    if step in (0.0, 1.0):
        inner = expr.apply("sub", expr.apply("mul", away, a + 2), a + 3)
        return expr.apply("add", expr.apply("mul", expr.apply("mul", inner, away), away), 1.0)
    inner = expr.apply("sub", expr.apply("mul", away, a), 5 * a)
    inner = expr.apply("add", expr.apply("mul", inner, away), 8 * a)
    return expr.apply("sub", expr.apply("mul", inner, away), 4 * a)


@dataclass(frozen=True)
class RoiAlign(Op):
    """The mean (or maximum) of bilinear samples in each bin of regions of x[N, C, H, W].

    inputs:   x, regions[R, 4] as x1 y1 x2 y2, the image of each region i64[R]
    sampling: samples a bin and axis; 0: as many as a bin has pixels, rounded up
    offset:   what is taken off coordinates once they are scaled: 0.5 for pixel centres, or 0
    gives:    [R, C, height, width]
    source:   ONNX operator RoiAlign
    """

    reference_only: ClassVar[bool] = True

    mode: str
    height: int
    width: int
    sampling: int
    scale: float
    offset: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("RoiAlign", inputs, 3)
        x, regions, images = inputs
        need_kind("RoiAlign", same_dtype("RoiAlign", inputs[:2]), "f")
        fits = x.rank == 4 and regions.rank == 2 and regions.dims[1:] == (4,)
        if not fits or images.dims != regions.dims[:1] or self.mode not in ("avg", "max"):
            raise ShapeError(f"RoiAlign {self.mode!r} of {x} in regions {regions} of {images}")
        if min(self.height, self.width) < 1 or not 0 <= self.sampling <= 1024:
            raise ShapeError(f"RoiAlign to {self.height} x {self.width}, {self.sampling} samples")
        shape = (regions.dims[0], x.dims[1], self.height, self.width)
        return (TensorType(shape, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        x, regions, images = inputs
        wide = x.astype(accumulator(from_numpy(x.dtype)).numpy, copy=False)
        found = np.zeros((len(regions), x.shape[1], self.height, self.width), wide.dtype)
        for r, image in enumerate(images):
            left, top, right, bottom = (float(v) * self.scale - self.offset for v in regions[r])
            tall, broad = bottom - top, right - left
            if not self.offset:
                tall, broad = max(tall, 1.0), max(broad, 1.0)
            rows = self._samples(top, tall / self.height, self.height, tall)
            columns = self._samples(left, broad / self.width, self.width, broad)
            found[r] = self._pooled(wide[int(image)], rows, columns)
        return (found.astype(x.dtype),)

    def _samples(self, start: float, size: float, bins: int, whole: float) -> Array:
        """Positions of the samples along one axis: [bins, samples]."""
        each = self.sampling or max(int(np.ceil(whole / bins)), 1)
        each = min(each, 4096)
        own = (np.arange(each) + 0.5) * size / each
        return start + np.arange(bins)[:, None] * size + own

    def _pooled(self, plane: Array, rows: Array, columns: Array) -> Array:
        """[C, H, W] sampled at rows x columns, then reduced over each bin: [C, height, width]."""
        parts = [_corners(at.reshape(-1), size) for at, size in zip(
            (rows, columns), plane.shape[1:], strict=True)]  # fmt: skip
        samples = [
            plane[:, y[:, None], x] * (wy[:, None] * wx).astype(plane.dtype)
            for (y, wy), (x, wx) in product(*parts)
        ]
        shape = (plane.shape[0], *rows.shape, *columns.shape)
        stacked = np.stack(samples).reshape(4, *shape)
        largest: Array = stacked.max(axis=(0, 3, 5))
        mean: Array = stacked.sum(axis=0).mean(axis=(2, 4))
        return largest if self.mode == "max" else mean


def _corners(at: Array, size: int) -> list[tuple[Array, Array]]:
    """The two neighbours of each position and their weights; beyond the border by over 1: none."""
    outside = (at < -1) | (at > size)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    rest = at - low
    return [(low, np.where(outside, 0, 1 - rest)), (high, np.where(outside, 0, rest))]
