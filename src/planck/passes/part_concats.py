"""What a concatenation puts together and a slice takes apart again never meets.

    %c = Concat(%box, %score, axis=1)                 %y = Concat(reshape(%box), ..., axis=2)
    %r = Reshape(%c)  ...  the same of other sizes    %t = Pointwise(%score, fn="sigmoid")  ...
    %a = Concat(%r, ..., axis=2)                  ->  %z = Concat(reshape(%t), ..., axis=2)
    %y = Slice(%a)    %s = Slice(%a)
    %z = Pointwise(%s, fn="sigmoid")

So heads are spelled that join boxes and scores of three sizes of cells, as YOLOv8's. A function of
the joined scores then is the epilogue of the convolutions that make them.

Notebook (Zen 5, two threads): the sigmoid of YOLOv8n's scores as a step: 81 us of 11 ms.
"""

from __future__ import annotations

import math

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Reshape, Slice
from planck.ops.nn import Conv
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner
from planck.refusal import No


@rule(Slice)
def part_of_concat(view: View, node: Node) -> Patch | No:
    """slice(concat(x, y)) -> x; slice(concat(concat(x, y), concat(v, w))) -> concat(x, v)

    Also where the inner ones are reshaped.
    """
    op, value = node.op, node.inputs[0]
    assert isinstance(op, Slice)
    maker = view.producer(value)
    if maker is None or not isinstance(maker.op, Concat | Reshape):
        return SKIP
    cut = [k for k, n in enumerate(value.type.dims) if op.sizes[k] != n]
    if len(cut) != 1 or set(op.steps) != {1}:
        return SKIP
    patch, axis = view.patch(), cut[0]
    start, size = op.starts[axis], op.sizes[axis]
    if isinstance(maker.op, Concat) and maker.op.axis % value.type.rank != axis:
        sliced = all(isinstance(user.op, Slice) for user in view.users(value))
        if view.is_output(value) or not sliced:
            return No("the whole is read too: its parts would have to lie in two places")
        pieces = [_piece(view, patch, part, axis, start, size) for part in maker.inputs]
        found = [piece for piece in pieces if piece is not None]
        if len(found) < len(pieces):
            return No("it cuts through what was put together")
        return patch.replace(node.outputs[0], patch(maker.op, *found))
    piece = _piece(view, patch, value, axis, start, size)
    if piece is None:
        return No("it cuts through what was put together")
    return patch.replace(node.outputs[0], piece)


def _piece(
    view: View, patch: Patch, value: Value, axis: int, start: int, size: int
) -> Value | None:
    """One of the values that were put together to a value, maybe reshaped; None for what is none.

    Several that lie side by side are no such value: as slices they are views, and free.
    """
    maker = view.producer(value)
    if maker is None:
        return None
    if isinstance(maker.op, Concat) and maker.op.axis % value.type.rank == axis:
        at = 0
        for part in maker.inputs:
            if (at, part.type.dims[axis]) == (start, size):
                return part
            at += part.type.dims[axis]
        return None
    if not isinstance(maker.op, Reshape):
        return None
    source, dims = maker.inputs[0], value.type.dims
    before = math.prod(dims[:axis])
    for own, extent in enumerate(source.type.dims):
        if extent == dims[axis] and math.prod(source.type.dims[:own]) == before:
            piece = _piece(view, patch, source, own, start, size)
            if piece is None:
                return None
            return patch(Reshape((*dims[:axis], size, *dims[axis + 1 :])), piece)
    return None


@rule(Pointwise)
def function_of_parts(view: View, node: Node) -> Patch | No:
    """f(concat(reshape(conv(x)), reshape(conv(y)))) -> concat(reshape(f(conv(x))), ...)"""
    joined = inner(view, node.inputs[0], Concat) if len(node.inputs) == 1 else None
    if joined is None or len(set(joined.inputs)) < len(joined.inputs):
        return SKIP
    sources: list[Value] = []
    for part in joined.inputs:
        maker = inner(view, part, Reshape, Conv)
        if maker is not None and isinstance(maker.op, Reshape):
            part = maker.inputs[0]
            maker = inner(view, part, Conv)
        if maker is None:
            return No("not all parts come from convolutions, whose epilogue it could be")
        sources.append(part)
    patch = view.patch()
    made: list[Value] = []
    for part, source in zip(joined.inputs, sources, strict=True):
        value = patch(node.op, source)
        made.append(value if source == part else patch(Reshape(part.type.dims), value))
    return patch.replace(node.outputs[0], patch(joined.op, *made))


RULES = (part_of_concat, function_of_parts)


def part_concats(graph: Graph) -> Graph:
    """Let slices find what concatenations put together."""
    return rewrite(graph, RULES)
