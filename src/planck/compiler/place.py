"""Placement: where every value lies, so that concat, slice and reshape cost nothing.

A value is a Spot: a root buffer, an offset and strides. Producers write straight into the concat
that reads them; slices and reshapes are spots inside their source. Only what cannot be seen that
way becomes a copy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from planck.ir.graph import Graph, Namer, Node, Value
from planck.ir.types import TensorType, strides_of
from planck.ops.identity import Identity
from planck.ops.movement import Concat, Reshape, Slice, Transpose
from planck.ops.region import Region
from planck.passes.layout import is_flat, region_of
from planck.refusal import No


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value lies: elements from the start of its root's buffer, physical strides."""

    root: str
    offset: int
    strides: tuple[int, ...]


@dataclass
class Placement:
    """The steps in order, and where their values lie.

    roots:    each buffer's bytes, by root value
    spaces:   roots that are not in the arena: ("input", 0), ("output", 1), ("weights", 0)
    refused:  (the step that copies, why no view does)
    """

    steps: list[Node]
    spots: dict[str, Spot]
    roots: dict[str, int]
    spaces: dict[str, tuple[str, int]]
    refused: list[tuple[str, str]] = field(default_factory=list)


def place(graph: Graph) -> Placement:
    """Spots for all values of a graph of regions. Copies are added where a view is refused."""
    return _Placer(graph).run()


