"""From a kernel's little graph to one expression for each output: fusion by composing bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planck.loops.expr import Const, Expr, Index, Load, Tensor

if TYPE_CHECKING:
    from planck.ir.graph import Graph, Node, Value

# Constants up to this many elements are written into the code as numbers.
_SCALAR = 1


def axis(k: int) -> str:
    """The name of the loop variable of an output's axis."""
    return f"i{k}"


def compose(graph: Graph) -> tuple[Expr, ...]:
    """The element of each output at index (i0, i1, ...), as an expression of loads from inputs.

    graph:   nodes whose operators all have bodies
    gives:   expressions over Index(axis(k), extent of axis k); weights of one element are
             constants, others are loaded like inputs
    """
    return _Composer(graph).run()


class _Composer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = {
            value.name: (node, k) for node in graph.nodes for k, value in enumerate(node.outputs)
        }
        self.tensors: dict[str, Tensor] = {}
        self.known: dict[tuple[str, tuple[Expr, ...]], Expr] = {}

    def run(self) -> tuple[Expr, ...]:
        for node in self.graph.nodes:
            for value in (*node.inputs, *node.outputs):
                if value.name not in self.tensors:
                    self.tensors[value.name] = self._tensor(value)
        results = []
        for value in self.graph.outputs:
            index = tuple(Index(axis(k), extent) for k, extent in enumerate(value.type.dims))
            results.append(self._at(value, index))
        return tuple(results)

    def _tensor(self, value: Value) -> Tensor:
        return Tensor(value.type.dims, value.type.dtype, lambda index: self._at(value, index))

    def _at(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        """A value's element, made once for each index it is read at."""
        key = (value.name, index)
        if key not in self.known:
            self.known[key] = self._make(value, index)
        return self.known[key]

    def _make(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        if value.name in self.makers:
            node, output = self.makers[value.name]
            return self._body(node, index, output)
        weight = self.graph.weights.get(value.name)
        if weight is not None and weight.size == _SCALAR:
            return Const(weight.reshape(()).item(), value.type.dtype)
        return Load(value.name, index, value.type.dtype)

    def _body(self, node: Node, index: tuple[Expr, ...], output: int) -> Expr:
        inputs = tuple(self.tensors[v.name] for v in node.inputs)
        return node.op.body(inputs, index, output)
