"""ONNX files with damage: bytes flipped, cut and spliced, and protobuf fields changed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

EXPORTED = Path(__file__).parent.parent.parent / "tests" / "data" / "exported"
MAX_SEED_BYTES = 20_000
EXPORTED_WEIGHT = 20  # so that one case in seven is a whole network
INTEGERS = (0, 1, -1, 2, -2, 3, 7, 64, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**63))
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
STRINGS = (b"", b"constant", b"SAME_UPPER", b"linear", b"\xff\xfe", b"NOTSET", b"x" * 3000)
PATHS = ("", "../../../etc/passwd", "/dev/zero", "missing.bin", "\0", ".")

Change = Callable[[ModelProto, random.Random], None]


@lru_cache(maxsize=1)
def seeds() -> tuple[bytes, ...]:
    """Small valid models: networks as exporters write them, and ONNX's own node tests.

    Of a node test, all inputs but the first become constants: readers want to know shapes and axes.
    """
    found = [file.read_bytes() for file in sorted(EXPORTED.glob("*.onnx"))] * EXPORTED_WEIGHT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the expected values overflows on purpose
        cases = collect_testcases(None)
    for test in cases:
        if test.model is not None and test.model.ByteSize() <= MAX_SEED_BYTES:
            found.append(_with_constants(test))
    return tuple(found)


def _with_constants(test: TestCase) -> bytes:
    model = ModelProto()
    model.CopyFrom(test.model)
    inputs = list(model.graph.input)
    values = test.data_sets[0][0] if test.data_sets else []
    for entry, value in list(zip(inputs, values, strict=False))[1:]:
        if isinstance(value, np.ndarray):
            model.graph.initializer.append(numpy_helper.from_array(value, entry.name))
            model.graph.input.remove(entry)
    return model.SerializeToString()


def case(draw: random.Random) -> bytes:
    """The bytes of one damaged model."""
    body = draw.choice(seeds())
    if draw.random() < 0.25:
        return damage(body, draw)
    model = ModelProto()
    model.ParseFromString(body)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        draw.choice(CHANGES)(model, draw)
    return model.SerializeToString()


def damage(body: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, inserted, or taken from another model."""
    data = bytearray(body)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(data) + 1)
        length = draw.choice((1, 1, 2, 8, 64))
        kind = draw.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = draw.randbytes(length)
        elif kind == 4:
            other = draw.choice(seeds())
            start = draw.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        else:
            del data[at:]
    return bytes(data)


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def _graph(model: ModelProto, draw: random.Random) -> GraphProto:
    return draw.choice(list(graphs(model.graph)))


def _node(model: ModelProto, draw: random.Random) -> NodeProto:
    graph = _graph(model, draw)
    return draw.choice(graph.node) if graph.node else graph.node.add()


def _attribute(model: ModelProto, draw: random.Random) -> AttributeProto:
    node = _node(model, draw)
    return draw.choice(node.attribute) if node.attribute else node.attribute.add()


