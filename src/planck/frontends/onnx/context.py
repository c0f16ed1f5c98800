"""What a translation sees of its node, and the graph it writes into.

A translation is a function NodeContext -> outputs, found in a family's TABLE under (domain, type).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto

from planck.dtypes import Array
from planck.errors import ModelFormatError, NotConstant, ShapeError, UnsupportedOperator
from planck.frontends.onnx.builder import Item, Scope, ValueList
from planck.frontends.onnx.counted import Rows, Size
from planck.frontends.onnx.tensors import array_of, dense_of
from planck.ir.graph import Graph, Op, Value
from planck.ir.types import TensorType

LOG = logging.getLogger(__name__)
LARGEST_CONSTANT = 1 << 26  # elements that a node may make of numbers alone


Translation = Callable[["NodeContext"], Item | Sequence[Item | None]]
Table = Mapping[tuple[str, str], Translation]


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A body as a Graph: its inputs are those asked for, then one for each captured value."""

    graph: Graph
    captures: tuple[Value, ...]


class Translator:
    """What translates nodes, as contexts see it (reader.Importer)."""

    folder: Path | None

    def call(
        self, node: NodeProto, scope: Scope, items: Sequence[Item | None]
    ) -> tuple[Item | None, ...]:
        raise NotImplementedError

    def inline(
        self, graph: onnx.GraphProto, scope: Scope, items: Sequence[Item]
    ) -> tuple[Item, ...]:
        raise NotImplementedError

    def subgraph(
        self, graph: onnx.GraphProto, scope: Scope, types: Sequence[TensorType]
    ) -> Subgraph:
        raise NotImplementedError


