"""What a step is said to do: arithmetic of the tactic, bytes of packed weights, rows of tables."""

from __future__ import annotations

import numpy as np
import pytest

import planck
from planck.compiler.work import touched_bytes
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.parse import parse
from planck.ir.types import TensorType
from planck.ops.nn import Conv
from planck.plan.model import Step
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.winograd import WinogradConvolution
from planck.target import Target


def only_step(graph: Graph) -> tuple[Step, bytes]:
    plan = planck.build(graph, threads=1, optimization_level=0).plan
    (step,) = plan.steps
    return step, bytes(plan.weights)


def with_weights(text: str, **weights: np.ndarray) -> Graph:
    """A graph whose inputs of these names are constants."""
    graph = parse(text)
    inputs = tuple(v for v in graph.inputs if v.name not in weights)
    return Graph(graph.name, inputs, graph.nodes, graph.outputs, weights)


@pytest.mark.parametrize("side", [2, 4, 6])
@pytest.mark.parametrize(("channels", "out"), [(16, 16), (48, 24), (5, 17)])
def test_winograd_counts_its_own_multiplications(side: int, channels: int, out: int) -> None:
    """(side + 2)^2 of them for each tile of side^2 outputs and pair of channels."""
    values = (
        Value("v0", TensorType((3, channels, 13, 9), f32, 16)),
        Value("v1", TensorType((out, channels, 3, 3), f32)),
    )
    result = Value("n0", TensorType((3, out, 13, 9), f32, 16))
    node = Node(Conv((1, 1), (1, 1, 1, 1), (1, 1), 1), values, (result,))
    graph = Graph("kernel", values, (node,), (result,))
    operands = {v.name: Operand.dense(v.type) for v in (*values, result)}
    kernel = Kernel(graph, operands, frozenset({"v1"}), Target("avx512"))
    config = {"down": side, "along": side, "rows": 2, "vectors": 1, "groups": 1, "parts": 1}
    tiles = 3 * -(-13 // side) * -(-9 // side)
    code = WinogradConvolution().build(kernel, config)
    assert code.work_flops == 2 * tiles * (side + 2) ** 2 * channels * out


def test_weights_count_as_they_are_packed() -> None:
    """48 rows by 20 columns take whole vectors: the packed bytes are those in the plan."""
    draw = np.random.default_rng(0)
    step, weights = only_step(
        with_weights(
            """graph "product"(%x: f32[7,48], %w: f32[48,20]) {
              %y: f32[7,20] = MatMul(%x, %w)
              return %y
            }""",
            w=draw.standard_normal((48, 20)).astype(np.float32),
        )
    )
    assert step.flops == 2 * 7 * 48 * 20
    assert step.weight_bytes >= 4 * 48 * 20
    assert 0 <= len(weights) - 64 - step.weight_bytes < 64  # the section is aligned, and over-read
    assert step.bytes - step.weight_bytes == 4 * 7 * (48 + 20)


def test_a_table_is_not_read_whole() -> None:
    table = np.random.default_rng(0).standard_normal((1000, 32)).astype(np.float32)
    step, _ = only_step(
        with_weights(
            """graph "rows"(%i: i64[5], %t: f32[1000,32]) {
              %y: f32[5,32] = Gather(%t, %i, axis=0)
              return %y
            }""",
            t=table,
        )
    )
    assert step.weight_bytes == 5 * 32 * 4
    assert step.bytes == step.weight_bytes + 5 * 8 + 5 * 32 * 4


def test_a_table_that_another_operator_reads_too_counts_whole() -> None:
    graph = parse(
        """graph "both"(%i: i64[5], %t: f32[100,4]) {
          %r: f32[5,4] = Gather(%t, %i, axis=0)
          %y: f32[100,4] = Pointwise(%t, fn="tanh")
          return %r, %y
        }"""
    )
    assert touched_bytes(graph, "t", 1600) == 1600
    assert touched_bytes(graph, "i", 40) == 40
    assert touched_bytes(graph, "y", 1600) == 1600


def test_reference_steps_say_what_they_do_too() -> None:
    step, _ = only_step(
        parse(
            """graph "det"(%x: f32[2,4,4]) {
              %d: f32[2] = Det(%x)
              return %d
            }"""
        )
    )
    assert not step.symbol
    assert step.bytes == 2 * 16 * 4 + 2 * 4
    assert step.flops > 0
