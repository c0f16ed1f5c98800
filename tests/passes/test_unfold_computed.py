"""Convolutions by computed weights become matrix products."""

from __future__ import annotations

import pytest

from planck.ir.graph import Graph
from planck.ir.parse import parse
from planck.ops.nn import Conv, MatMul
from planck.passes.unfold_computed import unfold_computed
from tests.passes.conftest import same_results


def convolution(
    n: int, w: str, y: str, strides: str = "(1, 1)", pads: str = "(0, 0, 0, 0)",
    dilations: str = "(1, 1)", groups: int = 1,
) -> Graph:  # fmt: skip
    return parse(
        f"""graph "c"(%x: f32[{n},5,9,11], %w: f32[{w}], %b: f32[7]) {{
        %y: f32[{n},7,{y}] = Conv(%x, %w, %b, strides={strides}, pads={pads},
        dilations={dilations}, groups={groups}) return %y }}"""
    )


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("w", "y", "how"),
    [
        ("7,5,3,3", "9,11", {"pads": "(1, 1, 1, 1)"}),
        ("7,5,2,3", "5,4", {"strides": "(2, 3)", "pads": "(0, 2, 1, 0)"}),
        ("7,5,3,2", "5,8", {"dilations": "(2, 3)"}),
        ("7,5,1,1", "9,11", {}),
    ],
)
def test_same_numbers(n: int, w: str, y: str, how: dict[str, str]) -> None:
    graph = convolution(n, w, y, **how)  # type: ignore[arg-type]
    found = unfold_computed(graph)
    ops = [type(node.op) for node in found.nodes]
    assert MatMul in ops
    assert Conv not in ops
    same_results(graph, found)


def test_what_stays() -> None:
    crops = convolution(1, "7,5,3,3", "5,9", pads="(-1, 0, -1, 0)")
    constant = parse(
        """graph "c"(%x: f32[1,5,9,11]) { weight %w: f32[7,5,3,3] = ?
        %y: f32[1,7,7,9] = Conv(%x, %w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1),
        groups=1) return %y }"""
    )
    for graph in (crops, constant):
        assert unfold_computed(graph) is graph
