"""Region: nodes that become one kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planck.dtypes import Array
from planck.ir.graph import Graph, Op
from planck.ir.interpret import interpret
from planck.ir.types import TensorType


@dataclass(frozen=True)
class Region(Op):
    """What one launch computes; inputs and outputs pair with the inner graph's by position."""

    graph: Graph

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.graph.outputs)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        names = (v.name for v in self.graph.inputs)
        results = interpret(self.graph, dict(zip(names, inputs, strict=True)))
        return tuple(results[v.name] for v in self.graph.outputs)


def all_names(graph: Graph) -> Iterator[str]:
    """All names, those inside regions too."""
    yield from (v.name for v in graph.values())
    yield from graph.weights
    for node in graph.nodes:
        if isinstance(node.op, Region):
            yield from (v.name for v in node.op.graph.values())
