"""The comparison of runtimes: timings arrive, outputs are checked, failures are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import models, peers
from bench.runners import find, relative_error

SETTINGS = peers.Settings(
    threads=1, precision="fp32", seconds=0.04, slice_s=0.02, build_timeout_s=60, pythons={}
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, peers.Result]:
    folder = str(Path(__file__).resolve().parent)
    monkeypatch.setenv("PYTHONPATH", ":".join([folder, str(Path.cwd()), *filter(None, sys.path)]))
    monkeypatch.chdir(tmp_path)  # the timing cache goes below it
    file = models.path("mlp", small=True, folder=tmp_path)
    runtimes = ("planck", "onnxruntime", "rivals:wrong", "rivals:dies", "rivals:raises")
    return {r.runtime: r for r in peers.compare(file, runtimes, SETTINGS)}


@pytest.mark.slow
def test_runtimes_are_timed_checked_and_their_failures_told(
    results: dict[str, peers.Result],
) -> None:
    ours, good, wrong = (results[key] for key in ("planck", "onnxruntime", "rivals:wrong"))
    for result in (ours, good, wrong):
        assert not result.failed
        assert result.runs >= 6
        assert 0 < result.p10_us <= result.median_us <= result.p90_us
        assert len(result.round_medians_us) == 2
        assert 10e6 < result.import_bytes <= result.peak_bytes  # an interpreter and NumPy
    assert ours.build_s > ours.load_s > 0
    assert ours.relative_error is not None
    assert ours.relative_error < 1e-5
    assert good.relative_error == 0
    assert wrong.relative_error == pytest.approx(1)
    assert "exit code 3" in results["rivals:dies"].failed
    assert "not this model" in results["rivals:raises"].failed
    assert json.dumps(peers.report({"mlp": list(results.values())}, SETTINGS))
    assert peers.table_of({"mlp": list(results.values())}, SETTINGS).row_count == 1
    assert peers.memory_of({"mlp": list(results.values())}).row_count == 1


@pytest.mark.slow
def test_memory_is_of_the_process_that_loads_a_plan_not_of_the_build(
    results: dict[str, peers.Result],
) -> None:
    """The compiler alone, LLVM, takes more than this small network and all that runs it."""
    ours = results["planck"]
    assert ours.peak_bytes - ours.import_bytes < 25e6


@pytest.mark.slow
def test_an_open_batch_runs_in_every_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path.cwd()), *filter(None, sys.path)]))
    file = Path(__file__).resolve().parent.parent / "data" / "exported" / "vit-dynamo.onnx"
    monkeypatch.chdir(tmp_path)
    found = peers.compare(file, ("planck", "onnxruntime"), SETTINGS)
    assert [result.failed for result in found] == ["", ""]
    assert found[0].relative_error is not None
    assert found[0].relative_error < 1e-5
    with pytest.raises(ValueError, match="has no input"):
        peers.compare(file, ("onnxruntime",), SETTINGS, {"photo": (1, 3, 24, 32)})


def test_ratio_is_the_fastest_rival_over_planck() -> None:
    ours = peers.Result("planck", runs=3, median_us=10.0)
    slow = peers.Result("onnxruntime", runs=3, median_us=40.0)
    fast = peers.Result("openvino", runs=3, median_us=15.0)
    assert peers.ratio([ours, slow, fast]) == 1.5
    assert peers.ratio([slow, fast]) is None


def test_relative_error_is_scaled_by_the_largest_value() -> None:
    truth = {"y": np.array([1.0, -4.0], np.float32)}
    assert relative_error({"y": np.array([1.5, -4.0], np.float32)}, truth) == 0.125
    assert relative_error({"z": truth["y"]}, truth) == float("inf")
    assert relative_error({"y": np.array([np.nan, 0], np.float32)}, truth) == float("inf")


def test_an_unknown_runtime_says_which_there_are() -> None:
    with pytest.raises(ValueError, match="openvino"):
        find("openvivo")
