"""Vertical fusion: groups nodes into Region nodes, each of which becomes one kernel.

    %c = Conv(%x, %w)                      %z = Region(%x, %w, %b, %r) graph {
    %d = Pointwise(%c, %b) {fn="add"}        %c = Conv(%x, %w)
    %e = Pointwise(%d) {fn="silu"}      ->   %d = Pointwise(%c, %b) {fn="add"}
    %z = Pointwise(%e, %r) {fn="add"}        %e = Pointwise(%d) {fn="silu"}
                                             %z = Pointwise(%e, %r) {fn="add"} }

First every anchor (convolution, matmul, pool, ...) takes the pointwise nodes behind it; what is
left is grouped greedily for the loop generator. At last pointwise kernels that one other of the
same shape reads become part of it. Nodes that only rename memory (reshape, slice, concat) stay
alone: placement makes views of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.control import If, Loop
from planck.ops.movement import Broadcast, Concat, Gather, Pad, Reshape, Slice, Transpose
from planck.ops.nn import (
    Attention,
    Conv,
    ConvTranspose,
    LayerNorm,
    LogSoftmax,
    MatMul,
    Pool,
    Resize,
    RMSNorm,
    Softmax,
)
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import ArgReduce, Reduce
from planck.ops.region import Region
from planck.passes.part_moves import part_moves
from planck.passes.regions import ordered, region
from planck.refusal import No

log = logging.getLogger(__name__)

ANCHORS = (Conv, ConvTranspose, MatMul, Pool, Attention)
VIEWS = (Reshape, Slice, Concat)
ROWWISE = (Reduce, ArgReduce, Softmax, LogSoftmax, LayerNorm, RMSNorm)
MOVES = (Transpose, Broadcast, Pad, Gather)
BLOCK = 16  # channels: parts that begin at its multiples are whole blocks on every target
# Elementwise functions that cost about as much as the memory access beside them.
CHEAP = frozenset(
    {"add", "sub", "mul", "div", "neg", "abs", "sign", "min", "max", "sqrt", "rsqrt", "reciprocal"}
    | {"relu", "leaky_relu", "prelu", "hard_sigmoid", "hard_swish", "floor", "ceil", "round"}
    | {"not", "and", "or", "xor", "equal", "less", "less_equal", "greater", "greater_equal"}
    | {"select"}
)


@dataclass(eq=False)
class Group:
    """A kernel in the making; `nodes` in the graph's order."""

    nodes: list[Node]
    anchor: bool = False
    rowwise: int = 0
    makes: set[str] = field(default_factory=set)

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self.makes.update(v.name for v in node.outputs)
        self.rowwise += isinstance(node.op, ROWWISE)


def fuse(graph: Graph) -> Graph:
    """Graph -> graph of Region nodes (and lone views, control flow and reference operators)."""
    return _Fuser(part_moves(graph)).run()


