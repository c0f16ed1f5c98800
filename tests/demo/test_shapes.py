"""The demo's pictures: the same from a seed, boxes where the shapes are."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import CLASSES, HELD_OUT, MAX_SHAPES, draw

SEEDS = range(HELD_OUT, HELD_OUT + 8)


def test_a_seed_gives_one_picture() -> None:
    first, again, other = draw(5, 120, 160), draw(5, 120, 160), draw(6, 120, 160)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert (first.pixels != other.pixels).any()


@pytest.mark.parametrize(("height", "width"), [(160, 160), (97, 160), (160, 75)])
def test_boxes_lie_inside_the_picture(height: int, width: int) -> None:
    for seed in SEEDS:
        picture = draw(seed, height, width)
        assert picture.pixels.shape == (height, width, 3)
        assert picture.pixels.dtype == np.uint8
        assert picture.boxes.shape == (len(picture.classes), 4)
        assert 1 <= len(picture.classes) <= MAX_SHAPES
        low, high = picture.boxes[:, :2], picture.boxes[:, 2:]
        assert (low >= 0).all()
        assert (high <= (width, height)).all()
        assert (high - low >= 4).all()


def test_every_class_appears() -> None:
    seen = np.concatenate([draw(seed, 96, 96).classes for seed in SEEDS])
    assert set(seen.tolist()) == set(range(len(CLASSES)))


def test_photographs_serve_as_backgrounds() -> None:
    photo = np.full((200, 300, 3), 77, np.uint8)
    plain = [draw(seed, 96, 96).pixels for seed in SEEDS]
    backed = [draw(seed, 96, 96, photos=[photo]).pixels for seed in SEEDS]
    assert any((a != b).any() for a, b in zip(plain, backed, strict=True))
