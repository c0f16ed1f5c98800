"""Constants are computed, equal things are one thing, and what nobody needs is gone."""

from planck.ir.parse import parse
from planck.passes.common_subexpressions import common_subexpressions
from planck.passes.fold_constants import RULES
from planck.passes.remove_unused import remove_unused


def test_constants_are_computed(check):
    check(
        RULES,
        """graph "g"(%x: f32[2]) { weight %a: f32[2] = [1, 2] weight %b: f32[] = 3
        %c: f32[2] = Pointwise(%a, %b, fn="mul") %d: f32[2] = Pointwise(%c, fn="exp")
        %y: f32[2] = Pointwise(%x, %d, fn="add") return %y }""",
        """graph "g"(%x: f32[2]) { weight %d: f32[2] = ?
        %y: f32[2] = Pointwise(%x, %d, fn="add") return %y }""",
    )


def test_large_results_and_outputs_stay(check):
    check(
        RULES,
        """graph "g"(%x: f32[1000,1]) { weight %a: f32[] = 1
        %b: f32[1000,1000] = Broadcast(%a, shape=(1000, 1000))
        %y: f32[1000,1000] = Pointwise(%x, %b, fn="pow")
        %z: f32[] = Pointwise(%a, fn="exp") return %y, %z }""",
    )


def test_equal_nodes_and_weights(check):
    after = check(
        common_subexpressions,
        """graph "g"(%x: f32[2]) { weight %a: f32[2] = [1, 2] weight %b: f32[2] = [1, 2]
        weight %c: f32[2] = [1, 3]
        %p: f32[2] = Pointwise(%x, %a, fn="mul") %q: f32[2] = Pointwise(%x, %b, fn="mul")
        %r: f32[2] = Pointwise(%p, fn="exp") %s: f32[2] = Pointwise(%q, fn="exp")
        %t: f32[2] = Pointwise(%s, %c, fn="add") %y: f32[2] = Pointwise(%r, %t, fn="mul")
        return %y }""",
        """graph "g"(%x: f32[2]) { weight %a: f32[2] = [1, 2] weight %c: f32[2] = [1, 3]
        %p: f32[2] = Pointwise(%x, %a, fn="mul") %r: f32[2] = Pointwise(%p, fn="exp")
        %t: f32[2] = Pointwise(%r, %c, fn="add") %y: f32[2] = Pointwise(%r, %t, fn="mul")
        return %y }""",
    )
    assert sorted(after.weights) == ["a", "c"]
    assert after.nodes[0].origin == ("f:0", "f:1")


def test_outputs_are_values_of_their_own(check):
    check(
        common_subexpressions,
        """graph "g"(%x: f32[2]) { %y: f32[2] = Pointwise(%x, fn="exp")
        %z: f32[2] = Pointwise(%x, fn="exp") return %y, %z }""",
    )


def test_unused(check):
    graph = parse(
        """graph "g"(%x: f32[2]) { weight %a: f32[2] = [1, 2]
        %y: f32[2] = Pointwise(%x, fn="exp") %b: f32[2] = Pointwise(%a, fn="exp")
        %c: f32[2] = Pointwise(%b, %y, fn="add") return %y }"""
    )
    after = remove_unused(graph)
    assert [v.name for n in after.nodes for v in n.outputs] == ["y"]
    assert not after.weights
    assert remove_unused(after) is after
