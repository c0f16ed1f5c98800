"""`planck detect`: pictures and folders in, drawn pictures and JSON out."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import planck
from planck.vision import read_image, write_image
from tests.cli.conftest import Command

CFG = """[net]
channels=3
height=32
width=64
[convolutional]
filters=21
size=4
stride=16
activation=linear
[yolo]
anchors=10,14, 23,27, 37,58
classes=2
[route]
layers=0
[convolutional]
filters=21
stride=2
activation=linear
[yolo]
anchors=10,14, 23,27, 37,58
classes=2
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan with a YOLO head and weights that somebody made up."""
    path = tmp_path_factory.mktemp("detector") / "tiny.cfg"
    path.write_text(CFG)
    numbers = (
        np.random.default_rng(0).standard_normal(21 * (1 + 3 * 16) + 21 * (1 + 21)).astype("<f4")
        * 0.3
    )
    path.with_suffix(".weights").write_bytes(struct.pack("<3iq", 0, 2, 5, 0) + numbers.tobytes())
    planck.build(path, threads=1, optimization_level=0).save(path.with_suffix(".plan"))
    return path.with_suffix(".plan")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(1)
    for name, shape in (("a", (40, 60, 3)), ("b", (33, 21, 3))):
        write_image(folder / f"{name}.png", draw.integers(0, 256, shape).astype(np.uint8))
    return folder


def test_detect(command: Command, detector: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    done = command("detect", detector, pictures, "-o", out, "--score", 0.3)
    assert done.code == 0
    assert "a.png" in done.out
    rows = json.loads((out / "detections.json").read_text())
    assert [Path(row["image"]).name for row in rows] == ["a.png", "b.png"]
    assert read_image(out / "a.png").shape == (40, 60, 3)
    first = rows[0]["detections"][0]
    assert set(first) == {"label", "class_id", "score", "box_px"}
    assert 0.3 <= first["score"] <= 1


def test_labels_and_json(command: Command, detector: Path, pictures: Path, tmp_path: Path) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("cat\ndog\n")
    done = command(
        "detect", detector, pictures / "a.png", "-o", tmp_path / "out",
        "--labels", labels, "--score", 0.3, "--json",
    )  # fmt: skip
    assert done.code == 0
    (row,) = done.json
    assert {d["label"] for d in row["detections"]} <= {"cat", "dog"}
    assert row["ms"] > 0


def test_a_bad_picture_does_not_stop_the_others(
    command: Command, detector: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "aa.png").write_bytes(b"no picture")
    done = command("detect", detector, pictures, "-o", tmp_path / "out", "--json")
    assert done.code == 1
    assert [bool(row.get("error")) for row in done.json] == [False, True, False]


def test_two_pictures_of_one_name(
    command: Command, detector: Path, pictures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes((pictures / "a.png").read_bytes())
    out = tmp_path / "out"
    assert command("detect", detector, pictures / "a.png", other, "-o", out).code == 0
    assert {p.name for p in out.iterdir()} == {"a.png", "a-2.png", "detections.json"}


def test_nothing_to_detect_on(command: Command, detector: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("detect", detector, tmp_path / "empty", "-o", tmp_path / "out")
    assert done.code == 1
    assert "there are no pictures" in done.err


def test_no_labels_file(command: Command, detector: Path, pictures: Path, tmp_path: Path) -> None:
    done = command(
        "detect", detector, pictures, "-o", tmp_path / "out", "--labels", tmp_path / "gone"
    )
    assert done.code == 1
    assert "cannot read labels" in done.err


def test_a_classifier_is_no_detector(
    command: Command, plan: Path, pictures: Path, tmp_path: Path
) -> None:
    done = command("detect", plan, pictures, "-o", tmp_path / "out")
    assert done.code == 1
    assert "Traceback" not in done.err
