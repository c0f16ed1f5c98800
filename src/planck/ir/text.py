"""A graph as text: readable, deterministic, and read back by `ir.parse` to the same graph.

    graph "net"(%x: f32[1,3,8,8]) {
      name %x = "images"
      weight %w: f32[4,3,3,3] = @5d41402abc4b2a76
      weight %half: f32[] = 0.5
      %c: f32[1,4,6,6] = Conv(%x, %w, strides=(1, 1), pads=(0, 0, 0, 0))  # from "net.onnx:/conv"
      %y: f32[1,4,6,6] = Pointwise(%c, %half, fn="mul")
      return %y
    }

A weight of up to 16 elements stands in the text, row-major; a larger one is named by the digest of
its dtype, shape and bytes. An attribute that has its default value is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from planck.dtypes import Array, DType, from_numpy
from planck.errors import FileError
from planck.files import replacing
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import Quant, TensorType

INLINE: Final = 16  # elements


def text(graph: Graph, *, values: bool = True, origins: bool = True) -> str:
    """The whole graph as text.

    values:   False writes every weight as `?`: what a kernel computes, whatever its weights
    origins:  False leaves out where nodes come from
    """
    return "\n".join(_graph(graph, values, origins, "")) + "\n"


def node_text(node: Node) -> str:
    """One node as it stands in its graph's text; an inner graph by its first line."""
    row = _node(node, False, True, "")
    return row if "\n" not in row else row.split("\n", 1)[0] + " ..."


def same(a: Graph, b: Graph) -> bool:
    """Whether two graphs are equal in everything: nodes, names, origins, weights by content."""
    return text(a) == text(b)


def digest(array: Array) -> str:
    """16 hex digits of SHA-256 over dtype, shape and bytes."""
    found = hashlib.sha256(f"{from_numpy(array.dtype)}{list(array.shape)}".encode())
    if array.dtype.kind in "OUS":
        found.update(json.dumps([_plain(x) for x in array.flat]).encode())
    else:
        found.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return found.hexdigest()[:16]


def ordered_weights(graph: Graph) -> list[str]:
    """Names of the weights in order of first use; those that nothing uses follow by name."""
    used = dict.fromkeys(v.name for n in graph.nodes for v in n.inputs if v.name in graph.weights)
    used.update(dict.fromkeys(v.name for v in graph.outputs if v.name in graph.weights))
    return [*used, *sorted(set(graph.weights) - set(used))]


