"""Graph to graph optimisations, one rule set a file; `simplify` runs them in order.

The order, and why:

    remove_unused          first: no work for what nobody needs
    fold_constants         patterns want constants where a file computes them
    gather_to_slice        before remove_noops, which joins slices
    remove_noops           patterns want no Identity, Cast or Reshape in between
    common_subexpressions  patterns know a value by its name: x - mean(x) must be one value
    arithmetic             x ** 2 is x * x from here on
    activations            before constants go into weights, while formulas are whole
    norms                  the same; they use up sums and products that nothing else should take
    fuse_attention         before transposes move: it takes keys transposed or not
    fold_batch_norm        after the patterns; scales and shifts that are left belong to weights
    fold_pad               before space_to_depth: it multiplies paddings
    space_to_depth         needs slices joined by remove_noops
    flatten_depth          after batch norms are in the weights; transposes come of it
    unfold_computed        once it is known which weights are constants
    push_transposes        what is left of layout changes sinks and cancels
    fold_reshape           after transposes: they stop at reshapes
    merge_parallel         last: slices after a wide product hide it from the patterns
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from planck.ir.graph import Graph, Pass
from planck.ir.text import text
from planck.ir.verify import verify
from planck.knobs import knobs
from planck.passes.activations import activations
from planck.passes.arithmetic import arithmetic
from planck.passes.attention import fuse_attention
from planck.passes.chain_pools import chain_pools
from planck.passes.common_subexpressions import common_subexpressions
from planck.passes.flatten_depth import flatten_depth
from planck.passes.fold_batch_norm import fold_batch_norm
from planck.passes.fold_constants import fold_constants
from planck.passes.fold_pad import fold_pad
from planck.passes.fold_reshape import fold_reshape
from planck.passes.gather_to_slice import gather_to_slice
from planck.passes.merge_parallel import merge_parallel
from planck.passes.norms import norms
from planck.passes.part_concats import part_concats
from planck.passes.push_transposes import push_transposes
from planck.passes.remove_noops import remove_noops
from planck.passes.remove_unused import remove_unused
from planck.passes.resize_last import resize_last
from planck.passes.slice_first import slice_first
from planck.passes.space_to_depth import space_to_depth
from planck.passes.unfold_computed import unfold_computed

_log: Final = logging.getLogger(__name__)

PASSES: Final[tuple[tuple[str, Pass], ...]] = (
    ("remove_unused", remove_unused),
    ("fold_constants", fold_constants),
    ("gather_to_slice", gather_to_slice),
    ("remove_noops", remove_noops),
    ("common_subexpressions", common_subexpressions),
    ("arithmetic", arithmetic),
    ("activations", activations),
    ("norms", norms),
    ("fuse_attention", fuse_attention),
    ("fold_batch_norm", fold_batch_norm),
    ("fold_pad", fold_pad),
    ("space_to_depth", space_to_depth),
    ("flatten_depth", flatten_depth),
    ("unfold_computed", unfold_computed),
    ("push_transposes", push_transposes),
    ("part_concats", part_concats),
    ("slice_first", slice_first),  # once it is known where transposes stay
    ("fold_reshape", fold_reshape),
    ("chain_pools", chain_pools),
    ("merge_parallel", merge_parallel),
    ("resize_last", resize_last),  # batch norms are in the weights that it divides, and one wide
    # convolution leaves one to add from the small image
)

ROUNDS: Final = 4  # one pass may make room for an earlier one; real models settle in three


def simplify(graph: Graph, on_stage: Callable[[str, Graph], None] | None = None) -> Graph:
    """Run PASSES in order until none changes the graph.

    on_stage:  called with the pass's name and its result, each time that a pass changed something
    raises:    GraphError when a pass broke a rule of the IR; PLANCK_DEBUG=1 checks after each pass
    """
    debug = knobs().debug
    ran: list[str] = []
    for _ in range(ROUNDS):
        before = graph
        for name, run in PASSES:
            result = run(graph)
            if result is not graph:
                if debug >= 1:
                    verify(result, name, ran)
                if debug >= 5:
                    _log.info("after %s:\n%s", name, text(result))
                if on_stage is not None:
                    on_stage(name, result)
            ran.append(name)
            graph = result
        if graph is before:
            break
    verify(graph, "the passes", ran)
    return graph
