"""What is done to a convolution of a picture in rows: found, and put on other operands.

At stride 2, 2x2 pixels become the channels of one (space to depth), and the filters likewise: the
sums are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from planck.dtypes import Array, f32
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ops.movement import Reshape, Transpose
from planck.ops.nn import Conv
from planck.ops.region import Region
from planck.refusal import No

PAIRS_APART: Final = (0, 1, 3, 5, 2, 4)  # [n, c, y, 2, x, 2] -> [n, c, 2, 2, y, x]


def stem_of(node: Node) -> tuple[Node, Value, Value] | No:
    """The convolution of a region, and outside the region its picture and its weights.

    The picture lies in rows, and the region reads it and the weights once, in float32.
    """
    if not isinstance(node.op, Region):
        return No("no region")
    inner = node.op.graph
    convs = [own for own in inner.nodes if isinstance(own.op, Conv)]
    if len(convs) != 1:
        return No("not one convolution")
    conv, op = convs[0], convs[0].op
    assert isinstance(op, Conv)
    outer = dict(zip((v.name for v in inner.inputs), node.inputs, strict=True))
    x, w = (outer.get(v.name) for v in conv.inputs[:2])
    if x is None or w is None or x.type.dtype is not f32 or w.type.dtype is not f32:
        return No("it computes in another type than f32")
    if x.type.rank != 4 or x.type.block or op.groups != 1 or op.dilations != (1, 1):
        return No("it reads no picture in rows")
    if sum(outer.get(v.name) in (x, w) for n in inner.nodes for v in n.inputs) != 2:
        return No("the picture or the weights are read twice")
    return conv, x, w


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


def pixels_apart(shape: Sequence[int]) -> tuple[Op, ...]:
    """A picture [n, c, y, x], even, as pixels of 4 * c channels in the order (c, y, x)."""
    n, c, height, width = shape
    half = (height // 2, width // 2)
    return (
        Reshape((n, c, half[0], 2, half[1], 2)),
        Transpose(PAIRS_APART),
        Reshape((n, 4 * c, *half)),
    )


def taps_apart(weights: Array, skips: Sequence[int], taps: Sequence[int]) -> Array:
    """Filters [m, c, h, w] for such pixels: [m, 4 * c, *taps].

    skips:  rows and columns of zeros before the filter
    """
    m, c, height, width = weights.shape
    (top, left), (down, across) = skips, taps
    even = np.zeros((m, c, 2 * down, 2 * across), np.float32)
    even[:, :, top : top + height, left : left + width] = weights
    apart = even.reshape(m, c, down, 2, across, 2).transpose(PAIRS_APART)
    return np.ascontiguousarray(apart.reshape(m, 4 * c, down, across))


def moving(
    title: str,
    node: Node,
    x: Value,
    steps: Sequence[tuple[Op, tuple[Value, ...]]],
    block: int,
    namer: Namer,
) -> Node:
    """A region that moves the picture of a stem, step by step, into blocks.

    steps:  operators, and what they read beside the picture
    """
    nodes: list[Node] = []
    value = x
    for op, beside in steps:
        inputs = (value, *beside)
        (type_,) = op.infer(*(v.type for v in inputs))
        last = len(nodes) == len(steps) - 1
        made = Value(namer(f"{x.name}_moved"), type_.with_block(block if last else 0))
        nodes.append(Node(op, inputs, (made,), node.origin))
        value = made
    constants = {v.name: v for _, beside in steps for v in beside}
    inputs = (x, *constants.values())
    return Node(Region(Graph(title, inputs, tuple(nodes), (value,))), inputs, (value,), node.origin)
