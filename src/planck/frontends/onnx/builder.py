"""The graph that an import writes, and the names that its parts see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto

from planck.dtypes import Array, from_numpy
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.counted import Rows, Size, grows_evenly, not_apart, rows_behind
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.movement import Slice
from planck.ops.pointwise import Pointwise

LARGEST_BYTES = 1 << 36  # a tensor beyond this is a damaged shape, not a model
FOLD_BYTES = 1 << 28  # constants are evaluated up to this, or while they do not grow


@dataclass(frozen=True, slots=True)
class ValueList:
    """An ONNX sequence, unrolled while importing."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """An ONNX optional without an element."""


Item = Value | ValueList | Absent


@dataclass
class Builder:
    """A Graph in the making.

    outer: the builder that this one's captured values come from; None at the top
    rows:  the values with rows to spare, by name
    sizes: what grows with the number of such rows, by name: known no more than that, and no node's
    fewer: counts by the one they are cut from and the most
    """

    namer: Namer
    outer: Builder | None = None
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    known: dict[str, Array] = field(default_factory=dict)
    captures: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    fewer: dict[tuple[str, int], Value] = field(default_factory=dict)

    def const(self, array: Any, wish: str = "c") -> Value:
        """A constant as a value; it becomes a weight where a node that stays uses it."""
        array = np.asarray(array)
        value = Value(self.namer(wish), TensorType(array.shape, from_numpy(array.dtype)))
        self.known[value.name] = array
        return value

    def emit(self, op: Op, values: Sequence[Value], wish: str, origin: str) -> tuple[Value, ...]:
        """Append a node, or evaluate it at once where all its inputs are known.

        raises: ShapeError; NotConstant where only a run tells what decides the outputs' shapes
        """
        rows = rows_behind(op, values, self.rows)
        types = op.infer(*(value.type for value in values))
        for made in types:
            if made.bytes > LARGEST_BYTES:
                raise ShapeError(f"a tensor of {made.bytes >> 30} GB: {made}")
        if any(value.name in self.sizes for value in values):
            return self._evaluate_size(op, values)
        known = all(value.name in self.known for value in values)
        arrays = self._evaluate(op, values, types) if known else None
        if arrays is None:
            outputs = tuple(Value(self.namer(wish), made) for made in types)
            self.nodes.append(Node(op, tuple(values), outputs, (origin,)))
        else:
            outputs = tuple(self.const(array, wish) for array in arrays)
        if rows is not None:
            most = types[0].dims[rows.axis]
            if isinstance(op, Slice) and most < values[0].type.dims[rows.axis]:
                rows = Rows(rows.axis, self._at_most(rows.count, most, origin))
            self.rows.update((value.name, rows) for value in outputs)
        return outputs

    def _at_most(self, count: Value, most: int, origin: str) -> Value:
        """A count of rows of which there can be no more than that, one value wherever it is."""
        if (count.name, most) not in self.fewer:
            limit = self.const(np.array(most, np.int64))
            (made,) = self.emit(Pointwise("min"), (count, limit), "count", origin)
            self.fewer[count.name, most] = made
        return self.fewer[count.name, most]

    def _evaluate(
        self, op: Op, values: Sequence[Value], types: tuple[TensorType, ...]
    ) -> tuple[Array, ...] | None:
        """The outputs of a node on constants; None where they would be too large to keep."""
        given = sum(value.type.bytes for value in values)
        if sum(made.bytes for made in types) > max(FOLD_BYTES, given):
            return None
        with np.errstate(all="ignore"):
            arrays = op.reference(*(self.known[value.name] for value in values))
        for array, made in zip(arrays, types, strict=True):
            if array.shape != made.dims or array.dtype != made.dtype.numpy:
                raise AssertionError(f"{op}: inferred {made}, got {array.dtype}{array.shape}")
        return arrays

    def size(self, full: Array, more: Array, count: Value) -> Value:
        """Integers with as many rows as there can be, and with one more; a constant if alike."""
        if np.array_equal(full, more):
            return self.const(full)
        value = Value(self.namer("size"), TensorType(full.shape, from_numpy(full.dtype)))
        self.sizes[value.name] = Size(full, more, count)
        return value

    def _evaluate_size(self, op: Op, values: Sequence[Value]) -> tuple[Value, ...]:
        sizes = [self.sizes.get(value.name) for value in values]
        counts = [size.count for size in sizes if size and size.count]
        (count, *others) = {count.name: count for count in counts}.values()
        known = all(size or v.name in self.known for size, v in zip(sizes, values, strict=True))
        if others or not known or not grows_evenly(op, [size is not None for size in sizes]):
            raise not_apart("it computes with their number")
        pairs = [
            (size.full, size.more) if size else (self.known[value.name],) * 2
            for size, value in zip(sizes, values, strict=True)
        ]
        (full,), (more,) = (op.reference(*arrays) for arrays in zip(*pairs, strict=True))
        return (self.size(full, more, count),)

    def take(self, value: Value, owner: Builder) -> Value:
        """A value of an outer graph, as this graph sees it: a constant or one more input."""
        if owner is self:
            return value
        if value.name in owner.rows or value.name in owner.sizes:
            raise not_apart("it stands in a body that only a run chooses or repeats")
        if value.name in owner.known:
            return self.const(owner.known[value.name], value.name)
        if value.name not in self.captures:
            inner = Value(self.namer(value.name), value.type)
            self.captures[value.name] = (value, inner)
        return self.captures[value.name][1]

    def graph(self, name: str, outputs: Sequence[Value], names: dict[str, str]) -> Graph:
        """The finished graph: nodes that nothing needs and constants that nothing reads left out.

        names: what the file calls its inputs and outputs
        """
        needed = {value.name for value in outputs}
        nodes = []
        for node in reversed(self.nodes):
            if any(value.name in needed for value in node.outputs):
                nodes.append(node)
                needed.update(value.name for value in node.inputs)
        weights = {name: array for name, array in self.known.items() if name in needed}
        inputs = (*self.inputs, *(inner for _, inner in self.captures.values()))
        return Graph(name, inputs, tuple(reversed(nodes)), tuple(outputs), weights, names)


@dataclass
class Scope:
    """The names that a graph or a function body sees.

    outer:       the scope around a subgraph; a function's body has none
    attributes:  what a function was called with
    """

    builder: Builder
    opsets: Mapping[str, int]
    items: dict[str, Item | None] = field(default_factory=dict)
    outer: Scope | None = None
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)

    def find(self, name: str) -> Item | None:
        """The item of that name here or further out; None: a function's input that was left out.

        raises: ModelFormatError
        """
        scope: Scope | None = self
        while scope is not None:
            if name in scope.items:
                return self._take(scope.items[name], scope.builder)
            scope = scope.outer
        raise ModelFormatError(
            f"nothing makes {name!r} before it is used",
            know="the nodes of an ONNX graph stand in an order in which they can run",
        )

    def _take(self, item: Item | None, owner: Builder) -> Item | None:
        chain: list[Builder] = []
        builder: Builder | None = self.builder
        while builder is not None and builder is not owner:
            chain.append(builder)
            builder = builder.outer
        for inner in reversed(chain):  # from the owner inwards
            outer = inner.outer
            assert outer is not None, "a scope's owner encloses its builder"
            if isinstance(item, Value):
                item = inner.take(item, outer)
            elif isinstance(item, ValueList):
                item = ValueList(tuple(inner.take(value, outer) for value in item.items))
        return item
