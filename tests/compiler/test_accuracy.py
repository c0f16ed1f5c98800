"""The accuracy budget: how far kernels step down, and a network that amplifies what they err."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

import planck
from bench.models.net import Net
from planck.compiler import stages
from planck.compiler.accuracy import BUDGET, step_down
from planck.compiler.api import stage
from planck.errors import BuildError
from planck.frontends import read
from planck.ops.float64 import interpret_float64
from planck.runtime import Engine
from planck.tactics import TACTICS

# How far down


class Network:
    """Errors that add as squares, times what an estimate cannot know."""

    def __init__(
        self, ladders: Mapping[str, list[float]], gains: Mapping[str, float], factor: float = 1.0
    ) -> None:
        self.ladders, self.gains, self.factor = ladders, gains, factor
        self.runs = 0

    def least(self) -> float:
        return self({key: len(ladder) - 1 for key, ladder in self.ladders.items()})

    def shares(self) -> dict[str, float]:
        return {key: self.gains[key] * self.ladders[key][0] for key in self.ladders}

    def __call__(self, at: Mapping[str, int]) -> float:
        self.runs += 1
        parts = (self.gains[key] * self.ladders[key][rung] for key, rung in at.items())
        worse = 1.0 if all(at[k] == len(v) - 1 for k, v in self.ladders.items()) else self.factor
        return worse * math.sqrt(sum(part**2 for part in parts))


LADDERS = {"a": [8e-6, 2e-6, 5e-7], "b": [6e-6, 1e-6], "c": [7e-6, 2e-6, 6e-7]}


def test_the_kernel_that_contributes_most_goes_first() -> None:
    network = Network(LADDERS, {"a": 30.0, "b": 2.0, "c": 1.0})
    at, error = step_down(LADDERS, network.shares(), network.least(), 1e-4, network)
    assert at == {"a": 1, "b": 0, "c": 0}
    assert error == network(at) <= 1e-4


def test_an_estimate_too_low_is_mended_by_what_is_measured() -> None:
    network = Network(LADDERS, {"a": 30.0, "b": 10.0, "c": 5.0}, factor=3.0)
    at, error = step_down(LADDERS, network.shares(), network.least(), 1e-4, network)
    assert error <= 1e-4
    assert at["a"] == 2
    assert network.runs <= 6


def test_all_go_down_where_nothing_less_is_enough() -> None:
    network = Network(LADDERS, dict.fromkeys(LADDERS, 300.0))
    at, error = step_down(LADDERS, network.shares(), network.least(), network.least(), network)
    assert at == {"a": 2, "b": 1, "c": 2}
    assert error == network.least()


def test_a_ladder_of_one_rung_stays() -> None:
    ladders = {"a": [8e-6], "b": [6e-6, 1e-6]}
    network = Network(ladders, {"a": 1.0, "b": 50.0})
    at, _ = step_down(ladders, {"a": 0.0, "b": 3e-4}, network.least(), 1e-4, network)
    assert at == {"a": 0, "b": 1}


# A whole network


@pytest.fixture(scope="module")
def model() -> ModelProto:
    """The difference of two nearly equal convolutions: their values cancel, their errors do not."""
    net = Net("ill", seed=3)
    x = net.input("x", (1, 17, 41, 47), 1 / 12)
    x = net.activation(net.conv(x, 33), "relu")
    filters = net.filters((40, 33, 3, 3), (1, 2, 3))
    nudged = filters + net.filters(filters.shape, (1, 2, 3)) * np.float32(1 / 64)
    shape = (1, 40, 41, 47)
    one, two = (
        net.op("Conv", [x, net.const(weights, "w")], shape, pads=[1] * 4)
        for weights in (filters, nudged)
    )
    net.output(net.op("Sub", [one, two], shape), "y")
    return net.model()


@pytest.fixture(scope="module")
def winograd_first() -> Iterator[None]:
    """Level 0 takes Winograd wherever it offers, whatever this machine would time."""
    first = sorted(TACTICS, key=lambda tactic: tactic.exact)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "TACTICS", tuple(first))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "planck.cache"


@pytest.fixture(scope="module")
def engine(model: ModelProto, cache: Path, winograd_first: None) -> Engine:
    """Built within the default budget."""
    return build(model, timing_cache=cache)


@pytest.fixture(scope="module")
def unchecked(model: ModelProto, winograd_first: None) -> Engine:
    return build(model, accuracy=None)


def build(model: ModelProto, **options: Any) -> Engine:
    return planck.build(model, threads=2, optimization_level=0, **options)


def winograd_sides(engine: Engine) -> list[int]:
    steps = engine.inspect().steps
    return [step.config["along"] for step in steps if step.tactic == "winograd"]


def errors(engine: Engine, model: ModelProto, seed: int) -> tuple[float, float]:
    """From float64, of the engine and of ONNX Runtime."""
    x = np.random.default_rng(seed).random((1, 17, 41, 47), np.float32)
    graph = read(model)
    (want,) = interpret_float64(graph, {graph.inputs[0].name: x}).values()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (theirs,) = session.run(None, {"x": x})
    scale = np.abs(want).max()
    mine, other = (float(np.abs(got - want).max() / scale) for got in (engine(x)["y"], theirs))
    return mine, other


@pytest.mark.slow
def test_a_plan_over_the_budget_is_mended(
    model: ModelProto, engine: Engine, unchecked: Engine
) -> None:
    assert unchecked.inspect().accuracy is None
    assert 6 in winograd_sides(unchecked)
    before, other = errors(unchecked, model, seed=7)
    assert before > 2 * BUDGET
    assert other < BUDGET / 2  # float32 can do better

    record = engine.inspect().accuracy
    assert record is not None
    assert record["budget"] == BUDGET
    assert record["before"] > 2 * BUDGET
    assert record["error"] <= BUDGET
    assert record["replaced"]
    # Another input than the check's may err somewhat more.
    assert errors(engine, model, seed=7)[0] <= 1.25 * BUDGET
    assert winograd_sides(engine) != winograd_sides(unchecked)


@pytest.mark.slow
def test_weights_in_float16_are_what_a_plan_is_compared_with(
    model: ModelProto, winograd_first: None
) -> None:
    """They are rounded by more than the budget; what is computed with them is within it."""
    engine = build(model, precision="fp16")
    record = engine.inspect().accuracy
    assert record is not None
    assert record["before"] > BUDGET >= record["error"]
    assert errors(engine, model, seed=7)[0] > 2 * BUDGET
    short = stage(read(model), "precision", precision="fp16")
    x = np.random.default_rng(7).random((1, 17, 41, 47), np.float32)
    (want,) = interpret_float64(short, {short.inputs[0].name: x}).values()
    assert np.abs(engine(x)["y"] - want).max() <= 1.25 * BUDGET * np.abs(want).max()


@pytest.mark.slow
def test_what_was_replaced_says_why(engine: Engine) -> None:
    record = engine.inspect().accuracy
    assert record is not None
    assert "kernels replaced since" in str(engine.inspect())
    for row in record["replaced"]:
        (step, *_) = (s for s in engine.inspect().steps if s.kernel == row["kernel"])
        assert {"tactic": step.tactic, "config": step.config} == row["now"]
        considered = engine.plan.build["timings"][row["kernel"]]
        assert considered[0]["tactic"] == step.tactic
        assert considered[0]["error"] == step.error
        assert "refused" not in considered[0]
        (was,) = (
            c
            for c in considered
            if {"tactic": c["tactic"], "config": c.get("config")} == row["was"]
        )
        assert was["refused"].startswith("whole-plan error")
        assert "over the budget 1.0e-04" in was["refused"]
        assert was["error"] > considered[0]["error"]


@pytest.mark.slow
def test_a_check_is_kept_in_the_timing_cache(
    model: ModelProto,
    engine: Engine,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("planck.compiler.accuracy.interpret_float64", None)
    again = build(model, timing_cache=cache)
    engine.save(tmp_path / "a.plan")
    again.save(tmp_path / "b.plan")
    assert (tmp_path / "a.plan").read_bytes() == (tmp_path / "b.plan").read_bytes()
    (checks,) = json.loads(cache.read_text())["checks"].values()
    assert len(checks) == 1


@pytest.mark.slow
def test_a_wide_budget_changes_nothing(model: ModelProto, unchecked: Engine) -> None:
    engine = build(model, accuracy=0.5)
    record = engine.inspect().accuracy
    assert record is not None
    assert not record["replaced"]
    assert 2 * BUDGET < record["error"] < 0.5
    assert winograd_sides(engine) == winograd_sides(unchecked)


@pytest.mark.slow
@pytest.mark.usefixtures("winograd_first")
def test_a_fifth_of_the_budget_is_left_free(model: ModelProto, cache: Path) -> None:
    """Other inputs than the check's may err more."""
    wide = build(model, accuracy=0.5, timing_cache=cache).inspect().accuracy
    assert wide is not None
    near = 1.1 * wide["error"]
    record = build(model, accuracy=near, timing_cache=cache).inspect().accuracy
    assert record is not None
    assert record["replaced"]
    assert record["error"] <= 0.81 * near
    assert record["before"] == wide["error"]


