"""Pictures in, detections out: files, letterbox, YOLO heads, NMS, drawing, and the Detector."""

from __future__ import annotations

from planck.vision.choose import find_head
from planck.vision.detect import Detector, Settings
from planck.vision.detection import Detection
from planck.vision.draw import draw
from planck.vision.heads import (
    AnchorFreeHead,
    AnchorFreeMaps,
    DarknetMaps,
    Head,
    YoloV5Head,
    YoloV5Maps,
)
from planck.vision.images import read_image, write_image
from planck.vision.labels import COCO, labels_of
from planck.vision.letterbox import Fit, letterbox
from planck.vision.nms import iou, nms

__all__ = [
    "COCO",
    "AnchorFreeHead",
    "AnchorFreeMaps",
    "DarknetMaps",
    "Detection",
    "Detector",
    "Fit",
    "Head",
    "Settings",
    "YoloV5Head",
    "YoloV5Maps",
    "draw",
    "find_head",
    "iou",
    "labels_of",
    "letterbox",
    "nms",
    "read_image",
    "write_image",
]
