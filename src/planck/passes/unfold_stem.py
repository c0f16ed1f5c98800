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

import numpy as np

from planck.dtypes import Array, f32
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.identity import Identity
from planck.ops.movement import Reshape, Transpose
from planck.ops.nn import Conv
from planck.ops.region import Region
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
    assert isinstance(node.op, Region)
    if array is None:
        return No("the weights are not known at build time")
    moved, filters = _moved(node, x, block, op.strides[0], namer), array
    if op.strides == (2, 2):
        half = (x.type.dims[2] // 2, x.type.dims[3] // 2)
        unfolded = _unfolded(op, array, half, conv.outputs[0].type.dims[2:])
        if isinstance(unfolded, No):
            return unfolded
        op, filters = unfolded
    made = Value(namer(f"{w.name}_unfolded"), TensorType(filters.shape, f32))
    new = {x.name: moved.outputs[0], w.name: made}
    return (moved, on_other_operands(node, new, op)), {made.name: filters}


def on_other_operands(node: Node, new: Mapping[str, Value], convolution: Conv) -> Node:
    """A region of one convolution with another in its place, and others for some of its inputs."""
    assert isinstance(node.op, Region)
    inner = node.op.graph
    outer = dict(zip((v.name for v in inner.inputs), node.inputs, strict=True))
    instead = {own: new[v.name] for own, v in outer.items() if v.name in new}

    def renamed(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(instead.get(v.name, v) for v in values)

    nodes = tuple(
        replace(
            own,
            op=convolution if isinstance(own.op, Conv) else own.op,
            inputs=renamed(own.inputs),
        )
        for own in inner.nodes
    )
    graph = inner.with_(inputs=renamed(inner.inputs), nodes=nodes)
    inputs = tuple(new.get(v.name, v) for v in node.inputs)
    return Node(Region(graph), inputs, node.outputs, node.origin)


def _stem(node: Node) -> tuple[Node, Value, Value] | No:
    """The convolution of a stem, and outside the region its picture and its weights."""
    if not isinstance(node.op, Region):
        return No("no region")
    inner = node.op.graph
    conv = inner.nodes[0]
    outer = dict(zip((v.name for v in inner.inputs), node.inputs, strict=True))
    if not isinstance(conv.op, Conv) or sum(isinstance(n.op, Conv) for n in inner.nodes) != 1:
        return No("not one convolution")
    x, w = (outer.get(v.name) for v in conv.inputs[:2])
    if x is None or w is None or x.type.dtype is not f32 or w.type.dtype is not f32:
        return No("it computes in another type than f32")
    op, taps = conv.op, w.type.dims[2:]
    if x.type.rank != 4 or x.type.block or op.groups != 1:
        return No("it reads no picture in rows")
    if sum(outer.get(v.name) in (x, w) for n in inner.nodes for v in n.inputs) != 2:
        return No("the picture or the weights are read twice")
    if op.strides not in ((1, 1), (2, 2)) or op.dilations != (1, 1):
        return No("not of stride 1 or 2")
    if taps[0] * taps[1] < LEAST_TAPS:
        return No("a pixel meets few weights")
    if op.strides == (2, 2) and any(n % 2 for n in x.type.dims[2:]):
        return No("the picture has an odd number of rows or columns")
    return conv, x, w


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
    m, c, *size = weights.shape
    wide = np.zeros((m, c, 2 * taps[0], 2 * taps[1]), np.float32)
    (top, left), (height, width) = skipped, size
    wide[:, :, top : top + height, left : left + width] = weights
    deep = wide.reshape(m, c, taps[0], 2, taps[1], 2).transpose(0, 1, 3, 5, 2, 4)
    plain = replace(op, strides=(1, 1), pads=(*begins, *ends))
    return plain, np.ascontiguousarray(deep.reshape(m, 4 * c, *taps))


def _moved(node: Node, x: Value, block: int, stride: int, namer: Namer) -> Node:
    """The region that moves the picture."""
    n, c, height, width = x.type.dims
    ops: tuple[Op, ...] = (Identity(),)
    if stride == 2:
        apart = (n, c, height // 2, 2, width // 2, 2)
        whole = (n, 4 * c, height // 2, width // 2)
        ops = (Reshape(apart), Transpose((0, 1, 3, 5, 2, 4)), Reshape(whole))
    nodes: list[Node] = []
    value = x
    for op in ops:
        (type_,) = op.infer(value.type)
        last = op is ops[-1]
        made = Value(namer(f"{x.name}_moved"), type_.with_block(block if last else 0))
        nodes.append(Node(op, (value,), (made,), node.origin))
        value = made
    return Node(Region(Graph("unfold", (x,), tuple(nodes), (value,))), (x,), (value,), node.origin)