def canonical(graph: Graph) -> Graph:
    """The graph with values named by position and nodes in the order the outputs ask for them.

    Two graphs that compute the same by the same nodes have the same canonical text; origins, names
    and nodes that no output needs are dropped.
    """
    nodes = _postorder(graph)
    renamed: dict[str, str] = {v.name: f"in{k}" for k, v in enumerate(graph.inputs)}
    for node in nodes:
        for value in node.inputs:
            if value.name in graph.weights and value.name not in renamed:
                renamed[value.name] = f"w{len(renamed)}"
        for value in node.outputs:
            renamed[value.name] = f"v{len(renamed)}"
    for value in graph.outputs:
        renamed.setdefault(value.name, f"w{len(renamed)}")

    def moved(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(replace(value, name=renamed[value.name]) for value in values)

    return Graph(
        "",
        moved(graph.inputs),
        tuple(Node(_canonical_op(n.op), moved(n.inputs), moved(n.outputs)) for n in nodes),
        moved(graph.outputs),
        {renamed[name]: array for name, array in graph.weights.items() if name in renamed},
    )


def save(graph: Graph, path: str | Path) -> None:
    """Write `path` (text) and `path`.npz (the weights that the text names by digest).

    raises: FileError
    """
    path = Path(path)
    large: dict[str, Array] = {}
    for inner in _graphs(graph):
        for array in inner.weights.values():
            if not _inline(array):
                large[digest(array)] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    try:
        with replacing(path.with_name(path.name + ".npz")) as file:
            np.savez(file, **large)  # type: ignore[arg-type]
        with replacing(path) as file:
            file.write(text(graph).encode())
    except OSError as error:
        raise FileError(f"cannot write the graph: {error.strerror}", at=str(path)) from error


def inner_graphs(op: Op) -> tuple[Graph, ...]:
    """The graphs among an operator's attributes."""
    return tuple(value for value in op.attributes().values() if isinstance(value, Graph))


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for node in graph.nodes:
        for inner in inner_graphs(node.op):
            yield from _graphs(inner)


def _canonical_op(op: Op) -> Op:
    inner = {k: canonical(v) for k, v in op.attributes().items() if isinstance(v, Graph)}
    return replace(op, **inner) if inner else op


def _postorder(graph: Graph) -> list[Node]:
    producers = graph.producers()
    done: dict[int, Node] = {}
    stack = [(producers.get(v.name), False) for v in reversed(graph.outputs)]
    while stack:
        node, ready = stack.pop()
        if node is None or id(node) in done:
            continue
        if ready:
            done[id(node)] = node
            continue
        stack.append((node, True))
        stack.extend((producers.get(v.name), False) for v in reversed(node.inputs))
    return list(done.values())


def _graph(graph: Graph, values: bool, origins: bool, indent: str) -> list[str]:
    inner = indent + "  "
    inputs = ", ".join(f"%{v.name}: {_type(v.type)}" for v in graph.inputs)
    rows = [f"graph {json.dumps(graph.name)}({inputs}) {{"]
    rows += [f"{inner}name %{k} = {json.dumps(v)}" for k, v in sorted(graph.names.items())]
    for name in ordered_weights(graph):
        array = graph.weights[name]
        kind = f"{from_numpy(array.dtype)}[{','.join(map(str, array.shape))}]"
        rows.append(f"{inner}weight %{name}: {kind} = {_weight(array) if values else '?'}")
    for node in graph.nodes:
        rows.append(_node(node, values, origins, inner))
    rows.append(f"{inner}return " + ", ".join(f"%{v.name}" for v in graph.outputs))
    rows.append(indent + "}")
    return rows


def _node(node: Node, values: bool, origins: bool, indent: str) -> str:
    arguments = [f"%{v.name}" for v in node.inputs]
    for field in fields(node.op):
        value = getattr(node.op, field.name)
        if field.default is MISSING or field.default != value:
            arguments.append(f"{field.name}={_attribute(value, values, origins, indent)}")
    results = ", ".join(f"%{v.name}: {_type(v.type)}" for v in node.outputs)
    row = f"{indent}{results} = {type(node.op).__name__}({', '.join(arguments)})"
    if origins and node.origin:
        row += "  # from " + ", ".join(map(json.dumps, node.origin))
    return row


def _attribute(value: Any, values: bool, origins: bool, indent: str) -> str:
    if isinstance(value, Graph):
        return "\n".join(_graph(value, values, origins, indent))
    if isinstance(value, (tuple, list)):
        parts = [_attribute(part, values, origins, indent) for part in value]
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    assert value is None or isinstance(value, (bool, np.bool_, DType)), f"attribute {value!r}"
    return str(value)


def _type(kind: TensorType) -> str:
    return str(kind) if kind.quant is None else f"{kind} {_quant(kind.quant)}"


def _quant(quant: Quant) -> str:
    axis = "" if quant.axis is None else f", axis={quant.axis}"
    scale = _attribute(quant.scale, True, True, "")
    return f"quant(scale={scale}, zero_point={_attribute(quant.zero_point, True, True, '')}{axis})"


def _inline(array: Array) -> bool:
    return array.size <= INLINE or array.dtype.kind in "OUS"


def _weight(array: Array) -> str:
    if not _inline(array):
        return f"@{digest(array)}"
    parts = [_element(x) for x in array.flat]
    return parts[0] if array.ndim == 0 else f"[{', '.join(parts)}]"


def _element(value: Any) -> str:
    """Shortest text that reads back as the same element."""
    if isinstance(value, (str, bytes)):
        return json.dumps(_plain(value))
    if isinstance(value, (np.float32, np.float64)):
        return str(value)
    if isinstance(value, (complex, np.complexfloating)):
        return f"({_element(value.real)}, {_element(value.imag)})"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    dtype = from_numpy(value.dtype)
    return str(int(value)) if dtype.is_integer else repr(float(value))


def _plain(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
