"""Open dimensions bound in the file: what is bound, what is left alone, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from bench import models
from bench.shapes import bound, parse_shapes

EXPORTED = Path(__file__).parent.parent / "data" / "exported"


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def test_an_open_batch_is_one(tmp_path: Path) -> None:
    model = onnx.load(bound(EXPORTED / "resnet-script.onnx", {}, tmp_path))
    assert dims(model.graph.input[0]) == [1, 3, 40, 56]
    assert dims(model.graph.output[0]) == [1, 7]


@pytest.mark.parametrize("exporter", ["script", "dynamo"])
def test_a_symbol_is_bound_for_all_inputs_that_share_it(tmp_path: Path, exporter: str) -> None:
    file = EXPORTED / f"bert-{exporter}.onnx"
    copy = bound(file, {"mask": (5, 9)}, tmp_path)
    model = onnx.load(copy)
    assert [dims(value) for value in model.graph.input] == [[5, 9], [5, 9]]
    feed = models.inputs(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    one, two = (
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in (file, copy)
    )
    for a, b in zip(one.run(None, feed), two.run(None, feed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_file_without_open_dimensions_is_used_as_it_is(tmp_path: Path) -> None:
    file = EXPORTED / "yolov5-script.onnx"
    assert bound(file, {}, tmp_path) == file


def test_an_unnamed_dimension_is_bound_by_its_inputs_shape(tmp_path: Path) -> None:
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, 4])
        for name in ("x", "y")
    )
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "open", [x], [y])
    file = tmp_path / "open.onnx"
    onnx.save(helper.make_model(graph), file)
    (tmp_path / "to").mkdir()
    model = onnx.load(bound(file, {"x": (2, 3, 4)}, tmp_path / "to"))
    assert dims(model.graph.input[0]) == [2, 3, 4]
    with pytest.raises(ValueError, match=r"dimension 1 \(unnamed\) of input 'x'.*--shape x:1x1x4"):
        bound(file, {}, tmp_path / "to")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"dimension 1 \(length\) of input 'ids' is open.*--shape ids:1x1"),
        ({"image": (1, 3)}, "no input 'image'; there are ids, mask"),
        ({"ids": (1, 2, 3)}, r"input 'ids' is .*'batch', 'length'.* gives \[1, 2, 3\]"),
        ({"ids": (1, 8), "mask": (1, 9)}, r"input 'mask' .* gives \[1, 9\]"),
    ],
)
def test_what_does_not_bind_says_what_to_give(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bound(EXPORTED / "bert-script.onnx", shapes, tmp_path)


def test_shapes_are_read_as_the_command_line_has_them() -> None:
    assert parse_shapes(["a:0:1x3", "b:7"]) == {"a:0": (1, 3), "b": (7,)}
    with pytest.raises(ValueError, match="images:1x3x640x640"):
        parse_shapes(["a=1x3"])
