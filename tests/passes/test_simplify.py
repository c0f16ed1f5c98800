"""All passes together: a network as exporters write it, and what is left of it."""

from collections import Counter

import pytest

from planck.errors import GraphError
from planck.ir.parse import parse
from planck.knobs import turned
from planck.passes import PASSES, simplify
from planck.passes.fold_constants import fold_constants

BLOCK = """graph "block"(%x: f32[1,5,9,7]) {
  name %x = "images"
  weight %w: f32[17,5,3,3] = ? weight %s: f32[17] = ? weight %b: f32[17] = ?
  weight %m: f32[17] = ? weight %v: f32[17] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8]
  weight %zero: f32[] = 0 weight %three: f32[] = 3 weight %six: f32[] = 6
  weight %u: f32[17,17,1,1] = ?
  %p: f32[1,5,11,9] = Pad(%x, %zero, pads=(0, 0, 1, 1, 0, 0, 1, 1))  # from "pad"
  %c: f32[1,17,9,7] = Conv(%p, %w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1)
  %n: f32[1,17,9,7] = BatchNorm(%c, %s, %b, %m, %v, epsilon=0.001)  # from "bn"
  %i: f32[1,17,9,7] = Identity(%n)
  %h: f32[1,17,9,7] = Pointwise(%i, %three, fn="add")
  %h1: f32[1,17,9,7] = Pointwise(%h, %zero, fn="max")
  %h2: f32[1,17,9,7] = Pointwise(%h1, %six, fn="min")
  %h3: f32[1,17,9,7] = Pointwise(%h2, %six, fn="div")
  %a: f32[1,17,9,7] = Pointwise(%n, %h3, fn="mul")
  %d: f32[1,17,9,7] = Conv(%a, %u, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1)
  %r: f32[1,17,9,7] = Pointwise(%d, %a, fn="add")
  %g: f32[1,17,1,1] = Pool(%r, kind="average", kernel=(9, 7), strides=(1, 1), pads=(0, 0, 0, 0),
    dilations=(1, 1))
  %y: f32[1,17] = Reshape(%g, shape=(1, 17))
  return %y
}"""


def test_block(same):
    before = parse(BLOCK)
    stages = []
    with turned(debug=5):
        after = simplify(before, lambda name, graph: stages.append(name))
    kinds = Counter(type(n.op).__name__ for n in after.nodes)
    assert kinds == {"Conv": 2, "Pointwise": 2, "Reduce": 1, "Reshape": 1}
    assert after.nodes[1].op.fn == "hard_swish"
    assert after.names == {"x": "images"}
    assert {"pad", "bn"} <= set(after.nodes[0].origin)
    assert set(stages) <= {name for name, _ in PASSES}
    same(before, after)
    assert simplify(after) is after


def test_a_broken_pass_is_named(monkeypatch):
    def broken(graph):
        return graph.with_(nodes=graph.nodes[:-1])

    monkeypatch.setattr("planck.passes.PASSES", (("fine", fold_constants), ("broken", broken)))
    with turned(debug=1), pytest.raises(GraphError, match="after broken") as caught:
        simplify(parse(BLOCK))
    assert "passes before: fine" in str(caught.value)
