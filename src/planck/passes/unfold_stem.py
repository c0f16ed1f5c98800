"""A convolution of a picture in rows as one on blocks: what moves the picture, and what is left.

    %y = Region(%x, %w) graph {             %s = Region(%x) graph { Reshape, Transpose, Reshape }
        Conv 6x6, stride 2, 3 channels  ->  %y = Region(%s, %v) graph {
        silu }                                  Conv 3x3, stride 1, 12 channels
                                                silu }

At stride 2, 2x2 pixels become the channels of one (space to depth), and the filters likewise; at
stride 1 the picture is copied into blocks. The sums are the same, but Winograd's algorithm, which
reads blocks, saves most of their products. Whether that pays for moving the picture is for the
build to find out (compiler/chains.py).

Notebook (Zen 5, AVX-512; us, one core / two):

    stem                       in rows        moved + Winograd
    6x6/2 3-32 @ 640, SiLU     3079 / 1576     99 + 1511 / 61 + 773
    7x7/2 3-64 @ 224, ReLU      895 /  450     25 +  330 / 15 + 180

- Channels in the order (c, y, x): neighbours in a row stay neighbours, and the loop generator
  moves 640x640 in 99 us, as fast as pairs transposed in registers by hand (97); as (y, x, c) it
  takes 440.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planck.dtypes import Array, f32
from planck.ir.graph import Namer, Node, Value
from planck.ir.types import TensorType
from planck.ops.identity import Identity
from planck.ops.nn import Conv
from planck.passes.stem import moving, on_other_operands, pixels_apart, stem_of, taps_apart
from planck.refusal import No

LEAST_TAPS = 9  # of all channels together, below which there is nothing to save


def unfold_stem(
    node: Node, weights: Mapping[str, Array], block: int, namer: Namer
) -> tuple[tuple[Node, Node], dict[str, Array]] | No:
    """The two regions, and the new weights by name.

    node:   a region after layout, when it is known which pictures are read in rows
    block:  of the moved picture
    namer:  knows all names of the graph and inside its regions
    """
    found = _stem(node)
    if isinstance(found, No):
        return found
    conv, x, w = found
    op, array = conv.op, weights.get(w.name)
    assert isinstance(op, Conv)
    if array is None:
        return No("the weights are not known at build time")
    ops = pixels_apart(x.type.dims) if op.strides == (2, 2) else (Identity(),)
    moved, filters = moving("unfold", node, x, [(o, ()) for o in ops], block, namer), array
    if op.strides == (2, 2):
        half = (x.type.dims[2] // 2, x.type.dims[3] // 2)
        unfolded = _unfolded(op, array, half, conv.outputs[0].type.dims[2:])
        if isinstance(unfolded, No):
            return unfolded
        op, filters = unfolded
    made = Value(namer(f"{w.name}_unfolded"), TensorType(filters.shape, f32))
    new = {x.name: moved.outputs[0], w.name: made}
    return (moved, on_other_operands(node, new, op)), {made.name: filters}


def _stem(node: Node) -> tuple[Node, Value, Value] | No:
    """A stem that may be unfolded, as `stem_of` gives it."""
    found = stem_of(node)
    if isinstance(found, No):
        return found
    conv, x, w = found
    op, taps = conv.op, w.type.dims[2:]
    assert isinstance(op, Conv)
    if op.strides not in ((1, 1), (2, 2)):
        return No("not of stride 1 or 2")
    if taps[0] * taps[1] < LEAST_TAPS:
        return No("a pixel meets few weights")
    if op.strides == (2, 2) and any(n % 2 for n in x.type.dims[2:]):
        return No("the picture has an odd number of rows or columns")
    return found


def _unfolded(
    op: Conv, weights: Array, image: tuple[int, int], out: tuple[int, ...]
) -> tuple[Conv, Array] | No:
    """A convolution of stride 2 on 2x2 pixels as channels, in the order (c, y, x).

    image:  rows and columns of the moved picture
    """
    begins = [-(-pad // 2) for pad in op.pads[:2]]
    # Where the filter begins in a whole number of pairs, and how many pairs it meets.
    skipped = [2 * begin - pad for begin, pad in zip(begins, op.pads[:2], strict=True)]
    taps = [-(-(skip + n) // 2) for skip, n in zip(skipped, weights.shape[2:], strict=True)]
    ends = [
        count - 1 - begin + size - extent
        for count, begin, size, extent in zip(out, begins, taps, image, strict=True)
    ]
    if min(ends) < 0:
        return No("the last pixels are never read")
    plain = replace(op, strides=(1, 1), pads=(*begins, *ends))
    return plain, taps_apart(weights, skipped, taps)
