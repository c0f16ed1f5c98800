"""Heads against loops over cells, written from the papers' formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from planck.errors import ShapeError
from planck.vision import AnchorFreeHead, AnchorFreeMaps, DarknetMaps, YoloV5Head, YoloV5Maps
from planck.vision.heads import V3_ANCHORS, V4_ANCHORS, V4_SCALES_XY, Candidates, Head

SIZE = (64, 96)
GRIDS = ((8, 12), (4, 6), (2, 3))
CLASSES = 3


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def corners(x: float, y: float, w: float, h: float) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def each_cell(
    maps: list[np.ndarray], decode: Callable[[np.ndarray, int, int, int, int], tuple]
) -> tuple[np.ndarray, np.ndarray]:
    """Run decode(values, scale, anchor, row, column) on maps [A, C, H, W]; boxes and scores."""
    boxes, scores = [], []
    for scale, cells in enumerate(maps):
        for anchor in range(cells.shape[0]):
            for y in range(cells.shape[2]):
                for x in range(cells.shape[3]):
                    values = cells[anchor, :, y, x].astype(np.float64)
                    box, score = decode(values, scale, anchor, y, x)
                    boxes.append(box)
                    scores.append(score)
    return np.array(boxes), np.array(scores)


def assert_same(found: Candidates, boxes: np.ndarray, scores: np.ndarray) -> None:
    """float32 against float64: boxes up to 500 pixels, so 1e-3 is a few units of last place."""
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-6)


def random_maps(batch: int, anchors: int, channels: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1.5, (batch, anchors, channels, *g)).astype(np.float32) for g in GRIDS]


@pytest.mark.parametrize(("anchors", "stretch"), [(V3_ANCHORS, ()), (V4_ANCHORS, V4_SCALES_XY)])
def test_darknet_maps(anchors: tuple, stretch: tuple) -> None:
    maps = random_maps(2, 3, 5 + CLASSES)
    joined = [m.reshape(2, -1, *m.shape[3:]) for m in maps]
    found = DarknetMaps(anchors, stretch)(joined, SIZE)

    def decode(t: np.ndarray, scale: int, anchor: int, y: int, x: int) -> tuple:
        stride, s = 8 << scale, stretch[scale] if stretch else 1.0
        w, h = anchors[scale][anchor]
        bx = (x + sigmoid(t[0]) * s - (s - 1) / 2) * stride
        by = (y + sigmoid(t[1]) * s - (s - 1) / 2) * stride
        box = corners(bx, by, w * math.exp(t[2]), h * math.exp(t[3]))
        return box, [sigmoid(t[4]) * sigmoid(c) for c in t[5:]]

    for picture in range(2):
        assert_same(found[picture], *each_cell([m[picture] for m in maps], decode))


def test_darknet_new_coords() -> None:
    maps = [np.random.default_rng(1).random((1, 3, 8, *g), np.float32) for g in GRIDS]
    joined = [m.reshape(1, -1, *m.shape[3:]) for m in maps]
    (found,) = DarknetMaps(V4_ANCHORS, (2.0, 2.0, 2.0), new_coords=True)(joined, SIZE)

    def decode(p: np.ndarray, scale: int, anchor: int, y: int, x: int) -> tuple:
        stride, (w, h) = 8 << scale, V4_ANCHORS[scale][anchor]
        centre = (x + 2 * p[0] - 0.5) * stride, (y + 2 * p[1] - 0.5) * stride
        return corners(*centre, w * 4 * p[2] ** 2, h * 4 * p[3] ** 2), list(p[4] * p[5:])

    assert_same(found, *each_cell([m[0] for m in maps], decode))


def test_yolov5_maps() -> None:
    maps = random_maps(2, 3, 5 + CLASSES)
    found = YoloV5Maps()([m.transpose(0, 1, 3, 4, 2) for m in maps], SIZE)

    def decode(t: np.ndarray, scale: int, anchor: int, y: int, x: int) -> tuple:
        stride, (w, h) = 8 << scale, V3_ANCHORS[scale][anchor]
        centre = (2 * sigmoid(t[0]) - 0.5 + x) * stride, (2 * sigmoid(t[1]) - 0.5 + y) * stride
        box = corners(*centre, w * (2 * sigmoid(t[2])) ** 2, h * (2 * sigmoid(t[3])) ** 2)
        return box, [sigmoid(t[4]) * sigmoid(c) for c in t[5:]]

    for picture in range(2):
        assert_same(found[picture], *each_cell([m[picture] for m in maps], decode))


@pytest.mark.parametrize("bins", [4, 16])
def test_anchor_free_maps(bins: int) -> None:
    maps = random_maps(2, 1, 4 * bins + CLASSES)
    found = AnchorFreeMaps(bins)([m[:, 0] for m in maps], SIZE)

    def decode(t: np.ndarray, scale: int, anchor: int, y: int, x: int) -> tuple:
        stride, reach = 8 << scale, []
        for edge in range(4):
            weights = [math.exp(v) for v in t[edge * bins : (edge + 1) * bins]]
            reach.append(sum(i * w for i, w in enumerate(weights)) / sum(weights))
        low = (x + 0.5 - reach[0]) * stride, (y + 0.5 - reach[1]) * stride
        high = (x + 0.5 + reach[2]) * stride, (y + 0.5 + reach[3]) * stride
        return [*low, *high], [sigmoid(c) for c in t[4 * bins :]]

    for picture in range(2):
        assert_same(found[picture], *each_cell([m[picture] for m in maps], decode))


def test_decoded_outputs_by_hand() -> None:
    rows = np.array([[[10], [20], [4], [8], [0.5], [0.25]]], np.float32)
    (found,) = AnchorFreeHead()([rows], SIZE)
    assert found.boxes.tolist() == [[8, 16, 12, 24]]
    assert found.scores.tolist() == [[0.5, 0.25]]
    columns = np.array([[[10, 20, 4, 8, 0.5, 1.0, 0.25]]], np.float32)
    (found,) = YoloV5Head()([columns], SIZE)
    assert found.boxes.tolist() == [[8, 16, 12, 24]]
    assert found.scores.tolist() == [[0.5, 0.125]]


def outputs_of(head: Head) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    if isinstance(head, AnchorFreeHead):
        return [rng.random((2, 4 + CLASSES, 126), np.float32)]
    if isinstance(head, YoloV5Head):
        return [rng.random((2, 378, 5 + CLASSES), np.float32)]
    if isinstance(head, AnchorFreeMaps):
        return [m[:, 0] for m in random_maps(2, 1, 64 + CLASSES)]
    maps = random_maps(2, 3, 5 + CLASSES)
    if isinstance(head, YoloV5Maps):
        return [m.transpose(0, 1, 3, 4, 2) for m in maps]
    return [m.reshape(2, -1, *m.shape[3:]) for m in maps]


HEADS = (AnchorFreeHead(), YoloV5Head(), AnchorFreeMaps(), YoloV5Maps(), DarknetMaps())


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("least", [0.3, 1.0])
def test_least_loses_no_cell_that_reaches_it(head: Head, least: float) -> None:
    for whole, part in zip(
        head(outputs_of(head), SIZE), head(outputs_of(head), SIZE, least), strict=True
    ):
        good = whole.scores.max(1) >= least
        left = part.scores.max(1, initial=0) >= least
        np.testing.assert_array_equal(part.boxes[left], whole.boxes[good])
        np.testing.assert_array_equal(part.scores[left], whole.scores[good])
        assert len(part.boxes) < len(whole.boxes)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_outputs_of_another_head_are_refused(head: Head) -> None:
    with pytest.raises(ShapeError, match=type(head).__name__):
        head([np.zeros((1, 2), np.float32)], SIZE)


def test_extreme_and_undefined_values_do_no_harm() -> None:
    maps = [np.full((1, 24, *g), 1e4, np.float32) for g in GRIDS]
    for cells in maps:
        cells[:, 4] = np.nan  # objectness of the first of three anchors
    (found,) = DarknetMaps()(maps, SIZE, 0.1)
    assert len(found.boxes) == 2 * sum(rows * columns for rows, columns in GRIDS)
    assert np.isfinite(found.boxes).all()


def test_maps_that_do_not_fit_the_anchors() -> None:
    maps = [np.zeros((1, 24, *g), np.float32) for g in GRIDS]
    with pytest.raises(ShapeError, match="2 maps, but anchors for 3"):
        DarknetMaps()(maps[:2], SIZE)
    with pytest.raises(ShapeError, match="25 channels"):
        DarknetMaps()([np.zeros((1, 25, *g), np.float32) for g in GRIDS], SIZE)
    with pytest.raises(ShapeError, match=r"\[2, 8, 12, 8\]"):
        YoloV5Maps()([np.zeros((1, 2, *g, 8), np.float32) for g in GRIDS], SIZE)
    with pytest.raises(ShapeError, match="no room for classes"):
        AnchorFreeMaps()([np.zeros((1, 64, *g), np.float32) for g in GRIDS], SIZE)
