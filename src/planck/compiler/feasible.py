"""Fusions that no tactic takes come apart again: better two kernels than a reference step.

And operators without a body become kernels where a tactic takes them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from planck.compiler.split import kernel_alone
from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ops.region import Region
from planck.passes.layout import region_of
from planck.refusal import No
from planck.tactics.kernel import Offering
from planck.target import Target

log = logging.getLogger(__name__)


def take_apart(graph: Graph, tactics: Sequence[Offering], target: Target, threads: int) -> Graph:
    """The graph with every region that all tactics refuse replaced by regions of one node."""
    answers: dict[str, bool] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Region) and len(node.op.graph.nodes) > 1:
            kernel = kernel_alone(node, graph.weights, target, threads)
            if kernel.key not in answers:
                replies = [tactic.offers(kernel) for tactic in tactics]
                answers[kernel.key] = any(not isinstance(reply, No) for reply in replies)
            if not answers[kernel.key]:
                log.info("%s comes apart: no tactic takes it whole", node.origin)
                nodes.extend(_parts(node))
                continue
        elif node.op.reference_only:
            kernel = kernel_alone(region_of(node), graph.weights, target, threads)
            if any(not isinstance(tactic.offers(kernel), No) for tactic in tactics):
                node = region_of(node)
        nodes.append(node)
    scalars = _scalars(graph)
    return graph.with_(nodes=tuple(nodes), weights={**graph.weights, **scalars})


def _parts(node: Node) -> list[Node]:
    """Each inner node as a region; values of the boundary keep their layouts."""
    assert isinstance(node.op, Region)
    inner = node.op.graph
    outer: dict[str, Value] = dict(
        zip(
            (v.name for v in (*inner.inputs, *inner.outputs)),
            (*node.inputs, *node.outputs),
            strict=True,
        )
    )

    def renamed(value: Value) -> Value:
        return outer.get(value.name, value)

    return [
        region_of(
            Node(n.op, tuple(map(renamed, n.inputs)), tuple(map(renamed, n.outputs)), n.origin)
        )
        for n in inner.nodes
    ]


def _scalars(graph: Graph) -> Mapping[str, Array]:
    """Numbers that stood inside regions, as weights of the graph."""
    return {
        name: array
        for node in graph.nodes
        if isinstance(node.op, Region)
        for name, array in node.op.graph.weights.items()
        if name not in graph.weights
    }
