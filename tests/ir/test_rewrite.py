"""The driver of rewrite rules: names, origins, refusals, order, and rules that never end."""

import logging
import time

import pytest

from planck.errors import GraphError
from planck.ir.parse import parse
from planck.ir.rewrite import SKIP, rewrite, rule
from planck.ir.text import text
from planck.ir.verify import verify
from planck.ops.pointwise import Pointwise
from planck.refusal import No


def is_fn(node, fn):
    return node is not None and node.op == Pointwise(fn)


@rule(Pointwise)
def double_neg(view, node):
    """neg(neg(x)) -> x"""
    before = view.producer(node.inputs[0])
    if not (is_fn(node, "neg") and is_fn(before, "neg")):
        return SKIP
    return view.patch().replace(node.outputs[0], before.inputs[0])


@rule(Pointwise)
def exp_to_tanh(view, node):
    """exp(x) -> tanh(sin(x))"""
    if not is_fn(node, "exp"):
        return SKIP
    if not view.once(node.outputs[0]):
        return No("used elsewhere")
    patch = view.patch()
    middle = patch(Pointwise("sin"), node.inputs[0])
    return patch.replace(node.outputs[0], patch(Pointwise("tanh"), middle))


def chain(*functions, outputs="y"):
    rows, x = [], "x"
    for k, fn in enumerate(functions):
        y = "y" if k == len(functions) - 1 else f"v{k}"
        rows.append(f'%{y}: f32[2] = Pointwise(%{x}, fn="{fn}")  # from "{fn}{k}"')
        x = y
    returns = ", ".join(f"%{v}" for v in outputs.split())
    newline = "\n"
    return parse(f'graph "g"(%x: f32[2]) {{\n{newline.join(rows)}\nreturn {returns} }}')


def functions(graph):
    return [node.op.fn for node in graph.nodes]


def test_outputs_keep_names_and_origins_join():
    after = rewrite(chain("cos", "neg", "neg", outputs="y"), (double_neg,))
    verify(after)
    assert functions(after) == ["cos"]
    assert after.outputs[0].name == "y"
    assert after.nodes[0].origin == ("cos0", "neg2", "neg1")


def test_an_output_that_would_be_an_input_stays(caplog):
    before = chain("neg", "neg")
    with caplog.at_level(logging.DEBUG, "planck.ir.rewrite"):
        assert rewrite(before, (double_neg,)) is before
    (said,) = {record.getMessage() for record in caplog.records}
    assert said.startswith("double_neg (test_rewrite.py:")
    assert "output of the graph" in said


def test_other_users_follow():
    before = parse(
        """graph "g"(%x: f32[2]) {
        %a: f32[2] = Pointwise(%x, fn="cos")
        %b: f32[2] = Pointwise(%a, fn="neg")
        %y: f32[2] = Pointwise(%b, fn="neg")
        %c: f32[2] = Pointwise(%a, %y, fn="add")
        %d: f32[2] = Pointwise(%b, %c, fn="add")
        return %y, %d }"""
    )
    after = rewrite(before, (double_neg,))
    verify(after)
    assert [v.name for v in after.outputs] == ["y", "d"]
    assert functions(after) == ["cos", "neg", "add", "add"]


def test_new_nodes_take_the_old_name(caplog):
    after = rewrite(chain("exp", "cos"), (exp_to_tanh,))
    assert functions(after) == ["sin", "tanh", "cos"]
    assert after.nodes[1].outputs[0].name == "v0"
    assert [node.origin for node in after.nodes] == [("exp0",), ("exp0",), ("cos1",)]
    refused = chain("cos", "exp", "cos", outputs="y v1")
    with caplog.at_level(logging.DEBUG, "planck.ir.rewrite"):
        assert rewrite(refused, (exp_to_tanh,)) is refused
    assert {r.getMessage().rpartition(": ")[2] for r in caplog.records} == {"used elsewhere"}


def test_rules_that_never_end_are_named():
    @rule(Pointwise)
    def forth(view, node):
        """abs(x) -> relu(x)"""
        patch = view.patch()
        other = "relu" if is_fn(node, "abs") else "abs"
        return patch.replace(node.outputs[0], patch(Pointwise(other), node.inputs[0]))

    with pytest.raises(GraphError, match="without end") as caught:
        rewrite(chain("abs"), (forth,))
    assert "forth" in str(caught.value)


def test_every_rewrite_can_be_seen(caplog):
    with caplog.at_level(logging.DEBUG, "planck.ir.rewrite"):
        rewrite(chain("exp", "cos"), (exp_to_tanh,))
    (record,) = caplog.records
    assert record.getMessage().startswith("exp_to_tanh (test_rewrite.py:")
    assert 'fn="sin"' in record.getMessage()


def test_every_refusal_can_be_seen(caplog):
    @rule(Pointwise)
    def picky(view, node):
        return No("not today") if is_fn(node, "exp") else SKIP

    with caplog.at_level(logging.DEBUG, "planck.ir.rewrite"):
        given = chain("exp", "cos")
        rewrite(given, (picky,))
    (record,) = caplog.records
    assert record.getMessage().endswith(f"refuses %{given.nodes[0].outputs[0].name}: not today")


def test_a_long_chain_is_quick():
    before = chain("cos", *["neg"] * 2000)
    start = time.perf_counter()
    after = rewrite(before, (double_neg,))
    assert functions(after) == ["cos"]
    assert time.perf_counter() - start < 5  # a quadratic driver takes minutes
    assert text(after).count("neg") == 2000  # all origins
