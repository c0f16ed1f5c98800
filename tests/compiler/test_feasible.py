"""What no tactic takes whole comes apart into as few kernels as tactics take."""

from __future__ import annotations

from planck.compiler.feasible import take_apart
from planck.ir.graph import Node
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify
from planck.ops.region import Region
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.target import host
from tests.passes.conftest import random_inputs

GRAPH = """graph "g"(%x: f32[4,8], %n: f32[1,8], %m: f32[1,1]) {
  weight %two: f32[] = 2.0
  %a: f32[4,8] = Pointwise(%x, fn="exp")
  %d: f32[1,8] = Pointwise(%n, %m, fn="div")
  %b: f32[4,8] = Pointwise(%a, %d, fn="mul")
  %c: f32[4,8] = Pointwise(%b, %two, fn="add")
  %y: f32[4,8] = Pointwise(%c, %a, fn="add")
  return %y
}"""


class Uniform:
    """Takes kernels whose nodes make values of one shape."""

    name = "uniform"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[dict[str, int], ...] | No:
        shapes = {v.type.shape for node in kernel.graph.nodes for v in node.outputs}
        return ({},) if len(shapes) == 1 else No("several shapes")


def test_the_largest_parts() -> None:
    graph = parse(GRAPH)
    whole = Node(Region(graph), graph.inputs, graph.outputs)
    given = graph.with_(nodes=(whole,), weights={})
    found = take_apart(given, [Uniform()], host(), 1)
    verify(found, "take_apart")
    sizes = [len(n.op.graph.nodes) for n in found.nodes if isinstance(n.op, Region)]
    assert sizes == [1, 4]
    feed = random_inputs(graph)
    assert (interpret(graph, feed)["y"] == interpret(found, feed)["y"]).all()
