"""The committed detector: what its files claim is so, run by ONNX Runtime."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import shapes
from score import average_precision

from planck import dtypes
from planck.dtypes import DType
from planck.vision import Detector, Settings

DEMO = Path(shapes.__file__).parent
MODEL = DEMO / "shapes.onnx"
FACTS = json.loads((DEMO / "shapes.json").read_text())


@dataclass(frozen=True)
class Port:
    name: str
    shape: tuple[int, ...]
    dtype: DType = dtypes.f32


class OnnxRuntime:
    """ONNX Runtime as an engine that a Detector takes."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(MODEL)
        self.inputs = [Port(p.name, tuple(p.shape)) for p in self.session.get_inputs()]
        self.outputs = [Port(p.name, tuple(p.shape)) for p in self.session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray], /) -> dict[str, np.ndarray]:
        names = [port.name for port in self.outputs]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


def test_the_file_is_small_and_says_what_it_is() -> None:
    model = onnx.load(MODEL)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert ast.literal_eval(properties["names"]) == dict(enumerate(shapes.CLASSES))
    assert ast.literal_eval(properties["imgsz"]) == FACTS["input"][2:]
    assert properties["stride"] == "32"
    assert MODEL.stat().st_size == FACTS["bytes"] < 3_000_000
    assert FACTS["mAP50"] >= 0.9


def test_it_finds_shapes_on_pictures_it_has_never_seen() -> None:
    detector = Detector(OnnxRuntime(), shapes.CLASSES, settings=Settings(score=0.01, iou=0.6))
    pictures = [shapes.draw(shapes.HELD_OUT + 5000 + i, 240, 320) for i in range(24)]
    found = [detector.detect(picture.pixels) for picture in pictures]
    precision = []
    for kind in range(len(shapes.CLASSES)):
        ours = [[d for d in one if d.class_id == kind] for one in found]
        spelled = [
            (np.array([d.box_px for d in one]).reshape(-1, 4), np.array([d.score for d in one]))
            for one in ours
        ]
        truth = [picture.boxes[picture.classes == kind] for picture in pictures]
        precision.append(average_precision(spelled, truth, 0.5))
    assert np.mean(precision) >= 0.9
