"""Depth-first fusion: which regions become one, what stays apart, and that the way back exists."""

from __future__ import annotations

import numpy as np
import pytest

from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.text import text
from planck.ir.verify import verify
from planck.ops.nn import Conv
from planck.ops.region import Region
from planck.passes.depth_first import cut, depth_first
from planck.passes.fuse import fuse
from planck.passes.layout import assign

PLAIN = "strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1"
SLIDE = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=15"
IN, WIDE = "f32[2,5,6,7]", "f32[2,15,6,7]"
WIDEN = f"""%a: {WIDE} = Conv(%x, %w, {PLAIN})
    %b: {WIDE} = Pointwise(%a, %six, fn="min")"""
CHAIN = f"""{WIDEN} %c: {WIDE} = Conv(%b, %k, {SLIDE})
    %d: {WIDE} = Pointwise(%c, %six, fn="min")"""
NARROW = f"%e: {IN} = Conv(%d, %v, {PLAIN})"
CASES = {
    "inverted residual": (
        f'{CHAIN} {NARROW} %y: {IN} = Pointwise(%e, %x, fn="add")', "y", [3],
    ),
    "no last convolution": (f'{CHAIN} %y: {WIDE} = Softmax(%d, axis=1)', "y", [2, 0]),
    "no first convolution": (
        f"""%b: {WIDE} = Concat(%x, %x, %x, axis=1) %d: {WIDE} = Conv(%b, %k, {SLIDE})
        {NARROW}""", "e", [0, 2],
    ),
    "an output of the network lies between": (f"{CHAIN} {NARROW}", "d, %e", [2, 1]),
    "what is widened is read again": (
        f'{CHAIN} {NARROW} %f: {IN} = Conv(%b, %v, {PLAIN}) %y: {IN} = Pointwise(%e, %f, fn="add")',
        "y", [1, 1, 2],
    ),
    "a large tensor beside what lies between": (
        f"""%p: {WIDE} = Concat(%x, %x, %x, axis=1) %c: {WIDE} = Conv(%p, %k, {SLIDE})
        %d: {WIDE} = Pointwise(%c, %z, fn="mul") {NARROW}""", "e", [0, 1, 1],
    ),
    "the first has groups": (
        f"""%b: {WIDE} = Conv(%x, %g, {PLAIN.replace("groups=1", "groups=5")})
        %c: {WIDE} = Conv(%b, %k, {SLIDE}) %d: {WIDE} = Pointwise(%c, fn="relu") {NARROW}""",
        "e", [1, 2],
    ),
    "the last reads more than a pixel": (
        f"""{CHAIN} %e: f32[2,5,4,5] = Conv(%d, %t, {PLAIN})""", "e", [2, 1],
    ),
    "one behind the other": (
        f"""{CHAIN} %e: {WIDE} = Conv(%d, %h, {PLAIN}) %f: {WIDE} = Conv(%e, %k, {SLIDE})
        %i: {WIDE} = Conv(%f, %h, {PLAIN})""", "i", [3, 2],
    ),
}  # fmt: skip


def program(body: str, outputs: str) -> Graph:
    return parse(
        f'graph "g"(%x: {IN}, %z: {WIDE}) {{ weight %w: f32[15,5,1,1] = ? '
        f"weight %k: f32[15,1,3,3] = ? weight %v: f32[5,15,1,1] = ? weight %six: f32[] = 6.0 "
        f"weight %g: f32[15,1,1,1] = ? weight %t: f32[5,15,3,3] = ? weight %h: f32[15,15,1,1] = ? "
        f"{body} return %{outputs} }}"
    )


def convolutions(graph: Graph) -> list[int]:
    """How many convolutions each node holds."""
    return [
        sum(isinstance(n.op, Conv) for n in node.op.graph.nodes)
        if isinstance(node.op, Region)
        else 0
        for node in graph.nodes
    ]


def arrays(graph: Graph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {v.name: random.standard_normal(v.type.dims, np.float32) for v in graph.inputs}


@pytest.mark.parametrize("case", CASES)
def test_groups_and_results(case: str) -> None:
    body, outputs, expected = CASES[case]
    graph = program(body, outputs)
    fused = depth_first(fuse(graph))
    verify(fused)
    assert convolutions(fused) == expected
    given = arrays(graph)
    want, got = interpret(graph, given), interpret(fused, given)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)
    assert text(parse(text(fused), fused.weights)) == text(fused)
    assert text(depth_first(fused)) == text(fused)


@pytest.mark.parametrize("case", ["inverted residual", "no first convolution"])
def test_cut_gives_the_regions_back(case: str) -> None:
    """The kernels are those of the graph that was never fused, layouts too."""
    graph = fuse(program(*CASES[case][:2]))
    plain, whole = assign(graph, 4), assign(depth_first(graph), 4)
    again = whole.with_(nodes=tuple(part for node in whole.nodes for part in cut(node, 4)))
    verify(again)
    boundaries = [
        [[str(v.type) for v in (*n.inputs, *n.outputs)] for n in g.nodes] for g in (again, plain)
    ]
    assert boundaries[0] == boundaries[1]
    given = arrays(graph)
    for name, array in interpret(plain, given).items():
        np.testing.assert_array_equal(interpret(again, given)[name], array)
