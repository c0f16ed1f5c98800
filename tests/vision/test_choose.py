"""Which head: the shapes of published models, and the ones that cannot be told apart."""

from __future__ import annotations

import pytest

from planck.errors import InputError
from planck.vision import (
    AnchorFreeHead,
    AnchorFreeMaps,
    DarknetMaps,
    YoloV5Head,
    YoloV5Maps,
    find_head,
)

VGA = (640, 640)


@pytest.mark.parametrize(
    ("outputs", "size", "classes", "kind", "names"),
    [
        ({"o": (1, 84, 8400)}, VGA, None, AnchorFreeHead, ("o",)),
        ({"o": (1, 9, 2100)}, (320, 320), 5, AnchorFreeHead, ("o",)),
        ({"o": (1, 84, 6300)}, (480, 640), 80, AnchorFreeHead, ("o",)),
        ({"o": (1, 25200, 85)}, VGA, None, YoloV5Head, ("o",)),
        ({"o": (1, 102000, 85)}, (1280, 1280), 80, YoloV5Head, ("o",)),
        (
            {"o": (1, 25200, 85), "a": (1, 3, 80, 80, 85), "b": (1, 3, 40, 40, 85)},
            VGA,
            None,
            YoloV5Head,
            ("o",),
        ),
        (
            {"s": (1, 3, 20, 20, 85), "m": (1, 3, 40, 40, 85), "l": (1, 3, 80, 80, 85)},
            VGA,
            None,
            YoloV5Maps,
            ("l", "m", "s"),
        ),
        (
            {"s": (1, 255, 19, 19), "m": (1, 255, 38, 38), "l": (1, 255, 76, 76)},
            (608, 608),
            80,
            DarknetMaps,
            ("l", "m", "s"),
        ),
        (
            {"l": (1, 144, 80, 80), "m": (1, 144, 40, 40), "s": (1, 144, 20, 20)},
            VGA,
            80,
            AnchorFreeMaps,
            ("l", "m", "s"),
        ),
        (
            {"l": (1, 65, 80, 80), "m": (1, 65, 40, 40), "s": (1, 65, 20, 20)},
            VGA,
            None,
            AnchorFreeMaps,
            ("l", "m", "s"),
        ),
        (
            {"l": (1, 18, 52, 52), "m": (1, 18, 26, 26), "s": (1, 18, 13, 13)},
            (416, 416),
            None,
            DarknetMaps,
            ("l", "m", "s"),
        ),
    ],
)
def test_published_shapes(
    outputs: dict, size: tuple, classes: int | None, kind: type, names: tuple
) -> None:
    head, reads = find_head(outputs, size, classes)
    assert type(head) is kind
    assert reads == names


@pytest.mark.parametrize(
    ("outputs", "classes", "message"),
    [
        ({"o": (1, 1000)}, None, r"o \[1, 1000\]"),
        ({"o": (1, 84, 8400)}, 5, "5 classes"),
        ({"o": (1, 84, 8399)}, None, "no YOLO head"),
        ({"s": (1, 255, 20, 20), "l": (1, 255, 80, 80)}, None, "191 classes without anchors"),
        ({"s": (1, 255, 20, 20), "l": (1, 255, 40, 40)}, 80, "anchors cannot be known"),
        ({"s": (1, 4, 20, 20, 85)}, 80, "anchors cannot be known"),
        ({}, None, "no outputs"),
    ],
)
def test_shapes_that_are_refused(outputs: dict, classes: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_head(outputs, VGA, classes)
    assert caught.value.try_
