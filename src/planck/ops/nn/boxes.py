"""Choosing among boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from planck.dtypes import Array, i64
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.ops.shapes import count, need_kind


@dataclass(frozen=True)
class NonMaxSuppression(Op):
    """The best boxes of each image and class, without those that overlap a better one too much.

    inputs:   boxes[N, B, 4], scores[N, C, B]
    most:     boxes of an image and class
    overlap:  intersection over union, computed in float32, up to which a box stays beside a better
    lowest:   a score must be above it
    centred:  whether a box is its middle and size (x y w h), or two opposite corners
    gives:    rows i64[N * C * min(most, B), 3], image, class and box, in the order of images, of
              classes and of scores from the best on (of equals the first box), -1 behind the last
              row; how many rows there are i64[]
    source:   ONNX operator NonMaxSuppression
    """

    reference_only: ClassVar[bool] = True

    most: int
    overlap: float
    lowest: float = -np.inf
    centred: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("NonMaxSuppression", inputs, 2)
        boxes, scores = inputs
        for given in inputs:
            need_kind("NonMaxSuppression", given.dtype, "f")
        fits = boxes.rank == scores.rank == 3 and boxes.dims[2] == 4
        if not fits or boxes.dims[:2] != (scores.dims[0], scores.dims[2]) or self.most < 0:
            raise ShapeError(f"NonMaxSuppression to {self.most} of boxes {boxes}, scores {scores}")
        images, classes, number = scores.dims
        rows = images * classes * min(self.most, number)
        return TensorType((rows, 3), i64), TensorType((), i64)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        boxes, scores = (array.astype(np.float32, copy=False) for array in inputs)
        low, high = self._corners(boxes)
        found: list[tuple[int, int, int]] = []
        for image, kind in np.ndindex(*scores.shape[:2]):
            kept = self._kept(low[image], high[image], scores[image, kind])
            found += [(image, kind, box) for box in kept]
        rows = np.full((scores.shape[0] * scores.shape[1] * min(self.most, scores.shape[2]), 3), -1)
        rows[: len(found)] = np.array(found, np.int64).reshape(-1, 3)
        return rows.astype(np.int64), np.array(len(found), np.int64)

    def _corners(self, boxes: Array) -> tuple[Array, Array]:
        """The corners of least and of largest coordinates: [N, B, 2]."""
        first, second = boxes[..., :2], boxes[..., 2:]
        if self.centred:
            first, second = first - second / 2, first + second / 2
        return np.minimum(first, second), np.maximum(first, second)

    def _kept(self, low: Array, high: Array, scores: Array) -> list[int]:
        left = np.flatnonzero(scores > np.float32(self.lowest))
        left = left[np.argsort(-scores[left], kind="stable")]
        kept: list[int] = []
        while left.size and len(kept) < self.most:
            best, left = left[0], left[1:]
            kept.append(int(best))
            with np.errstate(all="ignore"):
                beside = _overlap(low[best], high[best], low[left], high[left])
            left = left[~(beside > np.float32(self.overlap))]
        return kept


def _overlap(low: Array, high: Array, lows: Array, highs: Array) -> Array:
    """Intersection over union of a box with others; NaN of two without an area."""
    inner = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0)
    shared = inner[:, 0] * inner[:, 1]
    size, sizes = high - low, highs - lows
    union = size[0] * size[1] + sizes[:, 0] * sizes[:, 1] - shared
    result: Array = shared / union
    return result
