"""Layout assignment: which tensors lie channel-blocked, and the copies where two layouts meet.

Convolutions want [N, C/B, H, W, B]; matrices want rows. Loop kernels read and write either, so a
layout costs a copy only between a producer and a consumer that both insist.

    %y = Region(%x) graph { Conv }            %y: f32[1,32,8,8]:c16 = Region(%x) graph { Conv }
    %z = MatMul(reshape(%y), %w)        ->    %y_row = Identity(%y)
                                              %z = MatMul(reshape(%y_row), %w)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from planck.ir.graph import Graph, Namer, Node, Value
from planck.ir.types import TensorType
from planck.ops.identity import Identity
from planck.ops.movement import (
    Broadcast,
    Concat,
    Cumulative,
    Gather,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from planck.ops.nn import Conv, ConvTranspose, Pool, Resize
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import Reduce
from planck.ops.region import Region
from planck.refusal import No

STEM_CHANNELS = 4  # a convolution reads up to this many row-major channels as they are


@dataclass(frozen=True, slots=True)
class Way:
    """The layouts that a node reads and writes: blocks of its inputs, and of all its outputs.

    kernel:  a concat or a slice is one kernel, not a view
    """

    reads: tuple[int, ...]
    writes: int
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class Blocks:
    """What blocks the channels of tensors lie in, where they do.

    size:   of every block; 0: a tensor's own channels are one, so that they lie last
    grain:  views may cut a tensor at multiples of so many channels; blocks are multiples of it
    rows:   whether convolutions may as well write rows
    """

    size: int
    grain: int
    rows: bool = False

    def of(self, type_: TensorType) -> int:
        """The block of a tensor; 0 where there are no channels to lie in one."""
        if type_.rank < 3:
            return 0
        return self.size or -(-type_.dims[1] // self.grain) * self.grain


def assign(graph: Graph, block: int, ways: Mapping[str, Way] | None = None) -> Graph:
    """Graph of regions -> the same with blocks in its types and Identity copies between layouts.

    ways:  of nodes that do not go by the rules, by the name of their first output
    """
    return assign_blocks(graph, Blocks(block, block), ways)


def assign_blocks(graph: Graph, blocks: Blocks, ways: Mapping[str, Way] | None = None) -> Graph:
    """The same for other blocks than a vector's lanes."""
    return _Layout(graph, blocks, ways or {}).run()


def is_copy(node: Node) -> bool:
    """Whether a node is a copy from one layout into another, as `assign` makes them."""
    inside = node.op.graph.nodes if isinstance(node.op, Region) else ()
    if len(inside) != 1 or not isinstance(inside[0].op, Identity) or not node.inputs:
        return False  # what copies a scalar that its kernel holds has no inputs
    source, made = node.inputs[0].type, node.outputs[0].type
    return source.block != made.block and source.dims == made.dims


def unassign(graph: Graph) -> Graph:
    """The graph without blocks and without copies between layouts: what `assign` was given."""
    outputs, given = {v.name for v in graph.outputs}, {v.name for v in graph.inputs}
    renamed: dict[str, str] = {}
    for node in filter(is_copy, graph.nodes):
        source, copy = node.inputs[0].name, node.outputs[0].name
        fixed = source in outputs or source in given or source in graph.weights
        if copy in outputs and fixed:
            continue
        old, new = (source, copy) if copy in outputs else (copy, source)
        renamed[old] = new

    def plain(value: Value) -> Value:
        name = value.name
        while name in renamed:
            name = renamed[name]
        return Value(name, value.type.with_block(0))

    nodes: list[Node] = []
    for node in graph.nodes:
        inputs, made = tuple(map(plain, node.inputs)), tuple(map(plain, node.outputs))
        if is_copy(node) and inputs[0].name == made[0].name:
            continue
        op = node.op
        if isinstance(op, Region):
            inner = op.graph.nodes[0]
            if isinstance(inner.op, Concat | Slice) and node.outputs[0].type.block:
                by_name = dict(zip((v.name for v in op.graph.inputs), inputs, strict=True))
                operands = tuple(by_name[v.name] for v in inner.inputs)
                nodes.append(Node(inner.op, operands, made, node.origin))
                continue
            op = with_boundary(op, inputs, made)
        nodes.append(Node(op, inputs, made, node.origin))
    return graph.with_(nodes=tuple(nodes), outputs=tuple(map(plain, graph.outputs)))