class NodeContext:
    """One ONNX node with its inputs found: what a translation reads and emits.

    version:  the opset version of the node's domain
    """

    def __init__(
        self,
        translator: Translator,
        scope: Scope,
        node: NodeProto,
        version: int,
        items: Sequence[Item | None],
        origin: str,
    ) -> None:
        self.node, self.version, self.items, self.origin = node, version, tuple(items), origin
        self.type = node.op_type
        self._translator, self._scope = translator, scope
        self.protos = _attributes(node, scope)

    # Inputs

    def item(self, i: int) -> Item | None:
        """Input i, whatever it is; None where it was left out."""
        return self.items[i] if i < len(self.items) else None

    def optional(self, i: int) -> Value | None:
        """Input i as a tensor, all its rows valid; None where it was left out."""
        item = self.item(i)
        if isinstance(item, Value):
            rows = self.rows(item)
            return item if rows is None or rows.valid is None else rows.valid
        if item is None:
            return None
        raise ModelFormatError(f"input {i} of {self.type} is not a tensor")

    def input(self, i: int) -> Value:
        """Input i as a tensor. raises: ModelFormatError where it was left out"""
        value = self.optional(i)
        if value is None:
            raise ModelFormatError(f"{self.type} lacks its input {i}")
        return value

    @property
    def inputs(self) -> tuple[Value, ...]:
        """All inputs as tensors, none left out (variadic operators)."""
        return tuple(self.input(i) for i in range(len(self.items)))

    def sequence(self, i: int) -> tuple[Value, ...]:
        """Input i as a sequence of tensors."""
        item = self.item(i)
        if not isinstance(item, ValueList):
            raise ModelFormatError(f"input {i} of {self.type} is not a sequence")
        return item.items

    def wants(self, i: int) -> bool:
        """Whether the model uses output i."""
        return i < len(self.node.output) and bool(self.node.output[i])

    def constant(self, value: Value | None) -> Array | None:
        """The array of a value that is known while importing, all its rows as well, else None."""
        if value is None or self.rows(value) is not None:
            return None
        return self._scope.builder.known.get(value.name)

    def need_constant(self, i: int, why: str) -> Array:
        """Input i, which must be known while importing. why: "the shape", "the axes" """
        array = self.constant(self.input(i))
        if array is None:
            raise NotConstant(
                f"{self.type} takes {why} from input {i}, which is computed at run time",
                know="Planck needs it as a constant",
                try_="export with fixed shapes, or simplify the model first",
            )
        return array

    def need_integers(self, i: int, why: str) -> tuple[int, ...]:
        """Input i, a constant list (or one) of integers."""
        return tuple(int(n) for n in self.need_constant(i, why).reshape(-1))

    def scalar(self, i: int, why: str, default: float) -> Any:
        """Input i, a constant of one element, as a Python number; the default if left out."""
        if self.optional(i) is None:
            return default
        array = self.need_constant(i, why)
        if array.size != 1:
            raise ShapeError(f"{why} of {self.type} has {array.size} elements, must have one")
        return array.reshape(()).item()

    # Rows of which only a run tells how many there are

    def rows(self, value: Value) -> Rows | None:
        """The axis of a value that has rows to spare."""
        return self._scope.builder.rows.get(value.name)

    def count_rows(self, value: Value, rows: Rows) -> None:
        """Say that a value has rows to spare."""
        self._scope.builder.rows[value.name] = rows

    def one_more(self, value: Value) -> tuple[int, ...]:
        """The extents that a value would have if there could be one row more."""
        rows = self.rows(value)
        axis = None if rows is None else rows.axis
        return tuple(extent + (k == axis) for k, extent in enumerate(value.type.dims))

    def shape_of(self, value: Value, chosen: slice) -> Value:
        """Some of the extents of a value: a constant, or a size."""
        full, more = (
            np.array(d, np.int64)[chosen] for d in (value.type.dims, self.one_more(value))
        )
        rows = self.rows(value)
        return (
            self.const(full) if rows is None else self._scope.builder.size(full, more, rows.count)
        )

    def need_shape(self, i: int) -> Size:
        """Input i, a shape; a constant one is the same if there could be one row more."""
        size = self._scope.builder.sizes.get(self.input(i).name)
        if size is None:
            shape = self.need_constant(i, "the shape").astype(np.int64).reshape(-1)
            return Size(shape, shape)
        return Size(size.full.reshape(-1), size.more.reshape(-1), size.count)

    # Attributes

    def has(self, name: str) -> bool:
        return name in self.protos

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute: int, float, str, tuple of those, Array (sparse ones dense), GraphProto."""
        proto = self.protos.get(name)
        return default if proto is None else self._python(proto)

    def _python(self, proto: AttributeProto) -> Any:
        kind = proto.type
        if kind == AttributeProto.TENSOR:
            return array_of(proto.t, self._translator.folder)
        if kind == AttributeProto.SPARSE_TENSOR:
            return dense_of(proto.sparse_tensor, self._translator.folder)
        value = onnx.helper.get_attribute_value(proto)
        if kind == AttributeProto.STRING:
            return value.decode("utf-8", "replace")
        if kind == AttributeProto.STRINGS:
            return tuple(text.decode("utf-8", "replace") for text in value)
        return tuple(value) if kind in (AttributeProto.INTS, AttributeProto.FLOATS) else value

    def _typed(self, name: str, default: Any, kind: type, what: str) -> Any:
        value = self.attribute(name, default)
        if value is None:
            raise ModelFormatError(f"{self.type} lacks its attribute {name}")
        if not isinstance(value, kind):
            raise ModelFormatError(f"attribute {name} of {self.type} is {value!r}, must be {what}")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute; without a default it is required."""
        return int(self._typed(name, default, int, "an integer"))

    def number(self, name: str, default: float | None = None) -> float:
        """A float attribute; without a default it is required."""
        return float(self._typed(name, default, float, "a number"))

    def text(self, name: str, default: str | None = None) -> str:
        """A string attribute; without a default it is required."""
        return str(self._typed(name, default, str, "a string"))

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of integers; without a default it is required."""
        given = None if default is None else tuple(default)
        return tuple(int(n) for n in self._typed(name, given, tuple, "a list of integers"))

    # Results

    def bounded(self, size: int) -> int:
        """The number of elements of a constant to be made. raises: ShapeError if it is absurd"""
        if size > LARGEST_CONSTANT:
            raise ShapeError(f"{self.type} makes a constant of {size} elements")
        return size

    def const(self, array: Any, wish: str = "c") -> Value:
        """A constant (array, scalar of a NumPy dtype) as a value."""
        return self._scope.builder.const(array, wish)

    def like(self, number: float, value: Value) -> Value:
        """A scalar constant of a value's dtype."""
        return self.const(np.array(number).astype(value.type.dtype.numpy))

    def emit(self, op: Op, *values: Value) -> Value:
        """The (first) output of an operation."""
        return self.emit_all(op, *values)[0]

    def emit_all(self, op: Op, *values: Value) -> tuple[Value, ...]:
        """All outputs of an operation."""
        wish = next((name for name in self.node.output if name), self.type)
        return self._scope.builder.emit(op, values, wish, self.origin)

    def call(
        self,
        op_type: str,
        *items: Item | None,
        version: int = 0,
        outputs: int = 1,
        **attributes: Any,
    ) -> tuple[Item | None, ...]:
        """Translate another of ONNX's operators in place; its outputs.

        version:  its opset version; 0 is the model's
        """
        wish = self.node.output[0] if self.node.output else ""
        names = [wish or op_type, *(f"{wish}_{i}" for i in range(1, outputs))]
        node = onnx.helper.make_node(op_type, ["x"] * len(items), names, self.node.name)
        for name, value in attributes.items():
            node.attribute.append(onnx.helper.make_attribute(name, value))
        opsets = {**self._scope.opsets, "": version or self._scope.opsets.get("", self.version)}
        scope = Scope(self._scope.builder, opsets, outer=self._scope)
        return self._translator.call(node, scope, items)

    def inline(self, name: str, items: Sequence[Item]) -> tuple[Item, ...]:
        """Translate the body in attribute `name` right here, on these inputs; its outputs."""
        return self._translator.inline(self._graph(name), self._scope, items)

    def subgraph(self, name: str, types: Sequence[TensorType]) -> Subgraph:
        """The body in attribute `name` as a Graph of its own, on inputs of these types."""
        return self._translator.subgraph(self._graph(name), self._scope, types)

    def _graph(self, name: str) -> onnx.GraphProto:
        graph = self.attribute(name)
        if not isinstance(graph, onnx.GraphProto):
            raise ModelFormatError(f"{self.type} lacks its body {name}")
        return graph

    def refuse(self, what: str) -> NoReturn:
        """Say that Planck cannot do this (yet)."""
        raise UnsupportedOperator(f"{self.type}: {what}")


def _attributes(node: NodeProto, scope: Scope) -> dict[str, AttributeProto]:
    """A node's attributes by name, references to its function's attributes resolved."""
    found = {}
    for proto in node.attribute:
        if not proto.ref_attr_name:
            found[proto.name] = proto
            continue
        around: Scope | None = scope
        while around is not None and proto.ref_attr_name not in around.attributes:
            around = around.outer
        if around is not None:
            given = AttributeProto()
            given.CopyFrom(around.attributes[proto.ref_attr_name])
            given.name = proto.name
            found[proto.name] = given
    return found
