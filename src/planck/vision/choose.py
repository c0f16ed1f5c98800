"""Which head a network has, read from the shapes of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from planck.errors import InputError
from planck.vision.heads import (
    V3_ANCHORS,
    AnchorFreeHead,
    AnchorFreeMaps,
    DarknetMaps,
    Head,
    YoloV5Head,
    YoloV5Maps,
)

Shape = tuple[int, ...]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32))
_ANCHORS_A_CELL = 3
_BINS = 16


def find_head(
    outputs: Mapping[str, Sequence[int]], size: tuple[int, int], classes: int | None = None
) -> tuple[Head, tuple[str, ...]]:
    """Choose a head by the outputs' shapes.

    outputs: names and shapes of the network's outputs
    size:    (height, width) of the network's input in pixels
    classes: how many classes there are; needed where raw maps could be read in two ways
    gives:   the head, and the names of the outputs it reads, in its order
    raises:  InputError if no head fits, or the anchors of one cannot be known from shapes
    """
    shapes = {name: tuple(shape) for name, shape in outputs.items()}
    for name, shape in shapes.items():
        decoded = _decoded(shape, size, classes)
        if decoded:
            return decoded, (name,)
    found = _grids(shapes, classes) or _maps(shapes, classes)
    if found:
        return found
    raise InputError(
        "no YOLO head that Planck knows has outputs of these shapes",
        know=f"{_listed(shapes)}; input {size[0]} x {size[1]}"
        + ("" if classes is None else f"; {classes} classes"),
        try_="check the number of labels, or give head= one of planck.vision's heads",
    )


def _decoded(shape: Shape, size: tuple[int, int], classes: int | None) -> Head | None:
    """The head of [B, 4 + classes, cells] or [B, 3 * cells, 5 + classes], if it is one."""
    if len(shape) != 3:
        return None
    counts = {sum((size[0] // s) * (size[1] // s) for s in strides) for strides in _STRIDES}
    _, rows, columns = shape
    if columns in counts and rows > 4 and classes in (None, rows - 4):
        return AnchorFreeHead()
    anchored = {_ANCHORS_A_CELL * count for count in counts}
    if rows in anchored and columns > 5 and classes in (None, columns - 5):
        return YoloV5Head()
    return None


def _grids(shapes: Mapping[str, Shape], classes: int | None) -> tuple[Head, tuple[str, ...]] | None:
    """YOLOv5's raw maps [B, 3, H, W, 5 + classes], if the outputs are such."""
    wide = {n: s for n, s in shapes.items() if len(s) == 5 and s[4] > 5}
    names = sorted((n for n, s in wide.items() if classes in (None, s[4] - 5)), key=_rows(shapes))
    if not names:
        return None
    _need_known_anchors([shapes[name][1] for name in names], shapes)
    return YoloV5Maps(), tuple(names)


def _maps(shapes: Mapping[str, Shape], classes: int | None) -> tuple[Head, tuple[str, ...]] | None:
    """Raw maps [B, C, H, W] of Darknet's or of anchor-free heads, if the outputs are such."""
    names = sorted((n for n, s in shapes.items() if len(s) == 4), key=_rows(shapes))
    channels = {shapes[name][1] for name in names}
    if len(channels) != 1:
        return None
    count = channels.pop()
    of_three, rest = divmod(count, _ANCHORS_A_CELL)
    anchored = rest == 0 and of_three > 5 and classes in (None, of_three - 5)
    free = count > 4 * _BINS and classes in (None, count - 4 * _BINS)
    if anchored and free:
        raise InputError(
            f"maps of {count} channels are {of_three - 5} classes of three anchors, "
            f"or {count - 4 * _BINS} classes without anchors",
            know=_listed(shapes),
            try_="give labels=, or head=planck.vision.DarknetMaps(...) or AnchorFreeMaps()",
        )
    if free:
        return AnchorFreeMaps(_BINS), tuple(names)
    if anchored:
        _need_known_anchors([_ANCHORS_A_CELL] * len(names), shapes)
        return DarknetMaps(), tuple(names)
    return None


def _rows(shapes: Mapping[str, Shape]) -> Callable[[str], int]:
    """Sorts names of maps: those with more rows first."""
    return lambda name: -shapes[name][2]


def _need_known_anchors(counts: list[int], shapes: Mapping[str, Shape]) -> None:
    """Refuse raw maps that cannot have the anchors of YOLOv3 and YOLOv5."""
    if counts != [len(row) for row in V3_ANCHORS]:
        raise InputError(
            "raw maps whose anchors cannot be known from their shapes",
            know=_listed(shapes),
            try_="give head=DarknetMaps(anchors=...) or YoloV5Maps(anchors=...), finest map first",
        )


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "no outputs"
