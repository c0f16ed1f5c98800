"""Detector: a picture in, detections out, around any engine."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from planck.dtypes import Array
from planck.errors import InputError
from planck.vision.choose import find_head
from planck.vision.detection import Detection
from planck.vision.heads import Head
from planck.vision.images import read_image
from planck.vision.letterbox import Fit, letterbox
from planck.vision.nms import nms