class _Fuser:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self.outputs = {v.name for v in graph.outputs}
        # A single number is written into the code: it is part of what the kernel is.
        self.numbers = {name: array for name, array in graph.weights.items() if array.size == 1}
        self.position = {id(n): i for i, n in enumerate(graph.nodes)}
        self.group_of: dict[int, Group] = {}  # by node
        self.maker: dict[str, Group] = {}  # by value

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if isinstance(node.op, ANCHORS):
                self._grow_anchor(node)
        for node in self.graph.nodes:
            if id(node) not in self.group_of:
                self._join_or_start(node)
        for node in reversed(self.graph.nodes):
            while self._join_makers(self.group_of[id(node)]):
                pass
        return self._emit()

    # Anchors and their epilogues

    def _grow_anchor(self, anchor: Node) -> None:
        group = Group([], anchor=True)
        group.add(anchor)
        self._own(group, anchor)
        shape = anchor.outputs[0].type.shape
        while not isinstance(anchor.op, Attention):
            step = self._epilogue_step(group, shape)
            if not step:
                break
            for node in step:
                group.add(node)
                self._own(group, node)
        self._take_resized(anchor, group)
        self._take_parts(anchor, group)

    def _take_parts(self, anchor: Node, group: Group) -> None:
        """Slices of what a 1x1 convolution makes, if one of them is wanted in a concatenation.

        The kernel writes each where it is wanted; as views, they would all lie in one place.
        """
        escaping = self._escaping(group.nodes, group.makes)
        if not _is_pointwise(anchor) or len(escaping) != 1 or escaping & self.outputs:
            return
        slices = self.users[escaping.pop()]
        ranges = sorted((n.op.starts[1], n.op.sizes[1]) for n in slices if isinstance(n.op, Slice))
        at = 0
        for start, size in ranges:
            if start != at or start % BLOCK:
                return
            at += size
        if len(ranges) < len(slices) or at != anchor.outputs[0].type.dims[1] or len(slices) < 2:
            return
        readers = [user for n in slices for user in self.users.get(n.outputs[0].name, ())]
        if any(isinstance(user.op, Concat) for user in readers):
            for node in slices:
                group.add(node)
                self._own(group, node)

    def _take_resized(self, anchor: Node, group: Group) -> None:
        """Images that only this epilogue reads, resized: it finds each pixel's neighbour itself.

        Behind 1x1 filters only: wider ones have faster ways, which read what lies beside a pixel.
        """
        if not _is_pointwise(anchor):
            return
        for value in [v for node in group.nodes[1:] for v in node.inputs]:
            maker = self._producers.get(value.name)
            op = maker.op if maker else None
            if not maker or not isinstance(op, Resize) or id(maker) in self.group_of:
                continue
            alone = len(self.users[value.name]) == 1 and value.name not in self.outputs
            source = maker.inputs[0]
            kept = source.type.shape[:2] == value.type.shape[:2] and source.type.rank in (3, 4)
            twice = any(v.name == source.name for node in group.nodes for v in node.inputs)
            if alone and kept and not twice and op.mode == "nearest" and op.has_body:
                group.add(maker)
                self._own(group, maker)

    def _epilogue_step(self, group: Group, shape: tuple[object, ...]) -> list[Node] | No:
        """The next pointwise nodes to take: the fewest that leave one value to write."""
        taken: list[Node] = []
        makes = set(group.makes)
        while True:
            escaping = self._escaping(group.nodes + taken, makes)
            if taken and len(escaping) == 1:
                return taken
            if len(taken) > 8:
                return No("more than eight nodes before the branches meet")
            if any(name in self.outputs for name in escaping):
                return No("the value is an output of the network")
            candidates = sorted(
                {
                    id(u): u for name in escaping for u in self.users.get(name, ())
                    if id(u) not in self.group_of and u not in taken
                }.values(),
                key=lambda n: self.position[id(n)],
            )  # fmt: skip
            chosen = next((u for u in candidates if self._fits_epilogue(u, makes, shape)), None)
            if chosen is None:
                return No("no pointwise node of the same shape follows")
            taken.append(chosen)
            makes.update(v.name for v in chosen.outputs)

    def _fits_epilogue(self, node: Node, makes: set[str], shape: tuple[object, ...]) -> bool:
        if not isinstance(node.op, Pointwise) or node.outputs[0].type.shape != shape:
            return False
        dtype = node.outputs[0].type.dtype
        for value in node.inputs:
            if value.name in makes:
                continue
            if value.type.dtype is not dtype or not _is_epilogue_operand(value, shape):
                return False
            if self._depends(value, makes):
                return False
        return True

    # Everything else: groups for the loop generator

    def _join_or_start(self, node: Node) -> None:
        if not self._lonely(node):
            for group in self._producer_groups(node):
                if self._may_join(node, group):
                    group.add(node)
                    self._own(group, node)
                    return
        group = Group([])
        group.add(node)
        self._own(group, node)

    def _leaves_blocks(self, node: Node) -> bool:
        """A reshape behind a convolution: a loop kernel that reads blocks may start with it."""
        if not isinstance(node.op, Reshape) or node.outputs[0].name in self.outputs:
            return False
        maker = self.maker.get(node.inputs[0].name)
        blocked = maker is not None and isinstance(maker.nodes[0].op, Conv | ConvTranspose | Pool)
        users = self.users.get(node.outputs[0].name, ())
        return (
            blocked
            and any(n > 1 for n in node.inputs[0].type.dims[2:])
            and len(users) == 1
            and isinstance(users[0].op, Transpose | Pointwise | Cast)
        )

    def _cuts_moved(self, node: Node) -> bool:
        """A part of what a loop kernel moves out of blocks: it moves no more than that part."""
        group = self.maker.get(node.inputs[0].name) if isinstance(node.op, Slice) else None
        return (
            group is not None
            and len(self.users[node.inputs[0].name]) == 1
            and isinstance(group.nodes[0].op, Reshape)
            and all(isinstance(n.op, Reshape | Transpose) for n in group.nodes)
        )

    def _links_moves(self, node: Node) -> bool:
        """A reshape between a gather and a transpose, as in windows that are shifted and parted.

        Elsewhere a reshape is a view, and the kernels in front of it and behind it are apart.
        """
        source, out = (*node.inputs[:1], *node.outputs[:1])
        maker, users = self.maker.get(source.name), self.users.get(out.name, ())
        if not isinstance(node.op, Reshape) or maker is None or out.name in self.outputs:
            return False
        if len(users) != 1 or len(self.users[source.name]) != 1:
            return False
        ends = {type(n.op) for n in maker.nodes}
        if maker.anchor or not ends <= {Pointwise, Cast, Gather, Transpose, Reshape}:
            return False
        wanted = {Transpose: Gather, Gather: Transpose}.get(type(users[0].op))
        return wanted in ends

    def _lonely(self, node: Node) -> bool:
        if self._leaves_blocks(node) or self._cuts_moved(node) or self._links_moves(node):
            return False
        return (
            isinstance(node.op, (*VIEWS, *ANCHORS, If, Loop, Region))
            or not node.op.has_body
            or len(node.outputs) != 1
        )

    def _producer_groups(self, node: Node) -> list[Group]:
        groups = {id(g): g for v in node.inputs if (g := self.maker.get(v.name))}
        return sorted(groups.values(), key=lambda g: -self.position[id(g.nodes[-1])])

    def _may_join(self, node: Node, group: Group) -> bool:
        """Whether the loop generator makes one good kernel of the group and the node."""
        if group.anchor or self._lonely(group.nodes[0]) or len(group.nodes) >= 24:
            return False
        moves = isinstance(node.op, (Pointwise, Cast, Slice, *ROWWISE, *MOVES))
        if not moves and not self._links_moves(node):
            return False
        kinds = (Pointwise, Cast, Reshape, Slice, *ROWWISE, *MOVES)
        if not all(isinstance(n.op, kinds) for n in group.nodes):
            return False
        if group.rowwise and (isinstance(node.op, (*ROWWISE, *MOVES)) or self._widens(node, group)):
            return False
        if isinstance(node.op, ROWWISE) and not self._cheap(group):
            return False
        makes = group.makes | {v.name for v in node.outputs}
        escaping = self._escaping([*group.nodes, node], makes)
        if len(escaping) != 1:
            if len(escaping) > 4 or isinstance(node.op, (*ROWWISE, *MOVES)) or group.rowwise:
                return False
            shapes = {self._type(name, group, node).shape for name in escaping}
            if len(shapes) != 1:
                return False
        if self._recomputes(node, group):
            return False
        return not any(
            self._depends(v, group.makes) for v in node.inputs if v.name not in group.makes
        )

    def _join_makers(self, group: Group) -> bool:
        """Take in a pointwise group of the same shape that only this one reads, if there is one.

        Or one that moves elements too, if it is cheap: this may read each of them twice.
        No cycle comes of it: who is read here depends on nothing that is made here.
        """
        makers = {id(g): g for n in group.nodes for v in n.inputs if (g := self.maker.get(v.name))}
        shape = _pointwise_shape(group)
        for other in makers.values():
            few = len(group.nodes) + len(other.nodes) <= 24
            same = shape is not None and _pointwise_shape(other) == shape
            if other is group or not few or not (same or self._moves_into(other, group)):
                continue
            nodes, makes = group.nodes + other.nodes, group.makes | other.makes
            if self._escaping(nodes, makes) <= group.makes:
                group.nodes = sorted(nodes, key=lambda n: self.position[id(n)])
                group.makes = makes
                for node in other.nodes:
                    self._own(group, node)
                return True
        return False

    def _moves_into(self, other: Group, group: Group) -> bool:
        """Whether both make nothing but elements of one shape, each of them from few others."""
        nodes = other.nodes + group.nodes
        shapes = {v.type.shape for n in nodes for v in n.outputs}
        kinds = (Pointwise, Cast, Transpose, Gather)
        plain = all(isinstance(n.op, kinds) for n in nodes) and not (other.anchor or group.anchor)
        return plain and len(shapes) == 1 and self._cheap(other)

    def _widens(self, node: Node, group: Group) -> bool:
        return node.outputs[0].type.shape != group.nodes[-1].outputs[0].type.shape

    def _cheap(self, group: Group) -> bool:
        return len(group.nodes) <= 4 and all(
            isinstance(n.op, (Cast, Reshape, Slice, *MOVES))
            or (isinstance(n.op, Pointwise) and n.op.fn in CHEAP)
            for n in group.nodes
        )

    def _recomputes(self, node: Node, group: Group) -> bool:
        """Whether reading the group's value in this node computes it several times over."""
        read = [v for v in node.inputs if v.name in group.makes]
        out = node.outputs[0].type.size
        if isinstance(node.op, (*ROWWISE, Slice)) or not read:
            return False
        return out > 2 * max(v.type.size for v in read) and not self._cheap(group)

    def _type(self, name: str, group: Group, node: Node) -> TensorType:
        for n in (*group.nodes, node):
            for v in n.outputs:
                if v.name == name:
                    return v.type
        raise AssertionError(name)

    # Shared

    def _own(self, group: Group, node: Node) -> None:
        self.group_of[id(node)] = group
        for value in node.outputs:
            self.maker[value.name] = group

    def _escaping(self, nodes: list[Node], makes: set[str]) -> set[str]:
        """Values made inside that something outside reads."""
        inside = {id(n) for n in nodes}
        return {
            name for name in makes
            if name in self.outputs
            or not self.users.get(name)
            or any(id(u) not in inside for u in self.users.get(name, ()))
        }  # fmt: skip

    def _depends(self, value: Value, makes: set[str]) -> bool:
        """Whether a value outside needs one of `makes`: taking its reader in would be a cycle."""
        seen: set[int] = set()
        stack = [value.name]
        producers = self._producers
        while stack:
            name = stack.pop()
            if name in makes:
                return True
            group = self.maker.get(name)
            nodes: Iterable[Node] = (
                group.nodes if group else ([producers[name]] if name in producers else ())
            )
            for node in nodes:
                if id(node) not in seen:
                    seen.add(id(node))
                    stack.extend(v.name for v in node.inputs)
        return False

    @property
    def _producers(self) -> dict[str, Node]:
        if not hasattr(self, "_producer_map"):
            self._producer_map = self.graph.producers()
        return self._producer_map

    def _emit(self) -> Graph:
        groups = {id(g): g for g in self.group_of.values()}.values()
        placed = [self._region(group) for group in groups]
        return self.graph.with_(nodes=ordered(placed))

    def _region(self, group: Group) -> Node:
        first = group.nodes[0] if group.anchor else None
        nodes = sorted(group.nodes, key=lambda n: (n is not first, self.position[id(n)]))
        if not group.anchor and (self._lonely(nodes[0]) or _is_view(nodes)):
            return nodes[0]
        return region(nodes, self._escaping(nodes, group.makes), self.numbers)


