"""Copies to channels last that need not be: what makes their source makes the result instead.

    %t = Region(%x) { Transpose }             a matrix of pixels is an image in channels last:
    %c: ...:c64 = Region(%t) { Identity }  ->  %c: ...:c64 = Transpose(%x), which is a view

    %r = Region(%x) { relu }                  a loop kernel writes either layout:
    %c: ...:c64 = Region(%r) { Identity }  ->  %c: ...:c64 = Region(%x) { relu }

So it is in ConvNeXt and SegFormer, whose norms and products want pixels as rows, and behind group
norms. The other way round, what moves channels last, to be read as rows, is a view of channels
last. Where a reshape between the two only joins pixels or parts them, it follows the layout.
"""

from __future__ import annotations

from dataclasses import replace

from planck.ir.graph import Graph, Namer, Node, Value
from planck.ops.movement import Concat, Reshape, Transpose
from planck.ops.nn import Attention, Conv, ConvTranspose, MatMul, Pool
from planck.ops.region import Region
from planck.passes.fuse import ROWWISE
from planck.passes.layout import Blocks, anchor_of, is_copy, with_boundary
from planck.passes.match import channels_first, channels_last
from planck.passes.regions import ordered

FIXED = (Attention, Conv, ConvTranspose, MatMul, Pool)  # whose kernels choose their layouts


def absorb_copies(graph: Graph, blocks: Blocks) -> Graph:
    """A graph whose layouts are assigned, with fewer copies."""
    for copy in [node for node in graph.nodes if is_copy(node)]:
        if copy.outputs[0].type.block:
            graph = _Absorber(graph, blocks).absorbed(copy)
    return _unswapped(_rows_as_views(graph))


class _Absorber:
    def __init__(self, graph: Graph, blocks: Blocks) -> None:
        self.graph, self.blocks = graph, blocks
        self.users, self.makers = graph.users(), graph.producers()
        self.outputs = {v.name for v in graph.outputs}
        self.namer = Namer(v.name for v in graph.values())

    def absorbed(self, copy: Node) -> Graph:
        """The graph without one copy; the same where its source can only be rows."""
        (source,), (made,) = copy.inputs, copy.outputs
        new = self._blocked(source, made, copy)
        if new is None:
            return self.graph
        gone = {id(copy), *(id(old) for old, _ in new if old is not None)}
        names = {source.name: made} if self._moves_readers(new) else {}
        nodes = [_reading(n, names) for n in self.graph.nodes if id(n) not in gone]
        return self.graph.with_(nodes=ordered([*nodes, *(node for _, node in new)]))

    def _moves_readers(self, new: list[tuple[Node | None, Node]]) -> bool:
        return isinstance(new[0][1].op, Region)

    def _blocked(
        self, value: Value, made: Value, reader: Node
    ) -> list[tuple[Node | None, Node]] | None:
        """(node that is not needed any more, its replacement) that make a value in blocks."""
        maker = self.makers.get(value.name)
        if maker is None or value.name in self.outputs or value.type.block:
            return None
        others = [user for user in self.users[value.name] if user is not reader]
        if isinstance(maker.op, Reshape):
            return self._through_reshape(maker, made) if not others else None
        if not isinstance(maker.op, Region) or not maker.inputs:
            return None
        inner = [node.op for node in maker.op.graph.nodes]
        x = maker.inputs[0]
        if len(inner) == 1 and isinstance(inner[0], Transpose):
            whole = x.type.dims[-1] % self.blocks.grain == 0 and not x.type.block
            if whole and inner[0].perm == channels_first(x.type.rank):
                node = Node(inner[0], (x,), (made,), maker.origin)
                return [(None if others else maker, node)]
        anchor, _ = anchor_of(maker.op.graph)
        if isinstance(anchor.op, FIXED) or any(isinstance(op, ROWWISE) for op in inner):
            return None
        if len(maker.outputs) > 1 or not all(map(_takes_either, others)):
            return None
        op = with_boundary(maker.op, maker.inputs, (made,))
        return [(maker, Node(op, maker.inputs, (made,), maker.origin))]

    def _through_reshape(self, reshape: Node, made: Value) -> list[tuple[Node | None, Node]] | None:
        """Blocks behind a reshape that leaves channels alone are those in front of it."""
        (x,) = reshape.inputs
        if x.type.rank < 3 or x.type.dims[:2] != made.type.dims[:2] or len(self.users[x.name]) > 1:
            return None
        between = Value(self.namer(f"{x.name}_c"), x.type.with_block(self.blocks.of(x.type)))
        found = self._blocked(x, between, reshape)
        if found is None:
            return None
        return [*found, (reshape, Node(reshape.op, (between,), (made,), reshape.origin))]


def _takes_either(node: Node) -> bool:
    """Whether a node is a loop kernel, which reads either layout, or another copy to blocks."""
    if not isinstance(node.op, Region):
        return False
    anchor, _ = anchor_of(node.op.graph)
    return not isinstance(anchor.op, FIXED)


def _reading(node: Node, names: dict[str, Value]) -> Node:
    """A node that reads other values instead."""
    if not any(v.name in names for v in node.inputs):
        return node
    inputs = tuple(names.get(v.name, v) for v in node.inputs)
    assert isinstance(node.op, Region)
    return Node(with_boundary(node.op, inputs, node.outputs), inputs, node.outputs, node.origin)


