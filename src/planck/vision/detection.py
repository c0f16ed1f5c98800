"""What a detector found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detection:
    """One object on a picture.

    box_px:    x1, y1, x2, y2 in pixels of the picture, edges, not centres of pixels
    score:     0..1
    class_id:  index of its class
    label:     name of its class
    """

    box_px: tuple[float, float, float, float]
    score: float
    class_id: int
    label: str
