"""If, Loop and Scan against ONNX Runtime: decided while importing, unrolled, and at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from planck.errors import UnsupportedOperator
from planck.frontends.onnx import read
from planck.ops.control import If, Loop
from tests.frontends.onnx.against import check, model

F, WHOLE, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.array([-1, 2, 3], np.float32)


def info(name: str, kind: int, shape: tuple[int, ...] = ()) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], **held: Any) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in held.items()]
    return helper.make_graph(nodes, "body", inputs, outputs, tensors)


def node(op: str, names: str, out: str, **how: Any) -> onnx.NodeProto:
    return helper.make_node(op, names.split(), out.split(), **how)


def branches() -> dict[str, onnx.GraphProto]:
    out = [info("r", F, (3,))]
    return {
        "then_branch": graph([node("Neg", "x", "r")], [], out),
        "else_branch": graph([node("Mul", "x w", "r")], [], out),
    }


def test_a_known_condition_leaves_one_branch() -> None:
    for known in (True, False):
        held = {"c": np.array(known), "w": X}
        made = check([node("If", "c", "y", **branches())], {"x": X}, 16, held)
        assert not any(isinstance(n.op, If) for n in made.nodes)


@pytest.mark.parametrize("limit", [0.0, 9.0])
def test_a_condition_at_run_time(limit: float) -> None:
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s limit", "c"),
        node("If", "c", "y", **branches()),
    ]
    held = {"limit": np.array(limit, np.float32)}
    made = check(nodes, {"x": X, "w": X}, 16, held)
    assert sum(isinstance(n.op, If) for n in made.nodes) == 1


def test_branches_inside_branches() -> None:
    inner = branches()
    outer = {
        "then_branch": graph([node("If", "d", "r2", **inner)], [], [info("r2", F, (3,))]),
        "else_branch": graph([node("Abs", "x", "r3")], [], [info("r3", F, (3,))]),
    }
    nodes = [
        node("ReduceMax", "x", "top", keepdims=0),
        node("Greater", "top one", "c"),
        node("Less", "top one", "d"),
        node("If", "c", "y", **outer),
    ]
    check(nodes, {"x": X, "w": X}, 16, {"one": np.array(1, np.float32)})


def body(condition: list[Any], collected: bool) -> onnx.GraphProto:
    nodes = [node("Add", "v x", "v2"), node("Identity", "v2", "row"), *condition]
    outputs = [info("go", B), info("v2", F, (3,))]
    if collected:
        outputs.append(info("row", F, (3,)))
    return graph(nodes, [info("i", WHOLE), info("was", B), info("v", F, (3,))], outputs)


def test_a_loop_of_known_turns_is_unrolled() -> None:
    inner = body([node("Identity", "was", "go")], True)
    made = check(
        [node("Loop", "m c x", "y rows", body=inner)],
        {"x": X},
        16,
        {"m": np.array(4), "c": np.array(True)},
        ("y", "rows"),
    )
    assert not any(isinstance(n.op, Loop) for n in made.nodes)


def test_a_loop_whose_condition_folds() -> None:
    inner = body([node("Less", "i three", "go")], True)
    inner.initializer.append(numpy_helper.from_array(np.array(3), "three"))
    loop = helper.make_node("Loop", ["", "", "x"], ["y", "rows"], body=inner)
    check([loop], {"x": X}, 16, {}, ("y", "rows"))


def test_a_loop_without_turns() -> None:
    inner = body([node("Identity", "was", "go")], True)
    held = {"m": np.array(0), "c": np.array(True)}
    nodes = [node("Loop", "m c x", "v rows", body=inner), node("Abs", "v", "y")]
    check(nodes, {"x": X}, 16, held, ("y", "rows"))


def waits() -> list[Any]:
    return [node("ReduceMax", "v2", "top", keepdims=0), node("Less", "top limit", "go")]


@pytest.mark.parametrize("most", [2, 50])
def test_a_loop_that_ends_at_run_time(most: int) -> None:
    inner = body(waits(), False)
    nodes = [node("Loop", "m c x", "y", body=inner)]
    inputs = {"x": X, "limit": np.array(20, np.float32)}
    held = {"m": np.array(most), "c": np.array(True)}
    made = check(nodes, inputs, 16, held)
    assert sum(isinstance(n.op, Loop) for n in made.nodes) == 1


def test_rows_of_an_open_loop_are_refused() -> None:
    nodes = [node("Loop", "m c x", "y rows", body=body(waits(), True))]
    inputs = {"x": X, "limit": np.array(20, np.float32)}
    held = {"m": np.array(9), "c": np.array(True)}
    with pytest.raises(UnsupportedOperator, match="run time"):
        read(model(nodes, inputs, ["y", "rows"], 16, held))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("flip", [0, 1])
def test_scan(axis: int, back: int, flip: int) -> None:
    nodes = [node("Add", "s p", "s2"), node("Mul", "s2 p", "out")]
    extent = 4 if axis else 3
    inner = graph(
        nodes,
        [info("s", F, (extent,)), info("p", F, (extent,))],
        [info("s2", F, (extent,)), info("out", F, (extent,))],
    )
    scan = node(
        "Scan",
        "s0 x",
        "y rows",
        body=inner,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[back],
        scan_output_axes=[1 - axis],
        scan_output_directions=[flip],
    )
    x = np.random.default_rng(axis).random((4, 3)).astype(np.float32)
    start = np.zeros(extent, np.float32)
    check([scan], {"s0": start, "x": x}, 16, {}, ("y", "rows"))


SEQUENCE = [
    node("SplitToSequence", "x two", "parts", axis=1),
    node("SequenceAt", "parts last", "a"),
    node("SequenceErase", "parts first", "rest"),
    node("SequenceInsert", "rest a first", "again"),
    node("SequenceLength", "again", "n"),
    node("Cast", "n", "f", to=F),
    node("ConcatFromSequence", "again", "joined", axis=1),
    node("Mul", "joined f", "y"),
]


def test_sequences() -> None:
    x = np.random.default_rng(0).random((3, 7)).astype(np.float32)
    held = {"two": np.array(2), "last": np.array(-1), "first": np.array(0)}
    check(SEQUENCE, {"x": x}, 16, held)


def test_sequences_of_new_axes() -> None:
    nodes = [
        node("SplitToSequence", "x", "parts", axis=0, keepdims=0),
        node("SequenceAt", "parts one", "a"),
        node("SequenceConstruct", "a a x0", "three"),
        node("ConcatFromSequence", "three", "y", axis=-1, new_axis=1),
    ]
    x = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    check(nodes, {"x": x, "x0": x[0]}, 16, {"one": np.array(1)})


def test_optionals() -> None:
    nodes = [
        node("Optional", "x", "maybe"),
        node("OptionalHasElement", "maybe", "has"),
        node("OptionalGetElement", "maybe", "inside"),
        node("Where", "has inside x", "y"),
    ]
    check(nodes, {"x": X}, 16)
