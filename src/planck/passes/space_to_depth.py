"""Fold the gathering of pixel blocks into channels into the convolution that follows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Slice
from planck.ops.nn import Conv
from planck.passes.match import inner
from planck.refusal import No


@rule(Conv)
def focus(view: View, node: Node) -> Patch | No:
    """conv(concat(x[::2, ::2], x[1::2, ::2], x[::2, 1::2], x[1::2, 1::2])) -> conv(x) of stride 2

    The kernel becomes twice as large with the same number of weights: each reads its own pixel.
    """
    assert isinstance(node.op, Conv)
    concat = inner(view, node.inputs[0], Concat)
    if concat is None or node.inputs[0].type.rank != 4 or len(concat.inputs) < 4:
        return SKIP
    assert isinstance(concat.op, Concat)
    found = _blocks(view, concat)
    if found is None:
        return SKIP
    x, step, places = found
    op = node.op
    if op.groups != 1 or any(n != 1 for n in op.dilations) or concat.op.axis % 4 != 1:
        return No("the convolution has groups or dilations, or blocks are joined on another axis")
    w = view.weight(node.inputs[1])
    if w is None:
        return No("weights are no constant")
    m, _, height, width = w.shape
    c = x.type.dims[1]
    larger = np.zeros((m, c, height * step, width * step), w.dtype)
    for k, (row, column) in enumerate(places):
        larger[:, :, row::step, column::step] = w[:, k * c : (k + 1) * c]
    wide = replace(
        op,
        strides=tuple(n * step for n in op.strides),
        pads=tuple(n * step for n in op.pads),
    )
    patch = view.patch()
    weights = patch.weight(larger, node.inputs[1].name)
    return patch.replace(node.outputs[0], patch(wide, x, weights, *node.inputs[2:]))


def _blocks(view: View, concat: Node) -> tuple[Value, int, list[tuple[int, int]]] | None:
    """(x, step, places) where the parts are x[:, :, row::step, column::step] for all places."""
    source: Value | None = None
    step = round(len(concat.inputs) ** 0.5)
    places: list[tuple[int, int]] = []
    for value in concat.inputs:
        part = view.producer(value)
        if part is None or not isinstance(part.op, Slice) or part.op.steps != (1, 1, step, step):
            return None
        n, c, h, w = part.inputs[0].type.dims
        if part.op.sizes != (n, c, h // step, w // step) or h % step or w % step:
            return None
        if source not in (None, part.inputs[0]) or part.op.starts[:2] != (0, 0):
            return None
        source = part.inputs[0]
        places.append((part.op.starts[2], part.op.starts[3]))
    whole = sorted(places) == [(row, column) for row in range(step) for column in range(step)]
    return (source, step, places) if source is not None and whole else None


RULES = (focus,)


def space_to_depth(graph: Graph) -> Graph:
    """Let convolutions read pixel blocks themselves."""
    return rewrite(graph, RULES)
