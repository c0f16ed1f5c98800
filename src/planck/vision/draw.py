"""Draw detections on a picture: boxes in the colour of their class, labels that can be read."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from planck.dtypes import Array
from planck.vision.detection import Detection
from planck.vision.extra import need_pillow
from planck.vision.images import check_image

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

_GOLDEN_TURN = 0.618033988749895  # steps of the golden ratio spread hues evenly, however many
_DARK: Colour = (16, 18, 24)
_LIGHT: Colour = (255, 255, 255)


def draw(image: Array, detections: Sequence[Detection]) -> Array:
    """Draw boxes and labels; lines and text grow with the picture.

    image:  u8[H, W, 3], RGB; left as it is
    gives:  u8[H, W, 3], a new picture
    raises: ShapeError or DTypeError for another array, MissingExtraError without Pillow
    """
    need_pillow("draw detections")
    from PIL import Image, ImageDraw, ImageFont

    check_image(image)
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    side = max(image.shape[:2])
    line = max(1, round(side / 320))
    font = ImageFont.load_default(max(10, round(side / 50)))
    weakest_first = sorted(detections, key=lambda detection: detection.score)
    for detection in weakest_first:
        _outline(pen, detection, line)
    for detection in weakest_first:
        _tag(pen, detection, line, font, image.shape[1])
    return np.array(canvas)


def class_colour(class_id: int) -> Colour:
    """A bright colour for a class: neighbouring classes lie far apart in hue."""
    hue = (0.56 + class_id * _GOLDEN_TURN) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _outline(pen: ImageDraw.ImageDraw, detection: Detection, line: int) -> None:
    """The box in its colour between two thin dark lines, to stand out on any background."""
    x1, y1, x2, y2 = (round(edge) for edge in detection.box_px)
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)
    rim = max(1, line // 3)
    pen.rectangle((x1 - rim, y1 - rim, x2 + rim, y2 + rim), outline=_DARK, width=line + 2 * rim)
    pen.rectangle((x1, y1, x2, y2), outline=class_colour(detection.class_id), width=line)


def _tag(
    pen: ImageDraw.ImageDraw,
    detection: Detection,
    line: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    width: int,
) -> None:
    """Label and score on a plate above the box, or inside it at the picture's upper edge."""
    text = f"{detection.label} {detection.score:.0%}"
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, round((bottom - top) / 4))
    plate_width, plate_height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(round(detection.box_px[0]), width - round(plate_width)))
    y = round(detection.box_px[1]) - plate_height
    if y < 0:
        y = round(detection.box_px[1]) + line
    colour = class_colour(detection.class_id)
    plate = (x, y, x + plate_width, y + plate_height)
    pen.rounded_rectangle(plate, radius=pad, fill=colour, outline=_DARK)
    pen.text((x + pad - left, y + pad - top), text, fill=_ink(colour), font=font)


def _ink(colour: Colour) -> Colour:
    """Dark or light text, whichever contrasts more with the colour behind it.

    source: relative luminance of ITU-R BT.709; 0.45 splits what reads better dark from light
    """
    red, green, blue = (channel / 255 for channel in colour)
    return _DARK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else _LIGHT
