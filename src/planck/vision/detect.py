"""Detector: a picture in, detections out, around an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from planck.dtypes import Array, DType
from planck.errors import InputError
from planck.vision.choose import find_head
from planck.vision.detection import Detection
from planck.vision.heads import Head
from planck.vision.images import read_image
from planck.vision.letterbox import Fit, letterbox
from planck.vision.nms import nms


class Binding(Protocol):
    """An input or output of an engine, as `planck.runtime.Binding` is one."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> DType: ...


class Engine(Protocol):
    """What a Detector needs of an engine, as `planck.Engine` is one."""

    @property
    def inputs(self) -> Sequence[Binding]: ...

    @property
    def outputs(self) -> Sequence[Binding]: ...

    def __call__(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What counts as a detection.

    score:     least score, 0..1
    iou:       of two boxes of one class that overlap more, the weaker one is dropped
    agnostic:  boxes of different classes drop each other, too
    top:       at most so many detections a picture
    """

    score: float = 0.25
    iou: float = 0.45
    agnostic: bool = False
    top: int = 300

    def __post_init__(self) -> None:
        if not (0 <= self.score <= 1 and 0 <= self.iou <= 1 and self.top >= 0):
            raise InputError(
                "score and iou lie in 0..1, top is 0 or more",
                know=f"score {self.score}, iou {self.iou}, top {self.top}",
            )


class Detector:
    """Finds objects on pictures.

        detector = Detector(planck.load("yolov8n.plan"), labels=COCO)
        for found in detector.detect("street.jpg"):
            print(found.label, found.score, found.box_px)

    engine:    its one input is floats [1, 3, H, W]: RGB in 0..1
    labels:    names of the classes, in order; without them classes are called "0", "1", ...
    head:      how the outputs spell boxes; found from their shapes when left out
    settings:  thresholds
    raises:    InputError if the engine is no detector of such pictures
    """

    def __init__(
        self,
        engine: Engine,
        labels: Sequence[str] | None = None,
        head: Head | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.engine = engine
        self.labels = tuple(labels) if labels is not None else None
        self.settings = settings or Settings()
        self._input = _picture_input(engine)
        _, _, height, width = self._input.shape
        self.size = (height, width)
        if head is None:
            shapes = {binding.name: binding.shape for binding in engine.outputs}
            classes = None if self.labels is None else len(self.labels)
            self.head, self._reads = find_head(shapes, self.size, classes)
        else:
            self.head = head
            self._reads = _finest_first(engine.outputs)

    def detect(self, image: Array | str | Path | bytes) -> list[Detection]:
        """Find objects on one picture.

        image:  u8[H, W, 3] RGB, or a picture file: its path or its bytes
        gives:  detections in pixels of the picture, best first
        raises: FileError or InputError for a file that cannot be read, ShapeError or DTypeError
                for another array, MissingExtraError without Pillow
        """
        if isinstance(image, str | Path | bytes):
            image = read_image(image)
        x, fit = self.prepare(image)
        return self.interpret(self.engine({self._input.name: x}), fit)

    def prepare(self, image: Array) -> tuple[Array, Fit]:
        """The engine's input [1, 3, H, W] for a picture u8[h, w, 3], and the way back."""
        x, fit = letterbox(image, self.size)
        return x[None].astype(self._input.dtype.numpy, copy=False), fit

    def interpret(self, outputs: Mapping[str, Array], fit: Fit) -> list[Detection]:
        """Detections, best first, from the engine's outputs for one prepared picture."""
        settings = self.settings
        arrays = [outputs[name] for name in self._reads]
        (candidates,) = self.head(arrays, self.size, settings.score)
        finite = np.isfinite(candidates.boxes).all(1, keepdims=True)
        cell, kind = np.nonzero((candidates.scores >= settings.score) & finite)
        scores, boxes = candidates.scores[cell, kind], candidates.boxes[cell]
        classes = None if settings.agnostic else kind
        kept = nms(boxes, scores, classes, settings.iou, settings.top)
        edges = fit.to_picture(boxes[kept])
        return [
            Detection((x1, y1, x2, y2), score, class_id, self._label(class_id))
            for (x1, y1, x2, y2), score, class_id in zip(
                edges.tolist(), scores[kept].tolist(), kind[kept].tolist(), strict=True
            )
        ]

    def _label(self, class_id: int) -> str:
        if self.labels is None or class_id >= len(self.labels):
            return str(class_id)
        return self.labels[class_id]


def _picture_input(engine: Engine) -> Binding:
    shapes = [tuple(binding.shape) for binding in engine.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][:2] != (1, 3):
        listed = ", ".join(f"{b.name} {list(b.shape)}" for b in engine.inputs)
        raise InputError(
            "a Detector needs an engine with one input [1, 3, H, W]",
            know=f"this one has {listed or 'no inputs'}",
            try_="build with batch 1: planck.build(path, shapes={'images': (1, 3, 640, 640)})",
        )
    binding = engine.inputs[0]
    if not binding.dtype.is_float:
        raise InputError(
            "a Detector gives its engine floats in 0..1",
            know=f"input {binding.name} is {binding.dtype}",
        )
    return binding


def _finest_first(outputs: Sequence[Binding]) -> tuple[str, ...]:
    """Names of outputs, maps with more rows first: the order that heads expect."""
    ranked = sorted(outputs, key=lambda b: -b.shape[2] if len(b.shape) > 2 else 0)
    return tuple(binding.name for binding in ranked)
