"""YOLO heads: a network's outputs to boxes in input pixels and a score for each class.

Boxes are x1 y1 x2 y2 in pixels of the network's input. `least` lets a head leave out cells that
cannot reach that score, before the costly part. `planck.vision.choose` finds the head of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from planck.dtypes import Array
from planck.errors import ShapeError

Anchors = tuple[tuple[tuple[float, float], ...], ...]  # [scale][anchor] -> width, height in pixels

# source: Redmon and Farhadi, YOLOv3 (arXiv:1804.02767), section 2.3; YOLOv5 keeps them
V3_ANCHORS: Final[Anchors] = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
# source: Darknet, cfg/yolov4.cfg, anchors= and scale_x_y=
V4_ANCHORS: Final[Anchors] = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
V4_SCALES_XY: Final = (1.2, 1.1, 1.05)

_MOST_GROWTH: Final = 10.0  # exp(10) anchors are wider than any picture; more could overflow


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one picture's outputs say, before suppression.

    boxes:   f32[K, 4], x1 y1 x2 y2 in input pixels
    scores:  f32[K, classes] in 0..1
    """

    boxes: Array
    scores: Array


class Head(Protocol):
    """One way in which a network spells boxes."""

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        """Decode the outputs of a batch.

        outputs: in the order in which the head wants them
        size:    (height, width) of the network's input in pixels
        least:   leave out cells that cannot reach this score
        gives:   one Candidates a picture
        raises:  ShapeError if the outputs are not of this head
        """
        ...


@dataclass(frozen=True, slots=True)
class AnchorFreeHead:
    """YOLOv8 and later, decoded in the network: [B, 4 + classes, N].

    Rows: centre x, centre y, width, height in pixels, then a probability for each class.
    """

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        (rows,) = _of_rank(self, outputs, 3)
        found = []
        for picture in rows:
            picture = picture[:, picture[4:].max(0) >= least] if least > 0 else picture
            found.append(Candidates(_corners(picture[:4].T), _f32(picture[4:].T)))
        return found


@dataclass(frozen=True, slots=True)
class AnchorFreeMaps:
    """YOLOv8 and later, raw: a map [B, 4 * bins + classes, H, W] a stride, finest first.

    Each edge lies at the expectation of a distribution over 0..bins-1 cells from the cell's centre.

    source: Li et al., Generalized Focal Loss (arXiv:2006.04388), equation 5
    """

    bins: int = 16

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        maps = _of_rank(self, outputs, 4)
        return _each_picture(maps, lambda cells, scale: self._decode(cells, size, least))

    def _decode(self, cells: Array, size: tuple[int, int], least: float) -> Candidates:
        channels, rows, columns = cells.shape
        if channels <= 4 * self.bins:
            raise ShapeError(
                f"a map of {channels} channels has no room for classes",
                know=f"4 edges of {self.bins} bins take {4 * self.bins}",
            )
        y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
        flat = _f32(cells.reshape(channels, -1))  # [C, cells]
        picked = flat[4 * self.bins :].max(0) >= _logit(least)
        flat, x, y = flat[:, picked], x[picked], y[picked]
        bins = flat[: 4 * self.bins].reshape(4, self.bins, -1)
        weight = np.exp(bins - bins.max(1, keepdims=True))
        steps = np.arange(self.bins, dtype=np.float32)
        reach = np.einsum("ebn,b->en", weight, steps) / weight.sum(1)  # [4, cells]
        centre = np.stack((x, y)) + 0.5  # [2, cells]
        sides = np.concatenate((centre - reach[:2], centre + reach[2:])).T
        stride = (size[1] / columns, size[0] / rows) * 2
        return Candidates(_f32(sides * stride), _sigmoid(flat[4 * self.bins :].T))


@dataclass(frozen=True, slots=True)
class YoloV5Head:
    """YOLOv5 to v7, decoded in the network: [B, N, 5 + classes].

    Columns: centre x, centre y, width, height in pixels, objectness, a probability for each class.
    A class's score is objectness times probability.
    """

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        (rows,) = _of_rank(self, outputs, 3)
        found = []
        for picture in rows:
            picture = _f32(picture[picture[:, 4] >= least])
            found.append(Candidates(_corners(picture[:, :4]), picture[:, 4:5] * picture[:, 5:]))
        return found


@dataclass(frozen=True, slots=True)
class YoloV5Maps:
    """YOLOv5 to v7, raw: a map [B, A, H, W, 5 + classes] of logits a stride, finest first.

    centre = (2 sigmoid(t) - 0.5 + cell) * stride, size = (2 sigmoid(t))^2 * anchor

    source: Ultralytics, YOLOv5 documentation, "Architecture description", 4.3 eliminate grid
            sensitivity
    """

    anchors: Anchors = V3_ANCHORS

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        maps = _of_rank(self, outputs, 5)
        _check_scales(maps, self.anchors)
        return _each_picture(maps, lambda cells, scale: self._decode(cells, scale, size, least))

    def _decode(self, cells: Array, scale: int, size: tuple[int, int], least: float) -> Candidates:
        anchors = np.array(self.anchors[scale], np.float32)
        count, rows, columns, channels = cells.shape
        if count != len(anchors) or channels <= 5:
            raise ShapeError(
                f"a map {list(cells.shape)} is not [{len(anchors)}, H, W, 5 + classes]",
                try_="give the head the model's own anchors",
            )
        anchor, y, x = np.nonzero(cells[..., 4] >= _logit(least))
        picked = _sigmoid(cells[anchor, y, x])  # [K, 5 + classes]
        stride = np.array((size[1] / columns, size[0] / rows))
        centre = (2 * picked[:, :2] - 0.5 + np.stack((x, y), 1)) * stride
        extent = (2 * picked[:, 2:4]) ** 2 * anchors[anchor]
        boxes = _corners(np.concatenate((centre, extent), 1))
        return Candidates(boxes, picked[:, 4:5] * picked[:, 5:])


