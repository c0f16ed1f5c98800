"""Fusion: which nodes become one kernel, and that the kernels compute what the nodes did."""

from __future__ import annotations

import numpy as np
import pytest

from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ops.pointwise import Pointwise
from planck.ops.region import Region
from planck.passes.fuse import fuse

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"
DOT = CONV.replace("pads=(1, 1, 1, 1)", "pads=(0, 0, 0, 0)")
UP = (
    'mode="nearest", sizes=(1, 5, 6, 7), scales=(1.0, 1.0, 2.0, 1.75), '
    'coordinates="asymmetric", rounding="floor"'
)
MAP = "f32[1,5,6,7]"
CASES = {
    "epilogue": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %d: {MAP} = Pointwise(%c, %b, fn="add")
        %e: {MAP} = Pointwise(%d, fn="silu") %y: {MAP} = Pointwise(%e, %x, fn="add")""",
        ["Conv add silu add"],
    ),
    "branches that meet": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %s: {MAP} = Pointwise(%c, fn="softplus")
        %t: {MAP} = Pointwise(%s, fn="tanh") %y: {MAP} = Pointwise(%c, %t, fn="mul")""",
        ["Conv softplus tanh mul"],
    ),
    "a value that others read": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %r: {MAP} = Pointwise(%c, fn="relu")
        %d: {MAP} = Conv(%c, %w, {CONV}) %y: {MAP} = Pointwise(%r, %d, fn="add")""",
        ["Conv", "relu", "Conv add"],
    ),
    "what nobody reads": (
        f"""%c: {MAP} = Conv(%x, %v, {DOT}) %y: {MAP} = Pointwise(%x, fn="exp")""",
        ["Conv", "exp"],
    ),
    "pointwise chain": (
        f"""%a: {MAP} = Pointwise(%x, fn="exp") %c: {MAP} = Pointwise(%a, %b, fn="add")
        %y: {MAP} = Pointwise(%c, fn="sqrt")""",
        ["exp add sqrt"],
    ),
    "softmax and what follows": (
        f"""%a: {MAP} = Softmax(%x, axis=3) %y: {MAP} = Pointwise(%a, %b, fn="mul")""",
        ["Softmax mul"],
    ),
    "no cycle": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %p: {MAP} = Pointwise(%c, fn="relu")
        %d: {MAP} = Conv(%p, %w, {CONV}) %q: {MAP} = Pointwise(%d, %p, fn="add")
        %e: {MAP} = Conv(%q, %w, {CONV}) %y: {MAP} = Pointwise(%e, %p, fn="mul")""",
        ["Conv relu", "Conv add", "Conv mul"],
    ),
    "views stay alone": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %s: f32[1,2,6,7] = Slice(%c, starts=(0, 1, 0, 0),
        sizes=(1, 2, 6, 7), steps=(1, 1, 1, 1)) %y: f32[1,2,6,7] = Pointwise(%s, fn="abs")""",
        ["Conv", "Slice", "abs"],
    ),
    "a small image behind 1x1 filters is read as it is": (
        f"""%u: {MAP} = Resize(%small, {UP}) %c: {MAP} = Conv(%x, %v, {DOT})
        %d: {MAP} = Pointwise(%c, %u, fn="add") %y: {MAP} = Pointwise(%d, fn="silu")""",
        ["Conv Resize add silu"],
    ),
    "behind wider filters it is not": (
        f"""%u: {MAP} = Resize(%small, {UP}) %c: {MAP} = Conv(%x, %w, {CONV})
        %y: {MAP} = Pointwise(%c, %u, fn="add")""",
        ["Resize", "Conv add"],
    ),
    "nor where another kernel needs it too": (
        f"""%u: {MAP} = Resize(%small, {UP}) %c: {MAP} = Conv(%x, %v, {DOT})
        %d: {MAP} = Pointwise(%c, %u, fn="add") %y: {MAP} = Pointwise(%d, %u, fn="mul")
        %e: {MAP} = Conv(%u, %w, {CONV})""",
        ["Resize", "Conv add mul", "Conv"],
    ),
    "parts of which one is wanted in a concatenation": (
        f"""%c: f32[1,48,6,7] = Conv(%x, %k, {DOT}) %d: f32[1,48,6,7] = Pointwise(%c, fn="silu")
        %g: f32[1,16,6,7] = Slice(%d, starts=(0, 0, 0, 0), sizes=(1, 16, 6, 7), steps=(1, 1, 1, 1))
        %h: f32[1,32,6,7] = Slice(%d, starts=(0, 16, 0, 0), sizes=(1, 32, 6, 7), steps=(1, 1, 1, 1))
        %y: f32[1,37,6,7] = Concat(%h, %x, axis=1) %z: f32[1,16,6,7] = Pointwise(%g, fn="exp")""",
        ["Conv silu Slice Slice", "Concat", "exp"],
    ),
    "a head falls into its parts where it leaves its blocks": (
        f"""%c: {MAP} = Conv(%x, %w, {CONV}) %r: f32[1,5,42] = Reshape(%c, shape=(1, 5, 42))
        %t: f32[1,42,5] = Transpose(%r, perm=(0, 2, 1))
        %g: f32[1,42,2] = Slice(%t, starts=(0, 0, 0), sizes=(1, 42, 2), steps=(1, 1, 1))
        %d: f32[1,42,3] = Slice(%t, starts=(0, 0, 2), sizes=(1, 42, 3), steps=(1, 1, 1))
        %e: f32[1,42,2] = Pointwise(%g, fn="exp") %f: f32[1,42,3] = Pointwise(%d, fn="sigmoid")
        %y: f32[1,42,5] = Concat(%e, %f, axis=2)""",
        ["Conv", "Reshape Transpose Slice exp", "Reshape Transpose Slice sigmoid", "Concat"],
    ),
}


def program(body: str) -> Graph:
    return parse(
        f'graph "g"(%x: {MAP}, %small: f32[1,5,3,4]) {{ weight %w: f32[5,5,3,3] = ? '
        f"weight %v: f32[5,5,1,1] = ? weight %k: f32[48,5,1,1] = ? weight %b: f32[1,5,1,1] = ? "
        f"{body} return %y }}"
    )


def kinds(graph: Graph) -> list[str]:
    def name(op: object) -> str:
        return op.fn if isinstance(op, Pointwise) else type(op).__name__

    return [
        " ".join(name(n.op) for n in node.op.graph.nodes)
        if isinstance(node.op, Region)
        else name(node.op)
        for node in graph.nodes
    ]


@pytest.mark.parametrize("case", CASES)
def test_groups_and_results(case: str) -> None:
    body, expected = CASES[case]
    graph = program(body)
    fused = fuse(graph)
    assert kinds(fused) == expected
    rng = np.random.default_rng(1)
    inputs = {v.name: rng.standard_normal(v.type.dims, np.float32) for v in graph.inputs}
    want, got = interpret(graph, inputs)["y"], interpret(fused, inputs)["y"]
    np.testing.assert_array_equal(got, want)


def test_fusing_twice_changes_nothing() -> None:
    once = fuse(program(CASES["epilogue"][0]))
    assert kinds(fuse(once)) == kinds(once)


def test_numbers_stand_inside_the_kernel() -> None:
    graph = program(f'weight %h: f32[] = 0.5 %y: {MAP} = Pointwise(%x, %h, fn="mul")')
    (node,) = fuse(graph).nodes
    assert isinstance(node.op, Region)
    assert list(node.op.graph.weights) == ["h"]
    assert [v.name for v in node.inputs] == ["x"]
