"""NonMaxSuppression: as many rows as there can be and their number, where boxes are not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import planck
from planck import onnx_backend
from planck.frontends.onnx import read
from tests.boxes import random_boxes

GIVEN = random_boxes(2, 3, 20)
HELD = {
    "most": np.array([4]),
    "overlap": np.array([0.4], np.float32),
    "lowest": np.array([0.85], np.float32),
}


def model(constants: dict[str, Any], more: str = "") -> onnx.ModelProto:
    """The operator, perhaps with another behind it."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("NonMaxSuppression", [*GIVEN, *HELD], ["chosen"])]
    last = "chosen"
    if more:
        nodes.append(helper.make_node(more, [last], [last := "more"]))
    graph = helper.make_graph(
        nodes, "boxes",
        [value(n, TensorProto.FLOAT, a.shape) for n, a in GIVEN.items() if n not in constants],
        [value(last, TensorProto.INT64, [None, 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def test_rows_and_their_number() -> None:
    graph = read(model(HELD))
    assert [graph.names[v.name] for v in graph.outputs] == ["chosen", "chosen[count]"]
    assert [v.type.dims for v in graph.outputs] == [(24, 3), ()]
    found = planck.build(model(HELD), optimization_level=0)(GIVEN)
    (cut,) = onnx_backend.prepare(model(HELD)).run(list(GIVEN.values()))
    count = int(found["chosen[count]"])
    assert 0 < count < 24
    np.testing.assert_array_equal(found["chosen"][:count], cut)
    assert (found["chosen"][count:] == -1).all()


def test_known_boxes_give_the_rows_alone() -> None:
    graph = read(model({**HELD, **GIVEN}, "Abs"))
    (cut,) = onnx_backend.prepare(model(HELD)).run(list(GIVEN.values()))
    assert [v.type.dims for v in graph.outputs] == [cut.shape]