def _pointwise_shape(group: Group) -> tuple[object, ...] | None:
    """The shape of all that a group makes; None if it is not made point by point."""
    shapes = {v.type.shape for n in group.nodes for v in n.outputs}
    plain = not group.anchor and all(isinstance(n.op, Pointwise | Cast) for n in group.nodes)
    return shapes.pop() if plain and len(shapes) == 1 else None


def _is_pointwise(node: Node) -> bool:
    """Whether a node is a convolution by filters of one weight for each channel."""
    return isinstance(node.op, Conv) and math.prod(node.inputs[1].type.dims[2:]) == 1


def _is_view(nodes: list[Node]) -> bool:
    """A transpose alone that leaves the last axis last is a matter of strides."""
    op = nodes[0].op
    return len(nodes) == 1 and isinstance(op, Transpose) and op.perm[-1] == len(op.perm) - 1


def _is_epilogue_operand(value: Value, shape: tuple[object, ...]) -> bool:
    """Full, scalar, or along one axis: the channel of a feature map, the last of a matrix."""
    own = value.type.shape
    if own == shape or value.type.size == 1:
        return True
    padded = (1,) * (len(shape) - len(own)) + own
    different = [i for i, n in enumerate(padded) if n != 1]
    return (
        len(padded) == len(shape)
        and len(different) == 1
        and padded[different[0]] == shape[different[0]]
        and different[0] in (1, len(shape) - 1)
    )
