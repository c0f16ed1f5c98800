"""Fusions that no tactic takes come apart again: better two kernels than a reference step.

And operators without a body become kernels where a tactic takes them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from planck.compiler.split import kernel_alone
from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ops.region import Region
from planck.passes.layout import region_of
from planck.passes.regions import ordered, region
from planck.refusal import No
from planck.tactics.kernel import Offering
from planck.target import Target

log = logging.getLogger(__name__)


def take_apart(graph: Graph, tactics: Sequence[Offering], target: Target, threads: int) -> Graph:
    """The graph with every region that all tactics refuse replaced by parts that one takes."""
    answers: dict[str, bool] = {}

    def taken(node: Node) -> bool:
        kernel = kernel_alone(node, graph.weights, target, threads)
        if kernel.key not in answers:
            answers[kernel.key] = any(not isinstance(t.offers(kernel), No) for t in tactics)
        return answers[kernel.key]

    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Region) and len(node.op.graph.nodes) > 1:
            if not taken(node):
                log.info("%s comes apart: no tactic takes it whole", node.origin)
                nodes.extend(_parts(node, taken))
                continue
        elif node.op.reference_only and taken(region_of(node)):
            node = region_of(node)
        nodes.append(node)
    scalars = _scalars(graph)
    return graph.with_(nodes=tuple(nodes), weights={**graph.weights, **scalars})


def _parts(node: Node, taken: Callable[[Node], bool]) -> tuple[Node, ...]:
    """Regions of as many inner nodes as a tactic takes, from the last to those that they read.

    Values of the boundary keep their layouts.
    """
    assert isinstance(node.op, Region)
    inner = node.op.graph
    outer: dict[str, Value] = dict(
        zip(
            (v.name for v in (*inner.inputs, *inner.outputs)),
            (*node.inputs, *node.outputs),
            strict=True,
        )
    )

    def renamed(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(outer.get(v.name, v) for v in values)

    left = [Node(n.op, renamed(n.inputs), renamed(n.outputs), n.origin) for n in inner.nodes]
    made = {v.name for v in node.outputs}
    parts: list[Node] = []
    while left:
        part = [left.pop()]
        for other in reversed(left[:]):
            read = {v.name for n in left if n is not other for v in n.inputs} | made
            alone = not any(v.name in read for v in other.outputs)
            if alone and taken(_part([other, *part], inner.weights)):
                part.insert(0, other)
                left.remove(other)
        parts.append(region_of(part[0]) if len(part) == 1 else _part(part, inner.weights))
        made |= {v.name for v in parts[-1].inputs}
    return ordered(parts)


def _part(nodes: Sequence[Node], known: Mapping[str, Array]) -> Node:
    """A region of nodes of which only the last one's values are read elsewhere."""
    return region(nodes, {v.name for v in nodes[-1].outputs}, known)


def _scalars(graph: Graph) -> Mapping[str, Array]:
    """Numbers that stood inside regions, as weights of the graph."""
    return {
        name: array
        for node in graph.nodes
        if isinstance(node.op, Region)
        for name, array in node.op.graph.weights.items()
        if name not in graph.weights
    }
