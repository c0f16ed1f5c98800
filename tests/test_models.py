"""Every model of the benchmark, narrow: built, run, and compared with ONNX Runtime and NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

import planck
from bench import models
from planck.compiler.api import options_of
from planck.compiler.stages import run_stages
from planck.dtypes import bf16
from planck.frontends import read
from planck.ir.interpret import interpret
from planck.runtime import Engine
from planck.target import host
from tests.loops.running import TARGETS

# float32 sums of up to a few thousand products in another order
TOLERANCE = 1e-4


def error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest absolute difference over the largest absolute value."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    scale = float(np.abs(want).max()) or 1.0
    return float(np.abs(got.astype(np.float64) - want).max()) / scale


@cache
def case(name: str, batch: int) -> tuple[ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The model, random inputs, and ONNX Runtime's outputs."""
    model = models.build(name, batch=batch, small=True)
    inputs = models.inputs(model, seed=batch)
    return model, inputs, expected(model, inputs)


def expected(model: ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@cache
def built(name: str, batch: int) -> Engine:
    return planck.build(case(name, batch)[0], threads=2, optimization_level=0)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", models.ALL)
def test_outputs_equal_onnx_runtime(name: str, batch: int) -> None:
    _, inputs, want = case(name, batch)
    engine = built(name, batch)
    for threads in (1, 2):
        with engine.create_execution_context(threads=threads) as context:
            got = context(inputs)
        assert got.keys() == want.keys()
        for key in want:
            assert error(got[key], want[key]) <= TOLERANCE, (key, threads)


@pytest.mark.slow
@pytest.mark.parametrize("isa", [t.isa for t in TARGETS if t.isa != host().isa])
@pytest.mark.parametrize("name", models.ALL)
def test_narrower_machines(name: str, isa: str) -> None:
    """Built for older processors, the outputs are the same."""
    model, inputs, want = case(name, 1)
    engine = planck.build(model, target=f"cpu:{isa}", threads=2, optimization_level=0)
    got = engine(inputs)
    for key in want:
        assert error(got[key], want[key]) <= TOLERANCE, key
    assert engine.inspect().reference_steps == 0


@pytest.mark.parametrize("name", models.ALL)
def test_outputs_equal_the_interpreter(name: str) -> None:
    model, inputs, _ = case(name, 1)
    graph = read(model)
    by_value = {v.name: inputs[graph.names.get(v.name, v.name)] for v in graph.inputs}
    want = interpret(graph, by_value)
    got = built(name, 1)(inputs)
    for value in graph.outputs:
        assert error(got[graph.names.get(value.name, value.name)], want[value.name]) <= TOLERANCE


def spread(got: np.ndarray, want: np.ndarray) -> float:
    """Root of the mean squared difference, over that of the values."""
    difference = got.astype(np.float64) - want
    return float(np.sqrt(np.mean(difference**2)) / np.sqrt(np.mean(want.astype(np.float64) ** 2)))


@pytest.mark.parametrize("name", models.ALL)
def test_bfloat16_rounds_what_its_graph_says_and_no_more(name: str) -> None:
    """Beside float32, and beside the interpreter of the graph that says where values are rounded.

    How far random weights spread a rounding differs from network to network and from picture to
    picture; the interpreter shows it. Planck sums in another order, or by Winograd's algorithm,
    which turns roundings the other way: over a few pictures it may differ from the interpreter by
    as much as that does from float32, and 2^-8 where that is small.
    """
    model = case(name, 1)[0]
    options = options_of("cpu", "bf16", 2, 0, None, None)
    graph = run_stages(read(model), options)
    engine = planck.build(model, precision="bf16", threads=2, optimization_level=0)
    assert engine.inspect().reference_steps == 0
    assert any(slot.type.dtype is bf16 for slot in engine.plan.slots)
    spreads: dict[str, list[list[float]]] = {}
    for seed in range(3):
        inputs = models.inputs(model, seed=seed)
        want, got = expected(model, inputs), engine(inputs)
        by_value = {v.name: inputs[graph.names.get(v.name, v.name)] for v in graph.inputs}
        rounded = interpret(graph, by_value)
        for value in graph.outputs:
            key = graph.names.get(value.name, value.name)
            own = rounded[value.name]
            pairs = (own, want[key]), (got[key], want[key]), (got[key], own)
            spreads.setdefault(key, []).append([spread(*pair) for pair in pairs])
    for key, found in spreads.items():
        least, from_float32, from_graph = np.sqrt(np.mean(np.square(found), axis=0))
        assert from_float32 <= 1.5 * least + 2**-8, key
        assert from_graph <= 1.5 * least + 2**-8, key
        assert least < 0.25, key  # the graph itself is still the network


@pytest.mark.parametrize("name", models.ALL)
def test_float16_weights(name: str) -> None:
    """Beside the interpreter of the graph with the same rounded weights: float32's own sums."""
    model, inputs, want = case(name, 1)
    options = options_of("cpu", "fp16", 2, 0, None, None)
    graph = run_stages(read(model), options)
    rounded = interpret(
        graph, {v.name: inputs[graph.names.get(v.name, v.name)] for v in graph.inputs}
    )
    engine = planck.build(model, precision="fp16", threads=2, optimization_level=0)
    assert engine.inspect().reference_steps == 0
    assert any(w.dtype == np.float16 for w in graph.weights.values())
    got = engine(inputs)
    for value in graph.outputs:
        key = graph.names.get(value.name, value.name)
        assert spread(got[key], rounded[value.name]) <= 2e-4, key
        assert spread(rounded[value.name], want[key]) <= 2**-5, key


@pytest.mark.slow
@pytest.mark.parametrize("isa", [t.isa for t in TARGETS if t.isa != host().isa])
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "yolov8n", "vit_b16", "lstm"])
def test_bfloat16_on_narrower_machines(name: str, isa: str) -> None:
    model, inputs, want = case(name, 7)
    got, here = (
        planck.build(model, target=target, precision="bf16", threads=2, optimization_level=0)(
            inputs
        )
        for target in (f"cpu:{isa}", "cpu")
    )
    for key in want:
        assert spread(got[key], want[key]) <= 1.5 * spread(here[key], want[key]) + 2**-8, key


@pytest.mark.parametrize("name", models.ALL)
def test_every_step_is_compiled(name: str) -> None:
    report = built(name, 1).inspect()
    slow = [step for step in report.steps if step.reference]
    assert report.reference_steps == 0, slow


@pytest.mark.parametrize("name", models.ALL)
def test_the_arena_is_near_what_liveness_needs(name: str) -> None:
    plan = built(name, 1).plan
    assert plan.arena_bytes <= 1.05 * plan.build["arena_lower_bound_bytes"] + 4096
