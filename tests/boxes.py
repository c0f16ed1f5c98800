"""Boxes to choose among, in the tests of several folders."""

from __future__ import annotations

import numpy as np

from planck.dtypes import Array


def random_boxes(images: int, classes: int, number: int, seed: int = 0) -> dict[str, Array]:
    """Boxes of which many overlap, corners in either order, some scores alike."""
    rng = np.random.default_rng(seed)
    begins = rng.uniform(0, 8, (images, number, 2))
    boxes = np.concatenate([begins, begins + rng.uniform(-1, 3, (images, number, 2))], 2)
    scores = rng.integers(0, 50, (images, classes, number)) / 50
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32)}


def odd_boxes(classes: int, number: int) -> dict[str, Array]:
    """Among them some without an area, not a number, and scores beyond all."""
    given = random_boxes(1, classes, number)
    given["scores"][0, -1, ::7] = np.nan
    given["scores"][0, 0, ::9] = np.inf
    given["boxes"][0, ::5, 2:] = given["boxes"][0, ::5, :2]
    given["boxes"][0, ::11] = np.nan
    return given
