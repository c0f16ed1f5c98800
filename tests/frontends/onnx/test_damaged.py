"""Damaged and hostile models end in a graph or in an error that says what is wrong."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from planck.errors import (
    FileError,
    ModelFormatError,
    PlanckError,
    ShapeError,
    UnsupportedOperator,
)
from planck.frontends.onnx import read
from tests.frontends.onnx.backend import CASES

EXTREMES = (0, -1, 1, 2, 5, -9, 1 << 16, 1 << 31, (1 << 40) + 1, 1 << 62, -(1 << 62))
SMALL = [name for name in sorted(CASES) if CASES[name].model.ByteSize() < 20_000]


def made(nodes: list[Any], dims: Any = (1, 3), weights: Any = (), **more: Any) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    given = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph(nodes, "g", [x], [y], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], **more)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_bytes(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        data = bytearray(CASES[rng.choice(SMALL)].model.SerializeToString())
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        _must_end(bytes(data))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_fields(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(120):
        model = onnx.ModelProto()
        model.CopyFrom(CASES[rng.choice(SMALL)].model)
        for _ in range(rng.randrange(1, 4)):
            _mutate(model, rng)
        _must_end(model)


def _mutate(model: onnx.ModelProto, rng: random.Random) -> None:
    graph, node = model.graph, rng.choice(model.graph.node)
    match rng.randrange(5):
        case 0 if node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i = rng.choice(EXTREMES)
            attribute.ints[:] = [rng.choice(EXTREMES) for _ in attribute.ints]
        case 1 if graph.input:
            kind = rng.choice(graph.input).type.tensor_type
            for dim in kind.shape.dim:
                dim.dim_value = rng.choice((dim.dim_value, *EXTREMES))
        case 2 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(["", *node.output])
        case 3:
            other = rng.choice(CASES[rng.choice(SMALL)].model.graph.node)
            node.op_type, node.domain = other.op_type, other.domain
        case 4:
            model.opset_import[0].version = rng.choice((7, 9, 10, 12, 17, 18, 1 << 40))


def _must_end(source: Any) -> None:
    with suppress(PlanckError):
        read(source)


def test_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="not an ONNX file"):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelFormatError, match="holds no graph"):
        read(b"")
    with pytest.raises(FileError, match="cannot read"):
        read(tmp_path / "missing.onnx")


def test_all_gaps_at_once() -> None:
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], "first"),
        helper.make_node("Foo", ["a"], ["b"]),
        helper.make_node("Bar", ["b"], ["y"], "bar", domain="com.acme"),
    ]
    extra = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 3)]
    model = made(nodes)
    del model.opset_import[:]
    model.opset_import.extend(extra)
    with pytest.raises(UnsupportedOperator) as caught:
        read(model)
    text = str(caught.value)
    assert '2 x Foo (domain ai.onnx, opset 17), first "first"' in text
    assert '1 x Bar (domain com.acme, opset 3), first "bar"' in text


def test_error_names_the_node() -> None:
    wrong = helper.make_node("Conv", ["x", "w"], ["y"], "/stem/conv")
    model = made([helper.make_node("Identity", ["x"], ["i"]), wrong], (1, 3, 8, 8))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2, 3, 3), "f4"), "w"))
    with pytest.raises(ShapeError) as caught:
        read(model)
    assert caught.value.at == 'g, node 1 of 2, Conv "/stem/conv", feeding "y"'


def test_out_of_order() -> None:
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Relu", ["x"], ["a"])]
    with pytest.raises(ModelFormatError, match="nothing makes 'a'"):
        read(made(nodes))


def test_function_that_calls_itself() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    call = helper.make_node("F", ["a"], ["b"], domain="own")
    function = helper.make_function("own", "F", ["a"], ["b"], [call], opsets)
    model = made([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[function])
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    with pytest.raises(ModelFormatError, match="deep"):
        read(model)


def test_open_dimensions() -> None:
    model = made([helper.make_node("Relu", ["x"], ["y"])], ("batch", 3, "height", 8))
    with pytest.raises(ShapeError, match=r"dimension 2 \(height\)"):
        read(model)
    with pytest.raises(ShapeError, match="no input 'z'"):
        read(model, shapes={"z": (1,)})
    with pytest.raises(ShapeError, match="shapes= gives"):
        read(model, shapes={"x": (1, 4, 8, 8)})
    assert read(model, shapes={"x": (7, 3, 5, 8)}).outputs[0].type.dims == (7, 3, 5, 8)
    alone = made([helper.make_node("Relu", ["x"], ["y"])], ("batch", 3))
    assert read(alone).inputs[0].type.dims == (1, 3)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("ConstantOfShape", ["shape"], ["y"])],
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        [helper.make_node("Tile", ["one", "shape"], ["y"])],
    ],
)
def test_huge_tensors_are_not_made(nodes: list[Any]) -> None:
    weights = {"shape": np.array([1 << 20, 1 << 20]), "one": np.ones((1, 1), "f4")}
    with pytest.raises(PlanckError):
        read(made(nodes, (1, 1), weights))


def test_external_data(tmp_path: Path) -> None:
    weight = np.arange(3, dtype=np.float32)
    model = made([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": weight})
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    graph = read(path)
    assert np.array_equal(next(iter(graph.weights.values())), weight)
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(ModelFormatError, match="does not fit"):
        read(path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(FileError, match="missing"):
        read(path)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", ""])
def test_external_data_stays_inside(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    inner = tmp_path / "inner"
    inner.mkdir()
    model = made([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": np.ones(3, "f4")})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (inner / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match="outside the model's folder"):
        read(inner / "m.onnx")


def test_names_of_the_file_are_kept() -> None:
    model = made([helper.make_node("Relu", ["x"], ["y"])])
    model.graph.input[0].name = model.graph.node[0].input[0] = "images:0"
    model.graph.output[0].name = model.graph.node[0].output[0] = "out/1"
    graph = read(model)
    assert graph.names[graph.inputs[0].name] == "images:0"
    assert graph.names[graph.outputs[0].name] == "out/1"
    assert graph.nodes[0].origin == ("g:out/1",)


def test_an_old_model_that_does_not_convert_is_refused() -> None:
    node = onnx.helper.make_node("Relu", ["nowhere"], ["y"])
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([node], "old", [], [value])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 6)])
    with pytest.raises(PlanckError):
        read(model)
