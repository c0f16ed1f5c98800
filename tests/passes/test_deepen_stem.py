"""Stems on deeper pixels compute what they computed on the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.dtypes import f16
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify
from planck.ops.nn import Conv
from planck.passes.channels_last import channels_last
from planck.passes.deepen_stem import deepen_stems
from planck.passes.fuse import fuse
from planck.passes.precision import shorten

# channels, outputs, picture, filter, pads
STEMS = [
    (3, 8, (12, 20), (6, 6), (2, 2, 2, 2)),
    (3, 5, (14, 10), (7, 7), (3, 3, 3, 3)),
    (3, 5, (9, 11), (5, 5), (1, 1, 1, 1)),  # odd sizes
    (3, 17, (8, 8), (5, 5), (1, 1, 2, 2)),  # "same" of other frameworks
    (1, 4, (8, 12), (5, 7), (0, 1, 0, 3)),
    (4, 6, (16, 10), (6, 5), (1, 2, 2, 1)),
    (3, 16, (15, 14), (5, 5), (0, 0, 0, 0)),  # the last row is never read
    (2, 16, (9, 12), (8, 5), (3, 2, 4, 2)),
]


def stem(shape: Any, stride: int = 2, groups: int = 1) -> Graph:
    c, m, picture, size, pads = shape
    out = [
        (n + pads[i] + pads[2 + i] - k) // stride + 1
        for i, (n, k) in enumerate(zip(picture, size, strict=True))
    ]
    kind = f"f32[7,{m},{out[0]},{out[1]}]"
    graph = parse(
        f"""graph "g"(%x: f32[7,{c},{picture[0]},{picture[1]}]) {{
        weight %w: f32[{m},{c // groups},{size[0]},{size[1]}] = ? weight %b: f32[{m}] = ?
        %c: {kind} = Conv(%x, %w, %b, strides=({stride}, {stride}), pads={pads},
        dilations=(1, 1), groups={groups})
        %y: {kind} = Pointwise(%c, fn="silu") return %y }}"""
    )
    return channels_last(fuse(graph))


def convolution(graph: Graph) -> Conv:
    ops = [n.op for node in graph.nodes for n in node.op.graph.nodes]  # type: ignore[attr-defined]
    (found,) = (op for op in ops if isinstance(op, Conv))
    return found


@pytest.mark.parametrize("shape", STEMS, ids=str)
def test_same_results(shape: Any) -> None:
    graph = stem(shape)
    after = deepen_stems(graph)
    verify(after)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].type.dims, np.float32)
    want, got = (interpret(g, {"x": x})["y"] for g in (graph, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert (convolution(after).strides, convolution(after).pads) == ((1, 1), (0, 0, 0, 0))


def test_the_moved_picture_is_rounded_as_it_is_written() -> None:
    short = shorten(deepen_stems(stem(STEMS[1])), f16, on_gpu=True)
    moved, product = short.nodes
    assert moved.outputs[0].type.dtype is f16
    assert moved.outputs[0].type.block == moved.outputs[0].type.dims[1] == 16
    assert product.inputs[0].name == moved.outputs[0].name


@pytest.mark.parametrize(
    "graph",
    [
        stem((3, 5, (8, 8), (5, 5), (1, 1, 1, 1)), stride=1),
        stem((5, 5, (8, 8), (5, 5), (1, 1, 1, 1))),
        stem((3, 5, (8, 8), (3, 3), (1, 1, 1, 1))),
        stem((4, 8, (8, 8), (5, 5), (1, 1, 1, 1)), groups=2),
    ],
    ids=["stride 1", "five channels", "few taps", "groups"],
)
def test_others_stay(graph: Graph) -> None:
    assert deepen_stems(graph) is graph