@pytest.mark.slow
@pytest.mark.usefixtures("winograd_first")
def test_a_budget_that_float32_cannot_hold(
    model: ModelProto, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left is the error of float32 itself, and the build says so."""
    record = build(model, accuracy=1e-6, timing_cache=cache).inspect().accuracy
    assert record is not None
    assert record["least"] > 1e-6
    assert record["error"] <= 1.3 * record["least"]
    assert "float32 itself errs" in caplog.text


def test_exact_plans_are_not_checked(model: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "TACTICS", tuple(t for t in TACTICS if t.exact))
    monkeypatch.setattr("planck.compiler.accuracy.interpret_float64", None)
    assert build(model).inspect().accuracy is None


@pytest.mark.parametrize("accuracy", [-1e-4, 2, float("nan"), float("inf"), True, "1e-4", [1e-4]])
def test_what_is_no_budget_is_refused(model: ModelProto, accuracy: Any) -> None:
    with pytest.raises(BuildError, match="accuracy must be a number from 0 to 1"):
        build(model, accuracy=accuracy)


# Inputs


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.usefixtures("winograd_first")
def test_integers_are_indices_of_what_they_index(rows: int) -> None:
    """Ones where that is one, zeros where it is not."""
    net = Net("looked_up", seed=1)
    x = net.input("x", (1, 32, 24, 24))
    at = net.integer_input("at", (1,), rows)
    table = net.const(net.normal((rows, 32, 1, 1), 1.0), "table")
    row = net.op("Gather", [table, at], (1, 32, 1, 1))
    net.output(net.op("Mul", [net.conv(x, 32), row], (1, 32, 24, 24)), "y")
    record = build(net.model()).inspect().accuracy
    assert record is not None
    assert 0 < record["error"] < BUDGET


@pytest.mark.slow
@pytest.mark.usefixtures("winograd_first")
def test_a_network_that_takes_no_integers_of_the_check_is_built(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = Net("picky", seed=1)
    x = net.input("x", (1, 32, 24, 24))
    at = net.integer_input("at", (1,), 8)
    below = net.op("Sub", [at, net.const([5])], (1,))  # -4 and -5 are no rows of a table of 3
    row = net.op("Gather", [net.const(net.normal((3, 32, 1, 1), 1.0)), below], (1, 32, 1, 1))
    net.output(net.op("Mul", [net.conv(x, 32), row], (1, 32, 24, 24)), "y")
    report = build(net.model()).inspect()
    assert report.accuracy is not None
    assert report.accuracy["error"] is None
    assert "error not known" in str(report)
    assert "the plan's error is not known" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("winograd_first")
def test_nan_where_float64_has_nan_is_no_error() -> None:
    net = Net("rooted", seed=1)
    x, t = net.input("x", (1, 32, 24, 24)), net.input("t", (1, 1, 24))
    root = net.op("Sqrt", [t], t.shape)  # of normal numbers: half of them have none
    pooled = net.max_pool(net.conv(x, 32), 3, 1, 1)
    net.output(net.op("Mul", [pooled, root], (1, 32, 24, 24)), "y")
    record = build(net.model()).inspect().accuracy
    assert record is not None
    assert 0 < record["error"] < BUDGET