class _Layout:
    def __init__(self, graph: Graph, blocks: Blocks, ways: Mapping[str, Way]) -> None:
        self.graph, self.blocks, self.ways = graph, blocks, ways
        self.now: dict[str, Value] = {v.name: v for v in (*graph.inputs,)}
        self.copies: dict[tuple[str, bool], Value] = {}
        self.nodes: list[Node] = []
        self.namer = Namer(v.name for v in graph.values())
        self.users = graph.users()
        self.outputs = {v.name for v in graph.outputs}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            self._node(node)
        outputs = tuple(self._as(self._get(v), False) for v in self.graph.outputs)
        nodes, outputs = self._keep_output_names(outputs)
        return self.graph.with_(nodes=tuple(nodes), outputs=outputs)

    def _keep_output_names(
        self, outputs: tuple[Value, ...]
    ) -> tuple[list[Node], tuple[Value, ...]]:
        """A copy made for an output takes the output's name; what it copies gets another."""
        swap: dict[str, str] = {}
        for old, new in zip(self.graph.outputs, outputs, strict=True):
            if old.name != new.name and old.name not in swap:
                swap[old.name], swap[new.name] = new.name, old.name

        def rename(v: Value) -> Value:
            return Value(swap.get(v.name, v.name), v.type)

        nodes = [
            Node(n.op, tuple(map(rename, n.inputs)), tuple(map(rename, n.outputs)), n.origin)
            for n in self.nodes
        ]
        return nodes, tuple(rename(v) for v in outputs)

    def _get(self, value: Value) -> Value:
        return self.now.get(value.name, value)

    def _as(self, value: Value, blocked: bool) -> Value:
        """The value in blocks or in rows: itself, or a copy (made once)."""
        block = self.blocks.of(value.type) if blocked else 0
        if value.type.block == block:
            return value
        key = (value.name, blocked)
        if key not in self.copies:
            type_ = value.type.with_block(block)
            copy = Value(self.namer(f"{value.name}_{'c' if block else 'row'}"), type_)
            node = next((n for n in self.nodes if value in n.outputs), None)
            origin = node.origin if node else ()
            self.nodes.append(region_of(Node(Identity(), (value,), (copy,), origin)))
            self.copies[key] = copy
        return self.copies[key]

    def _node(self, node: Node) -> None:
        inputs = tuple(self._get(v) for v in node.inputs)
        way = self.ways.get(node.outputs[0].name) if node.outputs else None
        if isinstance(node.op, Transpose) and inputs[0].type.block:
            node = region_of(node)
        if way is not None:
            if way.kernel:
                node = region_of(node)
                inputs = tuple(self._get(v) for v in node.inputs)
            wanted, out = list(map(bool, way.reads)), bool(way.writes)
        elif self._splits_blocks(node, inputs):
            node = region_of(node)
            inputs = tuple(self._get(v) for v in node.inputs)
            rows = self.blocks.rows and self._goes_to_rows(node.outputs[0])
            wanted, out = [True] * len(inputs), not rows
        elif isinstance(node.op, Region):
            wanted, out = self._region_blocks(node.op.graph, inputs)
        elif isinstance(node.op, Concat | Slice | Reshape | Identity):
            wanted, out = self._view_blocks(node, inputs)
        else:
            wanted, out = [False] * len(inputs), False
        ready = tuple(self._as(v, b) for v, b in zip(inputs, wanted, strict=True))
        outputs = tuple(
            Value(v.name, v.type.with_block(self.blocks.of(v.type) if out else 0))
            for v in node.outputs
        )
        for value in outputs:
            self.now[value.name] = value
        op = node.op
        if isinstance(op, Region):
            op = with_boundary(op, ready, outputs)
        self.nodes.append(Node(op, ready, outputs, node.origin))

    def _splits_blocks(self, node: Node, inputs: tuple[Value, ...]) -> bool:
        """A concat or slice of blocked tensors that cuts through a block of channels.

        No view shows that; one kernel that stays blocked is cheaper than a copy to rows and back.
        """
        if not isinstance(node.op, Concat | Slice) or node.outputs[0].name in self.outputs:
            return False
        if inputs[0].type.rank < 3 or not all(v.type.block for v in inputs):
            return False
        return not self._view_blocks(node, inputs)[1]

    def _region_blocks(self, inner: Graph, inputs: tuple[Value, ...]) -> tuple[list[bool], bool]:
        """Whether each input must lie in blocks, and whether the outputs do."""
        given = [v.type.block > 0 for v in inputs]
        by_name = dict(zip((v.name for v in inner.inputs), inputs, strict=True))
        anchor, first = anchor_of(inner)
        if isinstance(anchor.op, Cumulative):
            return [False] * len(inputs), False
        data = by_name.get(first)
        shape = anchor.outputs[0].type.shape  # an output may be a part of it
        if isinstance(anchor.op, Conv | ConvTranspose) and data is not None:
            resized = {n.inputs[0].name for n in inner.nodes if isinstance(n.op, Resize)}
            wanted = [
                v.type.shape == shape or own.name in resized
                for own, v in zip(inner.inputs, inputs, strict=True)
            ]
            channels = data.type.dims[1]
            raw = data.type.block == 0 and channels <= STEM_CHANNELS and isinstance(anchor.op, Conv)
            image = anchor.inputs[0].name  # an epilogue that reads it too wants it blocked
            alone = sum(v.name == image for n in inner.nodes for v in n.inputs) == 1
            rows = raw and anchor.op.groups == 1 and alone
            wanted[inputs.index(data)] = not rows
            plain = self.blocks.rows and anchor.op.groups == 1
            return wanted, not (plain and all(map(self._goes_to_rows, inner.outputs)))
        if isinstance(anchor.op, Pool) and data is not None and data.type.block:
            return [v is data or v.type.shape == shape for v in inputs], True
        return given, bool(self._stays_blocked(inner, inputs))

    def _goes_to_rows(self, value: Value) -> bool:
        """Whether nobody reads a value but who wants rows: a caller, or a view of rows.

        Or a concatenation that such a one reads.
        """
        users = self.users.get(value.name, ())
        views = all(
            self._goes_to_rows(user.outputs[0])
            if isinstance(user.op, Concat)
            else isinstance(user.op, Reshape) and not is_flat(value.type)
            for user in users
        )
        return views and (bool(users) or value.name in self.outputs)

    def _stays_blocked(self, inner: Graph, inputs: tuple[Value, ...]) -> bool | No:
        """Whether a loop kernel's output is best written blocked."""
        if not any(v.type.block for v in inputs):
            return No("no input is blocked")
        if any(v.name in self.outputs for v in inner.outputs):
            return No("it is an output of the network")
        rank = inputs[0].type.rank
        for node in inner.nodes:
            if not keeps_channels(node) and not (_shuffles(node) and not self.blocks.size):
                return No(f"{type(node.op).__name__} moves channels")
        for value in inputs:
            if value.type.rank >= 3 and not value.type.block and not _along_one_axis(value.type):
                full = value.type.shape == inner.outputs[0].type.shape
                if full or value.type.rank != rank:
                    return No(f"%{value.name} is row-major")
        return True

    def _view_blocks(self, node: Node, inputs: tuple[Value, ...]) -> tuple[list[bool], bool]:
        op, grain = node.op, self.blocks.grain
        rows = ([False] * len(inputs), False)
        if any(v.name in self.outputs for v in node.outputs):
            return rows
        data = [v for v in inputs if v.type.rank >= 3]
        if not data or not all(v.type.block for v in data):
            return rows
        if isinstance(op, Concat):
            whole = all(v.type.dims[1] % grain == 0 for v in inputs[:-1])
            return ([True] * len(inputs), True) if op.axis != 1 or whole else rows
        if isinstance(op, Slice):
            start, size, channels = op.starts[1], op.sizes[1], inputs[0].type.dims[1]
            whole = start % grain == 0 and (size % grain == 0 or start + size == channels)
            return ([True], True) if whole and all(s == 1 for s in op.steps) else rows
        if isinstance(op, Reshape) and is_flat(inputs[0].type):
            return [True], False
        return rows