def _tensor(model: ModelProto, draw: random.Random) -> TensorProto:
    found = []
    for graph in graphs(model.graph):
        found += list(graph.initializer)
        found += [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    return draw.choice(found) if found else model.graph.initializer.add()


def _names(graph: GraphProto) -> list[str]:
    names = [v.name for v in (*graph.input, *graph.output, *graph.initializer)]
    return names + [name for node in graph.node for name in (*node.input, *node.output)]


def attribute_value(model: ModelProto, draw: random.Random) -> None:
    attribute = _attribute(model, draw)
    if attribute.ints:
        at = draw.randrange(len(attribute.ints))
        attribute.ints[at] = draw.choice(INTEGERS)
    elif attribute.floats:
        attribute.floats[draw.randrange(len(attribute.floats))] = draw.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = draw.choice(STRINGS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = draw.choice(FLOATS)
    else:
        attribute.i = draw.choice(INTEGERS)


def attribute_length(model: ModelProto, draw: random.Random) -> None:
    attribute = _attribute(model, draw)
    if draw.random() < 0.5 and attribute.ints:
        del attribute.ints[draw.randrange(len(attribute.ints)) :]
    else:
        attribute.ints.extend(draw.choices(INTEGERS, k=draw.choice((1, 2, 30))))


def attribute_kind(model: ModelProto, draw: random.Random) -> None:
    attribute = _attribute(model, draw)
    if draw.random() < 0.5:
        attribute.type = draw.choice(list(AttributeProto.AttributeType.values()))
    else:
        attribute.name = draw.choice(("axis", "axes", "perm", "shape", "to", "value", "", "mode"))


def attribute_gone(model: ModelProto, draw: random.Random) -> None:
    node = _node(model, draw)
    if node.attribute:
        del node.attribute[draw.randrange(len(node.attribute))]


def operator(model: ModelProto, draw: random.Random) -> None:
    other = ModelProto()
    other.ParseFromString(draw.choice(seeds()))
    _node(model, draw).op_type = _node(other, draw).op_type
    if draw.random() < 0.1:
        _node(model, draw).domain = draw.choice(("com.acme", "ai.onnx", "ai.onnx.ml", "\0"))


def input_name(model: ModelProto, draw: random.Random) -> None:
    graph = _graph(model, draw)
    if not graph.node:
        return
    node = draw.choice(graph.node)
    name = draw.choice(["", "nobody", *_names(graph)])
    if node.input and draw.random() < 0.7:
        node.input[draw.randrange(len(node.input))] = name
    else:
        node.input.append(name)


def input_gone(model: ModelProto, draw: random.Random) -> None:
    node = _node(model, draw)
    if node.input:
        del node.input[draw.randrange(len(node.input)) :]


def output_name(model: ModelProto, draw: random.Random) -> None:
    graph = _graph(model, draw)
    name = draw.choice(["", "nobody", *_names(graph)])
    places: list[tuple[object, str | int]] = [(value, "name") for value in graph.output]
    places += [(node.output, at) for node in graph.node for at in range(len(node.output))]
    if not places:
        return
    owner, key = draw.choice(places)
    if isinstance(key, int):
        owner[key] = name  # type: ignore[index]
    else:
        setattr(owner, key, name)


def nodes(model: ModelProto, draw: random.Random) -> None:
    """A node gone, doubled, or in another place."""
    graph = _graph(model, draw)
    if not graph.node:
        return
    at = draw.randrange(len(graph.node))
    kind = draw.randrange(3)
    if kind == 0:
        del graph.node[at]
    elif kind == 1:
        graph.node.add().CopyFrom(graph.node[at])
    else:
        moved = NodeProto()
        moved.CopyFrom(graph.node[at])
        del graph.node[at]
        graph.node.insert(draw.randrange(len(graph.node) + 1), moved)


def shape(model: ModelProto, draw: random.Random) -> None:
    graph = _graph(model, draw)
    values = [*graph.input, *graph.output, *graph.value_info]
    if not values:
        return
    kind = draw.choice(values).type.tensor_type
    dims = kind.shape.dim
    choice = draw.randrange(5)
    if choice == 0:
        kind.elem_type = draw.randrange(-1, 25)
    elif choice == 1 and dims:
        del dims[draw.randrange(len(dims))]
    elif choice == 2:
        dims.add().dim_value = draw.choice(INTEGERS)
    elif dims and choice == 3:
        draw.choice(dims).dim_param = draw.choice(("N", "", "batch"))
    elif dims:
        draw.choice(dims).dim_value = draw.choice(INTEGERS)


def tensor(model: ModelProto, draw: random.Random) -> None:
    """A constant's dims, type, bytes, or where it says that they lie."""
    found = _tensor(model, draw)
    choice = draw.randrange(6)
    if choice == 0 and found.dims:
        found.dims[draw.randrange(len(found.dims))] = draw.choice(INTEGERS)
    elif choice == 1:
        found.dims.append(draw.choice(INTEGERS))
    elif choice == 2:
        found.data_type = draw.randrange(-1, 26)
    elif choice == 3:
        found.raw_data = found.raw_data[: draw.randrange(len(found.raw_data) + 1)]
    elif choice == 4:
        found.data_location = TensorProto.EXTERNAL
        entry = found.external_data.add()
        entry.key, entry.value = "location", draw.choice(PATHS)
        entry = found.external_data.add()
        entry.key = draw.choice(("offset", "length"))
        entry.value = draw.choice(("0", "-1", "99999999999", "x"))
    else:
        found.raw_data = damage(found.raw_data, draw)


def weights_gone(model: ModelProto, draw: random.Random) -> None:
    graph = _graph(model, draw)
    if graph.initializer:
        del graph.initializer[draw.randrange(len(graph.initializer))]


def version(model: ModelProto, draw: random.Random) -> None:
    choice = draw.randrange(3)
    if choice == 0:
        model.ir_version = draw.choice(INTEGERS)
    elif choice == 1 and model.opset_import:
        opset = draw.choice(model.opset_import)
        opset.version = draw.choice((0, -1, 1, 5, 6, 7, 9, 11, 13, 17, 21, 25, 99, 2**62))
    elif model.opset_import:
        del model.opset_import[:]


def function(model: ModelProto, draw: random.Random) -> None:
    """A function of the model that stands for an operator, or calls itself."""
    node = _node(model, draw)
    local = model.functions.add()
    local.name, local.domain = node.op_type, node.domain
    local.input.extend(node.input)
    local.output.extend(node.output)
    local.node.add().CopyFrom(node)
    if draw.random() < 0.5:
        local.domain = node.domain = "local"


CHANGES: tuple[Change, ...] = (
    attribute_value,
    attribute_value,
    attribute_length,
    attribute_kind,
    attribute_gone,
    operator,
    input_name,
    input_gone,
    output_name,
    nodes,
    shape,
    shape,
    tensor,
    tensor,
    weights_gone,
    version,
    function,
)
