"""Drop nodes that no output needs, and weights that no node reads."""

from __future__ import annotations

from planck.ir.graph import Graph, Node


def remove_unused(graph: Graph) -> Graph:
    """Keep what the outputs depend on."""
    needed = {value.name for value in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(value.name in needed for value in node.outputs):
            kept.append(node)
            needed.update(value.name for value in node.inputs)
    if len(kept) == len(graph.nodes) and needed.issuperset(graph.weights):
        return graph
    return graph.with_(
        nodes=tuple(reversed(kept)),
        weights={name: array for name, array in graph.weights.items() if name in needed},
    )
