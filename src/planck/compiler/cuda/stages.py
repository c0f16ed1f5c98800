"""The stages from a graph to kernels of a GPU.

There is no depth-first fusion, which is about a core's cache, and no choice of layouts by time:
what is pointwise takes channels last as gladly as rows.
"""

from __future__ import annotations

from typing import Final

from planck.compiler.options import SHORT, Options, Stages
from planck.ir.graph import Graph
from planck.passes import simplify
from planck.passes.channels_last import channels_last
from planck.passes.deepen_stem import deepen_stems
from planck.passes.fuse import fuse
from planck.passes.gather_places import gather_places
from planck.passes.norms import norms_of_channels
from planck.passes.precision import shorten
from planck.passes.reshape_later import reshape_later


def _simplify(graph: Graph, options: Options) -> Graph:
    """Norms over channels are found among what is simple; their transposes then move."""
    graph = simplify(graph)
    found = norms_of_channels(graph)
    return graph if found is graph else simplify(found)


def _fuse(graph: Graph, options: Options) -> Graph:
    return fuse(reshape_later(gather_places(graph)))


def _layout(graph: Graph, options: Options) -> Graph:
    return channels_last(graph)


def _stems(graph: Graph, options: Options) -> Graph:
    """In 16 bits only: of float32 tensor cores would multiply many zeros, at half the speed."""
    return deepen_stems(graph) if options.precision in SHORT else graph


def _precision(graph: Graph, options: Options) -> Graph:
    dtype = SHORT.get(options.precision)
    return shorten(graph, dtype, on_gpu=True) if dtype else graph


STAGES: Final[Stages] = (
    ("simplify", _simplify),
    ("fuse", _fuse),
    ("layout", _layout),
    ("stems", _stems),
    ("precision", _precision),
)
