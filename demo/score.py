"""Mean average precision of detections against the truth, in NumPy.

source: Everingham et al., The PASCAL VOC challenge (2010): greedy matching in order of score;
        area under the precision envelope, at every recall reached
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f64[A, B] IoU of boxes [A, 4] and [B, 4], x1 y1 x2 y2."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return inside / np.maximum(area_a[:, None] + area_b[None] - inside, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, kinds: np.ndarray, limit: float) -> np.ndarray:
    """Indices that survive greedy non-maximum suppression within each class, best first."""
    order = np.argsort(-scores, kind="stable")
    boxes, kinds = boxes[order].astype(np.float64), kinds[order]
    clash = (iou(boxes, boxes) > limit) & (kinds[:, None] == kinds[None])
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return order[alive]


def average_precision(
    found: Sequence[tuple[np.ndarray, np.ndarray]], truth: Sequence[np.ndarray], threshold: float
) -> float:
    """AP of one class.

    found: per picture, boxes [K, 4] and scores [K];  truth: per picture, boxes [M, 4]
    """
    scores, hits = [], []
    for (boxes, score), real in zip(found, truth, strict=True):
        taken = np.zeros(len(real), bool)
        overlap = iou(boxes.astype(np.float64), real.astype(np.float64))
        for k in np.argsort(-score, kind="stable"):
            free = np.where(taken, -1.0, overlap[k])
            best = int(free.argmax()) if len(real) else -1
            hit = best >= 0 and free[best] >= threshold
            if hit:
                taken[best] = True
            scores.append(score[k])
            hits.append(hit)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.array(hits, np.float64)[order].cumsum()
    recall = np.concatenate(([0.0], right / max(sum(map(len, truth)), 1)))
    precision = np.concatenate(([1.0], right / np.arange(1, len(right) + 1)))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))
