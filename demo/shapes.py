"""Pictures of overlapping shapes with exact boxes: the data set of the demo, from a seed.

Needs NumPy and Pillow alone. The same seed and size give the same picture. Training draws from
seeds 0 and up, whatever is held out from `HELD_OUT` and up.

    picture = draw(seed=HELD_OUT, height=320, width=320)
    picture.pixels   u8[H, W, 3] RGB
    picture.boxes    f32[M, 4] x1 y1 x2 y2 in pixels
    picture.classes  i64[M], indices into CLASSES
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("circle", "square", "triangle", "star", "ring")
HELD_OUT = 1_000_000_000
MAX_SHAPES = 14

_SUPERSAMPLING = 4
_LEAST_VISIBLE = 0.45  # of a shape's area, once everything is drawn
_LEAST_INSIDE = 0.7  # of a shape's area, inside the picture


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what is on it.

    pixels:   u8[H, W, 3], RGB
    boxes:    f32[M, 4], x1 y1 x2 y2 in pixels, of the whole shape, cut at the picture's edge
    classes:  i64[M]
    """

    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def draw(seed: int, height: int, width: int, photos: Sequence[np.ndarray] = ()) -> Picture:
    """Draw the picture of a seed; sizes of shapes follow the picture's longer side.

    photos: u8[h, w, 3] each; when given, about a third of the backgrounds are crops of them
    """
    rng = np.random.default_rng(seed)
    canvas = _background(rng, height, width, photos)  # f32[H, W, 3] in 0..1
    _distract(rng, canvas)
    boxes, classes = _place_shapes(rng, canvas)
    return Picture(_photograph(rng, canvas), boxes, classes)


# -- backgrounds ----------------------------------------------------------------------------------


def _background(
    rng: np.random.Generator, height: int, width: int, photos: Sequence[np.ndarray]
) -> np.ndarray:
    if photos and rng.random() < 0.35:
        return _photo_crop(rng, height, width, photos)
    paint = (_clouds, _waves, _cells, _gradient)[rng.choice(4, p=(0.35, 0.2, 0.25, 0.2))]
    return paint(rng, height, width)


def _photo_crop(
    rng: np.random.Generator, height: int, width: int, photos: Sequence[np.ndarray]
) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    zoom = min(photo.shape[0] / height, photo.shape[1] / width) * rng.uniform(0.3, 1.0)
    h, w = height * zoom, width * zoom
    top, left = rng.uniform(0, photo.shape[0] - h), rng.uniform(0, photo.shape[1] - w)
    crop = Image.fromarray(photo).resize(
        (width, height), Image.Resampling.BILINEAR, (left, top, left + w, top + h)
    )
    return np.asarray(crop, np.float32) / 255


def _smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """f32[H, W] in about 0..1: random values on a grid of `cells`, interpolated."""
    grid = Image.fromarray(rng.random((cells + 1, cells + 1), dtype=np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))


