"""Layout for GPUs: which tensors lie channels last, and the copies where that meets rows.

    %y = Region(%x, %w) graph { Conv }        %y: f32[1,20,8,8]:c24 = Region(%x, %w) graph { Conv }
    %z = MatMul(reshape(%y), %v)        ->    %y_row = Identity(%y)
                                              %z = MatMul(reshape(%y_row), %v)

A block of all channels, rounded up to 8 so that a thread loads 16 bytes of a pixel, lies as
[N, 1, *S, B], which is channels last. The rules are those of blocked layouts (passes/layout.py):
convolutions, pools and resizes take such blocks, and what is pointwise between them; stems of few
channels read rows; network inputs and outputs, and all that is multiplied as matrices, are rows,
which convolutions write as well where nobody wants anything else.
Concats and slices along channels are views at multiples of 8 channels, whoever writes the parts:
he knows a pixel's stride.
"""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Graph
from planck.passes.absorb_copies import absorb_copies
from planck.passes.layout import Blocks, assign_blocks

CHANNELS: Final = Blocks(size=0, grain=8, rows=True)


def channels_last(graph: Graph) -> Graph:
    """Graph of regions -> the same with channels last in its types, and copies between layouts."""
    return absorb_copies(assign_blocks(graph, CHANNELS), CHANNELS)
