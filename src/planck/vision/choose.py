"""Which head a network has, read from the shapes of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    grids = [
        n for n, s in shapes.items() if len(s) == 5 and (classes is None or s[4] == 5 + classes)
    ]
    if grids:
        grids.sort(key=lambda name: -shapes[name][2])
        _same_anchors(len(grids), [shapes[name][1] for name in grids], shapes)
        return YoloV5Maps(), tuple(grids)
    maps = sorted((n for n, s in shapes.items() if len(s) == 4), key=lambda name: -shapes[name][2])
    channels = {shapes[name][1] for name in maps}
    if len(channels) == 1:
        count = channels.pop()
        anchored = count % _ANCHORS_A_CELL == 0 and count > 5 * _ANCHORS_A_CELL
        free = count > 4 * _BINS
        if classes is not None:
            anchored = count == _ANCHORS_A_CELL * (5 + classes)
            free = count == 4 * _BINS + classes
        if anchored and not free:
            _same_anchors(len(maps), [_ANCHORS_A_CELL] * len(maps), shapes)
            return DarknetMaps(), tuple(maps)
        if free and not anchored:
            return AnchorFreeMaps(_BINS), tuple(maps)
        if free and anchored:
            raise InputError(
                f"maps of {count} channels are {count // 3 - 5} classes of three anchors, "
                f"or {count - 4 * _BINS} classes without anchors",
                know=_listed(shapes),
                try_="give labels=, or head=planck.vision.DarknetMaps(...) or AnchorFreeMaps()",
            )
    raise InputError(
        "no YOLO head that Planck knows has outputs of these shapes",
        know=f"{_listed(shapes)}; input {size[0]} x {size[1]}"
        + ("" if classes is None else f"; {classes} classes"),
        try_="check the labels' count, or give head= one of planck.vision's heads",
    )


def _decoded(shape: Shape, size: tuple[int, int], classes: int | None) -> Head | None:
    """The head of an output [B, 4 + classes, cells] or [B, 3 * cells, 5 + classes], if it is one."""
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


def _same_anchors(maps: int, anchors: list[int], shapes: Mapping[str, Shape]) -> None:
    """Refuse raw maps that cannot have the anchors of YOLOv3 and YOLOv5."""
    if maps != len(V3_ANCHORS) or any(count != _ANCHORS_A_CELL for count in anchors):
        raise InputError(
            "raw maps with anchors that shapes do not tell",
            know=_listed(shapes),
            try_="give head=DarknetMaps(anchors=...) or YoloV5Maps(anchors=...), finest map first",
        )


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
