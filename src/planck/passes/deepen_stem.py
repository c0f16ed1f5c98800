"""A convolution of a picture at stride 2 as one of stride 1 on pixels of 16 channels, for GPUs.

    %y = Region(%x, %w) graph {            %s = Region(%x) graph { Pad, 2x2 pixels as one, Pad }
        Conv 7x7, stride 2, 3 channels ->  %y = Region(%s, %v) graph {
        relu }                                 Conv 4x4, stride 1, 16 channels
                                               relu }

A row of three channels in planes cannot be loaded in whole vectors, and a tensor core wants 16
numbers of it behind each other. Here one kernel reads the picture once, rounds it, and writes it
channels last: 2x2 pixels as the channels of one, zeros up to 8 or 16 channels and where the
convolution pads. Then a row of taps is one piece of memory, always inside the picture, and no mask
is left in the loop (`tactics/triton/strips.py`). Smaller filters than 5x5 read each pixel so few
times that gathering them is faster.

Unlike `unfold_stem`, which a CPU times against the stem as it is, it writes the paddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from planck.dtypes import Array, f32
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.movement import Pad
from planck.ops.nn import Conv
from planck.ops.region import all_names
from planck.passes.stem import moving, on_other_operands, pixels_apart, stem_of, taps_apart
from planck.refusal import No

MOST_CHANNELS: Final = 4  # of the picture
LEAST_TAPS: Final = 25  # of a filter; measured in tactics/triton/strips.py
GRAIN: Final = 8  # what channels are rounded up to


def deepen_stems(graph: Graph) -> Graph:
    """Graph of regions after layout -> the same with its stems on deeper pixels."""
    namer = Namer(all_names(graph))
    nodes: list[Node] = []
    weights = dict(graph.weights)
    for node in graph.nodes:
        found = _deepened(node, graph, namer)
        if isinstance(found, No):
            nodes.append(node)
        else:
            nodes += found[0]
            weights |= found[1]
    if len(nodes) == len(graph.nodes):
        return graph
    used = {v.name for n in nodes for v in n.inputs} | {v.name for v in graph.outputs}
    kept = {name: array for name, array in weights.items() if name in used}
    return graph.with_(nodes=tuple(nodes), weights=kept)


def _deepened(
    node: Node, graph: Graph, namer: Namer
) -> tuple[tuple[Node, Node], dict[str, Array]] | No:
    """The two regions in place of a stem, and their new weights."""
    found = _stem(node, graph.weights)
    if isinstance(found, No):
        return found
    conv, x, w = found
    op = conv.op
    assert isinstance(op, Conv)
    out = conv.outputs[0].type.dims[2:]
    # Where it costs no tap, a picture begins with a whole pair of pixels, which are loaded at once.
    skips = [p % 2 * (k % 2) for p, k in zip(op.pads[:2], w.type.dims[2:], strict=True)]
    deep = _deep(graph.weights[w.name], skips)
    begins = [pad + skip for pad, skip in zip(op.pads[:2], skips, strict=True)]
    moved, zero = _moved(node, x, begins, out, deep.shape, namer)
    made = Value(namer(f"{w.name}_deep"), TensorType(deep.shape, f32))
    new = {x.name: moved.outputs[0], w.name: made}
    stem = on_other_operands(node, new, replace(op, strides=(1, 1), pads=(0, 0, 0, 0)))
    return (moved, stem), {made.name: deep, zero.name: np.zeros((), np.float32)}


def _stem(node: Node, weights: Mapping[str, Array]) -> tuple[Node, Value, Value] | No:
    """A stem that may be deepened, as `stem_of` gives it."""
    found = stem_of(node)
    if isinstance(found, No):
        return found
    conv, x, w = found
    op, taps = conv.op, w.type.dims[2:]
    assert isinstance(op, Conv)
    if w.name not in weights:
        return No("its weights are not known")
    if x.type.dims[1] > MOST_CHANNELS:
        return No("it reads no picture")
    if op.strides != (2, 2):
        return No("not of stride 2")
    if taps[0] * taps[1] < LEAST_TAPS:
        return No("each pixel is read a few times only")
    return found


def _deep(weights: Array, skips: list[int]) -> Array:
    """Filters for pixels whose channels are rounded up; skips as in `taps_apart`."""
    m, c, *size = weights.shape
    taps = [-(-extent // 2) for extent in size]
    deep = np.zeros((m, -(-4 * c // GRAIN) * GRAIN, *taps), np.float32)
    deep[:, : 4 * c] = taps_apart(weights, skips, taps)
    return deep


def _moved(
    node: Node,
    x: Value,
    begins: list[int],
    out: tuple[int, ...],
    filters: tuple[int, ...],
    namer: Namer,
) -> tuple[Node, Value]:
    """The region that moves the picture, and its zero.

    begins:   rows and columns of zeros before the picture
    out:      rows and columns of the convolution's result
    filters:  shape of its new weights
    """
    n, c, *size = x.type.dims
    whole = [2 * (extent + taps - 1) for extent, taps in zip(out, filters[2:], strict=True)]
    ends = [w - s - b for w, s, b in zip(whole, size, begins, strict=True)]
    zero = Value(namer("zero"), TensorType((), f32))
    steps: list[tuple[Op, tuple[Value, ...]]] = [
        (Pad((0, 0, *begins, 0, 0, *ends)), (zero,)),
        *((own, ()) for own in pixels_apart((n, c, *whole))),
        (Pad((0, 0, 0, 0, 0, filters[1] - 4 * c, 0, 0)), (zero,)),
    ]
    return moving("deepen", node, x, steps, filters[1], namer), zero
