"""Control flow that is decided at run time: graphs inside of operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from planck.dtypes import Array, bool_, i64
from planck.errors import DTypeError, ShapeError
from planck.ir.graph import Graph, Op
from planck.ir.interpret import interpret
from planck.ir.types import TensorType
from planck.ops.shapes import count


def _run(graph: Graph, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    names = (value.name for value in graph.inputs)
    results = interpret(graph, dict(zip(names, arrays, strict=True)))
    return tuple(results[value.name] for value in graph.outputs)


def _logical(types: tuple[TensorType, ...]) -> list[tuple[object, object]]:
    return [(kind.shape, kind.dtype) for kind in types]


def _need_scalar(op: str, what: str, given: TensorType) -> None:
    if given.size != 1:
        raise ShapeError(f"{op} takes one {what}, was given {given}")


@dataclass(frozen=True)
class If(Op):
    """One of two graphs, by a condition; both have the same inputs and types of outputs.

    inputs:  condition bool[], then the inputs of both graphs
    """

    reference_only: ClassVar[bool] = True

    then: Graph
    other: Graph

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _need_scalar("If", "condition", inputs[0])
        if inputs[0].dtype is not bool_:
            raise DTypeError(f"the condition of If must be bool, is {inputs[0].dtype}")
        given = _logical(inputs[1:])
        for graph in (self.then, self.other):
            if _logical(tuple(value.type for value in graph.inputs)) != given:
                raise ShapeError(f"If's graph {graph.name!r} takes other inputs than it is given")
        outputs = tuple(value.type for value in self.then.outputs)
        others = tuple(value.type for value in self.other.outputs)
        if _logical(outputs) != _logical(others):
            raise ShapeError(
                "the branches of If give different types",
                know=f"{', '.join(map(str, outputs))} and {', '.join(map(str, others))}",
            )
        return outputs

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        graph = self.then if inputs[0].reshape(()) else self.other
        return _run(graph, inputs[1:])


@dataclass(frozen=True)
class Loop(Op):
    """A graph again and again, its results carried to the next turn.

    inputs:   turns i64[] (at most so many), condition bool[] (whether to begin),
              the carried values, then what the body only reads
    body:     inputs: turn i64[], condition bool[], carried values, read values;
              outputs: condition, carried values of the same types
    carried:  how many values are carried; they are the outputs
    """

    reference_only: ClassVar[bool] = True

    graph: Graph
    carried: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _need_scalar("Loop", "count of turns", inputs[0])
        _need_scalar("Loop", "condition", inputs[1])
        if inputs[0].dtype is not i64 or inputs[1].dtype is not bool_:
            raise DTypeError(f"Loop takes turns in i64 and a bool, was given {inputs[:2]}")
        count("Loop", inputs, len(self.graph.inputs))
        if _logical(tuple(value.type for value in self.graph.inputs[2:])) != _logical(inputs[2:]):
            raise ShapeError("Loop's body takes other inputs than it is given")
        outputs = tuple(value.type for value in self.graph.outputs[1:])
        if _logical(outputs) != _logical(inputs[2 : 2 + self.carried]):
            raise ShapeError("a value that Loop carries changes its type in the body")
        return outputs

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        turns, condition = int(inputs[0].reshape(())), inputs[1].reshape(())
        carried, read = inputs[2 : 2 + self.carried], inputs[2 + self.carried :]
        turn = 0
        while turn < turns and condition:
            step = np.array(turn, np.int64)
            results = _run(self.graph, (step, condition, *carried, *read))
            condition, carried = results[0].reshape(()), results[1:]
            turn += 1
        return carried
