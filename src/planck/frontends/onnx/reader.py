"""ONNX model -> Graph: shapes bound, functions inlined, constants evaluated, nodes translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Final, TypeAlias

import onnx
from google.protobuf.message import DecodeError
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from planck.errors import FileError, ModelFormatError, NotConstant, PlanckError, UnsupportedOperator
from planck.frontends.onnx.builder import Builder, Item, Scope, ValueList
from planck.frontends.onnx.context import NodeContext, Subgraph, Translator
from planck.frontends.onnx.counted import count_name, not_apart
from planck.frontends.onnx.inputs import Constant, declare_inputs
from planck.frontends.onnx.survey import (
    DEEPEST,
    default_attributes,
    definition,
    modern,
    opsets_of,
    plain_domain,
    survey,
)
from planck.frontends.onnx.tables import ROWWISE, TRANSLATIONS
from planck.frontends.onnx.tensors import CODE_OF, array_of, dense_of
from planck.ir.graph import Graph, Namer, Node, Value
from planck.ir.types import TensorType
from planck.ops.identity import Identity

DAMAGE: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError, AssertionError, DecodeError, onnx.defs.SchemaError,
)  # fmt: skip

Source: TypeAlias = str | PathLike[str] | bytes | ModelProto


def read(
    source: Source,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Constant] | None = None,
    batch: int | None = None,
) -> Graph:
    """Read an ONNX model.

    source:     path, the file's bytes, or a ModelProto
    shapes:     full shapes of inputs with symbolic dims, by the file's input names; what is left
                unbound is `batch` for the first dim, an error elsewhere
    constants:  inputs to treat as constants (shapes, axes ... that a node needs while importing);
                a list is an ONNX sequence, None an optional without an element
    batch:      what an open first dim is; 1 if left out
    raises:     FileError, ModelFormatError, UnsupportedOperator (all of the model's at once),
                ShapeError, DTypeError
    """
    model, name, folder = _load(source)
    try:
        return _Importer(model, name, folder).read(shapes or {}, constants or {}, batch)
    except DAMAGE as error:
        raise ModelFormatError(f"{name} is damaged", know=_told(error)) from error


def _load(source: Source) -> tuple[ModelProto, str, Path | None]:
    """The model, what messages call it, and the folder of its external data."""
    if isinstance(source, ModelProto):
        return source, source.graph.name or "model", None
    if isinstance(source, bytes):
        data, name, folder = source, "model.onnx", None
    else:
        path = Path(fspath(source))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FileError(f"cannot read {path}", know=error.strerror or "") from error
        name, folder = path.name, path.parent
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelFormatError(f"{name} is damaged or not an ONNX file", know=str(error)) from error
    if not model.graph.output:
        raise ModelFormatError(f"{name} holds no graph", know=f"{len(data)} bytes")
    return model, name, folder


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]


class _Importer(Translator):
    """One model on its way into a Graph."""

    def __init__(self, model: ModelProto, name: str, folder: Path | None) -> None:
        self.model, self.name, self.folder = modern(model), name, folder
        self._functions = {
            (plain_domain(f.domain), f.name, f.overload): f for f in self.model.functions
        }
        self._depth = 0

    def read(
        self,
        shapes: Mapping[str, Sequence[int]],
        constants: Mapping[str, Constant],
        batch: int | None,
    ) -> Graph:
        survey(self.model, self.name)
        graph = self.model.graph
        builder = Builder(Namer())
        scope = Scope(builder, opsets_of(self.model.opset_import))
        self._initialisers(graph, scope)
        names = declare_inputs(graph, self.name, scope, shapes, constants, batch)
        self._run(graph.node, scope, graph.name)
        outputs: list[Value] = []
        for info in graph.output:
            for name, item in _flat(info.name, scope.find(info.name), builder):
                value = self._output(scope, name, item, outputs)
                names[value.name] = name
                outputs.append(value)
        return builder.graph(graph.name or Path(self.name).stem, outputs, names)

    def _initialisers(self, graph: GraphProto, scope: Scope) -> None:
        for proto in graph.initializer:
            array = array_of(proto, self.folder)
            scope.items[proto.name] = scope.builder.const(array, proto.name)
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            scope.items[name] = scope.builder.const(dense_of(sparse, self.folder), name)

    def _output(self, scope: Scope, name: str, item: Item | None, taken: Sequence[Value]) -> Value:
        """A graph output, copied if it is a constant, an input, or another output as well."""
        builder = scope.builder
        if isinstance(item, Value) and item.name in builder.sizes:
            raise not_apart(f"output {name!r} of {self.name} is their number")
        if not isinstance(item, Value):
            raise UnsupportedOperator(f"output {name!r} of {self.name} is not a tensor")
        if item.name not in builder.known and item not in builder.inputs and item not in taken:
            return item
        copy = Value(builder.namer(name), item.type)
        builder.nodes.append(Node(Identity(), (item,), (copy,), (f"{self.name}:{name}",)))
        return copy

    def _run(self, nodes: Sequence[NodeProto], scope: Scope, body: str) -> None:
        """Translate nodes in order; their outputs become names of the scope."""
        for position, node in enumerate(nodes):
            try:
                items = [scope.find(name) if name else None for name in node.input]
                found = self.call(node, scope, items)
            except PlanckError as error:
                error.at = error.at or self._place(node, position, len(nodes), body)
                raise
            except DAMAGE as error:
                raise ModelFormatError(
                    f"this {node.op_type} does not follow the ONNX specification",
                    at=self._place(node, position, len(nodes), body),
                    know=_told(error),
                ) from error
            for name, item in zip(node.output, found, strict=False):
                if name and item is not None:
                    scope.items[name] = item

    def _place(self, node: NodeProto, position: int, count: int, body: str) -> str:
        inside = "" if body == self.model.graph.name else f' of "{body}"'
        feeding = next((name for name in node.output if name), "")
        title = f'{node.op_type} "{node.name}"' if node.name else node.op_type
        return f'{self.name}, node {position} of {count}{inside}, {title}, feeding "{feeding}"'

    def call(
        self, node: NodeProto, scope: Scope, items: Sequence[Item | None]
    ) -> tuple[Item | None, ...]:
        """The outputs of a node, by a function of the model, the table, or ONNX's definition."""
        domain = plain_domain(node.domain)
        items = list(items)
        while items and items[-1] is None:
            items.pop()
        origin = f"{self.name}:{node.name or next(iter(node.output), node.op_type)}"
        context = NodeContext(self, scope, node, scope.opsets.get(domain, 1), items, origin)
        function = self._functions.get((domain, node.op_type, node.overload))
        translation = TRANSLATIONS.get((domain, node.op_type))
        counted = any(isinstance(i, Value) and i.name in scope.builder.rows for i in items)
        if counted and function is None and (domain, node.op_type) not in ROWWISE:
            raise not_apart(f"{node.op_type} may need to know all of them")
        if function is None and translation is not None:
            made = translation(context)
            return tuple(made) if isinstance(made, Sequence) else (made,)
        return self._function(function or self._definition(context), scope, context)

    def _definition(self, context: NodeContext) -> FunctionProto:
        defaults = default_attributes(context.node, context.version)
        context.protos = defaults | context.protos
        types = [_type_proto(item) for item in context.items]
        node = NodeProto(op_type=context.type, domain=context.node.domain)
        node.input.extend("" if kind is None else f"i{i}" for i, kind in enumerate(types))
        node.output.extend(context.node.output)
        node.attribute.extend(context.protos.values())
        return definition(node, context.version, types)

    def _function(
        self, function: FunctionProto, outer: Scope, context: NodeContext
    ) -> tuple[Item | None, ...]:
        """The outputs of a function, its body written in place of the call."""
        defaults = {proto.name: proto for proto in function.attribute_proto}
        opsets = {**outer.opsets, **opsets_of(function.opset_import)}
        scope = Scope(outer.builder, opsets, attributes=defaults | context.protos)
        for i, name in enumerate(function.input):
            scope.items[name] = context.item(i)
        with self._inside(function.name):
            self._run(function.node, scope, function.name)
        return tuple(
            scope.find(name) if context.wants(i) else None for i, name in enumerate(function.output)
        )

    def inline(self, graph: GraphProto, scope: Scope, items: Sequence[Item]) -> tuple[Item, ...]:
        """Write a body's nodes in place; its outputs."""
        return self._body(graph, Scope(scope.builder, scope.opsets, outer=scope), items)

    def subgraph(self, graph: GraphProto, scope: Scope, types: Sequence[TensorType]) -> Subgraph:
        """A body as a Graph of its own."""
        builder = Builder(Namer(), outer=scope.builder)
        names = [info.name for info in graph.input] + [f"input{i}" for i in range(len(types))]
        values = [
            Value(builder.namer(name), kind) for name, kind in zip(names, types, strict=False)
        ]
        builder.inputs.extend(values)
        outputs = self._body(graph, Scope(builder, scope.opsets, outer=scope), values)
        tensors = [item for item in outputs if isinstance(item, Value)]
        if len(tensors) != len(outputs):
            raise NotConstant(f"the body {graph.name!r} gives something else than tensors")
        if any(value.name in builder.rows or value.name in builder.sizes for value in tensors):
            raise not_apart(f"the body {graph.name!r} gives them")
        finished = builder.graph(graph.name or "body", tensors, {})
        return Subgraph(finished, tuple(outer for outer, _ in builder.captures.values()))

    def _body(self, graph: GraphProto, inner: Scope, items: Sequence[Item]) -> tuple[Item, ...]:
        if len(items) != len(graph.input):
            raise ModelFormatError(
                f"the body {graph.name!r} takes {len(graph.input)} inputs, is given {len(items)}"
            )
        self._initialisers(graph, inner)
        inner.items.update({i.name: item for i, item in zip(graph.input, items, strict=True)})
        with self._inside(graph.name):
            self._run(graph.node, inner, graph.name)
        found = [inner.find(info.name) for info in graph.output]
        if any(item is None for item in found):
            raise ModelFormatError(f"the body {graph.name!r} lacks an output")
        return tuple(item for item in found if item is not None)

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        """Count open bodies and functions: one that calls itself ends in an error."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ModelFormatError(f"bodies and functions stand over {DEEPEST} deep, at {name!r}")
        try:
            yield
        finally:
            self._depth -= 1


def _flat(name: str, item: Item | None, builder: Builder) -> list[tuple[str, Item | None]]:
    """An output as tensors: a sequence gives name[0], name[1] ..., rows to spare name[count]."""
    if isinstance(item, Value) and item.name in builder.rows:
        rows = builder.rows[item.name]
        return [(name, item), (count_name(name, rows.axis), rows.count)]
    if isinstance(item, ValueList):
        return [(f"{name}[{k}]", one) for k, one in enumerate(item.items)]
    return [(name, item)]


def _type_proto(item: Item | None) -> onnx.TypeProto | None:
    """A value's type as ONNX writes it."""
    if item is None:
        return None
    if not isinstance(item, Value):
        raise UnsupportedOperator("sequences and optionals cannot enter ONNX's own definitions")
    made: onnx.TypeProto = onnx.helper.make_tensor_type_proto(
        CODE_OF[item.type.dtype], item.type.dims
    )
    return made
