"""The rules that every graph keeps, checked after each pass."""

from __future__ import annotations

from collections.abc import Sequence

from planck.dtypes import from_numpy
from planck.errors import GraphError, PlanckError
from planck.ir.graph import Graph, Node, Value
from planck.ir.text import inner_graphs, node_text
from planck.ir.types import TensorType

AROUND = 10  # nodes that the message shows either side of the culprit


def verify(graph: Graph, after: str = "", before: Sequence[str] = ()) -> None:
    """Check a graph and the graphs inside its nodes.

    after:   the pass that made it, for the message
    before:  the passes that ran before that one
    raises:  GraphError unless values are identifiers, defined once and before use, of the types
             that their operators infer and their weights have, and every output exists
    """
    ran = f" after {after}" if after else ""
    history = f"; passes before: {', '.join(before)}" if before else ""

    def wrong(what: str, k: int | None = None) -> GraphError:
        shown = "" if k is None else "\n" + _around(graph, k)
        return GraphError(f"{what}{ran}", at=f"graph {graph.name!r}{shown}", know=history[2:])

    known: dict[str, TensorType] = {}

    def define(value: Value, k: int | None = None) -> None:
        if not (value.name.isidentifier() and value.name.isascii()):
            raise wrong(f"{value.name!r} is not an identifier", k)
        if value.name in known:
            raise wrong(f"%{value.name} is defined twice", k)
        known[value.name] = value.type

    def use(value: Value, k: int | None = None) -> None:
        kind = known.get(value.name)
        if kind is None:
            raise wrong(f"%{value.name} is used before it is defined", k)
        if kind != value.type:
            raise wrong(f"%{value.name} is {kind} but is used as {value.type}", k)

    for value in graph.inputs:
        define(value)
    weights = {v.name: v for v in graph.values() if v.name in graph.weights}
    for name, value in weights.items():
        array = graph.weights[name]
        if from_numpy(array.dtype) is not value.type.dtype or array.shape != value.type.shape:
            raise wrong(f"weight {value} is an array {array.dtype}{list(array.shape)}")
        define(value)
    for k, node in enumerate(graph.nodes):
        for value in node.inputs:
            use(value, k)
        problem = _types(node)
        if problem:
            raise wrong(problem, k)
        for value in node.outputs:
            define(value, k)
        for inner in inner_graphs(node.op):
            verify(inner, after, before)
    for value in graph.outputs:
        use(value)


def _types(node: Node) -> str:
    """What is wrong with the outputs' types; layouts are the layout pass's own affair."""
    try:
        inferred = node.op.infer(*(value.type for value in node.inputs))
    except (PlanckError, ValueError, TypeError, IndexError) as error:
        return f"{type(node.op).__name__} refuses its inputs: {str(error).splitlines()[0]}"
    if len(inferred) != len(node.outputs):
        return f"{type(node.op).__name__} has {len(inferred)} outputs, not {len(node.outputs)}"
    for value, kind in zip(node.outputs, inferred, strict=True):
        if (value.type.shape, value.type.dtype) != (kind.shape, kind.dtype):
            return f"{value} should be {kind}"
    return ""


def _around(graph: Graph, k: int) -> str:
    first = max(0, k - AROUND)
    return "\n".join(
        f"{'>>' if first + j == k else '  '} {node_text(node)}"
        for j, node in enumerate(graph.nodes[first : k + AROUND + 1])
    )
