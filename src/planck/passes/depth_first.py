"""Depth-first fusion: a depthwise convolution joins the convolutions before and behind it.

    %h = Region(%x, %w) graph { Conv, relu }            %y = Region(%x, %w, %k, %v) graph {
    %d = Region(%h, %k) graph { Conv groups=C, relu }     %h = Conv(%x, %w), relu
    %y = Region(%d, %v) graph { Conv 1x1, add }      ->   %d = Conv(%h, %k) groups=C, relu
                                                          %y = Conv(%d, %v), add }

The image between them is often six times as wide as what the network keeps; in one kernel a few
rows of it at a time stay in the cache. Whether that is faster is for the build to find out
(compiler/chains.py): `cut` gives the regions back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from planck.ir.graph import Graph, Node, Value
from planck.ops.nn import Conv
from planck.ops.pointwise import Cast
from planck.ops.region import Region
from planck.passes.regions import boundary, joined
from planck.refusal import No

log = logging.getLogger(__name__)


def depth_first(graph: Graph) -> Graph:
    """Graph of regions -> the same with depthwise convolutions fused with their neighbours."""
    return _DepthFirst(graph).run()


class _DepthFirst:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self.producers = graph.producers()
        self.outputs = {v.name for v in graph.outputs}
        self.taken: set[int] = set()

    def run(self) -> Graph:
        instead: dict[int, Node] = {}  # of the last of the nodes that it replaces
        for node in self.graph.nodes:
            anchor = _convolution(node)
            if id(node) in self.taken or not anchor or not _is_depthwise(anchor):
                continue
            chain = [*self._before(node, anchor), node, *self._behind(node)]
            if len(chain) > 1:
                self.taken.update(map(id, chain))
                instead[id(chain[-1])] = joined(chain, _title(chain))
        if not instead:
            return self.graph
        nodes = tuple(
            instead.get(id(node), node)
            for node in self.graph.nodes
            if id(node) not in self.taken or id(node) in instead
        )
        return self.graph.with_(nodes=nodes)

    def _before(self, node: Node, anchor: Node) -> list[Node]:
        maker = self.producers.get(_outer(node, anchor.inputs[0].name))
        answer = self._widens(maker, node) if maker else No("it reads an input of the network")
        if not answer:
            log.debug("%s slides over memory: %s", node.origin, answer)
        return [maker] if maker and answer else []

    def _behind(self, node: Node) -> list[Node]:
        users = self.users.get(node.outputs[0].name, [])
        answer = self._narrows(node, users[0]) if users else No("nothing reads it")
        if not answer:
            log.debug("%s writes to memory: %s", node.origin, answer)
        return [users[0]] if answer else []

    def _widens(self, maker: Node, node: Node) -> bool | No:
        anchor = _convolution(maker)
        if id(maker) in self.taken or not anchor:
            return No("no single convolution makes what it reads")
        if _is_depthwise(anchor) or _groups(anchor) > 1:
            return No("the convolution before it has groups")
        return self._links(maker, node)

    def _narrows(self, node: Node, user: Node) -> bool | No:
        anchor = _convolution(user)
        if id(user) in self.taken or not anchor:
            return No("what reads it is no single convolution")
        op, weights = anchor.op, anchor.inputs[1].type
        assert isinstance(op, Conv)
        plain = op.groups == 1 and set(weights.dims[2:]) == {1}
        if not plain or set(op.strides) != {1} or any(op.pads):
            return No("the convolution behind it reads more than one pixel, or has groups")
        return self._links(node, user)

    def _links(self, first: Node, second: Node) -> bool | No:
        """Whether what a region makes is the image of another's convolution, and nothing else."""
        link = first.outputs[0]
        if len(first.outputs) != 1 or link.name in self.outputs:
            return No("what lies between is an output of the network")
        anchor = _convolution(second)
        assert anchor
        assert isinstance(second.op, Region)
        reads = [_outer(second, v.name) for n in second.op.graph.nodes for v in n.inputs]
        alone = len(self.users.get(link.name, ())) == 1 and reads.count(link.name) == 1
        if not alone or _outer(second, anchor.inputs[0].name) != link.name:
            return No("what lies between is read by others too")
        image = _convolution(first)
        assert image
        data = _outer(first, image.inputs[0].name)
        beside = [v for v in first.inputs if v.type.dims == link.type.dims and v.name != data]
        if beside:
            return No(f"%{beside[0].name} is as large as what lies between, and read beside it")
        return True


def _title(chain: list[Node]) -> str:
    return "_".join(n.op.graph.name for n in chain if isinstance(n.op, Region))


def cut(node: Node, block: int) -> list[Node]:
    """A region of several convolutions -> a region for each; a list of itself if it is none.

    block:  the layout of what then lies in memory between them
    """
    if not isinstance(node.op, Region):
        return [node]
    inner = node.op.graph
    casts = {n.outputs[0].name: n for n in inner.nodes if isinstance(n.op, Cast)}  # of constants
    nodes = [n for n in inner.nodes if not isinstance(n.op, Cast)]
    starts = [i for i, n in enumerate(nodes) if isinstance(n.op, Conv)]
    if len(starts) < 2:
        return [node]
    names = boundary(node)
    known = {v.name: v for v in (*node.inputs, *node.outputs)}
    ends = [*starts[1:], len(nodes)]
    between = {nodes[end - 1].outputs[0].name for end in ends[:-1]}

    def typed(value: Value) -> Value:
        name = names.get(value.name, value.name)
        if name in known:
            return known[name]
        return Value(name, value.type.with_block(block if value.name in between else 0))

    regions: list[Node] = []
    for start, end in zip(starts, ends, strict=True):
        part = [
            Node(n.op, tuple(map(typed, n.inputs)), tuple(map(typed, n.outputs)), n.origin)
            for n in _with_their_casts(nodes[start:end], casts)
        ]
        made = {v.name for n in part for v in n.outputs}
        outside = {v.name: v for n in part for v in n.inputs if v.name not in made}
        weights = {name: inner.weights[name] for name in outside if name in inner.weights}
        inputs = tuple(v for name, v in outside.items() if name not in weights)
        last = part[-1].outputs[0]
        outputs = node.outputs if end == len(nodes) else (last,)
        origin = tuple(dict.fromkeys(name for n in part for name in n.origin))
        graph = Graph(f"{inner.name}_{len(regions)}", inputs, tuple(part), outputs, weights)
        regions.append(Node(Region(graph), inputs, outputs, origin))
    return regions


def _with_their_casts(nodes: list[Node], casts: Mapping[str, Node]) -> list[Node]:
    read = dict.fromkeys(v.name for n in nodes for v in n.inputs if v.name in casts)
    return [*(casts[name] for name in read), *nodes]


def _outer(node: Node, name: str) -> str:
    """The outer name of a value on a region's boundary; "" for one inside."""
    return boundary(node).get(name, "")


def _convolution(node: Node) -> Node | None:
    """The convolution that a region begins with, if it is the only one in it."""
    if not isinstance(node.op, Region):
        return None
    nodes = node.op.graph.nodes
    several = sum(isinstance(n.op, Conv) for n in nodes) > 1
    return nodes[0] if isinstance(nodes[0].op, Conv) and not several else None


def _groups(node: Node) -> int:
    assert isinstance(node.op, Conv)
    return node.op.groups


def _is_depthwise(node: Node) -> bool:
    return isinstance(node.op, Conv) and node.op.is_depthwise(node.inputs[1].type)