def _unswapped(graph: Graph) -> Graph:
    """What reads channels by pixels, out of a copy to rows, to swap them reads pixels by channels.

    %r = Region(%x: ...:c64) { Identity }         %t = Transpose(%x: ...:c64)
    %m = Reshape(%r)                        ->    %m = Reshape(%t)
    %y = MatMul(%m, %w, transpose_a=True)         %y = MatMul(%m, %w)
    """
    users, outputs = graph.users(), {v.name for v in graph.outputs}
    namer = Namer(v.name for v in graph.values())
    instead: dict[int, Node] = {}
    for copy in filter(is_copy, graph.nodes):
        (x,), (rows,) = copy.inputs, copy.outputs
        readers = users.get(rows.name, [])
        if not x.type.block or {rows.name} & outputs or len(readers) != 1:
            continue
        (reshape,) = readers
        matrix = reshape.outputs[0]
        joins = isinstance(reshape.op, Reshape) and matrix.type.dims[:2] == x.type.dims[:2]
        if not joins or matrix.type.rank != 3 or matrix.name in outputs:
            continue
        n, channels, pixels = matrix.type.dims
        turned = Value(matrix.name, matrix.type.with_shape((n, pixels, channels)))
        swapped = {id(user): _swapped(user, turned) for user in users.get(matrix.name, ())}
        known = {key: user for key, user in swapped.items() if user is not None}
        if len(known) < len(swapped):
            continue
        last = channels_last(x.type.rank)
        type_ = rows.type.with_shape(tuple(x.type.dims[axis] for axis in last))
        image = Value(namer(f"{matrix.name}_image"), type_)
        instead[id(copy)] = Node(Transpose(last), (x,), (image,), copy.origin)
        instead[id(reshape)] = Node(Reshape(turned.type.dims), (image,), (turned,), reshape.origin)
        instead |= known
    return graph.with_(nodes=tuple(instead.get(id(node), node) for node in graph.nodes))


def _swapped(user: Node, turned: Value) -> Node | None:
    """A product that reads a matrix transposed, reading its transpose; or a view for a transpose.

    None for other nodes.
    """
    inner = user.op.graph if isinstance(user.op, Region) else None
    first = inner.nodes[0] if inner else None
    if inner is None or first is None:
        return None
    if isinstance(first.op, Transpose) and first.op.perm == (0, 2, 1) and len(inner.nodes) == 1:
        return Node(Reshape(turned.type.dims), (turned,), user.outputs, user.origin)
    reads = [v.name for n in inner.nodes for v in n.inputs].count(turned.name)
    if not isinstance(first.op, MatMul) or first.inputs[0].name != turned.name or reads > 1:
        return None
    if not first.op.transpose_a:
        return None

    def renamed(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(turned if v.name == turned.name else v for v in values)

    op = replace(first.op, transpose_a=False)
    product = Node(op, renamed(first.inputs), first.outputs, first.origin)
    body = inner.with_(inputs=renamed(inner.inputs), nodes=(product, *inner.nodes[1:]))
    return Node(Region(body), renamed(user.inputs), user.outputs, user.origin)


def _rows_as_views(graph: Graph) -> Graph:
    """Kernels that only move channels last become views, where only kernels read what they give."""
    users, outputs = graph.users(), {v.name for v in graph.outputs}
    namer = Namer(v.name for v in graph.values())
    nodes: list[Node] = []
    for node in graph.nodes:
        inner = node.op.graph.nodes if isinstance(node.op, Region) else ()
        blocked = inner and node.inputs and node.inputs[0].type.block
        if not blocked or not _read_by_kernels(node.outputs[0], users, outputs):
            nodes.append(node)
            continue
        x, out, op = node.inputs[0], node.outputs[0], inner[0].op
        last = channels_last(x.type.rank)
        if len(inner) == 1 and isinstance(op, Transpose) and op.perm == last:
            nodes.append(Node(op, (x,), (out,), node.origin))
        elif _joins_pixels(inner):
            type_ = out.type.with_shape(tuple(x.type.dims[axis] for axis in last))
            image = Value(namer(f"{out.name}_image"), type_)
            nodes.append(Node(Transpose(last), (x,), (image,), node.origin))
            nodes.append(Node(Reshape(out.type.dims), (image,), (out,), node.origin))
        else:
            nodes.append(node)
    return graph.with_(nodes=tuple(nodes))


def _joins_pixels(nodes: tuple[Node, ...]) -> bool:
    """Whether nodes are [N, C, *S] -> [N, C, pixels] -> [N, pixels, C]."""
    if len(nodes) != 2 or not isinstance(nodes[0].op, Reshape):
        return False
    before, between = nodes[0].inputs[0].type.dims, nodes[0].outputs[0].type.dims
    swaps = isinstance(nodes[1].op, Transpose) and nodes[1].op.perm == (0, 2, 1)
    return swaps and len(between) == 3 and before[:2] == between[:2]


def _read_by_kernels(value: Value, users: dict[str, list[Node]], outputs: set[str]) -> bool:
    """Whether nothing wants a value in a place of its own: a caller, or a concatenation."""
    if value.name in outputs:
        return False
    for user in users.get(value.name, ()):
        if isinstance(user.op, Concat):
            return False
        inner = () if isinstance(user.op, Region) else user.outputs
        if not all(_read_by_kernels(v, users, outputs) for v in inner):
            return False
    return True