class _Placer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self.users = graph.users()
        self.namer = Namer(v.name for v in graph.values())
        self.unmade: list[tuple[Value, Value]] = []
        self.reasons: dict[str, str] = {}  # why a part is not written in place, by value
        self.within: set[str] = set()  # slices whose source lies where they are wanted
        self.result = Placement([], {}, {}, {})
        self.spots = self.result.spots

    def run(self) -> Placement:
        self._network_values()
        for node in reversed(self.graph.nodes):
            if isinstance(node.op, Concat):
                self._adopt(node)
            elif isinstance(node.op, Reshape | Transpose):
                if self._joins_heads(node):
                    self._root(node.outputs[0])
                self._adopt_view(node)
        for node in self.graph.nodes:
            self._place_node(node)
        for value, copy in self.unmade:
            self.result.steps.append(region_of(Node(Identity(), (value,), (copy,))))
            self.result.refused.append((copy.name, f"%{value.name} lies elsewhere already"))
        return self.result

    def _root(self, value: Value, space: tuple[str, int] | None = None) -> Spot:
        spot = Spot(value.name, 0, strides_of(value.type.physical))
        self.spots[value.name] = spot
        self.result.roots[value.name] = value.type.bytes
        if space:
            self.result.spaces[value.name] = space
        return spot

    def _network_values(self) -> None:
        """Inputs, weights and outputs lie where the caller or the file puts them."""
        for i, value in enumerate(self.graph.inputs):
            self._root(value, ("input", i))
        for value in self.graph.values():
            if value.name in self.graph.weights:
                self._root(value, ("weights", 0))
        for i, value in enumerate(self.graph.outputs):
            if value.name in self.spots:  # an input or a weight, or named twice as an output
                copy = Value(self.namer(f"{value.name}_out"), value.type)
                self._root(copy, ("output", i))
                self.unmade.append((value, copy))
            else:
                self._root(value, ("output", i))

    # Backwards: readers tell producers where to write

    def _free(self, value: Value) -> bool | No:
        """Whether its producer can be told where to write."""
        if value.name in self.spots:
            return No(f"%{value.name} lies elsewhere already")
        node = self.producers.get(value.name)
        if node is None or isinstance(node.op, Slice):
            return No(f"%{value.name} is not written by a step")
        views = Region | Concat | Reshape | Transpose
        if not isinstance(node.op, views) and not node.op.has_body:
            return No(f"%{value.name} comes from a reference step")
        return True

    def _adopt(self, node: Node) -> None:
        """Concat: each part is written in its place."""
        out = node.outputs[0]
        spot = self.spots.get(out.name) or self._root(out)
        names = [v.name for v in node.inputs]
        self._adopt_whole(node, spot)
        for value, part in self._parts(node, spot):
            if value.name in self.within:
                continue
            free = self._free(value) if names.count(value.name) == 1 else No("it stands twice")
            if free:
                self.spots[value.name] = part
            else:
                self.reasons[value.name] = str(free)

    def _adopt_whole(self, node: Node, spot: Spot) -> None:
        """Slices that stand in the concat side by side, as in their source: it moves in whole."""
        assert isinstance(node.op, Concat)
        axis, at = node.op.axis % node.outputs[0].type.rank, 0
        found: dict[str, list[tuple[int, int, Value]]] = {}  # where its source would begin, start
        sources: dict[str, Value] = {}
        for value in node.inputs:
            maker = self.producers.get(value.name)
            if maker is not None and isinstance(maker.op, Slice):
                source = maker.inputs[0]
                cuts = [k for k, n in enumerate(source.type.dims) if n != value.type.dims[k]]
                if cuts == [axis] and set(maker.op.steps) == {1}:
                    start = maker.op.starts[axis]
                    sources[source.name] = source
                    found.setdefault(source.name, []).append((at - start, start, value))
            at += value.type.dims[axis]
        for name, rows in found.items():
            source, begin = sources[name], rows[0][0]
            end = 0
            for where, start, value in sorted(rows, key=lambda row: row[1]):
                if (where, start) != (begin, end):
                    break
                end += value.type.dims[axis]
            if end == source.type.dims[axis] and self._free(source):
                offset = spot.offset + _axis_offset(node.outputs[0].type, axis, begin, spot)
                self.spots[name] = Spot(spot.root, offset, spot.strides)
                self.within.update(value.name for _, _, value in rows)

    def _parts(self, node: Node, spot: Spot) -> Iterator[tuple[Value, Spot]]:
        assert isinstance(node.op, Concat)
        axis, at = node.op.axis % node.outputs[0].type.rank, 0
        for value in node.inputs:
            offset = spot.offset + _axis_offset(node.outputs[0].type, axis, at, spot)
            yield value, Spot(spot.root, offset, spot.strides)
            at += value.type.dims[axis]

    def _joins_heads(self, node: Node) -> bool:
        """A reshape of a transpose, as behind attention: no view of the source shows it.

        Its source can be written transposed, if nobody else reads it.
        """
        source, out = node.inputs[0], node.outputs[0]
        maker = self.producers.get(source.name)
        if not isinstance(node.op, Reshape) or out.name in self.spots or maker is None:
            return False
        if not isinstance(maker.op, Transpose) or source.type.block or maker.inputs[0].type.block:
            return False
        alone = all(len(self.users.get(v.name, ())) == 1 for v in (source, maker.inputs[0]))
        return alone and bool(self._free(source)) and bool(self._free(maker.inputs[0]))

    def _adopt_view(self, node: Node) -> None:
        """Reshape or transpose of something placed: its source is the same bytes, if they allow."""
        source, out = node.inputs[0], node.outputs[0]
        spot = self.spots.get(out.name)
        if spot is None or not self._free(source):
            return
        if isinstance(node.op, Transpose):
            if source.type.block or out.type.block:
                return
            strides = [0] * out.type.rank
            for axis, source_axis in enumerate(node.op.perm):
                strides[source_axis] = spot.strides[axis]
            self.spots[source.name] = Spot(spot.root, spot.offset, tuple(strides))
            return
        found = restride(out.type.physical, spot.strides, source.type.physical)
        flat = not source.type.block or is_flat(source.type) or _keeps_blocks(source, out)
        if flat and not isinstance(found, No):
            self.spots[source.name] = Spot(spot.root, spot.offset, found)

    # Forwards: views find their sources

    def _place_node(self, node: Node) -> None:
        steps = self.result.steps
        if isinstance(node.op, Concat):
            for value, part in self._parts(node, self.spots[node.outputs[0].name]):
                self._copy_unless(value, part, node)
            return
        if isinstance(node.op, Slice | Reshape | Transpose):
            self._place_view(node)
            return
        for value in node.outputs:
            if value.name not in self.spots:
                self._root(value)
        single = not isinstance(node.op, Region) and node.op.has_body
        steps.append(region_of(node) if single else node)

    def _place_view(self, node: Node) -> None:
        out, view = node.outputs[0], self._view(node)
        if view and out.name not in self.spots:
            self.spots[out.name] = view
            return
        if view and _same(self.spots[out.name], view, out.type):
            return
        if not view:
            self.result.refused.append((out.name, str(view)))
        if out.name not in self.spots:
            self._root(out)
        self.result.steps.append(region_of(node))

    def _copy_unless(self, value: Value, part: Spot, node: Node) -> None:
        if _same(self.spots[value.name], part, value.type):
            return
        copy = Value(self.namer(f"{value.name}_part"), value.type)
        self.spots[copy.name] = part
        copying = Node(Identity(), (value,), (copy,), node.origin)
        reason = self.reasons.get(value.name, f"%{value.name} lies elsewhere already")
        self.result.refused.append((copy.name, reason))
        self.result.steps.append(region_of(copying))

    def _view(self, node: Node) -> Spot | No:
        source, out = node.inputs[0], node.outputs[0]
        spot = self.spots[source.name]
        if source.name in self.graph.weights:
            return No("a weight is packed, not viewed")
        if isinstance(node.op, Slice):
            return _slice_view(node.op, source.type, spot)
        if isinstance(node.op, Transpose):
            strides = _transposed(node.op.perm, source.type, out.type, spot.strides)
            return strides if isinstance(strides, No) else Spot(spot.root, spot.offset, strides)
        if _keeps_blocks(source, out):
            found = restride(source.type.physical, spot.strides, out.type.physical)
            return found if isinstance(found, No) else Spot(spot.root, spot.offset, found)
        if source.type.block and not is_flat(source.type):
            return No("a blocked tensor does not reshape in place")
        extents, strides = _row(source.type, spot.strides)
        found = restride(extents, strides, out.type.physical)
        return found if isinstance(found, No) else Spot(spot.root, spot.offset, found)


