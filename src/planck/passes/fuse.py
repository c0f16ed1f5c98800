"""Vertical fusion: groups nodes into Region nodes, each of which becomes one kernel.

    %c = Conv(%x, %w)                      %z = Region(%x, %w, %b, %r) graph {
    %d = Pointwise(%c, %b) {fn="add"}        %c = Conv(%x, %w)
    %e = Pointwise(%d) {fn="silu"}      ->   %d = Pointwise(%c, %b) {fn="add"}
    %z = Pointwise(%e, %r) {fn="add"}        %e = Pointwise(%d) {fn="silu"}
                                             %z = Pointwise(%e, %r) {fn="add"} }

First every anchor (convolution, matmul, pool, ...) takes the pointwise nodes behind it
(epilogues.py); what is left is grouped greedily for the loop generator. At last pointwise kernels
that one other of the same shape reads become part of it. Nodes that only rename memory (reshape,
slice, concat) stay alone: placement makes views of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from planck.dtypes import Array
from planck.ir.graph import Graph, Node
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
    RMSNorm,
    Softmax,
)
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import ArgReduce, Reduce
from planck.ops.region import Region
from planck.passes.epilogues import grow
from planck.passes.groups import Group, Groups
from planck.passes.part_moves import part_moves
from planck.passes.regions import ordered, region

ANCHORS = (Conv, ConvTranspose, MatMul, Pool, Attention)
VIEWS = (Reshape, Slice, Concat)
ROWWISE = (Reduce, ArgReduce, Softmax, LogSoftmax, LayerNorm, RMSNorm)
MOVES = (Transpose, Broadcast, Pad, Gather)
# Elementwise functions that cost about as much as the memory access beside them.
CHEAP = frozenset(
    {"add", "sub", "mul", "div", "neg", "abs", "sign", "min", "max", "sqrt", "rsqrt", "reciprocal"}
    | {"relu", "leaky_relu", "prelu", "hard_sigmoid", "hard_swish", "floor", "ceil", "round"}
    | {"not", "and", "or", "xor", "equal", "less", "less_equal", "greater", "greater_equal"}
    | {"select"}
)


def fuse(graph: Graph) -> Graph:
    """Graph -> graph of Region nodes (and lone views, control flow and reference operators)."""
    graph = part_moves(graph)
    groups = Groups(graph)
    for node in graph.nodes:
        if isinstance(node.op, ANCHORS):
            grow(groups, node)
    for node in graph.nodes:
        if node not in groups:
            _join_or_start(groups, node)
    for node in reversed(graph.nodes):
        while _join_makers(groups, groups.of(node)):
            pass
    # A single number is written into the code: it is part of what the kernel is.
    numbers = {name: array for name, array in graph.weights.items() if array.size == 1}
    nodes = [_region(groups, group, numbers) for group in groups.all()]
    return graph.with_(nodes=ordered(nodes))


def _join_or_start(groups: Groups, node: Node) -> None:
    if not _lonely(groups, node):
        latest = sorted(groups.makers([node]), key=lambda g: -groups.position(g.nodes[-1]))
        for group in latest:
            if _may_join(groups, node, group):
                groups.put(node, group)
                return
    groups.put(node, Group())


def _leaves_blocks(groups: Groups, node: Node) -> bool:
    """A reshape behind a convolution: a loop kernel that reads blocks may start with it."""
    if not isinstance(node.op, Reshape) or node.outputs[0].name in groups.outputs:
        return False
    maker = groups.maker(node.inputs[0])
    blocked = maker is not None and isinstance(maker.nodes[0].op, Conv | ConvTranspose | Pool)
    users = groups.users.get(node.outputs[0].name, ())
    return (
        blocked
        and any(n > 1 for n in node.inputs[0].type.dims[2:])
        and len(users) == 1
        and isinstance(users[0].op, Transpose | Pointwise | Cast)
    )


def _cuts_moved(groups: Groups, node: Node) -> bool:
    """A part of what a loop kernel moves out of blocks: it moves no more than that part."""
    group = groups.maker(node.inputs[0]) if isinstance(node.op, Slice) else None
    return (
        group is not None
        and len(groups.users[node.inputs[0].name]) == 1
        and isinstance(group.nodes[0].op, Reshape)
        and all(isinstance(n.op, Reshape | Transpose) for n in group.nodes)
    )


def _links_moves(groups: Groups, node: Node) -> bool:
    """A reshape between a gather and a transpose, as in windows that are shifted and parted.

    Elsewhere a reshape is a view, and the kernels in front of it and behind it are apart.
    """
    if not isinstance(node.op, Reshape):
        return False
    source, out = node.inputs[0], node.outputs[0]
    maker, users = groups.maker(source), groups.users.get(out.name, ())
    if maker is None or out.name in groups.outputs:
        return False
    if len(users) != 1 or len(groups.users[source.name]) != 1:
        return False
    ends = {type(n.op) for n in maker.nodes}
    if maker.anchor or not ends <= {Pointwise, Cast, Gather, Transpose, Reshape}:
        return False
    wanted = {Transpose: Gather, Gather: Transpose}.get(type(users[0].op))
    return wanted in ends


def _lonely(groups: Groups, node: Node) -> bool:
    if any(joins(groups, node) for joins in (_leaves_blocks, _cuts_moved, _links_moves)):
        return False
    return (
        isinstance(node.op, (*VIEWS, *ANCHORS, If, Loop, Region))
        or not node.op.has_body
        or len(node.outputs) != 1
    )


def _may_join(groups: Groups, node: Node, group: Group) -> bool:
    """Whether the loop generator makes one good kernel of the group and the node."""
    if group.anchor or _lonely(groups, group.nodes[0]) or len(group.nodes) >= 24:
        return False
    moves = isinstance(node.op, (Pointwise, Cast, Slice, *ROWWISE, *MOVES))
    if not moves and not _links_moves(groups, node):
        return False
    kinds = (Pointwise, Cast, Reshape, Slice, *ROWWISE, *MOVES)
    if not all(isinstance(n.op, kinds) for n in group.nodes):
        return False
    rowwise = any(isinstance(n.op, ROWWISE) for n in group.nodes)
    widens = node.outputs[0].type.shape != group.nodes[-1].outputs[0].type.shape
    if rowwise and (isinstance(node.op, (*ROWWISE, *MOVES)) or widens):
        return False
    if isinstance(node.op, ROWWISE) and not _cheap(group):
        return False
    nodes = [*group.nodes, node]
    escaping = groups.escaping(nodes, group.makes | {v.name for v in node.outputs})
    if len(escaping) != 1:
        if len(escaping) > 4 or isinstance(node.op, (*ROWWISE, *MOVES)) or rowwise:
            return False
        if len({v.type.shape for n in nodes for v in n.outputs if v.name in escaping}) != 1:
            return False
    return not _recomputes(node, group) and not groups.depend(node, group.makes)


def _join_makers(groups: Groups, group: Group) -> bool:
    """Take in a pointwise group of the same shape that only this one reads, if there is one.

    Or one that moves elements too, if it is cheap: this may read each of them twice.
    No cycle comes of it: who is read here depends on nothing that is made here.
    """
    shape = _pointwise_shape(group)
    for other in groups.makers(group.nodes):
        few = len(group.nodes) + len(other.nodes) <= 24
        same = shape is not None and _pointwise_shape(other) == shape
        if other is group or not few or not (same or _moves_into(other, group)):
            continue
        if groups.escaping(group.nodes + other.nodes, group.makes | other.makes) <= group.makes:
            groups.merge(group, other)
            return True
    return False


def _moves_into(other: Group, group: Group) -> bool:
    """Whether both make nothing but elements of one shape, each of them from few others."""
    nodes = other.nodes + group.nodes
    shapes = {v.type.shape for n in nodes for v in n.outputs}
    kinds = (Pointwise, Cast, Transpose, Gather)
    plain = all(isinstance(n.op, kinds) for n in nodes) and not (other.anchor or group.anchor)
    return plain and len(shapes) == 1 and _cheap(other)


def _cheap(group: Group) -> bool:
    return len(group.nodes) <= 4 and all(
        isinstance(n.op, (Cast, Reshape, Slice, *MOVES))
        or (isinstance(n.op, Pointwise) and n.op.fn in CHEAP)
        for n in group.nodes
    )


def _recomputes(node: Node, group: Group) -> bool:
    """Whether reading the group's value in this node computes it several times over."""
    read = [v for v in node.inputs if v.name in group.makes]
    out = node.outputs[0].type.size
    if isinstance(node.op, (*ROWWISE, Slice)) or not read:
        return False
    return out > 2 * max(v.type.size for v in read) and not _cheap(group)


def _pointwise_shape(group: Group) -> tuple[object, ...] | None:
    """The shape of all that a group makes; None if it is not made point by point."""
    shapes = {v.type.shape for n in group.nodes for v in n.outputs}
    plain = not group.anchor and all(isinstance(n.op, Pointwise | Cast) for n in group.nodes)
    return shapes.pop() if plain and len(shapes) == 1 else None


def _region(groups: Groups, group: Group, numbers: Mapping[str, Array]) -> Node:
    first = group.nodes[0] if group.anchor else None
    nodes = sorted(group.nodes, key=lambda n: (n is not first, groups.position(n)))
    if not group.anchor and (_lonely(groups, nodes[0]) or _is_view(nodes)):
        return nodes[0]
    return region(nodes, groups.escaping(nodes, group.makes), numbers)


def _is_view(nodes: list[Node]) -> bool:
    """A transpose alone that leaves the last axis last is a matter of strides."""
    op = nodes[0].op
    return len(nodes) == 1 and isinstance(op, Transpose) and op.perm[-1] == len(op.perm) - 1
