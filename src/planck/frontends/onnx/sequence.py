"""ONNX sequences and optionals: lists of values while importing, gone in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.builder import Absent, Item, ValueList
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import part
from planck.frontends.onnx.tensor import stack
from planck.ir.graph import Value
from planck.ops.movement import Concat, Reshape
from planck.ops.shapes import axis_of


def _position(c: NodeContext, i: int, count: int, default: int, last: int) -> int:
    """A constant position in a list of a count, from 0 to a last one; negative from the end."""
    given = default if c.optional(i) is None else c.need_integers(i, "the position")[0]
    place = given + count if given < 0 else given
    if not 0 <= place <= last:
        raise ShapeError(f"{c.type} at position {given} of a sequence of {count}")
    return place


def construct(c: NodeContext) -> ValueList:
    return ValueList(c.inputs)


def empty(c: NodeContext) -> ValueList:
    return ValueList(())


def insert(c: NodeContext) -> ValueList:
    items = c.sequence(0)
    place = _position(c, 2, len(items), len(items), len(items))
    return ValueList((*items[:place], c.input(1), *items[place:]))


def at(c: NodeContext) -> Value:
    items = c.sequence(0)
    if not items:
        raise ShapeError("SequenceAt of an empty sequence")
    return items[_position(c, 1, len(items), 0, len(items) - 1)]


def erase(c: NodeContext) -> ValueList:
    items = c.sequence(0)
    place = _position(c, 1, len(items), -1, len(items) - 1)
    return ValueList((*items[:place], *items[place + 1 :]))


def length(c: NodeContext) -> Value:
    return c.const(np.array(len(c.sequence(0)), np.int64))


def split(c: NodeContext) -> ValueList:
    """In parts of given sizes (a list), of one size (a number), or single elements."""
    x = c.input(0)
    axis = axis_of(c.type, c.integer("axis", 0), x.type.rank)
    extent = x.type.dims[axis]
    if c.optional(1) is None:
        parts = [part(c, x, axis, k, 1) for k in range(extent)]
        if not c.integer("keepdims", 1):
            shape = (*x.type.dims[:axis], *x.type.dims[axis + 1 :])
            parts = [c.emit(Reshape(shape), one) for one in parts]
        return ValueList(tuple(parts))
    sizes = c.need_integers(1, "the sizes")
    if not c.input(1).type.rank:
        sizes = tuple(min(sizes[0], extent - k) for k in range(0, extent, max(sizes[0], 1)))
    if sum(sizes) != extent:
        raise ShapeError(f"{c.type} cuts {extent} into {list(sizes)}")
    starts = np.cumsum([0, *sizes]).tolist()
    cut = (part(c, x, axis, s, size) for s, size in zip(starts, sizes, strict=False))
    return ValueList(tuple(cut))


def concat(c: NodeContext) -> Value:
    items = c.sequence(0)
    if not items:
        raise ShapeError("ConcatFromSequence of an empty sequence")
    if c.integer("new_axis", 0):
        return stack(c, items, c.integer("axis"))
    axis = axis_of(c.type, c.integer("axis"), items[0].type.rank)
    return items[0] if len(items) == 1 else c.emit(Concat(axis), *items)


def each(c: NodeContext) -> Sequence[Item]:
    """SequenceMap: the body on each element; other sequences go along, tensors stay."""
    others = [c.item(k) for k in range(1, len(c.items))]
    columns: list[list[Value]] = [[] for _ in c.node.output]
    for turn, value in enumerate(c.sequence(0)):
        given: list[Item] = [value]
        for other in others:
            if isinstance(other, ValueList):
                given.append(other.items[turn])
            elif other is not None:
                given.append(other)
        for column, made in zip(columns, c.inline("body", given), strict=True):
            if not isinstance(made, Value):
                raise ModelFormatError("SequenceMap's body gives something else than tensors")
            column.append(made)
    return tuple(ValueList(tuple(column)) for column in columns)


def optional(c: NodeContext) -> Item:
    return Absent() if c.item(0) is None else _present(c)


def has_element(c: NodeContext) -> Value:
    item = c.item(0)
    return c.const(np.array(item is not None and not isinstance(item, Absent)))


def get_element(c: NodeContext) -> Item:
    return _present(c)


def _present(c: NodeContext) -> Item:
    item = c.item(0)
    if item is None or isinstance(item, Absent):
        raise ModelFormatError(f"{c.type} of an optional without an element")
    return item


TABLE: Final[Table] = {
    ("", "ConcatFromSequence"): concat,
    ("", "Optional"): optional,
    ("", "OptionalGetElement"): get_element,
    ("", "OptionalHasElement"): has_element,
    ("", "SequenceAt"): at,
    ("", "SequenceConstruct"): construct,
    ("", "SequenceEmpty"): empty,
    ("", "SequenceErase"): erase,
    ("", "SequenceInsert"): insert,
    ("", "SequenceLength"): length,
    ("", "SequenceMap"): each,
    ("", "SplitToSequence"): split,
}
