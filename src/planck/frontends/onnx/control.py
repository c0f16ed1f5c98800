"""If, Loop and Scan: decided or unrolled while importing where that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from planck.dtypes import bool_, i64
from planck.errors import ModelFormatError, NotConstant, ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Subgraph, Table
from planck.frontends.onnx.emit import part
from planck.frontends.onnx.tensor import stack
from planck.ir.graph import Graph, Namer, Value
from planck.ir.types import TensorType
from planck.ops.control import If, Loop
from planck.ops.movement import Reshape
from planck.ops.shapes import axis_of

MOST_TURNS: Final = 1000  # a loop of more is not unrolled
ENDLESS: Final = (1 << 63) - 1


def if_(c: NodeContext) -> Sequence[Item]:
    """A known condition leaves one branch, written in place; else both become graphs of an If."""
    known = c.constant(c.input(0))
    if known is not None:
        return c.inline("then_branch" if known.reshape(()) else "else_branch", ())
    then, other = c.subgraph("then_branch", ()), c.subgraph("else_branch", ())
    captures = {value.name: value for value in (*then.captures, *other.captures)}
    op = If(_widened(then, captures), _widened(other, captures))
    condition = c.input(0)
    if condition.type.rank:
        condition = c.emit(Reshape(()), condition)
    return c.emit_all(op, condition, *captures.values())


def _widened(body: Subgraph, captures: dict[str, Value]) -> Graph:
    """The body's graph with an input for each of the captures, those it does not read included."""
    graph = body.graph
    own = dict(zip((value.name for value in body.captures), graph.inputs, strict=True))
    namer = Namer(value.name for value in graph.values())
    inputs = tuple(
        own.get(name) or Value(namer("unused"), value.type) for name, value in captures.items()
    )
    return graph.with_(inputs=inputs)


def loop(c: NodeContext) -> Sequence[Item]:
    """Unrolled while the count of turns and the condition are known; else a Loop."""
    turns = c.const(np.array(ENDLESS)) if c.optional(0) is None else c.input(0)
    condition = c.const(np.array(True)) if c.optional(1) is None else c.input(1)
    carried = [c.item(k) for k in range(2, len(c.items))]
    if any(item is None for item in carried):
        raise ModelFormatError("Loop lacks a value that it carries")
    first: list[Item] = [item for item in carried if item is not None]
    found = _unrolled(c, turns, condition, first)
    return _at_run_time(c, turns, condition, first) if found is None else found


def _unrolled(
    c: NodeContext, turns: Value, condition: Value, carried: list[Item]
) -> Sequence[Item] | None:
    """The outputs, turn by turn; None once something that decides is not known."""
    most, going = c.constant(turns), c.constant(condition)
    if most is None or going is None:
        return None
    rows: list[Sequence[Item]] = []
    initial = tuple(carried)
    turn = 0
    while turn < int(most.reshape(())) and going.reshape(()):
        if turn == MOST_TURNS:
            return None
        step = c.const(np.array(turn, np.int64))
        results = c.inline("body", (step, condition, *carried))
        if not results or not isinstance(results[0], Value):
            raise ModelFormatError("Loop's body gives no condition")
        condition, carried = results[0], list(results[1 : 1 + len(carried)])
        rows.append(results[1 + len(carried) :])
        going = c.constant(condition)
        turn += 1
        if going is None:
            if turn < int(most.reshape(())):
                return None
            break
    if not rows:
        rows_of_none = len(c.node.output) - len(initial)
        return (*carried, *(_nothing(c, initial, k) for k in range(rows_of_none)))
    return (*carried, *(stack(c, _tensors(column), 0) for column in zip(*rows, strict=True)))


def _tensors(items: Sequence[Item]) -> list[Value]:
    values = [item for item in items if isinstance(item, Value)]
    if len(values) != len(items):
        raise NotConstant("what a Loop without a known count carries must be tensors")
    return values


def _nothing(c: NodeContext, carried: Sequence[Item], k: int) -> Value:
    """What a Loop without turns collects in its k-th list: no rows, of the body's type."""
    body = _body(c, carried)
    kind = body.graph.outputs[1 + len(carried) + k].type
    return c.const(np.zeros((0, *kind.dims), kind.dtype.numpy))


def _body(c: NodeContext, carried: Sequence[Item]) -> Subgraph:
    types = (TensorType((), i64), TensorType((), bool_), *(v.type for v in _tensors(carried)))
    return c.subgraph("body", types)


def _at_run_time(
    c: NodeContext, turns: Value, condition: Value, carried: list[Item]
) -> Sequence[Item]:
    body, values = _body(c, carried), _tensors(carried)
    if len(body.graph.outputs) > 1 + len(values):
        raise NotConstant("Loop collects a row each turn of a count that is known at run time")
    one = (c.emit(Reshape(()), value) if value.type.rank else value for value in (turns, condition))
    return c.emit_all(Loop(body.graph, len(values)), *one, *values, *body.captures)


def scan(c: NodeContext) -> Sequence[Item]:
    """Unrolled along the scanned axes. Opset 8 has a batch axis before them, and lengths."""
    number = c.integer("num_scan_inputs")
    if c.version >= 9:
        return _scan(c, c.inputs, number, c.integers("scan_input_axes", (0,) * number), 9)
    if c.optional(0) is not None:
        c.refuse("rows of different lengths (opset 8)")
    values = tuple(c.input(k) for k in range(1, len(c.items)))
    batches = []
    for b in range(values[0].type.dims[0]):
        own = [_row(c, value, 0, b) for value in values]
        batches.append(_scan(c, own, number, (0,) * number, 8))
    return tuple(stack(c, column, 0) for column in zip(*batches, strict=True))


def _row(c: NodeContext, value: Value, axis: int, position: int) -> Value:
    """One element of an axis, without the axis."""
    cut = part(c, value, axis, position, 1)
    return c.emit(Reshape((*value.type.dims[:axis], *value.type.dims[axis + 1 :])), cut)


def _scan(
    c: NodeContext, values: Sequence[Value], number: int, axes: Sequence[int], version: int
) -> tuple[Value, ...]:
    states: list[Any] = list(values[: len(values) - number])
    inputs = values[len(values) - number :]
    axes = [axis_of("Scan", a, v.type.rank) for a, v in zip(axes, inputs, strict=True)]
    name = "scan_input_directions" if version > 8 else "directions"
    backwards = c.integers(name, (0,) * number)
    extents = {v.type.dims[a] for v, a in zip(inputs, axes, strict=True)}
    if len(extents) != 1:
        raise ShapeError(f"Scan goes along axes of {sorted(extents)} elements")
    (extent,) = extents
    if not 0 < extent <= MOST_TURNS:
        c.refuse(f"{extent} turns; it is unrolled, up to {MOST_TURNS}")
    rows = []
    for turn in range(extent):
        parts = [
            _row(c, value, axis, extent - 1 - turn if back else turn)
            for value, axis, back in zip(inputs, axes, backwards, strict=True)
        ]
        results = _tensors(c.inline("body", (*states, *parts)))
        states, collected = results[: len(states)], results[len(states) :]
        rows.append(collected)
    columns = list(zip(*rows, strict=True))
    out_axes = c.integers("scan_output_axes", (0,) * len(columns))
    flipped = c.integers("scan_output_directions", (0,) * len(columns))
    collected = [
        stack(c, column[::-1] if back else column, axis)
        for column, axis, back in zip(columns, out_axes, flipped, strict=True)
    ]
    return (*states, *collected)


TABLE: Final[Table] = {("", "If"): if_, ("", "Loop"): loop, ("", "Scan"): scan}
