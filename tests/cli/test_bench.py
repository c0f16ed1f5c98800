"""`planck bench`: what it tells, what it writes, how it exits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planck
from planck.benchmark import statistics
from planck.benchmark.limits import Level, Limits, load_limits, save_limits
from planck.cli import subject
from planck.runtime.cuda.context import CudaContext
from planck.runtime.cuda.engine import CudaEngine
from planck.target import host
from planck.tune import limits as measuring
from tests.cli.conftest import Command
from tests.runtime.cuda.plans import chain, fake

FEW = ("--iterations", 3, "--duration", 0, "--warmup", 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is measured once a machine is kept in a folder of the test's own."""
    monkeypatch.setenv("PLANCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_text(command: Command, plan: Path) -> None:
    done = command("bench", plan, *FEW, "--percentile", 99.9)
    assert (done.code, done.err) == (0, "")
    head, row = (line.split() for line in done.out.splitlines()[1:3])
    assert done.out.startswith("1 thread\n")
    assert head == ["ms", "runs", "min", "mean", "median", "p90", "p95", "p99", "p99.9"]
    assert row[:2] == ["net.plan", "3"]
    assert "inferences/s" in done.out
    assert "images/s" not in done.out
    assert "are not the steps' but the host's" in done.out


def test_json_and_every_time(command: Command, plan: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    result = command("bench", plan, *FEW, "--export-times", times, "--json").json
    exported = json.loads(times.read_text())
    (times_us,) = exported["streams_us"]
    assert result["runs"] == len(times_us) == 3
    assert result["median_ms"] == pytest.approx(np.median(times_us) / 1e3)
    assert result["p95_ms"] == pytest.approx(np.percentile(times_us, 95) / 1e3)
    assert 0 < result["inferences_per_s"] <= 1e3 / result["mean_ms"]
    assert result["host_us"] > 0
    assert (result["threads"], result["streams"], result["batch"]) == (1, 1, 1)
    assert exported["model"] == str(plan)


def test_profile(command: Command, plan: Path) -> None:
    result = command("bench", plan, *FEW, "--profile", "--json").json
    assert len(result["profile"]["steps"]) == len(planck.load(plan).plan.steps)
    assert "GFLOP/s" in command("bench", plan, *FEW, "--profile").out


def test_streams(command: Command, plan: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    result = command("bench", plan, *FEW, "--streams", 3, "--export-times", times, "--json").json
    exported = json.loads(times.read_text())["streams_us"]
    assert [row["runs"] for row in result["per_stream"]] == list(map(len, exported))
    assert len(exported) == result["streams"] == 3
    assert result["runs"] == sum(map(len, exported))
    rates = [row["inferences_per_s"] for row in result["per_stream"]]
    assert result["inferences_per_s"] == pytest.approx(sum(rates))
    assert "stream 2" in command("bench", plan, *FEW, "--streams", 3).out


def test_overlap_times_pipelines_and_makes_one_context_for_the_steps(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, made = fake(), list[CudaContext]()

    class Counting(CudaEngine):
        def create_execution_context(self, *arguments: Any, **named: Any) -> CudaContext:
            made.append(super().create_execution_context(*arguments, **named))
            return made[-1]

    engine = Counting(chain(2)[0], driver)
    monkeypatch.setattr(subject, "engine_of", lambda *_, **__: engine)
    done = command("bench", "net.plan", *FEW, "--overlap", "--streams", 2, "--json")
    assert (done.code, done.json["streams"]) == (0, 2)
    assert len(made) == 2 * 3 + 1
    text = command("bench", "net.plan", *FEW, "--overlap", "--streams", 2).out
    assert text.startswith("2 streams on cuda:sm_90, copies beside computing\n")
    engine.close()
    driver.finish()


def test_pipelines_are_compared(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = fake()
    engines = [CudaEngine(chain(n)[0], driver) for n in (2, 3)]
    monkeypatch.setattr(subject, "engine_of", lambda *_, **__: engines[0])
    done = command("bench", "a.plan", *FEW, "--overlap", "--against", "b.plan", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["ratio"]["rounds"] >= 12
    for engine in engines:
        engine.close()
    driver.finish()


@pytest.mark.parametrize("option", ["--roofline", "--plot=net.svg"])
def test_rooflines_are_of_processors(
    command: Command, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    with CudaEngine(chain(2)[0], fake()) as engine:
        monkeypatch.setattr(subject, "engine_of", lambda *_, **__: engine)
        done = command("bench", "net.plan", *FEW, option)
    assert (done.code, done.out) == (1, "")
    assert "draws no rooflines of GPUs" in done.err
    assert "--profile" in done.err


def test_overlap_is_for_gpus(command: Command, plan: Path) -> None:
    assert "--overlap is for GPUs" in command("bench", plan, *FEW, "--overlap").err


def test_a_batch_is_bound_and_counts_as_images(command: Command, model: Path) -> None:
    done = command("bench", model, *FEW, "--batch", 4, "--threads", 1, "-O", 0, "--json")
    assert done.code == 0, done.err
    assert done.json["batch"] == 4
    assert done.json["images_per_s"] == pytest.approx(4 * done.json["inferences_per_s"])


def test_a_plan_keeps_its_shapes(command: Command, plan: Path) -> None:
    for option in (("--batch", 4), ("--shape", "x:4x3x8x8"), ("--shape", "z:1x3x8x8")):
        done = command("bench", plan, *FEW, *option)
        assert (done.code, done.out) == (1, "")
        assert "ShapeError: the plan was built for other shapes" in done.err
        assert "a plan's shapes are fixed: x: [1, 3, 8, 8]" in done.err
        assert "planck build MODEL --batch N" in done.err
    assert command("bench", plan, *FEW, "--batch", 1, "--shape", "x:1x3x8x8").code == 0


def test_a_plan_keeps_its_precision(command: Command, plan: Path) -> None:
    done = command("bench", plan, *FEW, "--precision", "bf16")
    assert (done.code, done.out) == (1, "")
    assert "BuildError: the plan was built for another precision than bf16" in done.err
    assert "this one's is fp32" in done.err
    assert "planck build MODEL --precision bf16" in done.err
    assert command("bench", plan, *FEW, "--precision", "fp32").code == 0


def test_a_model_of_fixed_batch(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "fixed.graph"
    path.write_text('graph "f"(%x: f32[1,4]) { %y: f32[1,4] = Pointwise(%x, fn="tanh") return %y }')
    done = command("bench", path, "--batch", 8)
    assert done.code == 1
    assert "the model cannot take a batch of 8" in done.err
    assert "x: f32[1,4]" in done.err


def test_against_itself(command: Command, plan: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    done = command(
        "bench",
        plan,
        "--against",
        plan,
        *FEW,
        "--fail-above",
        50,
        "--export-times",
        times,
        "--json",
    )
    assert (done.code, done.json["failed"]) == (0, False)
    ratio = done.json["ratio"]
    exported = json.loads(times.read_text())
    sides = [exported["rounds_us"], exported["against"]["rounds_us"]]
    expected = statistics.ratio_of(*([np.array(r) for r in side] for side in sides))
    assert ratio["ratio"] == pytest.approx(expected.ratio)
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert ratio["rounds"] == len(sides[0]) >= 12
    assert "times as long, over" in command("bench", plan, "--against", plan, *FEW).out


def test_slower_is_exit_code_3(command: Command, plan: Path, tmp_path: Path) -> None:
    """Against a plan of 300 times less arithmetic, and the other way round."""
    heavy = tmp_path / "heavy.graph"
    heavy.write_text(
        """graph "h"(%x: f32[512,512]) {
          %a: f32[512,512] = MatMul(%x, %x)
          %y: f32[512,512] = MatMul(%a, %x)
          return %y
        }"""
    )
    options = ("--threads", 1, "-O", 0, *FEW, "--fail-above", 1.05)
    slower = command("bench", heavy, "--against", plan, *options)
    assert slower.code == 3, slower.err
    assert "surely more than 1.05" in slower.out
    assert command("bench", plan, "--against", heavy, *options).code == 0


def test_cpus(command: Command, plan: Path) -> None:
    assert command("bench", plan, *FEW, "--cpus", "0").code == 0
    done = command("bench", plan, *FEW, "--cpus", "0-0", "--streams", 2, "--threads", 1)
    assert done.code == 1
    assert "1 threads cannot be kept on 0 cpus" in done.err
    done = command("bench", plan, *FEW, "--cpus", "4095")
    assert done.code == 1
    assert "may not run on cpus [4095]" in done.err


@pytest.mark.parametrize(
    "options",
    [("--fail-above", 1.1), ("--against", "PLAN", "--streams", 2), ("--cpus", "two"),
     ("--against", "PLAN", "--roofline"), ("--against", "PLAN", "--profile"),
     ("--percentile", 101), ("--streams", 0), ("--batch", 0)],
    ids=lambda o: " ".join(map(str, o)),
)  # fmt: skip
def test_options_that_make_no_sense(
    command: Command, plan: Path, options: tuple[object, ...]
) -> None:
    done = command("bench", plan, *(plan if o == "PLAN" else o for o in options))
    assert (done.code, done.out) == (2, "")
    assert "Usage:" in done.err


def test_unwritable_times(command: Command, plan: Path, tmp_path: Path) -> None:
    done = command("bench", plan, *FEW, "--export-times", tmp_path / "no" / "times.json")
    assert done.code == 1
    assert "FileError: cannot write" in done.err


# The roofline


def test_roofline(
    command: Command, plan: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits are measured by the first call, and only by it, or when asked for."""
    calls: list[int] = []
    measure = measuring.measure_limits

    def counted(*arguments: object) -> Limits:
        calls.append(1)
        return measure(*arguments, seconds=0.02)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "measure_limits", counted)
    picture = tmp_path / "net.svg"
    first = command("bench", plan, *FEW, "--roofline", "--plot", picture)
    assert (first.code, first.err) == (0, "")
    assert "x the sum of the limits" in first.out
    assert picture.read_text().startswith("<svg ")
    assert (folder / "limits.json").is_file()
    second = command("bench", plan, *FEW, "--roofline", "--json").json["roofline"]
    assert calls == [1]
    assert len(second["steps"]) == len(planck.load(plan).plan.steps)
    assert len(second["worst"]) <= 3
    assert all(row["limit_us"] > 0 for row in second["steps"])
    kept = load_limits(host(), 1)
    assert kept is not None
    assert second["limits"] == json.loads(json.dumps(kept.to_json()))
    (folder / "limits.json").write_text("damaged")
    assert command("bench", plan, *FEW, "--roofline").code == 0
    assert calls == [1, 1]
    assert command("bench", plan, *FEW, "--roofline", "--measure-limits").code == 0
    assert calls == [1, 1, 1]


def test_without_a_compiler_known_limits_serve(
    command: Command, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "planck.tune.limits", None)
    done = command("bench", plan, *FEW, "--roofline")
    assert (done.code, done.out) == (1, "")
    assert "MissingExtraError: this machine's limits with 1 threads are not known" in done.err
    assert "pip install llvmlite" in done.err
    target = planck.load(plan).plan.target
    pairs = 200.0 if target.multiplies_bfloat16 else 0.0
    kept = Limits(1, 100.0, (Level("L1", 0, 50.0),), pairs)
    save_limits(target, kept)
    done = command("bench", plan, *FEW, "--roofline")
    assert done.code == 0
    assert f"limits of 1 thread: {kept}" in done.out
    assert str(kept).startswith("100 GFLOP/s")


def test_a_picture_is_svg(command: Command, plan: Path, tmp_path: Path) -> None:
    done = command("bench", plan, *FEW, "--plot", tmp_path / "net.png")
    assert (done.code, done.out) == (1, "")
    assert "draws rooflines as SVG, not as .png" in done.err
    assert "net.svg" in done.err
    assert not (tmp_path / "net.png").exists()
