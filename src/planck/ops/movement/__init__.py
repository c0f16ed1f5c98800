"""Operators that move elements: by shape, by parts, by computed indices, by order."""

from planck.ops.identity import Identity
from planck.ops.movement.gather import Gather, GatherElements, GatherND, OneHot
from planck.ops.movement.order import Cumulative, TopK
from planck.ops.movement.parts import Concat, Pad, ReverseSequence, Slice, Trilu
from planck.ops.movement.scatter import ScatterElements, ScatterND
from planck.ops.movement.shape import Broadcast, Reshape, Tile, Transpose

__all__ = [
    "Broadcast",
    "Concat",
    "Cumulative",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "OneHot",
    "Pad",
    "Reshape",
    "ReverseSequence",
    "ScatterElements",
    "ScatterND",
    "Slice",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
]
