"""Stems on moved pictures compute what they computed on rows."""

import numpy as np
import pytest

from planck.ir.graph import Namer
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify
from planck.ops.nn import Conv
from planck.passes.fuse import fuse
from planck.passes.layout import assign
from planck.passes.unfold_stem import unfold_stem

# channels, outputs, picture, filter, stride, pads
STEMS = [
    (3, 8, (12, 20), (6, 6), 2, (2, 2, 2, 2)),
    (3, 5, (14, 10), (7, 7), 2, (3, 3, 3, 3)),
    (3, 5, (8, 10), (3, 3), 2, (1, 1, 1, 1)),
    (1, 4, (8, 12), (3, 5), 2, (0, 1, 0, 3)),
    (4, 6, (16, 10), (5, 4), 2, (1, 2, 2, 1)),
    (3, 5, (7, 9), (3, 3), 1, (1, 1, 1, 1)),
]


def stem(c, m, picture, size, stride, pads, more=""):
    out = [
        (n + pads[i] + pads[2 + i] - k) // stride + 1
        for i, (n, k) in enumerate(zip(picture, size, strict=True))
    ]
    kind = f"f32[2,{m},{out[0]},{out[1]}]"
    graph = parse(
        f"""graph "g"(%x: f32[2,{c},{picture[0]},{picture[1]}]) {{
        weight %w: f32[{m},{c},{size[0]},{size[1]}] = ? weight %b: f32[{m}] = ?
        %c: {kind} = Conv(%x, %w, %b, strides=({stride}, {stride}), pads={pads},
        dilations=(1, 1), groups=1) %y: {kind} = Pointwise(%c, fn="silu") {more} return %y }}"""
    )
    return assign(fuse(graph), 16)


def apart(graph):
    """Both regions in place of the stem, which comes first."""
    first, *others = graph.nodes
    found = unfold_stem(first, graph.weights, 16, Namer(v.name for v in graph.values()))
    assert found, found
    parts, weights = found
    weights = {**{k: a for k, a in graph.weights.items() if k != "w"}, **weights}
    return graph.with_(nodes=(*parts, *others), weights=weights)


@pytest.mark.parametrize("shape", STEMS, ids=str)
def test_same_results(shape):
    graph = stem(*shape)
    after = apart(graph)
    verify(after)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].type.dims, np.float32)
    want, got = (interpret(g, {"x": x})["y"] for g in (graph, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    conv = after.nodes[1].op.graph.nodes[0].op
    assert isinstance(conv, Conv)
    assert conv.strides == (1, 1)


REFUSED = {
    "odd number of rows": (3, 5, (7, 10), (3, 3), 2, (1, 1, 1, 1)),
    "few weights": (3, 5, (8, 10), (2, 2), 2, (0, 0, 0, 0)),
    "no picture in rows": (5, 5, (8, 10), (3, 3), 2, (1, 1, 1, 1)),
    "stride 1 or 2": (3, 5, (8, 10), (3, 3), 3, (1, 1, 1, 1)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused(reason):
    graph = stem(*REFUSED[reason])
    node = next(n for n in graph.nodes if "conv" in n.op.graph.name)
    found = unfold_stem(node, graph.weights, 16, Namer())
    assert not found
    assert reason in str(found)
