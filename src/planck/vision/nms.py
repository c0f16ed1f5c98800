"""Non-maximum suppression in NumPy."""

from __future__ import annotations

import numpy as np

from planck.dtypes import Array
from planck.errors import ShapeError


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of every box of a with every box of b.

    a, b:   [A, 4] and [B, 4], x1 y1 x2 y2; boxes without area overlap nothing
    gives:  f64[A, B] in 0..1
    raises: ShapeError if a or b is not [N, 4]
    source: Jaccard index of the two areas
    """
    _check_boxes(a)
    _check_boxes(b)
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0.0, None).prod(-1)  # [A, B]
    union = _area(a)[:, None] + _area(b)[None] - inside
    ratio: Array = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return ratio


def nms(
    boxes: Array,
    scores: Array,
    classes: Array | None = None,
    limit: float = 0.45,
    top: int = 300,
) -> Array:
    """Keep the best box, drop those of its class that overlap it too much, and so on.

    boxes:   [K, 4], x1 y1 x2 y2
    scores:  [K]; of equal scores, the first box counts as the better one
    classes: integers [K]; None lets boxes of all classes suppress each other
    limit:   a box is dropped when its IoU with a kept one is greater
    top:     keep at most so many
    gives:   i64[<= top], indices of the kept boxes, best first
    raises:  ShapeError if the arrays do not fit together
    source:  Neubeck and Van Gool, Efficient Non-Maximum Suppression, ICPR 2006 (greedy)
    """
    _check_boxes(boxes)
    if scores.shape != boxes.shape[:1] or (classes is not None and classes.shape != scores.shape):
        raise ShapeError(
            "boxes, scores and classes must have the same length",
            know=f"boxes {list(boxes.shape)}, scores {list(scores.shape)}"
            + ("" if classes is None else f", classes {list(classes.shape)}"),
        )
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < top:
        best, left = left[0], left[1:]
        kept.append(int(best))
        clash = iou(boxes[best : best + 1], boxes[left])[0] > limit
        if classes is not None:
            clash &= classes[left] == classes[best]
        left = left[~clash]
    return np.array(kept, np.int64)


def _area(boxes: Array) -> Array:
    area: Array = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(-1)
    return area


def _check_boxes(boxes: Array) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"boxes are [N, 4], these have shape {list(boxes.shape)}")
