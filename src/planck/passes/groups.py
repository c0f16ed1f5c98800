"""Groups: nodes in the making of regions, and what crosses their boundaries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from planck.ir.graph import Graph, Node, Value


@dataclass(eq=False)
class Group:
    """A kernel in the making.

    nodes:   in the graph's order, but an anchor first of all
    makes:   the values that they make
    anchor:  whether the first node is one
    """

    nodes: list[Node] = field(default_factory=list)
    makes: set[str] = field(default_factory=set)
    anchor: bool = False


class Groups:
    """Who is in which group, of a graph's nodes.

    users:      of each value, the nodes that read it
    producers:  of each value, the node that makes it
    outputs:    names of the graph's own
    """

    def __init__(self, graph: Graph) -> None:
        self.users, self.producers = graph.users(), graph.producers()
        self.outputs = {v.name for v in graph.outputs}
        self._position = {id(n): i for i, n in enumerate(graph.nodes)}
        self._of: dict[int, Group] = {}  # by node
        self._maker: dict[str, Group] = {}  # by value

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._of

    def all(self) -> list[Group]:
        return list(dict.fromkeys(self._of.values()))

    def of(self, node: Node) -> Group:
        return self._of[id(node)]

    def position(self, node: Node) -> int:
        """Of a node in the graph."""
        return self._position[id(node)]

    def maker(self, value: Value) -> Group | None:
        """The group that makes a value; None if the graph is given it, or no group yet."""
        return self._maker.get(value.name)

    def makers(self, nodes: Iterable[Node]) -> list[Group]:
        """The groups that make what nodes read."""
        read = (self.maker(v) for n in nodes for v in n.inputs)
        return list(dict.fromkeys(group for group in read if group))

    def put(self, node: Node, group: Group) -> None:
        """Make a node a group's last."""
        group.nodes.append(node)
        self._own(group, [node])

    def merge(self, group: Group, other: Group) -> None:
        """Let a group have another's nodes."""
        group.nodes = sorted(group.nodes + other.nodes, key=self.position)
        self._own(group, other.nodes)

    def _own(self, group: Group, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._of[id(node)] = group
            for value in node.outputs:
                group.makes.add(value.name)
                self._maker[value.name] = group

    def escaping(self, nodes: Sequence[Node], makes: Set[str]) -> set[str]:
        """Values made inside that something outside reads."""
        inside = {id(n) for n in nodes}
        return {
            name for name in makes
            if name in self.outputs
            or not self.users.get(name)
            or any(id(u) not in inside for u in self.users.get(name, ()))
        }  # fmt: skip

    def depend(self, node: Node, makes: Set[str]) -> bool:
        """Whether what a node reads from outside needs one of `makes`: it would close a cycle."""
        return any(self._depends(v, makes) for v in node.inputs if v.name not in makes)

    def _depends(self, value: Value, makes: Set[str]) -> bool:
        seen: set[int] = set()
        stack = [value.name]
        while stack:
            name = stack.pop()
            if name in makes:
                return True
            group = self._maker.get(name)
            nodes: Iterable[Node] = (
                group.nodes if group else ([self.producers[name]] if name in self.producers else ())
            )
            for node in nodes:
                if id(node) not in seen:
                    seen.add(id(node))
                    stack.extend(v.name for v in node.inputs)
        return False
