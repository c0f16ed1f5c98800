"""Names of classes: those of COCO, and those that a model file carries."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

# source: the 80 "thing" categories of COCO 2017 (Lin et al., arXiv:1405.0312), in order of id
_COCO = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports
ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine
glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book,
clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

COCO: Final[tuple[str, ...]] = tuple(_COCO.replace("\n", " ").strip().split(", "))


def labels_of(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The class names in a model's metadata, or None where it has none that can be read.

    source: Ultralytics' exports keep them under "names", as a dict or list in Python's spelling
    """
    try:
        names = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list | tuple) or not names:
        return None
    return tuple(str(name) for name in names)
