"""What puts the places of an axis into another order is one gather: index arithmetic of a kernel.

    %a = Slice(%x)   # the second half        %g = Gather(%x, [4, 5, 6, 7, 0, 1, 2, 3])
    %b = Slice(%x)   # the first half    ->   %y = Pointwise(%g, [-1, -1, -1, -1, 1, 1, 1, 1],
    %n = Pointwise(%a, fn="neg")                             fn="mul")
    %y = Concat(%n, %b)

So files spell the rotation of rotary embeddings, and windows that a roll shifts: as a concatenation
each part would be copied by a kernel of its own. And shuffles of channels, as reshapes around a
transpose, which would leave channels last.
"""

from __future__ import annotations

import numpy as np

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.movement import Concat, Gather, Reshape, Slice, Transpose
from planck.ops.pointwise import Pointwise
from planck.passes.match import inner, inner_pointwise
from planck.refusal import No


@rule(Concat)
def parts(view: View, node: Node) -> Patch | No:
    """concat(slice(x), neg(slice(x))) -> gather(x, places) * signs"""
    assert isinstance(node.op, Concat)
    out = node.outputs[0]
    axis = node.op.axis % out.type.rank
    sources: set[Value] = set()
    places: list[int] = []
    signs: list[int] = []
    for value in node.inputs:
        negated = inner_pointwise(view, value, "neg")
        part = inner(view, negated.inputs[0] if negated else value, Slice)
        if part is None:
            return SKIP
        assert isinstance(part.op, Slice)
        x = part.inputs[0]
        cut = [k for k, n in enumerate(part.op.sizes) if n != x.type.dims[k] and k != axis]
        if cut or part.op.steps[axis] != 1:
            return No("a part is cut along another axis, or takes only some places")
        sources.add(x)
        start, size = part.op.starts[axis], part.op.sizes[axis]
        places += range(start, start + size)
        signs += [-1 if negated else 1] * size
    if len(sources) > 1 or len(node.inputs) < 2:
        return No("its parts are of several tensors")
    if sorted(places) != list(range(out.type.dims[axis])) or not out.type.dtype.is_float:
        return No("its parts are not the whole of a tensor of floats")
    patch = view.patch()
    made = _gathered(patch, sources.pop(), axis, places)
    if -1 in signs:
        shape = (len(signs), *(1 for _ in out.type.dims[axis + 1 :]))
        factors = np.array(signs, out.type.dtype.numpy).reshape(shape)
        made = patch(Pointwise("mul"), made, patch.weight(factors, "signs"))
    return patch.replace(out, made)


@rule(Reshape)
def shuffle(view: View, node: Node) -> Patch | No:
    """reshape(transpose(reshape(x: [N, G * C, H, W], [N, G, C, H, W]))) -> gather(x, places)"""
    out = node.outputs[0]
    swap = inner(view, node.inputs[0], Transpose)
    split = inner(view, swap.inputs[0], Reshape) if swap else None
    if swap is None or split is None or out.type != split.inputs[0].type or out.type.rank < 3:
        return SKIP
    n, channels, *pixels = out.type.dims
    groups = split.outputs[0].type.dims
    rank = len(groups)
    if groups != (n, *groups[1:3], *pixels) or swap.op != Transpose((0, 2, 1, *range(3, rank))):
        return No("it is not the channels that are parted and joined")
    patch = view.patch()
    places = np.arange(channels).reshape(groups[1:3]).T.reshape(-1)
    return patch.replace(out, _gathered(patch, split.inputs[0], 1, places.tolist()))


@rule(Gather)
def cut(view: View, node: Node) -> Patch | No:
    """slices of gather(x, places) -> gathers of x at some of the places"""
    assert isinstance(node.op, Gather)
    x, out = node.inputs[0], node.outputs[0]
    places = view.weight(node.inputs[1])
    axis = node.op.axis % x.type.rank
    users = view.users(out)
    if places is None or places.ndim != 1 or len(users) < 2 or view.is_output(out):
        return SKIP
    found: list[tuple[Value, list[int]]] = []
    for user in users:
        op = user.op
        whole = isinstance(op, Slice) and all(
            size == n for k, (size, n) in enumerate(zip(op.sizes, out.type.dims, strict=True))
            if k != axis
        )  # fmt: skip
        if not whole:
            return SKIP
        assert isinstance(op, Slice)
        at = [op.starts[axis] + op.steps[axis] * k for k in range(op.sizes[axis])]
        found.append((user.outputs[0], places[at].tolist()))
    patch = view.patch()
    for part, taken in found:
        patch.replace(part, _gathered(patch, x, axis, taken))
    return patch


def _gathered(patch: Patch, x: Value, axis: int, places: list[int]) -> Value:
    return patch(Gather(axis), x, patch.weight(np.array(places, np.int64), "places"))


RULES = (parts, shuffle, cut)


def gather_places(graph: Graph) -> Graph:
    """One gather where a file takes a tensor apart and puts it together again."""
    return rewrite(graph, RULES)
