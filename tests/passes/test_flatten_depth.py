"""Convolutions and pools of volumes become those of images."""

from __future__ import annotations

from typing import Any

import pytest

from planck.ir.graph import Graph
from planck.ir.parse import parse
from planck.ops.movement import Transpose
from planck.ops.nn import Conv, ConvTranspose, Pool
from planck.passes import simplify
from planck.passes.flatten_depth import flatten_depth
from tests.passes.conftest import same_results

ONE = "strides=(1, 1, 1), pads=(1, 1, 1, 1, 1, 1), dilations=(1, 1, 1), groups=1"


def convolution(
    x: str, w: str, y: str, strides: str = "(1, 1, 1)", pads: str = "(0, 0, 0, 0, 0, 0)",
    dilations: str = "(1, 1, 1)", groups: int = 1,
) -> Graph:  # fmt: skip
    return parse(
        f"""graph "c"(%x: f32[{x}]) {{ weight %w: f32[{w}] = ? weight %b: f32[6] = ?
        %y: f32[{y}] = Conv(%x, %w, %b, strides={strides}, pads={pads}, dilations={dilations},
        groups={groups}) return %y }}"""
    )


def ranks(graph: Graph) -> list[int]:
    return [n.inputs[0].type.rank for n in graph.nodes if isinstance(n.op, Conv)]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    ("w", "y", "how"),
    [
        ("6,5,3,3,2", "4,9,11", {"pads": "(0, 1, 0, 0, 1, 1)"}),
        ("6,5,3,3,2", "4,4,5", {"strides": "(2, 2, 2)", "pads": "(1, 0, 0, 2, 1, 0)"}),
        ("6,5,2,1,3", "4,9,5", {"dilations": "(2, 1, 3)"}),
        ("6,5,1,3,3", "3,7,9", {"strides": "(2, 1, 1)"}),
        ("6,5,3,1,1", "6,9,11", {"pads": "(1, 0, 0, 1, 0, 0)"}),
        ("6,5,2,1,1", "3,9,11", {"strides": "(2, 1, 1)", "pads": "(0, 0, 0, 1, 0, 0)"}),
        ("6,5,1,1,1", "6,9,11", {}),
    ],
)
def test_same_numbers(n: int, w: str, y: str, how: dict[str, Any]) -> None:
    graph = convolution(f"{n},5,6,9,11", w, f"{n},6,{y}", **how)
    found = flatten_depth(graph)
    assert ranks(found) == [4]
    same_results(graph, found)


def test_transposes_cancel_between_convolutions() -> None:
    shape = "f32[1,6,4,9,7]"
    graph = parse(
        f"""graph "two"(%x: {shape}) {{ weight %w: f32[6,6,3,3,3] = ? weight %v: f32[6,6,3,3,3] = ?
        weight %s: f32[] = 0.2
        %a: {shape} = Conv(%x, %w, {ONE}) %b: {shape} = Pointwise(%a, fn="relu")
        %c: {shape} = Pointwise(%b, %s, fn="mul")
        %d: {shape} = Conv(%c, %v, {ONE}) %y: {shape} = Pointwise(%d, fn="sigmoid")
        return %y }}"""
    )
    found = simplify(graph)
    assert ranks(found) == [4, 4]
    assert sum(isinstance(n.op, Transpose) for n in found.nodes) == 2
    same_results(graph, found)


@pytest.mark.parametrize(
    ("w", "y", "how"),
    [
        ("6,1,3,3,3", "4,7,9", {"groups": 6}),
        ("6,6,3,3,3", "2,7,9", {"pads": "(-1, 0, 0, -1, 0, 0)"}),
    ],
)
def test_refusals(w: str, y: str, how: dict[str, Any]) -> None:
    graph = convolution("1,6,6,9,11", w, f"1,6,{y}", **how)
    assert flatten_depth(graph) is graph


def test_weights_that_are_computed() -> None:
    graph = parse(
        f"""graph "c"(%x: f32[1,6,4,9,7], %w: f32[6,6,3,3,3]) {{
        %y: f32[1,6,4,9,7] = Conv(%x, %w, {ONE}) return %y }}"""
    )
    assert flatten_depth(graph) is graph


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    ("kind", "how", "y"),
    [
        ("max", "kernel=(2, 2, 2), strides=(2, 2, 2), pads=(0, 0, 0, 0, 0, 0)", "3,4,5"),
        ("max", "kernel=(3, 3, 2), strides=(2, 1, 1), pads=(1, 1, 0, 1, 1, 1)", "3,9,11"),
        ("max", "kernel=(2, 2, 2), strides=(2, 2, 2), pads=(0, 0, 0, 0, 0, 0), ceil=True", "3,5,6"),
        ("max", "kernel=(4, 2, 2), strides=(3, 2, 2), pads=(0, 0, 0, 0, 0, 0), ceil=True", "2,5,6"),
        ("average", "kernel=(3, 2, 3), strides=(1, 2, 2), pads=(0, 0, 1, 0, 1, 0)", "4,5,5"),
        ("average", "kernel=(1, 3, 3), strides=(2, 2, 2), pads=(0, 1, 1, 0, 1, 1)", "3,5,6"),
    ],
)
def test_pools(kind: str, how: str, y: str, n: int) -> None:
    how = f"{how}, dilations=(1, 1, 1)"
    graph = parse(
        f"""graph "p"(%x: f32[{n},5,6,9,11]) {{
        %y: f32[{n},5,{y}] = Pool(%x, kind="{kind}", {how}) return %y }}"""
    )
    found = flatten_depth(graph)
    assert [n.inputs[0].type.rank for n in found.nodes if isinstance(n.op, Pool)] == [4]
    same_results(graph, found)


def test_pools_that_stay() -> None:
    """A mean that does not count what lies beyond the depth, and norms."""
    pads = "strides=(2, 2, 2), pads=(1, 0, 0, 1, 0, 0), dilations=(1, 1, 1)"
    for kind in ("average", "lp"):
        graph = parse(
            f"""graph "p"(%x: f32[1,5,6,8,4]) {{
            %y: f32[1,5,4,4,2] = Pool(%x, kind="{kind}", kernel=(2, 2, 2), {pads}) return %y }}"""
        )
        assert flatten_depth(graph) is graph


def enlarged(n: int, taps: int, depth: int, pads: str = "(0, 0, 1, 0, 0, 0)") -> Graph:
    return parse(
        f"""graph "t"(%x: f32[{n},5,3,4,6]) {{
        weight %w: f32[5,7,{taps},3,2] = ? weight %b: f32[7] = ?
        %a: f32[{n},7,{depth},9,12] = ConvTranspose(%x, %w, %b, strides=(2, 2, 2), pads={pads},
        dilations=(1, 1, 1), groups=1, output_padding=(0, 0, 1))
        %y: f32[{n},7,{depth},9,12] = Pointwise(%a, fn="tanh") return %y }}"""
    )


@pytest.mark.parametrize("n", [1, 2])
def test_enlarged_volumes(n: int) -> None:
    graph = enlarged(n, 2, 6)
    found = flatten_depth(graph)
    ops = [n for n in found.nodes if isinstance(n.op, ConvTranspose)]
    assert [n.inputs[0].type.rank for n in ops] == [4]
    same_results(graph, found)


def test_enlarged_volumes_whose_windows_meet() -> None:
    for graph in (enlarged(1, 3, 7), enlarged(1, 2, 5, "(1, 0, 1, 0, 0, 0)")):
        assert flatten_depth(graph) is graph
