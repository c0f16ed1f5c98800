"""Depth-first fusions: kept where they are faster, cut where not; and what the builds compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

import planck
from planck.compiler import chains
from planck.compiler.chains import Answers, settle
from planck.errors import BuildError
from planck.ir.graph import Graph
from planck.ir.parse import parse
from planck.ops.nn import Conv
from planck.ops.region import Region
from planck.passes.depth_first import depth_first
from planck.passes.fuse import fuse
from planck.passes.layout import assign
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Code, Kernel
from planck.target import host, resolve
from planck.tune.cache import Timing
from planck.tune.choose import Choice

CONV = "pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1)"
NOTHING = Code("nothing", "", (), 1)


def graph_of() -> Graph:
    wide = "f32[1,48,9,9]"
    graph = parse(
        f"""graph "g"(%x: f32[1,16,9,9]) {{
        weight %w: f32[48,16,1,1] = ? weight %k: f32[48,1,1,1] = ? weight %v: f32[16,48,1,1] = ?
        %a: {wide} = Conv(%x, %w, {CONV}, groups=1)
        %b: {wide} = Conv(%a, %k, {CONV}, groups=48)
        %y: f32[1,16,9,9] = Conv(%b, %v, {CONV}, groups=1) return %y }}"""
    )
    return assign(depth_first(fuse(graph)), host().lanes)


def regions(graph: Graph) -> int:
    """Kernels that convolve; the others are copies at the ends."""
    holds = [isinstance(n.op, Region) and n.op.graph.nodes for n in graph.nodes]
    return sum(isinstance(nodes[0].op, Conv) for nodes in holds if nodes)


def timed(whole_us: float, part_us: float) -> tuple[list[int], object]:
    """A stand-in for the tuner that says how long kernels take; the sizes of those it was asked."""
    asked: list[int] = []

    def tune(kernels: Mapping[str, Kernel]) -> Answers:
        answers: Answers = {}
        for key, kernel in kernels.items():
            asked.append(len(kernel.graph.nodes))
            us = whole_us if len(kernel.graph.nodes) == 3 else part_us
            rows = (Timing("depth_first", {}, us),)
            answers[key] = Choice(TACTICS[0], {}, NOTHING, b"", rows)
        return answers

    return asked, tune


@pytest.mark.parametrize(("whole_us", "part_us", "nodes"), [(29, 10, 1), (31, 10, 3)])
def test_the_faster_is_taken(whole_us: float, part_us: float, nodes: int) -> None:
    small_cache = replace(host(), l2_bytes=1024)
    asked, tune = timed(whole_us, part_us)
    graph, answers = settle(graph_of(), small_cache, 1, tune)
    assert regions(graph) == nodes
    assert sorted(asked) == [1, 1, 1, 3]
    assert len(answers) == 4


@pytest.mark.parametrize(("l2_bytes", "nodes"), [(1024, 1), (1 << 20, 3)])
def test_size_decides_where_nothing_is_timed(l2_bytes: int, nodes: int) -> None:
    target = replace(host(), l2_bytes=l2_bytes)
    graph, answers = settle(graph_of(), target, 1, None)
    assert regions(graph) == nodes
    assert not answers


def test_what_fits_in_the_cache_is_not_timed() -> None:
    asked, tune = timed(1, 10)
    graph, _ = settle(graph_of(), replace(host(), l2_bytes=1 << 20), 1, tune)
    assert regions(graph) == 3
    assert not asked


def model(size: int, hidden: int) -> onnx.ModelProto:
    """An inverted residual with ReLU6, as exporters write MobileNet's."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {"low": np.float32(0), "high": np.float32(6)}
    nodes = []

    def conv(x: str, y: str, shape: tuple[int, ...], **attributes: object) -> None:
        scale = float(np.prod(shape[1:])) ** -0.5
        weights[f"w_{y}"] = (random.standard_normal(shape) * scale).astype(np.float32)
        weights[f"b_{y}"] = random.standard_normal(shape[0]).astype(np.float32)
        nodes.append(onnx.helper.make_node("Conv", [x, f"w_{y}", f"b_{y}"], [y], **attributes))

    conv("x", "a", (hidden, 17, 1, 1))
    nodes.append(onnx.helper.make_node("Clip", ["a", "low", "high"], ["a6"]))
    conv("a6", "b", (hidden, 1, 5, 5), group=hidden, pads=[2, 2, 2, 2])
    nodes.append(onnx.helper.make_node("Clip", ["b", "low", "high"], ["b6"]))
    conv("b6", "c", (17, hidden, 1, 1))
    nodes.append(onnx.helper.make_node("Add", ["c", "x"], ["y"]))
    value = onnx.helper.make_tensor_value_info
    shape = [1, 17, size, size + 3]
    graph = onnx.helper.make_graph(
        nodes, "residual", [value("x", 1, shape)], [value("y", 1, shape)],
        [onnx.numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made


@pytest.mark.parametrize("target", ["cpu:avx512", "cpu:avx2", "cpu:portable"])
def test_against_onnxruntime(target: str) -> None:
    try:
        resolve(target)
    except BuildError as error:  # this processor lacks the ISA; what fails later is a failure
        pytest.skip(str(error))
    made = model(90, 51)
    engine = planck.build(made, target=target, optimization_level=0, threads=2)
    tactics = [step.tactic for step in engine.plan.steps]
    between = 2 * 4 * 51 * 90 * 93
    if between > 2 * host().l2_bytes:
        assert "depth_first" in tactics
    x = np.random.default_rng(1).standard_normal((1, 17, 90, 93), np.float32)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (want,) = session.run(None, {"x": x})
    np.testing.assert_allclose(engine({"x": x})["y"], want, rtol=1e-4, atol=2e-5)


def stem_graph() -> Graph:
    kind = "f32[1,32,48,48]"
    graph = parse(
        f"""graph "g"(%x: f32[1,3,96,96]) {{ weight %w: f32[32,3,6,6] = ?
        %y: {kind} = Conv(%x, %w, pads=(2, 2, 2, 2), strides=(2, 2), dilations=(1, 1), groups=1)
        return %y }}"""
    )
    return assign(fuse(graph), host().lanes)


@pytest.mark.parametrize(("whole_us", "moved"), [(19, False), (21, True)])
def test_a_stem_is_moved_into_blocks_where_that_is_faster(whole_us: float, moved: bool) -> None:
    def tune(kernels: Mapping[str, Kernel]) -> Answers:
        answers: Answers = {}
        for key, kernel in kernels.items():
            stem = isinstance(kernel.graph.nodes[0].op, Conv)
            rows = kernel.graph.inputs[0].type.block == 0
            timing = Timing("direct", {}, whole_us if stem and rows else 10)
            answers[key] = Choice(TACTICS[0], {}, NOTHING, b"", (timing,))
        return answers

    before = stem_graph()
    after, _ = settle(before, host(), 2, tune)
    first = after.nodes[0].op
    assert isinstance(first, Region)
    assert isinstance(first.graph.nodes[0].op, Conv) is not moved
    assert list(after.weights) == ["w_unfolded" if moved else "w"]
    same, _ = settle(before, host(), 2, None)
    assert same.nodes == before.nodes


@pytest.mark.parametrize("target", ["cpu:avx512", "cpu:avx2", "cpu:portable"])
@pytest.mark.parametrize(("size", "stride"), [(6, 2), (7, 2), (3, 1)])
def test_moved_stems_against_onnxruntime(
    target: str, size: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        resolve(target)
    except BuildError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(chains, "_keeps", lambda *_: No("the test wants it in parts"))
    random = np.random.default_rng(3)
    w = (random.standard_normal((35, 3, size, size)) / (3 * size * size) ** 0.5).astype(np.float32)
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    pads = [(size - 1) // 2] * 4
    graph = onnx.helper.make_graph(
        [node("Conv", ["x", "w"], ["c"], strides=[stride] * 2, pads=pads),
         node("Relu", ["c"], ["y"])],
        "stem", [value("x", 1, [2, 3, 58, 74])], [value("y", 1, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 9
    engine = planck.build(made, target=target, optimization_level=0, threads=2)
    tactics = [step.tactic for step in engine.plan.steps]
    assert tactics[:2] in (["loops", "winograd"], ["direct", "loops"]), tactics
    x = random.standard_normal((2, 3, 58, 74), np.float32)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (want,) = session.run(None, {"x": x})
    # what Winograd's kernels may err: 2e-5 of the largest output
    error = np.abs(engine({"x": x})["y"] - want).max() / np.abs(want).max()
    assert error < 2e-5
