"""The Detector around engines that answer what the test tells them to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from planck import dtypes
from planck.dtypes import DType
from planck.errors import InputError, ShapeError
from planck.vision import DarknetMaps, Detector, Settings, write_image


@dataclass(frozen=True)
class Port:
    name: str
    shape: tuple[int, ...]
    dtype: DType = dtypes.f32


class Told:
    """An engine that keeps what it is given and answers with fixed arrays."""

    def __init__(self, answers: dict[str, np.ndarray], given: Port | None = None) -> None:
        self.inputs = (given or Port("images", (1, 3, 64, 96)),)
        self.outputs = tuple(Port(name, array.shape) for name, array in answers.items())
        self.answers = answers
        self.seen: Mapping[str, np.ndarray] = {}

    def __call__(self, inputs: Mapping[str, np.ndarray], /) -> Mapping[str, np.ndarray]:
        self.seen = inputs
        return self.answers


def decoded(*rows: tuple[int, list[float]]) -> dict[str, np.ndarray]:
    """YOLOv8's output for 64 x 96 and two classes: all zero but the given cells."""
    output = np.zeros((1, 6, 126), np.float32)
    for cell, values in rows:
        output[0, :, cell] = values
    return {"output0": output}


PICTURE = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)


def test_boxes_come_back_in_pixels_of_the_picture() -> None:
    engine = Told(decoded((5, [48, 32, 12, 16, 0.1, 0.8])))
    (found,) = Detector(engine, ["cat", "dog"]).detect(PICTURE)
    # 128 x 96 becomes 64 x 48 at left 24: x = (x - 24) * 2, y = y * 2
    assert found.box_px == (36, 48, 60, 80)
    assert (found.class_id, found.label) == (1, "dog")
    assert found.score == pytest.approx(0.8)
    x = engine.seen["images"]
    assert x.shape == (1, 3, 64, 96)
    assert x.dtype == np.float32
    assert (x[0, :, :, :24] == np.float32(114 / 255)).all()


def test_best_first_suppressed_within_classes_only() -> None:
    answers = decoded(
        (1, [48, 32, 20, 20, 0.6, 0.0]),
        (2, [49, 32, 20, 20, 0.9, 0.0]),
        (3, [48, 33, 20, 20, 0.0, 0.7]),
        (4, [48, 33, 20, 20, 0.0, 0.2]),
    )
    detector = Detector(Told(answers))
    assert [(f.label, round(f.score, 2)) for f in detector.detect(PICTURE)] == [
        ("0", 0.9),
        ("1", 0.7),
    ]
    agnostic = Detector(Told(answers), settings=Settings(agnostic=True))
    assert [f.label for f in agnostic.detect(PICTURE)] == ["0"]
    loose = Detector(Told(answers), settings=Settings(score=0.1, iou=1.0))
    assert len(loose.detect(PICTURE)) == 4
    assert len(Detector(Told(answers), settings=Settings(top=1)).detect(PICTURE)) == 1


def test_a_cell_may_be_of_two_classes() -> None:
    found = Detector(Told(decoded((0, [48, 32, 20, 20, 0.5, 0.6])))).detect(PICTURE)
    assert [f.class_id for f in found] == [1, 0]


def test_files_and_bytes_are_pictures_too(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, PICTURE)
    detector = Detector(Told(decoded((5, [48, 32, 12, 16, 0.1, 0.8]))))
    from_array = detector.detect(PICTURE)
    assert detector.detect(path) == detector.detect(str(path)) == from_array
    assert detector.detect(path.read_bytes()) == from_array


def test_nothing_found() -> None:
    assert Detector(Told(decoded())).detect(PICTURE) == []


def test_undefined_boxes_and_scores_are_no_detections() -> None:
    answers = decoded((1, [np.nan, 32, 20, 20, 0.9, 0.0]), (2, [48, 32, 20, 20, np.nan, 0.0]))
    assert Detector(Told(answers)).detect(PICTURE) == []


def test_raw_maps_are_given_to_the_head_finest_first() -> None:
    maps = {
        "coarse": np.full((1, 21, 2, 3), -20, np.float32),
        "fine": np.full((1, 21, 8, 12), -20, np.float32),
        "middle": np.full((1, 21, 4, 6), -20, np.float32),
    }
    maps["middle"][0, 7:14, 2, 1] = [0, 0, 0, 0, 20, 20, -20]
    for detector in (
        Detector(Told(maps)),
        Detector(Told(maps), ["a", "b"], head=DarknetMaps()),
    ):
        (found,) = detector.detect(np.zeros((64, 96, 3), np.uint8))
        # the second anchor of stride 16 is 62 x 45, the cell's centre (24, 40); cut at the edges
        assert found.box_px == pytest.approx((0, 17.5, 55, 62.5))


def test_half_precision_inputs() -> None:
    engine = Told(decoded(), Port("images", (1, 3, 64, 96), dtypes.f16))
    Detector(engine).detect(PICTURE)
    assert engine.seen["images"].dtype == np.float16


@pytest.mark.parametrize(
    "given",
    [
        Port("x", (1, 64, 96, 3)),
        Port("x", (2, 3, 64, 96)),
        Port("x", (1, 3)),
        Port("x", (1, 3, 64, 96), dtypes.u8),
    ],
)
def test_engines_that_are_no_detectors(given: Port) -> None:
    with pytest.raises(InputError, match="Detector"):
        Detector(Told(decoded(), given))


def test_bad_settings_and_pictures() -> None:
    with pytest.raises(InputError, match=r"score 1\.5"):
        Settings(score=1.5)
    with pytest.raises(ShapeError):
        Detector(Told(decoded())).detect(PICTURE[..., 0])
