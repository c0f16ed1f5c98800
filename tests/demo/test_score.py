"""Average precision by hand, and suppression against planck's own."""

from __future__ import annotations

import numpy as np
import pytest
from score import average_precision, suppress

from planck.vision import nms

BOX = np.array([[0, 0, 10, 10]], np.float32)
AWAY = BOX + 50


def test_average_precision_by_hand() -> None:
    truth = [np.concatenate((BOX, AWAY)), BOX]
    found = [
        (np.concatenate((BOX, BOX + 20)), np.array([0.9, 0.8])),  # right, wrong
        (np.concatenate((BOX, BOX)), np.array([0.7, 0.6])),  # right, found already
    ]
    # in order: right, wrong, right, wrong; 3 to find: precision 1 to recall 1/3, 2/3 to recall 2/3
    assert average_precision(found, truth, 0.5) == pytest.approx(1 / 3 + 2 / 9)


def test_extremes_of_average_precision() -> None:
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0))
    assert average_precision([(BOX, np.array([0.3]))], [BOX], 0.5) == 1
    assert average_precision([(AWAY, np.array([0.3]))], [BOX], 0.5) == 0
    assert average_precision([nothing], [BOX], 0.5) == 0
    assert average_precision([(BOX, np.array([0.3]))], [nothing[0]], 0.5) == 0


def test_suppression_is_plancks() -> None:
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate((low, low + rng.uniform(5, 50, (80, 2))), 1).astype(np.float32)
    scores, kinds = rng.random(80).astype(np.float32), rng.integers(0, 3, 80)
    kept = suppress(boxes, scores, kinds, 0.4)
    assert kept.tolist() == nms(boxes, scores, kinds, 0.4).tolist()
