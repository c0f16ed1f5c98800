"""The tables that documents show are those of the JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import typer

from bench import peers, tables

SETTINGS = peers.Settings(2, "fp32", 1, 0.5, 60, {})


def found() -> dict[str, object]:
    ours = peers.Result(
        "planck", runs=3, median_us=1500, relative_error=2e-6, peak_bytes=60_000_000
    )
    theirs = peers.Result("onnxruntime", runs=3, median_us=3000, peak_bytes=90_000_000)
    failed = peers.Result("openvino", failed="no")
    slower = peers.Result("planck", runs=3, median_us=6000, relative_error=1e-6)
    return peers.report(
        {"resnet50-b8": [ours, theirs, failed], "mlp-b8": [slower, theirs]}, SETTINGS
    )


def test_rows_and_means() -> None:
    assert tables.time_table(found()) == [
        "| model | planck | onnxruntime | openvino | ratio | error |",
        "|---|---|---|---|---|---|",
        "| resnet50 | 1.50 | 3.00 | - | 2.00 | 2e-06 |",
        "| mlp | 6.00 | 3.00 | - | 0.50 | 1e-06 |",
    ]
    assert tables.means(found()) == [
        "convolutional: 2.00, least 2.00, of 1",
        "all: 1.00, least 0.50, of 2",
    ]
    assert tables.memory_table(found())[2] == "| resnet50 | 60 | 90 | - |"


def test_reports_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    assert peers._before(file, SETTINGS) == {}
    file.write_text(json.dumps(found()))
    assert set(peers._before(file, SETTINGS)) == {"resnet50-b8", "mlp-b8"}
    other = peers.Settings(**{**asdict(SETTINGS), "threads": 1})
    with pytest.raises(typer.BadParameter, match="other settings"):
        peers._before(file, other)
