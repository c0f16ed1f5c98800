"""The ends of detectors on a CPU, where the order of elements matters: no step runs in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import planck
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from tests.passes.conftest import random_inputs

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"

BINS = 'mode="avg", height=3, width=3, sampling=2, scale=0.5, offset=0.5'

TWO_STAGES = f"""graph "stages"(%x: f32[1,5,17,13], %r: f32[6,4], %i: i64[6]) {{
  weight %w: f32[24,5,3,3] = ?
  weight %v: f32[7,24,3,3] = ?
  weight %f: f32[216,11] = ?
  %c: f32[1,24,17,13] = Conv(%x, %w, {CONV})
  %a: f32[1,24,17,13] = Pointwise(%c, fn="relu")
  %o: f32[6,24,3,3] = RoiAlign(%a, %r, %i, {BINS})
  %m: f32[6,7,3,3] = Conv(%o, %v, {CONV})
  %l: f32[6,216] = Reshape(%o, shape=(6, 216))
  %y: f32[6,11] = MatMul(%l, %f)
  return %y, %m
}}"""

QUERIES = f"""graph "queries"(%x: f32[1,5,17,13], %n: i64[4,1]) {{
  weight %w: f32[24,5,3,3] = ?
  %c: f32[1,24,17,13] = Conv(%x, %w, {CONV})
  %t: f32[1,17,13,24] = Transpose(%c, perm=(0, 2, 3, 1))
  %r: f32[1,221,24] = Reshape(%t, shape=(1, 221, 24))
  %s: f32[1,221] = Reduce(%r, kind="max", axes=(2,), keep=False)
  %v: f32[1,9], %k: i64[1,9] = TopK(%s, axis=1, k=9, largest=True)
  %g: i64[9] = Reshape(%k, shape=(9,))
  %f: f32[221,24] = Reshape(%r, shape=(221, 24))
  %b: f32[9,24] = Gather(%f, %g, axis=0)
  %u: f32[4,24] = Slice(%b, starts=(2, 0), sizes=(4, 24), steps=(1, 1))
  %p: f32[9,24] = ScatterND(%b, %n, %u, reduction="none")
  %q: f32[9,24] = Pointwise(%p, fn="exp")
  %y: f32[18,24] = Concat(%q, %p, axis=0)
  return %y, %v
}}"""


ONE_REGION = f"""graph "region"(%x: f32[1,5,17,13], %r: f32[1,4]) {{
  weight %i: i64[1] = [0]
  %y: f32[1,5,3,3] = RoiAlign(%x, %r, %i, {BINS})
  return %y
}}"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "text", [TWO_STAGES, QUERIES, ONE_REGION], ids=["stages", "queries", "region"]
)
def test_compiled(text: str, threads: int) -> None:
    graph = parse(text)
    feed = random_inputs(graph)
    rng = np.random.default_rng(1)
    if "r" in feed:
        begins = rng.uniform(0, 20, (len(feed["r"]), 2))
        ends = begins + rng.uniform(0, 15, begins.shape)
        feed["r"] = np.concatenate([begins, ends], 1).astype("f4")
    if "i" in feed:
        feed["i"] = np.zeros(6, np.int64)
    if "n" in feed:
        feed["n"] = np.array([[8], [0], [-2], [8]])
    engine = planck.build(graph, threads=threads)
    assert all(step.symbol for step in engine.plan.steps)
    found = engine(feed)
    for name, want in interpret(graph, feed).items():
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-4)
