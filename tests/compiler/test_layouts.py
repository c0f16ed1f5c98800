"""Layouts chosen by time: the faster way is taken, nothing else changes, and networks still run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import planck
from bench import models
from planck.compiler import layouts
from planck.compiler.api import stage
from planck.compiler.chains import Answers
from planck.compiler.layouts import choose_layouts
from planck.compiler.place import place
from planck.compiler.split import split
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.text import text
from planck.ir.verify import verify
from planck.ops.region import Region
from planck.passes import simplify
from planck.passes.depth_first import depth_first
from planck.passes.fuse import fuse
from planck.passes.layout import assign, unassign
from planck.tactics import TACTICS
from planck.tactics.kernel import Code, Kernel
from planck.target import Target, host
from planck.tune.cache import Timing
from planck.tune.choose import Choice
from tests.passes import test_random_graphs

TARGET = Target("avx512", cores=2)
CONV = "strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1"
Clock = Callable[[Kernel], float]


def heads(pool: str = "") -> Graph:
    """A convolution of a picture, and another that makes the network's output of it."""
    read = "p" if pool else "a"
    graph = parse(
        f"""graph "g"(%x: f32[1,3,32,36]) {{ weight %w: f32[32,3,1,1] = ?
        weight %v: f32[20,32,1,1] = ? %a: f32[1,32,32,36] = Conv(%x, %w, {CONV}) {pool}
        %y: f32[1,20,32,36] = Conv(%{read}, %v, {CONV}) return %y }}"""
    )
    return assign(fuse(graph), TARGET.lanes)


def timed(clock: Clock) -> tuple[list[Kernel], Callable[[Mapping[str, Kernel]], Answers]]:
    """A stand-in for the tuner: what it was asked, and its answers by a clock."""
    asked: list[Kernel] = []

    def tune(kernels: Mapping[str, Kernel]) -> Answers:
        asked.extend(kernels.values())
        code = Code("nothing", "", (), 1)
        return {
            key: Choice(TACTICS[0], {}, code, b"", (Timing("a", {}, clock(kernel)),))
            for key, kernel in kernels.items()
        }

    return asked, tune


def writes_rows(kernel: Kernel) -> bool:
    return not kernel.graph.outputs[0].type.block


def names(graph: Graph) -> list[str]:
    regions = [n.op.graph.nodes[0] for n in graph.nodes if isinstance(n.op, Region)]
    return [type(n.op).__name__ for n in regions]


@pytest.mark.parametrize(("rows_us", "copies"), [(11.0, 0), (19.0, 1)])
def test_a_convolution_writes_rows_where_that_is_faster(rows_us: float, copies: int) -> None:
    """10 us in blocks and 5 for the copy, with half a microsecond for its step."""

    def clock(kernel: Kernel) -> float:
        if len(kernel.constants) == 0:
            return 5.0
        return rows_us if writes_rows(kernel) else 10.0

    graph = heads()
    _, tune = timed(clock)
    found, answers, notes = choose_layouts(graph, TARGET, 2, tune)
    assert names(found) == ["Conv", "Conv"] + ["Identity"] * copies
    assert answers
    ((step, why),) = notes
    assert step == ("y" if not copies else graph.nodes[-1].inputs[0].name)
    assert why.startswith("reads blocks, writes " + ("blocks" if copies else "rows"))
    assert text(unassign(found)) == text(unassign(graph))


@pytest.mark.parametrize(("rows_us", "copies"), [(11.0, 0), (19.0, 1)])
def test_few_channels_are_read_in_rows_where_that_is_faster(rows_us: float, copies: int) -> None:
    graph = parse(
        f"""graph "g"(%x: f32[1,12,40,36]) {{ weight %w: f32[32,12,1,1] = ?
        weight %m: f32[32,8] = ? %a: f32[1,32,40,36] = Conv(%x, %w, {CONV})
        %p: f32[1,32,1,1] = Reduce(%a, kind="mean", axes=(2, 3), keep=True)
        %f: f32[1,32] = Reshape(%p, shape=(1, 32)) %y: f32[1,8] = MatMul(%f, %m) return %y }}"""
    )
    given = assign(fuse(graph), TARGET.lanes)

    def clock(kernel: Kernel) -> float:
        if len(kernel.constants) == 0:
            return 5.0
        return rows_us if not kernel.graph.inputs[0].type.block else 10.0

    found, _, _ = choose_layouts(given, TARGET, 2, timed(clock)[1])
    assert names(given).count("Identity") == 1
    assert names(found).count("Identity") == copies


def test_far_from_seams_nothing_is_timed() -> None:
    """The first convolution and what is not fed to an output keep the rules' layouts."""
    asked, tune = timed(lambda kernel: 10.0)
    choose_layouts(heads(), TARGET, 2, tune)
    assert {k.graph.outputs[0].type.shape for k in asked} <= {(1, 20, 32, 36)}
    assert len(asked) == 4  # two ways of a convolution, two copies


