"""Letterbox: geometry by hand, round trips by property, pixels against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from planck.errors import DTypeError, InputError, ShapeError
from planck.vision import letterbox

sides = st.integers(1, 200)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 997 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def test_a_wide_picture_by_hand() -> None:
    x, fit = letterbox(picture(50, 100), (64, 80))
    assert (fit.scale_x, fit.scale_y, fit.left, fit.top) == (0.8, 0.8, 0, 12)
    assert x.shape == (3, 64, 80)
    assert x.dtype == np.float32
    grey = np.float32(114 / 255)
    assert (x[:, :12] == grey).all()
    assert (x[:, 52:] == grey).all()
    box = np.array([[10, 20, 30, 40]], np.float32)
    assert fit.to_input(box).tolist() == [[8, 28, 24, 44]]


def test_pixels_are_pillows() -> None:
    image = picture(37, 53)
    x, fit = letterbox(image, (96, 96))
    scaled = Image.fromarray(image).resize((96, 67), Image.Resampling.BILINEAR)
    inside = x[:, fit.top : fit.top + 67]
    np.testing.assert_array_equal(inside, np.asarray(scaled).transpose(2, 0, 1) / np.float32(255))


def test_shrinking_by_a_whole_factor_is_the_mean_of_pixels() -> None:
    image = picture(60, 90)
    x, _ = letterbox(image, (20, 30))
    mean = image.reshape(20, 3, 30, 3, 3).mean((1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(x, mean, atol=1 / 255)  # a unit of its 8 bits


def test_shrinking_keeps_places() -> None:
    """A ramp from left to right stays that ramp, at the centres of the new pixels."""
    ramp = np.broadcast_to(np.arange(250, dtype=np.uint8)[None, :, None], (77, 250, 3))
    x, fit = letterbox(ramp, (64, 67))
    row = x[0, fit.top + 3] * 255
    np.testing.assert_allclose(row[2:-2], (np.arange(67) + 0.5)[2:-2] / fit.scale_x - 0.5, atol=1)


def test_a_picture_that_fits_is_left_as_it_is() -> None:
    image = picture(32, 64)
    x, fit = letterbox(image[:, ::-1], (32, 64))
    np.testing.assert_array_equal(x, image[:, ::-1].transpose(2, 0, 1) / np.float32(255))
    assert (fit.scale_x, fit.scale_y, fit.left, fit.top) == (1, 1, 0, 0)


@given(sides, sides, sides, sides)
def test_boxes_come_back(rows: int, columns: int, height: int, width: int) -> None:
    _, fit = letterbox(picture(rows, columns), (height, width))
    rng = np.random.default_rng(rows)
    corners = np.sort(rng.random((5, 2, 2)), 1).reshape(5, 4) * ((columns, rows) * 2)
    boxes = corners.astype(np.float32)
    inside = fit.to_input(boxes)
    assert (inside >= 0).all()
    assert (inside <= np.array((width, height) * 2) + 1e-3).all()
    np.testing.assert_allclose(fit.to_picture(inside), boxes, atol=2e-3, rtol=1e-4)


def test_boxes_are_cut_at_the_pictures_edge() -> None:
    _, fit = letterbox(picture(50, 100), (64, 80))
    whole = fit.to_picture(np.array([[-5, -5, 900, 900]], np.float32))
    assert whole.tolist() == [[0, 0, 100, 50]]
    assert fit.to_picture(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[4, 5\]"):
        letterbox(np.zeros((4, 5), np.uint8), (32, 32))
    with pytest.raises(ShapeError, match=r"\[0, 5, 3\]"):
        letterbox(np.zeros((0, 5, 3), np.uint8), (32, 32))
    with pytest.raises(DTypeError, match="float32"):
        letterbox(np.zeros((4, 5, 3), np.float32), (32, 32))
    with pytest.raises(InputError, match="list"):
        letterbox([[1]], (32, 32))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="0 x 32"):
        letterbox(picture(4, 4), (0, 32))