def anchor_of(inner: Graph) -> tuple[Node, str]:
    """A region's first node that is no cast of an input, and the input that it reads first."""
    sources = {v.name: v.name for v in inner.inputs}
    for node in inner.nodes:
        first = node.inputs[0].name if node.inputs else ""
        if not isinstance(node.op, Cast) or first not in sources:
            return node, sources.get(first, first)
        sources[node.outputs[0].name] = sources[first]
    return inner.nodes[0], ""


def _shuffles(node: Node) -> bool:
    """Whether a node takes channels in another order, as one block of all of them allows."""
    x, out = node.inputs[0].type, node.outputs[0].type
    shuffles = isinstance(node.op, Gather) and node.op.axis % x.rank == 1
    return shuffles and x.rank == out.rank > 2


def _along_one_axis(type_: TensorType) -> bool:
    """Whether a tensor varies along one axis at most, like a factor for each channel."""
    return sum(n != 1 for n in type_.dims) <= 1


def is_flat(type_: TensorType) -> bool:
    """Whether blocked and row-major are the same bytes: one pixel, and no padding between rows."""
    n, c, *spatial = type_.dims
    return all(s == 1 for s in spatial) and (n == 1 or not type_.block or c % type_.block == 0)


def keeps_channels(node: Node) -> bool:
    """Whether axis 1 of the output is axis 1 of the input, element for element."""
    op = node.op
    if node.outputs[0].type.rank < 3:
        return False
    if isinstance(op, Pointwise | Cast | Identity | Broadcast):
        return True
    if isinstance(op, Reduce):
        return op.keep and 1 not in op.axes and 0 not in op.axes
    if isinstance(op, Pad):
        rank = node.outputs[0].type.rank
        return op.pads[1] == 0 and op.pads[rank + 1] == 0
    return isinstance(op, Resize | Pool) and (
        node.inputs[0].type.shape[:2] == node.outputs[0].type.shape[:2]
    )


def with_boundary(region: Region, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> Region:
    """The region with its inner graph's boundary in the outer values' layouts."""
    inner = region.graph
    renamed: dict[str, Callable[[Value], Value] | int] = {}
    for own, outer in (
        *zip(inner.inputs, inputs, strict=True),
        *zip(inner.outputs, outputs, strict=True),
    ):
        renamed[own.name] = outer.type.block

    def retype(v: Value) -> Value:
        block = renamed.get(v.name, 0)
        assert isinstance(block, int)
        return replace(v, type=v.type.with_block(block))

    nodes = tuple(
        Node(n.op, tuple(map(retype, n.inputs)), tuple(map(retype, n.outputs)), n.origin)
        for n in inner.nodes
    )
    return Region(
        inner.with_(
            inputs=tuple(map(retype, inner.inputs)),
            nodes=nodes,
            outputs=tuple(map(retype, inner.outputs)),
        )
    )


def region_of(node: Node) -> Node:
    """A region of one node."""
    inputs = tuple({v.name: v for v in node.inputs}.values())
    inner = Graph(type(node.op).__name__.lower(), inputs, (node,), node.outputs)
    return Node(Region(inner), inputs, node.outputs, node.origin)
