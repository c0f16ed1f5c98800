"""Compute now what depends on constants alone."""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Graph, Node
from planck.ir.interpret import run
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.refusal import No

# A folded constant may take this much even if what it is made of is small: 256 KiB are read from
# cache faster than most kernels start, while a broadcast scalar of 100 MB costs its reading.
FREE_BYTES: Final = 1 << 18


@rule()
def fold(view: View, node: Node) -> Patch | No:
    """op(constants) -> constant"""
    arrays = [view.weight(value) for value in node.inputs]
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        return SKIP
    if any(view.is_output(value) for value in node.outputs):
        return No("an output of the graph stays a node's result")
    made = sum(value.type.bytes for value in node.outputs)
    if made > FREE_BYTES and made > 2 * sum(array.nbytes for array in known):
        return No(f"the result takes {made} bytes, many times what it is made of")
    results = run(node, tuple(known))
    patch = view.patch()
    for value in node.outputs:
        patch.replace(value, patch.weight(results[value.name], value.name))
    return patch


RULES = (fold,)


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes of constants by their results, where those are not many times larger."""
    return rewrite(graph, RULES)
