"""Layout: convolutions run on blocks of channels, matrices on rows, copies only in between."""

from __future__ import annotations

import numpy as np
import pytest

from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.passes.fuse import fuse
from planck.passes.layout import assign

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"


def program(body: str, channels: int) -> Graph:
    return parse(
        f'graph "g"(%x: f32[1,{channels},4,6]) {{ weight %w: f32[32,{channels},3,3] = ? '
        f"weight %v: f32[32,32,3,3] = ? weight %m: f32[32,8] = ? {body} return %y }}"
    )


def layouts(graph: Graph) -> dict[str, int]:
    return {v.name: v.type.block for v in graph.values() if v.name not in graph.weights}


CHAIN = f"%a: f32[1,32,4,6] = Conv(%x, %w, {CONV}) %y: f32[1,32,4,6] = Conv(%a, %v, {CONV})"
MATRIX = f"""%a: f32[1,32,4,6] = Conv(%x, %w, {CONV})
    %p: f32[1,32,1,1] = Reduce(%a, kind="mean", axes=(2, 3), keep=True)
    %f: f32[1,32] = Reshape(%p, shape=(1, 32)) %y: f32[1,8] = MatMul(%f, %m)"""
UNEVEN = f"""%a: f32[1,32,4,6] = Conv(%x, %w, {CONV})
    %s: f32[1,20,4,6] = Slice(%a, starts=(0, 4, 0, 0), sizes=(1, 20, 4, 6), steps=(1, 1, 1, 1))
    %y: f32[1,20,4,6] = Pointwise(%s, fn="exp")"""


def test_a_picture_is_read_as_it_is_and_an_output_is_rows() -> None:
    found = assign(fuse(program(CHAIN, 3)), 16)
    blocks = layouts(found)
    assert blocks["x"] == 0
    assert blocks["a"] == 16
    assert blocks["y"] == 0
    assert len(found.nodes) == 3  # two convolutions, one copy to rows


def test_a_picture_that_is_added_to_the_result_is_copied_into_blocks() -> None:
    """The sum needs it in blocks, and one copy serves both."""
    body = f"""weight %n: f32[3,3,3,3] = ? %a: f32[1,3,4,6] = Conv(%x, %n, {CONV})
        %y: f32[1,3,4,6] = Pointwise(%a, %x, fn="add")"""
    region = assign(fuse(program(body, 3)), 16).nodes[1]
    assert [v.type.block for v in region.inputs if v.type.rank == 4 and v.name != "n"] == [16]


def test_many_channels_are_copied_into_blocks() -> None:
    found = assign(fuse(program(CHAIN, 8)), 16)
    assert len(found.nodes) == 4
    assert layouts(found)["x_c"] == 16


def test_one_pixel_is_rows_and_blocks_at_once() -> None:
    found = assign(fuse(program(MATRIX, 3)), 16)
    assert not any(name.endswith("_row") for name in layouts(found))


@pytest.mark.parametrize("body", [CHAIN, MATRIX, UNEVEN])
@pytest.mark.parametrize("block", [16, 8, 4])
def test_results_stay(body: str, block: int) -> None:
    graph = program(body, 3)
    x = np.random.default_rng(2).standard_normal((1, 3, 4, 6), np.float32)
    want = interpret(graph, {"x": x})["y"]
    got = interpret(assign(fuse(graph), block), {"x": x})["y"]
    np.testing.assert_array_equal(got, want)
