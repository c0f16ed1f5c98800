"""PyTorch's exports beside the benchmark models: one table row an export, failures told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import exports, models, peers

SETTINGS = peers.Settings(
    threads=1, precision="fp32", seconds=0.04, slice_s=0.02, build_timeout_s=60, pythons={}
)


@pytest.mark.slow
def test_several_files_are_timed_in_the_same_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path.cwd()), *filter(None, sys.path)]))
    monkeypatch.chdir(tmp_path)
    one, two = (models.path(name, small=True, folder=tmp_path) for name in ("mlp", "unet"))
    runtimes = {one: ("onnxruntime",), two: ("onnxruntime", "no:runtime")}
    (first,), (second, missing) = peers.compare_files(runtimes, SETTINGS)
    for result in (first, second):
        assert not result.failed
        assert len(result.round_medians_us) == 2
        assert result.relative_error == 0
    assert second.median_us > first.median_us
    assert "No module named 'no'" in missing.failed


def result(runtime: str, median_us: float) -> peers.Result:
    return peers.Result(runtime, runs=3, median_us=median_us, relative_error=2e-6)


def test_each_export_stands_beside_the_model_of_the_same_network() -> None:
    rows = {
        "script": [result("planck", 10.0), result("openvino", 30.0)],
        "dynamo": [peers.Result("planck", failed="no"), result("openvino", 30.0)],
        "models": [result("planck", 20.0)],
    }
    table = exports.table_of({"mlp": rows}, SETTINGS)
    cells = [list(column.cells) for column in table.columns]
    assert cells[1:] == [
        ["script", "dynamo"],
        ["0.010", "failed"],
        ["0.020", "0.020"],
        ["3.00", ""],
        ["2e-06", ""],
    ]
    stored = exports.report({"mlp": rows}, SETTINGS)["networks"]["mlp"]
    assert stored["models"][0]["median_us"] == 20.0