def _fractal(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    roughness = rng.uniform(0.4, 0.75)
    total = np.zeros((height, width), np.float32)
    for octave in range(6):
        total += roughness**octave * _smooth_noise(rng, height, width, 2 << octave)
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def _palette(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.random((count, 3), dtype=np.float32) * rng.uniform(0.6, 1.0)


def _through_palette(values: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colour f32[H, W] in 0..1 with a palette f32[K, 3], linear between its colours."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(values, stops, palette[:, c]) for c in range(3)], -1).astype("f4")


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _through_palette(_fractal(rng, height, width), _palette(rng, int(rng.integers(2, 6))))


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    along = np.cos(angle) * x + np.sin(angle) * y
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    return _through_palette(along, _palette(rng, int(rng.integers(2, 5))))


def _waves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    bend = _smooth_noise(rng, height, width, 4) * rng.uniform(0, 0.4)
    total = np.zeros((height, width))
    for _ in range(int(rng.integers(1, 4))):
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(10, 120)
        total += np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y + bend))
    total = 0.5 + 0.5 * total / max(float(np.abs(total).max()), 1e-6)
    if rng.random() < 0.4:
        total = (total > 0.5).astype(np.float64)
    return _through_palette(total, _palette(rng, 3))


def _cells(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Voronoi cells of random points, in random colours, under a little of the clouds."""
    count = int(rng.integers(8, 70))
    points = rng.random((count, 2)) * (height, width)
    y, x = np.mgrid[0:height:2, 0:width:2].astype(np.float32)
    bend = 12 * _smooth_noise(rng, *y.shape, 12) * rng.random()
    distance = (y[..., None] + bend[..., None] - points[:, 0].astype("f4")) ** 2
    distance += (x[..., None] + bend[..., None] - points[:, 1].astype("f4")) ** 2
    nearest = distance.argmin(-1).repeat(2, 0).repeat(2, 1)[:height, :width]
    share = rng.uniform(0, 0.5)
    clouds = _through_palette(_fractal(rng, height, width), _palette(rng, 3))
    return (1 - share) * _palette(rng, count)[nearest] + share * clouds


def _distract(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Strokes, letters and ragged blobs that are no shape of any class."""
    height, width = canvas.shape[:2]
    unit = max(height, width)
    for _ in range(int(rng.integers(0, 9))):
        layer = Image.new("L", (width, height))
        pen = ImageDraw.Draw(layer)
        x, y = rng.random(2) * (width, height)
        kind = rng.integers(3)
        if kind == 0:
            steps = rng.normal(0, unit / 8, (int(rng.integers(2, 5)), 2)).cumsum(0)
            pen.line(
                [tuple(p) for p in np.array((x, y)) + steps],
                fill=255,
                width=int(rng.integers(1, 5)),
            )
        elif kind == 1:
            letter = "AHKMNRSWXZ258?&#"[rng.integers(16)]
            pen.text((x, y), letter, fill=255, font_size=unit * rng.uniform(0.04, 0.2))
        else:
            turn = np.sort(rng.uniform(0, 2 * np.pi, 11))
            radius = unit * rng.uniform(0.02, 0.08) * rng.uniform(0.35, 1, 11)
            blob = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)
            pen.polygon([tuple(p) for p in blob], fill=255)
        alpha = np.asarray(layer, np.float32)[..., None] / 255 * rng.uniform(0.4, 1.0)
        canvas += alpha * (rng.random(3, dtype=np.float32) - canvas)


# -- shapes ---------------------------------------------------------------------------------------


def _regular(corners: int, radius: float = 1.0) -> np.ndarray:
    turn = np.arange(corners) * (2 * np.pi / corners)
    return radius * np.stack([np.cos(turn), np.sin(turn)], 1)


def _outlines(rng: np.random.Generator, name: str) -> list[np.ndarray]:
    """Polygons f64[K, 2] of a shape of radius 1; a second one is a hole."""
    if name == "circle":
        return [_regular(72)]
    if name == "square":
        return [_regular(4)]
    if name == "triangle":
        return [_regular(3)]
    if name == "ring":
        return [_regular(72), _regular(72, rng.uniform(0.45, 0.7))]
    star = _regular(10)
    star[1::2] *= rng.uniform(0.36, 0.5)
    return [star]


def _random_affine(rng: np.random.Generator, radius: float) -> np.ndarray:
    """f64[2, 2]: turn, squash a little, turn again, scale."""

    def turn() -> np.ndarray:
        angle = rng.uniform(0, 2 * np.pi)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    squash = rng.uniform(0.85, 1.0)
    return radius * turn() @ np.diag((1.0, squash)) @ turn()


def _mask(outlines: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """f32[H, W] in 0..1: how much of each pixel the shape covers."""
    layer = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    pen = ImageDraw.Draw(layer)
    for outline, fill in zip(outlines, (255, 0), strict=False):
        pen.polygon([tuple(p) for p in outline * _SUPERSAMPLING], fill=fill)
    return np.asarray(layer.reduce(_SUPERSAMPLING), np.float32) / 255


def _texture(rng: np.random.Generator, colour: np.ndarray, height: int, width: int) -> np.ndarray:
    """f32[H, W, 3] around a colour: plain, shaded, striped, dotted or rough."""
    y, x = np.mgrid[0:height, 0:width]
    kind = rng.integers(5)
    other = np.clip(colour + rng.normal(0, 0.2, 3), 0, 1)
    angle = rng.uniform(0, np.pi)
    if kind == 0:
        mix = np.zeros((height, width))
    elif kind == 1:
        mix = (np.cos(angle) * x + np.sin(angle) * y) / max(height, width)
    elif kind == 2:
        period = rng.uniform(4, 16)
        mix = np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y)) > 0
    elif kind == 3:
        period = rng.uniform(5, 14)
        mix = np.sin(2 * np.pi / period * x) * np.sin(2 * np.pi / period * y) > 0.25
    else:
        mix = _fractal(rng, height, width)
    return (colour + (other - colour) * np.asarray(mix, np.float32)[..., None]).astype("f4")


