"""Channels last: which tensors lie so, that views cut them, and that all of it means the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bench import models
from planck.compiler.place import place
from planck.dtypes import f16, f32
from planck.frontends import read
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify
from planck.ops.movement import Concat, Slice
from planck.passes import simplify
from planck.passes.channels_last import channels_last
from planck.passes.fuse import fuse
from planck.passes.precision import shorten
from tests.compiler.lying import run_placed

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"


def program(body: str, channels: int = 12) -> Graph:
    return parse(
        f'graph "g"(%x: f32[1,{channels},4,6]) {{ weight %w: f32[12,{channels},3,3] = ? '
        f"weight %v: f32[16,{channels},3,3] = ? weight %u: f32[8,28,3,3] = ? {body} return %y }}"
    )


def blocks(graph: Graph) -> dict[str, int]:
    return {v.name: v.type.block for v in graph.values() if v.name not in graph.weights}


def test_a_block_is_all_channels_rounded_up_to_eight() -> None:
    body = f"""%a: f32[1,12,4,6] = Conv(%x, %w, {CONV}) %b: f32[1,16,4,6] = Conv(%a, %v, {CONV})
        %y: f32[1,16,4,6] = Conv(%b, %t, {CONV})"""
    found = channels_last(fuse(program(f"weight %t: f32[16,16,3,3] = ? {body}")))
    own = blocks(found)
    assert {name: own[name] for name in ("x", "x_c", "a", "b", "y")} == {
        "x": 0, "x_c": 16, "a": 16, "b": 16, "y": 0,
    }  # fmt: skip
    (a,) = [v for v in found.values() if v.name == "a"]
    assert a.type.physical == (1, 1, 4, 6, 16)


def test_a_stem_reads_rows() -> None:
    found = channels_last(fuse(program(f"%y: f32[1,12,4,6] = Conv(%x, %w, {CONV})", 3)))
    assert all(not v.type.block for v in found.nodes[0].inputs)


@pytest.mark.parametrize(
    ("first", "second", "view"), [("v", "w", True), ("w", "v", False)], ids=["whole", "cut"]
)
def test_parts_of_a_concat_are_views_at_multiples_of_eight(
    first: str, second: str, view: bool
) -> None:
    """16 and 12 channels; 12 and 16 would begin in the middle of what a thread loads."""
    sizes = {"v": 16, "w": 12}
    body = f"""%a: f32[1,{sizes[first]},4,6] = Conv(%x, %{first}, {CONV})
        %b: f32[1,{sizes[second]},4,6] = Conv(%x, %{second}, {CONV})
        %c: f32[1,28,4,6] = Concat(%a, %b, axis=1) %y: f32[1,8,4,6] = Conv(%c, %u, {CONV})"""
    found = channels_last(fuse(program(body)))
    assert any(isinstance(node.op, Concat) for node in found.nodes) == view
    placement = place(found)
    spots = placement.spots
    if view:
        assert (spots["a"].root, spots["b"].root) == ("c", "c")
        assert (spots["a"].offset, spots["b"].offset) == (0, 16)
        assert spots["b"].strides[-2:] == (32, 1)  # a pixel of the whole
    check(found, found, 1e-5)


@pytest.mark.parametrize("start", [0, 8], ids=["first", "last"])
def test_a_slice_at_a_multiple_of_eight_is_a_view(start: int) -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %v, {CONV})
        %s: f32[1,8,4,6] = Slice(%a, starts=(0, {start}, 0, 0), sizes=(1, 8, 4, 6),
            steps=(1, 1, 1, 1))
        %b: f32[1,8,4,6] = Conv(%s, %t, {CONV}) %c: f32[1,8,4,6] = Conv(%a, %q, {CONV})
        %y: f32[1,8,4,6] = Pointwise(%b, %c, fn="add")"""
    weights = "weight %t: f32[8,8,3,3] = ? weight %q: f32[8,16,3,3] = ?"
    found = channels_last(fuse(program(f"{weights} {body}")))
    assert any(isinstance(node.op, Slice) for node in found.nodes)
    placement = place(found)
    assert placement.spots["s"].offset == start
    check(found, found, 1e-5)


def check(given: Graph, placed: Graph, tolerance: float) -> None:
    """What lies in simulated memory after the placed steps is what the given graph says."""
    draw = np.random.default_rng(0)
    feed = {
        v.name: draw.random(v.type.dims, np.float32)
        if v.type.dtype is f32
        else np.ones(v.type.dims, v.type.dtype.numpy)
        for v in given.inputs
    }
    want, got = interpret(given, feed), run_placed(placed, place(placed), feed)
    for name, array in want.items():
        scale = float(np.abs(array).max()) or 1.0
        assert np.isfinite(got[name]).all() or not np.isfinite(array).all()
        assert np.abs(got[name].astype(np.float64) - array).max() <= tolerance * scale


@cache
def network(name: str) -> tuple[Graph, Graph]:
    """The model, and its regions."""
    given = read(models.build(name, 1 if name == "lstm" else 2, small=True))
    return given, fuse(simplify(given))


@pytest.mark.parametrize("name", models.NAMES)
def test_models_mean_the_same_where_they_lie(name: str) -> None:
    given, fused = network(name)
    found = channels_last(fused)
    verify(found, "channels_last")
    check(given, found, 1e-4)


# Rounding to 11 bits, in layers of random weights that follow each other without trained ones'
# robustness: what is found is 0.2e-3 (yolov5s) to 2.6e-2 (mobilenet_v2).
FP16 = 5e-2


@pytest.mark.parametrize("name", models.NAMES)
def test_models_in_float16_mean_nearly_the_same(name: str) -> None:
    given, fused = network(name)
    found = shorten(channels_last(fused), f16, on_gpu=True)
    verify(found, "precision")
    check(given, found, FP16)
    short = [v for v in found.values() if v.type.dtype is f16]
    assert short
    assert all(v.type.dtype is not f16 for v in (*found.inputs, *found.outputs))
