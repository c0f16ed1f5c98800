"""What an anchor's kernel does besides: the pointwise nodes behind it, and what joins those.

    %c = Conv(%x, %w)
    %d = Pointwise(%c, %b) {fn="add"}
    %e = Pointwise(%d) {fn="silu"}         the whole becomes one kernel
    %z = Pointwise(%e, %r) {fn="add"}

Behind 1x1 filters, what %r is resized from takes its place, and slices of %z are written apart.
"""

from __future__ import annotations

import math

from planck.ir.graph import Node, Value
from planck.ops.movement import Concat, Slice
from planck.ops.nn import Attention, Conv, Resize
from planck.ops.pointwise import Pointwise
from planck.passes.groups import Group, Groups
from planck.refusal import No

BLOCK = 16  # channels: parts that begin at its multiples are whole blocks on every target


def grow(groups: Groups, anchor: Node) -> None:
    """Make a group of an anchor and all that its kernel can do besides."""
    group = Group(anchor=True)
    groups.put(anchor, group)
    shape = anchor.outputs[0].type.shape
    while not isinstance(anchor.op, Attention):
        step = _next_step(groups, group, shape)
        if not step:
            break
        for node in step:
            groups.put(node, group)
    if isinstance(anchor.op, Conv) and math.prod(anchor.inputs[1].type.dims[2:]) == 1:
        _take_resized(groups, group)
        _take_parts(groups, group, anchor.outputs[0].type.dims[1])


def _next_step(groups: Groups, group: Group, shape: tuple[object, ...]) -> list[Node] | No:
    """The next pointwise nodes to take: the fewest that leave one value to write."""
    taken: list[Node] = []
    makes = set(group.makes)
    while True:
        escaping = groups.escaping(group.nodes + taken, makes)
        if taken and len(escaping) == 1:
            return taken
        if len(taken) > 8:
            return No("more than eight nodes before the branches meet")
        if any(name in groups.outputs for name in escaping):
            return No("the value is an output of the network")
        candidates = sorted(
            {
                id(u): u for name in escaping for u in groups.users.get(name, ())
                if u not in groups and u not in taken
            }.values(),
            key=groups.position,
        )  # fmt: skip
        chosen = next((u for u in candidates if _fits(groups, u, makes, shape)), None)
        if chosen is None:
            return No("no pointwise node of the same shape follows")
        taken.append(chosen)
        makes.update(v.name for v in chosen.outputs)


def _fits(groups: Groups, node: Node, makes: set[str], shape: tuple[object, ...]) -> bool:
    out = node.outputs[0].type
    if not isinstance(node.op, Pointwise) or out.shape != shape:
        return False
    beside = [v for v in node.inputs if v.name not in makes]
    if not all(v.type.dtype is out.dtype and _is_operand(v, shape) for v in beside):
        return False
    return not groups.depend(node, makes)


def _is_operand(value: Value, shape: tuple[object, ...]) -> bool:
    """Full, scalar, or along one axis: the channel of a feature map, the last of a matrix."""
    own = value.type.shape
    if own == shape or value.type.size == 1:
        return True
    padded = (1,) * (len(shape) - len(own)) + own
    different = [i for i, n in enumerate(padded) if n != 1]
    return (
        len(padded) == len(shape)
        and len(different) == 1
        and padded[different[0]] == shape[different[0]]
        and different[0] in (1, len(shape) - 1)
    )


def _take_resized(groups: Groups, group: Group) -> None:
    """Images that only this epilogue reads, resized: it finds each pixel's neighbour itself.

    Behind 1x1 filters only: wider ones have faster ways, which read what lies beside a pixel.
    """
    for value in [v for node in group.nodes[1:] for v in node.inputs]:
        maker = groups.producers.get(value.name)
        op = maker.op if maker else None
        if not maker or not isinstance(op, Resize) or maker in groups:
            continue
        alone = len(groups.users[value.name]) == 1 and value.name not in groups.outputs
        source = maker.inputs[0]
        kept = source.type.shape[:2] == value.type.shape[:2] and source.type.rank in (3, 4)
        twice = any(v.name == source.name for node in group.nodes for v in node.inputs)
        if alone and kept and not twice and op.mode == "nearest" and op.has_body:
            groups.put(maker, group)


def _take_parts(groups: Groups, group: Group, channels: int) -> None:
    """Slices of what a 1x1 convolution makes, if one of them is wanted in a concatenation.

    The kernel writes each where it is wanted; as views, they would all lie in one place.
    """
    escaping = groups.escaping(group.nodes, group.makes)
    if len(escaping) != 1 or escaping & groups.outputs:
        return
    slices = groups.users.get(escaping.pop(), [])
    ranges = sorted((n.op.starts[1], n.op.sizes[1]) for n in slices if isinstance(n.op, Slice))
    at = 0
    for start, size in ranges:
        if start != at or start % BLOCK:
            return
        at += size
    if len(ranges) < len(slices) or at != channels or len(slices) < 2:
        return
    readers = [user for n in slices for user in groups.users.get(n.outputs[0].name, ())]
    if any(isinstance(user.op, Concat) for user in readers):
        for node in slices:
            groups.put(node, group)