def test_without_times_the_rules_stay() -> None:
    graph = heads()
    _, tune = timed(lambda kernel: 0.0)
    found, _, notes = choose_layouts(graph, TARGET, 2, tune)
    assert found is graph
    assert all("not timed" in why for _, why in notes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", models.ALL)
def test_rules_are_found_again(name: str, precision: str) -> None:
    """What the rules decided is read off a network, whatever precision made of it."""
    graph = stage(models.build(name, small=True), "precision", target="cpu", precision=precision)
    network = layouts._Network(graph, host(), 2)
    assert text(assign(network.plain, host().lanes, network.fixed)) == text(graph)
    if precision == "fp32":
        assert text(assign(network.plain, host().lanes)) == text(graph)


@pytest.mark.parametrize("name", ["yolov5s", "yolov8n", "yolov4_tiny", "squeezenet", "vit_b16"])
@pytest.mark.parametrize(("seed", "precision"), [(0, "fp32"), (1, "fp32"), (2, "bf16")])
def test_any_times_leave_the_results(
    name: str, seed: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock says, the graph computes the same."""
    monkeypatch.setattr(layouts, "WORTH_BYTES", 0)
    model = models.build(name, small=True)
    _, tune = timed(lambda kernel: 1.0 + int(kernel.key, 16) * (seed + 1) % 101)
    given = graph = stage(model, "precision", target="cpu", precision=precision)
    found, _, _ = choose_layouts(given, host(), 2, tune)
    feed = {v.name: a for v, a in zip(graph.inputs, models.inputs(model).values(), strict=True)}
    want, got = interpret(given, feed), interpret(found, feed)
    assert list(want) == list(got)
    for key in want:
        np.testing.assert_array_equal(got[key], want[key])


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_keep_their_results(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions, pools, cuts and joins of odd channels, in layouts by chance."""
    monkeypatch.setattr(layouts, "WORTH_BYTES", 0)
    many = ("conv",) * 12 + ("pool",) * 4 + ("concat",) * 3 + ("slice",) * 2
    monkeypatch.setattr(test_random_graphs, "STEPS", test_random_graphs.STEPS + many)
    target = Target("portable", cores=2)
    graph = simplify(test_random_graphs.random_graph(seed, nodes=22))
    given = assign(depth_first(fuse(graph)), target.lanes)
    _, tune = timed(lambda kernel: 1.0 + int(kernel.key, 16) * (seed + 1) % 101)
    found, _, _ = choose_layouts(given, target, 1, tune)
    verify(found)
    assert split(place(found), found.weights, target, 1)
    x = np.random.default_rng(seed).standard_normal((1, 4, 6, 5)).astype(np.float32)
    with np.errstate(all="ignore"):
        want, got = interpret(given, {"x": x}), interpret(found, {"x": x})
    assert list(want) == list(got)
    for key in want:
        np.testing.assert_array_equal(got[key], want[key])


def two_heads() -> onnx.ModelProto:
    """Convolutions with odd channels whose results are joined, transposed, pooled and given out."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes = []

    def conv(x: str, y: str, shape: tuple[int, ...]) -> None:
        scale = float(np.prod(shape[1:])) ** -0.5
        weights[f"w_{y}"] = (random.standard_normal(shape) * scale).astype(np.float32)
        weights[f"b_{y}"] = random.standard_normal(shape[0]).astype(np.float32)
        nodes.append(onnx.helper.make_node("Conv", [x, f"w_{y}", f"b_{y}"], [y]))

    conv("x", "a", (33, 3, 3, 3))
    nodes.append(onnx.helper.make_node("Relu", ["a"], ["r"]))
    conv("r", "b", (17, 33, 1, 1))
    conv("r", "c", (24, 33, 1, 1))
    nodes.append(onnx.helper.make_node("Concat", ["b", "c"], ["y"], axis=1))
    nodes.append(onnx.helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]))
    nodes.append(onnx.helper.make_node("Sigmoid", ["t"], ["z"]))
    nodes.append(
        onnx.helper.make_node(
            "MaxPool", ["b"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "heads", [value("x", 1, [2, 3, 23, 19])],
        [value(n, 1, None) for n in ("y", "z", "p")],
        [onnx.numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made


@pytest.mark.parametrize("target", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("seed", range(2))
def test_against_onnxruntime(
    target: str, seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Built with layouts by chance, every combination being right."""
    order = ("portable", "avx2", "avx512")
    if order.index(target) > order.index(host().isa):
        pytest.skip(f"this processor has no {target}")
    monkeypatch.setattr(layouts, "WORTH_BYTES", 0)
    chance = lambda self, kernel: 1.0 + int(kernel.key, 16) * (seed + 1) % 101  # noqa: E731
    monkeypatch.setattr(layouts._Costs, "us", chance)
    model = two_heads()
    x = np.random.default_rng(1).standard_normal((2, 3, 23, 19), np.float32)
    wants = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    engine = planck.build(
        model, target=f"cpu:{target}", optimization_level=1, threads=2, accuracy=None,
        timing_cache=tmp_path / "timings",
    )  # fmt: skip
    assert all(step.symbol for step in engine.plan.steps)
    for name, want in zip(("y", "z", "p"), wants, strict=True):
        np.testing.assert_allclose(engine({"x": x})[name], want, rtol=1e-4, atol=1e-5)
    again = planck.build(
        model, target=f"cpu:{target}", optimization_level=1, threads=2, accuracy=None,
        timing_cache=tmp_path / "timings",
    )  # fmt: skip
    assert [s.kernel for s in again.plan.steps] == [s.kernel for s in engine.plan.steps]