def _contrasting_colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A colour at some distance from the mean of what lies behind, so that a shape can be seen."""
    colour = rng.random(3)
    for _ in range(20):
        if np.linalg.norm(colour - behind) > 0.4:
            break
        colour = rng.random(3)
    return colour.astype(np.float32)


def _place_shapes(rng: np.random.Generator, canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw shapes over each other; every one keeps at least `_LEAST_VISIBLE` of its area."""
    height, width = canvas.shape[:2]
    unit = max(height, width)
    owner = np.full((height, width), -1, np.int32)
    areas: list[float] = []
    boxes: list[np.ndarray] = []
    classes: list[int] = []
    wanted = int(rng.integers(1, MAX_SHAPES + 1))
    biggest = 0.26 if wanted < 6 else 0.16
    for _ in range(wanted * 3):
        if len(boxes) == wanted:
            break
        kind = int(rng.integers(len(CLASSES)))
        radius = unit * np.exp(rng.uniform(np.log(0.035), np.log(biggest)))
        centre = rng.random(2) * (width, height)
        if boxes and rng.random() < 0.6:  # near another shape, so that many overlap
            near = boxes[rng.integers(len(boxes))]
            centre = (near[:2] + near[2:]) / 2 + rng.normal(0, 0.9 * radius, 2)
        affine = _random_affine(rng, radius)
        outlines = [points @ affine.T + centre for points in _outlines(rng, CLASSES[kind])]
        low, high = outlines[0].min(0), outlines[0].max(0)
        left, top = np.clip(np.floor(low), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int)
        if right - left < 6 or bottom - top < 6:
            continue
        mask = _mask([points - (left, top) for points in outlines], bottom - top, right - left)
        if mask.sum() < _LEAST_INSIDE * _area(outlines):
            continue
        window = (slice(top, bottom), slice(left, right))
        after = owner[window].copy()
        after[mask > 0.5] = len(boxes)
        if _hides_another(owner, after, window, areas):
            continue
        owner[window] = after
        areas.append(float((mask > 0.5).sum()))
        boxes.append(np.array([*np.maximum(low, 0), *np.minimum(high, (width, height))]))
        classes.append(kind)
        _paint(rng, canvas[window], mask)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


def _area(outlines: list[np.ndarray]) -> float:
    """Area of the first polygon less the second's, by the shoelace formula."""
    areas = [
        abs(float(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)))) / 2
        for p in outlines
    ]
    return areas[0] - sum(areas[1:])


def _hides_another(
    owner: np.ndarray, after: np.ndarray, window: tuple[slice, slice], areas: list[float]
) -> bool:
    before = owner[window]
    for index in np.unique(before[before != after]):
        if index < 0:
            continue
        lost = np.sum((before == index) & (after != index))
        if np.sum(owner == index) - lost < _LEAST_VISIBLE * areas[index]:
            return True
    return False


def _paint(rng: np.random.Generator, canvas: np.ndarray, mask: np.ndarray) -> None:
    """Blend a shape into its window of the canvas, in place."""
    weight = mask[..., None]
    behind = (canvas * weight).sum((0, 1)) / max(float(weight.sum()), 1e-6)
    colour = _contrasting_colour(rng, behind)
    paint = _texture(rng, colour, *mask.shape)
    if rng.random() < 0.35:  # a rim: where the mask, blurred, is no longer full
        blurred = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(2))
        inside = np.asarray(blurred, np.float32)[..., None] / 255 > 0.95
        paint = np.where(inside, paint, colour * rng.uniform(0.1, 0.6)).astype("f4")
    canvas += weight * rng.uniform(0.8, 1.0) * (paint - canvas)


# -- the camera -----------------------------------------------------------------------------------


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Light, blur, noise and JPEG damage, as a cheap camera would add them; gives u8[H, W, 3]."""
    height, width = canvas.shape[:2]
    light = 1 + rng.uniform(0, 0.5) * (_smooth_noise(rng, height, width, 2) - 0.5)
    pixels = canvas * light[..., None] * rng.uniform(0.8, 1.15)
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    if rng.random() < 0.5:
        grain = rng.normal(0, rng.uniform(2, 16), (height, width, 3))
        image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=int(rng.integers(25, 90)))
        image = Image.open(jpeg)
    return np.asarray(image)
