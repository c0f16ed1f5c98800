"""What is moved to be sliced is moved once for each slice, by the kernel that wants it.

    %r = Reshape(%x)                         %r = Reshape(%x)       %p = Reshape(%x)
    %t = Transpose(%r)                       %t = Transpose(%r)     %q = Transpose(%p)
    %b = Slice(%t)    %c = Slice(%t)    ->   %b = Slice(%t)         %c = Slice(%q)

To a loop kernel that reads through them they are index arithmetic. Fusion begins with this, as the
passes before it would merge them again.
"""

from __future__ import annotations

from dataclasses import replace

from planck.ir.graph import Graph, Namer, Node, Value
from planck.ops.movement import Reshape, Slice, Transpose


def part_moves(graph: Graph) -> Graph:
    """Reshape and transpose for each of the slices of what they move: each is in another kernel."""
    users, producers = graph.users(), graph.producers()
    outputs = {v.name for v in graph.outputs}
    namer = Namer(v.name for v in graph.values())
    nodes: list[Node] = []
    instead: dict[str, Value] = {}  # what a slice reads, by its result
    for node in graph.nodes:
        maker = producers.get(node.inputs[0].name) if node.inputs else None
        if isinstance(node.op, Transpose) and maker and isinstance(maker.op, Reshape):
            moved = maker.outputs[0], node.outputs[0]
            first, *others = users.get(moved[1].name, [node])
            alone = len(users[moved[0].name]) == 1 and not outputs & {v.name for v in moved}
            sliced = all(isinstance(reader.op, Slice) for reader in (first, *others))
            for reader in others if alone and sliced else ():
                a, b = (Value(namer(v.name), v.type) for v in moved)
                nodes.append(Node(maker.op, maker.inputs, (a,), maker.origin))
                nodes.append(Node(node.op, (a,), (b,), node.origin))
                instead[reader.outputs[0].name] = b
        if isinstance(node.op, Slice) and node.outputs[0].name in instead:
            node = replace(node, inputs=(instead[node.outputs[0].name],))
        nodes.append(node)
    return graph.with_(nodes=tuple(nodes)) if instead else graph