@dataclass(frozen=True, slots=True)
class DarknetMaps:
    """YOLOv3 and v4, raw: a map [B, A * (5 + classes), H, W] a stride, finest first.

    centre = (s * sigmoid(t) - (s - 1) / 2 + cell) * stride, size = exp(t) * anchor

    anchors:    for each map, finest first
    scales_xy:  s for each map (`scale_x_y` in the cfg); 1 throughout when empty
    new_coords: the maps hold probabilities, and size = (2 p)^2 * anchor (Scaled-YOLOv4)

    source: Darknet, src/yolo_layer.c, get_yolo_box; Redmon and Farhadi (arXiv:1804.02767), 2.1
    """

    anchors: Anchors = V3_ANCHORS
    scales_xy: tuple[float, ...] = ()
    new_coords: bool = False

    def __call__(
        self, outputs: Sequence[Array], size: tuple[int, int], least: float = 0.0
    ) -> list[Candidates]:
        maps = _of_rank(self, outputs, 4)
        _check_scales(maps, self.anchors)
        return _each_picture(maps, lambda cells, scale: self._decode(cells, scale, size, least))

    def _decode(self, cells: Array, scale: int, size: tuple[int, int], least: float) -> Candidates:
        anchors = np.array(self.anchors[scale], np.float32)
        stretch = self.scales_xy[scale] if self.scales_xy else 1.0
        channels, rows, columns = cells.shape
        if channels % len(anchors) or channels // len(anchors) <= 5:
            raise ShapeError(
                f"a map of {channels} channels is not {len(anchors)} x (5 + classes)",
                try_="give the head the model's own anchors",
            )
        cells = cells.reshape(len(anchors), -1, rows, columns)
        floor = least if self.new_coords else _logit(least)
        anchor, y, x = np.nonzero(cells[:, 4] >= floor)
        picked = _f32(cells[anchor, :, y, x])  # [K, 5 + classes]
        chance = picked if self.new_coords else _sigmoid(picked)
        stride = np.array((size[1] / columns, size[0] / rows))
        centre = (stretch * chance[:, :2] - (stretch - 1) / 2 + np.stack((x, y), 1)) * stride
        if self.new_coords:
            grown = (2 * picked[:, 2:4]) ** 2
        else:
            grown = np.exp(np.minimum(picked[:, 2:4], _MOST_GROWTH))
        boxes = _corners(np.concatenate((centre, grown * anchors[anchor]), 1))
        return Candidates(boxes, chance[:, 4:5] * chance[:, 5:])


def _of_rank(head: Head, outputs: Sequence[Array], rank: int) -> list[Array]:
    """The outputs as they are, if all have the rank that the head reads."""
    shapes = [list(output.shape) for output in outputs]
    single = rank == 3
    if not outputs or any(len(s) != rank for s in shapes) or (single and len(outputs) != 1):
        wanted = "one output of rank 3" if single else f"maps of rank {rank}"
        raise ShapeError(
            f"{type(head).__name__} reads {wanted}",
            know=f"these outputs have the shapes {shapes}",
            try_="planck.vision.find_head chooses a head by the outputs' shapes",
        )
    return list(outputs)


def _check_scales(maps: Sequence[Array], anchors: Anchors) -> None:
    if len(maps) != len(anchors):
        raise ShapeError(
            f"{len(maps)} maps, but anchors for {len(anchors)}",
            try_="give the head one row of anchors for each map, finest map first",
        )


def _each_picture(
    maps: Sequence[Array], decode: Callable[[Array, int], Candidates]
) -> list[Candidates]:
    """Decode every picture's map of every scale; join the scales of each picture."""
    found = []
    for picture in range(len(maps[0])):
        parts = [decode(cells[picture], scale) for scale, cells in enumerate(maps)]
        boxes = np.concatenate([part.boxes for part in parts])
        found.append(Candidates(boxes, np.concatenate([part.scores for part in parts])))
    return found


def _corners(boxes: Array) -> Array:
    """[K, 4] centre x, centre y, width, height -> f32[K, 4] x1 y1 x2 y2."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return _f32(np.concatenate((centre - half, centre + half), 1))


def _f32(values: Array) -> Array:
    return values.astype(np.float32, copy=False)


def _sigmoid(values: Array) -> Array:
    with np.errstate(over="ignore"):  # exp of a large number is inf, whose sigmoid is 0: right
        return 1 / (1 + np.exp(-_f32(values)))


def _logit(chance: float) -> float:
    """The value whose sigmoid is chance; sigmoid(t) >= chance is t >= logit(chance)."""
    if chance <= 0:
        return -math.inf
    return math.inf if chance >= 1 else math.log(chance / (1 - chance))
