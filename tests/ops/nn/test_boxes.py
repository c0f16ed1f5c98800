"""Non-maximum suppression against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from planck.dtypes import Array, f32, i32
from planck.errors import DTypeError, ShapeError
from planck.ir.types import TensorType
from planck.ops.nn import NonMaxSuppression
from tests.boxes import random_boxes


def onnx_rows(op: NonMaxSuppression, boxes: Array, scores: Array) -> Array:
    constants = {
        "most": np.array([op.most]),
        "overlap": np.array([op.overlap], np.float32),
        "lowest": np.array([op.lowest], np.float32),
    }
    names = ["boxes", "scores", *constants]
    node = helper.make_node("NonMaxSuppression", names, ["y"], center_point_box=int(op.centred))
    code = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "most": TensorProto.INT64}
    given = [
        helper.make_tensor_value_info(name, code.get(name, TensorProto.FLOAT), None)
        for name in names
    ]
    made = helper.make_tensor_value_info("y", TensorProto.INT64, [None, 3])
    graph = helper.make_graph([node], "boxes", given, [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (rows,) = session.run(None, {"boxes": boxes, "scores": scores, **constants})
    return np.asarray(rows)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_rows_of_onnx_runtime(seed: int, centred: bool) -> None:
    given = random_boxes(2, 3, 60, seed)
    if centred:
        given["boxes"][..., 2:] = np.abs(given["boxes"][..., 2:]) / 4
    op = NonMaxSuppression(4 + 12 * seed, 0.1 * (seed + 1), 0.2 * seed, centred)
    rows, count = op.reference(*given.values())
    wanted = onnx_rows(op, **given)
    assert count == len(wanted)
    np.testing.assert_array_equal(rows[: len(wanted)], wanted)
    assert (rows[len(wanted) :] == -1).all()
    assert rows.shape == op.infer(*(TensorType(a.shape, f32) for a in given.values()))[0].dims


def test_refusals() -> None:
    boxes, scores = TensorType((2, 5, 4), f32), TensorType((2, 3, 5), f32)
    for wrong in (
        (TensorType((2, 5, 3), f32), scores),
        (TensorType((1, 5, 4), f32), scores),
        (boxes, TensorType((2, 5), f32)),
        (boxes,),
    ):
        with pytest.raises(ShapeError):
            NonMaxSuppression(3, 0.5).infer(*wrong)
    with pytest.raises(ShapeError):
        NonMaxSuppression(-1, 0.5).infer(boxes, scores)
    with pytest.raises(DTypeError):
        NonMaxSuppression(3, 0.5).infer(boxes, TensorType((2, 3, 5), i32))
