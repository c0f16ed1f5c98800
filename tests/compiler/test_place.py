"""Placement: concat, slice, reshape and transpose cost no copy where a view can show them."""

from __future__ import annotations

import numpy as np
import pytest

import planck
from planck.compiler.place import place
from planck.compiler.stages import Options, run_stages
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ops.identity import Identity
from planck.ops.movement import Concat, Reshape, Slice, Transpose
from planck.ops.region import Region
from planck.target import host

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"
CUT = "sizes=(1, 16, 6, 5), steps=(1, 1, 1, 1)"

SPLIT = f"""graph "split"(%x: f32[1,32,6,5]) {{
  weight %w: f32[32,32,3,3] = ?
  weight %v: f32[16,16,3,3] = ?
  weight %u: f32[16,48,3,3] = ?
  %c: f32[1,32,6,5] = Conv(%x, %w, {CONV})
  %a: f32[1,16,6,5] = Slice(%c, starts=(0, 0, 0, 0), {CUT})
  %b: f32[1,16,6,5] = Slice(%c, starts=(0, 16, 0, 0), {CUT})
  %m: f32[1,16,6,5] = Conv(%b, %v, {CONV})
  %j: f32[1,48,6,5] = Concat(%a, %b, %m, axis=1)
  %y: f32[1,16,6,5] = Conv(%j, %u, {CONV})
  return %y
}}"""

SWAPPED = SPLIT.replace("Concat(%a, %b, %m", "Concat(%b, %a, %m")
TWICE = SPLIT.replace("Concat(%a, %b, %m", "Concat(%a, %a, %m")

OUTPUT = """graph "output"(%x: f32[1,4,6], %z: f32[1,2,2,3]) {
  %a: f32[1,4,6] = Pointwise(%x, fn="exp")
  %b: f32[1,2,2,3] = Pointwise(%z, fn="tanh")
  %c: f32[1,2,6] = Reshape(%b, shape=(1, 2, 6))
  %y: f32[1,6,6] = Concat(%a, %c, axis=1)
  return %y
}"""

HEADS = """graph "heads"(%x: f32[1,5,24]) {
  %e: f32[1,5,24] = Pointwise(%x, fn="exp")
  %r: f32[1,5,3,8] = Reshape(%e, shape=(1, 5, 3, 8))
  %t: f32[1,3,5,8] = Transpose(%r, perm=(0, 2, 1, 3))
  %a: f32[1,3,5,8] = Attention(%t, %t, %t, scale=0.3)
  %s: f32[1,5,3,8] = Transpose(%a, perm=(0, 2, 1, 3))
  %f: f32[1,5,24] = Reshape(%s, shape=(1, 5, 24))
  %y: f32[1,5,24] = Pointwise(%f, fn="abs")
  return %y
}"""


MOVES = (Slice, Concat, Reshape, Transpose, Identity)


def copies(graph: Graph) -> int:
    """Steps that only move data, not counting the change of layout at the network's border."""
    laid_out = run_stages(graph, Options(host()))
    count = 0
    for step in place(laid_out).steps:
        assert isinstance(step.op, Region)
        inner = step.op.graph
        alone = all(isinstance(n.op, MOVES) for n in inner.nodes)
        border = {v.name for v in (*laid_out.inputs, *laid_out.outputs)}
        outside = {v.name for v in (*step.inputs, *step.outputs)}
        count += alone and not border & outside
    return count


@pytest.mark.parametrize(
    ("text", "expected"),
    [(SPLIT, 0), (SWAPPED, 2), (TWICE, 2), (OUTPUT, 0), (HEADS, 0)],
    ids=["split", "swapped", "twice", "output", "heads"],
)
def test_copies_and_results(text: str, expected: int) -> None:
    graph = parse(text)
    if host().lanes == 16:
        assert copies(graph) <= expected
    random = np.random.default_rng(3)
    inputs = {v.name: random.standard_normal(v.type.dims, np.float32) for v in graph.inputs}
    want = interpret(graph, inputs)
    got = planck.build(graph, threads=2, optimization_level=0)(inputs)
    for name, array in want.items():
        assert np.abs(got[name] - array).max() <= 1e-5 * np.abs(array).max()
