"""NMS and IoU against ONNX Runtime's NonMaxSuppression and a float64 loop."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from planck.errors import ShapeError
from planck.vision import iou, nms


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 80, (count, 2))
    return np.concatenate((low, low + rng.uniform(5, 60, (count, 2))), 1).astype(np.float32)


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def plain_nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Keep a box if no better kept one overlaps it: quadratic, one pair at a time."""
    kept: list[int] = []
    wide = boxes.astype(np.float64)
    for i in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        if all(plain_iou(wide[i], wide[j]) <= limit for j in kept):
            kept.append(i)
    return kept


def onnx_nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> set[tuple[int, int]]:
    """(class, box) pairs that ONNX Runtime keeps of boxes [K, 4] and scores [classes, K]."""
    value = helper.make_tensor_value_info
    names = ["boxes", "scores", "most", "limit"]
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", names, ["kept"])],
        "nms",
        [
            value("boxes", TensorProto.FLOAT, [1, len(boxes), 4]),
            value("scores", TensorProto.FLOAT, [1, *scores.shape]),
            value("most", TensorProto.INT64, [1]),
            value("limit", TensorProto.FLOAT, [1]),
        ],
        [value("kept", TensorProto.INT64, [None, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {
        "boxes": boxes[None],
        "scores": scores[None],
        "most": np.array([len(boxes)], np.int64),
        "limit": np.array([limit], np.float32),
    }
    (kept,) = session.run(None, feeds)
    return {(int(kind), int(box)) for _, kind, box in kept}


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.45, 0.9])
def test_nms_keeps_what_onnx_runtime_keeps(limit: float) -> None:
    rng = np.random.default_rng(7)
    boxes, scores = random_boxes(rng, 60), rng.random((3, 60)).astype(np.float32)
    kind, box = np.nonzero(scores >= 0)
    kept = nms(boxes[box], scores[kind, box], kind, limit)
    assert {(int(kind[k]), int(box[k])) for k in kept} == onnx_nms(boxes, scores, limit)


@pytest.mark.parametrize("count", [1, 2, 17, 90])
def test_nms_over_all_classes_is_the_plain_loop(count: int) -> None:
    rng = np.random.default_rng(count)
    boxes, scores = random_boxes(rng, count), rng.random(count).astype(np.float32)
    assert nms(boxes, scores, None, 0.4).tolist() == plain_nms(boxes, scores, 0.4)


def test_nms_is_best_first_and_stops_at_top() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], np.float32)
    scores = np.array([0.2, 0.9, 0.5], np.float32)
    assert nms(boxes, scores).tolist() == [1, 2, 0]
    assert nms(boxes, scores, top=2).tolist() == [1, 2]
    assert nms(boxes, scores, top=0).tolist() == []


def test_nms_of_equal_scores_keeps_the_first() -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9]], np.float32)
    assert nms(boxes, np.full(2, 0.5, np.float32)).tolist() == [0]


def test_nms_of_nothing_is_nothing() -> None:
    kept = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9]])
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30], [5, 5, 5, 9]])
    assert iou(a, b) == pytest.approx(np.array([[1 / 3, 1, 0, 0], [0, 0, 0, 0]]))


def test_iou_is_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 13), random_boxes(rng, 17)
    plain = [[plain_iou(x, y) for y in b.astype(np.float64)] for x in a.astype(np.float64)]
    np.testing.assert_allclose(iou(a, b), plain, rtol=1e-12)


def test_arrays_that_do_not_fit_are_refused() -> None:
    boxes = np.zeros((2, 4), np.float32)
    with pytest.raises(ShapeError, match="same length"):
        nms(boxes, np.zeros(3, np.float32))
    with pytest.raises(ShapeError, match="same length"):
        nms(boxes, np.zeros(2, np.float32), np.zeros(1, np.int64))
    with pytest.raises(ShapeError, match=r"\[N, 4\]"):
        iou(np.zeros((2, 5)), boxes)