def _same(a: Spot, b: Spot, type_: TensorType) -> bool:
    """Whether two spots are the same bytes: the stride of an axis of one element says nothing."""
    if (a.root, a.offset) != (b.root, b.offset):
        return False
    rows = zip(type_.physical, a.strides, b.strides, strict=True)
    return all(n == 1 or s == t for n, s, t in rows)


def _axis_offset(type_: TensorType, axis: int, at: int, spot: Spot) -> int:
    """Elements from the start of what lies at a spot to an index along an axis."""
    if type_.block and axis == 1:
        return at // type_.block * spot.strides[1] + at % type_.block
    return at * spot.strides[axis]


def _row(type_: TensorType, strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extents and strides of a flat value, without the lanes past the last channel."""
    padded = math.prod(type_.physical) != type_.size
    if padded and (type_.physical[1] == 1 or strides[1] == type_.block):
        return (type_.size,), (1,)
    return type_.physical, strides


def _keeps_blocks(source: Value, out: Value) -> bool:
    """Whether a reshape of blocks gives blocks of the same channels."""
    blocked = source.type.block == out.type.block > 0
    return blocked and source.type.dims[:2] == out.type.dims[:2]


def _transposed(
    perm: tuple[int, ...], source: TensorType, out: TensorType, strides: tuple[int, ...]
) -> tuple[int, ...] | No:
    """Strides of a transpose; channels that lie last in one block are an axis like others."""
    if source.block:
        if source.physical[1] != 1:
            return No("channels lie in several blocks")
        strides = (strides[0], strides[-1], *strides[2:-1])
    moved = tuple(strides[axis] for axis in perm)
    if not out.block:
        return moved
    if out.dims[1] != out.block or moved[1] != 1:
        return No("its channels are no block")
    return (moved[0], out.block, *moved[2:], 1)


def _slice_view(op: Slice, type_: TensorType, spot: Spot) -> Spot | No:
    offset, strides = spot.offset, list(spot.strides)
    for axis, (start, step, size) in enumerate(zip(op.starts, op.steps, op.sizes, strict=True)):
        if step != 1 and size > 1:
            if step < 0 or axis == type_.rank - 1 or type_.block:
                return No("a stride that is no view")
            strides[axis] *= step
        offset += _axis_offset(type_, axis, start, spot)
    return Spot(spot.root, offset, tuple(strides))


def restride(
    old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...] | No:
    """Strides that show the same elements in another shape.

    >>> restride((2, 6), (12, 1), (2, 3, 2))
    (12, 2, 1)
    """
    if math.prod(old) != math.prod(new):
        return No("the lanes past the last channel lie between its elements")
    if 0 in new:
        return strides_of(new)
    olds = [(n, s) for n, s in zip(old, strides, strict=True) if n != 1]
    result = [0] * len(new)
    axes = [axis for axis, n in enumerate(new) if n != 1]
    at = i = 0
    while i < len(axes):
        group, first = [olds[at]], i
        have, extent = olds[at][0], new[axes[i]]
        at, i = at + 1, i + 1
        while have != extent:
            if have < extent:
                group.append(olds[at])
                have *= olds[at][0]
                at += 1
            else:
                extent *= new[axes[i]]
                i += 1
        if any(a[1] != b[0] * b[1] for a, b in itertools.pairwise(group)):
            return No("rows that are not adjacent do not merge")
        stride = group[-1][1]
        for axis in reversed(axes[first:i]):
            result[axis] = stride
            stride *= new[axis]
    inner, extent = 1, 1
    for axis in reversed(range(len(new))):
        if new[axis] == 1:
            result[axis] = inner * extent
        inner, extent = result[axis], new[axis]
    return tuple(result)
