"""Drawing: boxes where they belong, at any size, and the input left alone."""

from __future__ import annotations

import numpy as np
import pytest

from planck.errors import DTypeError
from planck.vision import Detection, draw
from planck.vision.draw import class_colour

GREY = np.full((240, 320, 3), 128, np.uint8)


def test_the_edges_have_the_colour_of_the_class() -> None:
    drawn = draw(GREY, [Detection((50, 60, 150, 200), 0.9, 3, "star")])
    assert tuple(drawn[130, 50]) == class_colour(3)
    assert tuple(drawn[130, 149]) == class_colour(3)
    assert tuple(drawn[199, 100]) == class_colour(3)
    assert (drawn[100:190, 60:140] == 128).all()
    assert (GREY == 128).all()


def test_labels_stay_inside_the_picture() -> None:
    corners = [(0, 0, 30, 30), (300, 0, 320, 20), (0, 210, 20, 240), (300, 220, 320, 240)]
    for box in corners:
        plain = draw(GREY, [Detection(box, 0.5, 1, "")])
        named = draw(GREY, [Detection(box, 0.5, 1, "circle")])
        assert (plain != named).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (1000, 700)])
def test_any_size_of_picture_and_box(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    boxes = [(0, 0, size[1], size[0]), (0, 0, 0, 0), (0.4, 0.4, 0.6, 0.6)]
    drawn = draw(image, [Detection(box, 1.0, 0, "a") for box in boxes])
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_nothing_found_draws_nothing() -> None:
    np.testing.assert_array_equal(draw(GREY, []), GREY)


def test_colours_of_many_classes_differ() -> None:
    assert len({class_colour(k) for k in range(80)}) == 80


def test_another_array_is_refused() -> None:
    with pytest.raises(DTypeError):
        draw(GREY.astype(np.float32), [])
