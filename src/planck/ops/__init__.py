"""The operator set: attributes, shape inference, reference, loop body."""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Op
from planck.ops import movement, nn
from planck.ops.control import If, Loop
from planck.ops.identity import Identity
from planck.ops.linalg import Det
from planck.ops.pointwise import BitCast, Cast, Pointwise
from planck.ops.reduce import ArgReduce, Reduce
from planck.ops.region import Region

OPERATORS: Final[tuple[type[Op], ...]] = (
    Pointwise,
    Cast,
    BitCast,
    Reduce,
    ArgReduce,
    *nn.OPERATORS,
    Identity,
    movement.Reshape,
    movement.Transpose,
    movement.Broadcast,
    movement.Tile,
    movement.Concat,
    movement.Slice,
    movement.Pad,
    movement.ReverseSequence,
    movement.Trilu,
    movement.Gather,
    movement.GatherElements,
    movement.GatherND,
    movement.OneHot,
    movement.ScatterElements,
    movement.ScatterND,
    movement.TopK,
    movement.Cumulative,
    Det,
    If,
    Loop,
    Region,
)

BY_NAME: Final = {operator.__name__: operator for operator in OPERATORS}
