"""What only moves and finishes what a convolution makes becomes part of its kernel.

    %c = Region(%x, %w) { Conv }
    %a = Region(%c) { Reshape, Transpose, Slice, Pointwise, ... }         %a, %b = Region(%x, %w) {
    %b = Region(%c) { Reshape, Transpose, Slice, ... }               ->     Conv, Reshape, ... }

A detection head's results are then written once, where they belong, instead of written, read for
each of its parts, and written. It comes last of all that forms regions, so that a kernel which no
tactic takes whole stays what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from planck.compiler.split import kernel_alone
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ops.movement import Reshape, Slice, Transpose
from planck.ops.nn import Conv
from planck.ops.pointwise import Pointwise
from planck.ops.region import Region
from planck.passes.layout import anchor_of
from planck.passes.regions import joined
from planck.refusal import No
from planck.tactics.triton.loops import Loops
from planck.tactics.triton.tactic import CudaTactic
from planck.target import Target

log = logging.getLogger(__name__)

BEHIND: Final = (Pointwise, Reshape, Slice, Transpose)


def join_moves(graph: Graph, tactics: Sequence[CudaTactic], target: Target) -> Graph:
    """The graph with convolutions' kernels that write where their readers would have."""
    users, makers = graph.users(), graph.producers()
    order = {id(node): place for place, node in enumerate(graph.nodes)}
    outputs = {v.name for v in graph.outputs}
    instead: dict[int, Node] = {}
    gone: set[int] = set()
    for place, node in enumerate(graph.nodes):
        if not _may_grow(node, outputs):
            continue
        (made,) = node.outputs
        readers = list({id(user): user for user in users.get(made.name, ())}.values())
        beside = [v.name for reader in readers for v in reader.inputs if v.name != made.name]
        late = any(name in makers and order[id(makers[name])] > place for name in beside)
        if late or not _may_join(made, readers):
            continue
        grown = _grown(node, readers)
        kernel = kernel_alone(grown, graph.weights, target, 1)
        answers = [t.offers(kernel) for t in tactics if not isinstance(t, Loops)]
        if all(isinstance(answer, No) for answer in answers):
            log.info("%s stays apart from what moves it: %s", node.origin, answers)
            continue
        instead[id(node)] = grown
        gone.update(map(id, readers))
    nodes = [instead.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    return graph.with_(nodes=tuple(nodes)) if instead else graph


def _may_grow(node: Node, outputs: set[str]) -> bool:
    if not isinstance(node.op, Region) or len(node.outputs) != 1:
        return False
    (made,) = node.outputs
    anchor, _ = anchor_of(node.op.graph)
    return isinstance(anchor.op, Conv) and made.type.dtype is f32 and made.name not in outputs


def _may_join(made: Value, readers: Sequence[Node]) -> bool:
    """Whether all readers put parts of a value elsewhere, and nothing of it twice."""
    for reader in readers:
        ops = [n.op for n in reader.op.graph.nodes] if isinstance(reader.op, Region) else []
        if not any(isinstance(op, Transpose) for op in ops):
            return False  # a view, or something that no convolution does
        if not all(isinstance(op, BEHIND) for op in ops):
            return False
    written = sum(v.type.size for reader in readers for v in reader.outputs)
    return bool(readers) and written <= made.type.size


def _grown(node: Node, readers: Sequence[Node]) -> Node:
    """One region of all, called after the first two."""
    names = [part.op.graph.name for part in (node, readers[0]) if isinstance(part.op, Region)]
    return joined((node, *readers), "_".join(names))
