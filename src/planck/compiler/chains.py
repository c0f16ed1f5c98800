"""One kernel or several, where either may be faster: timed whole and in parts, like tactics.

    %y = Region(%x) graph { Conv, Conv groups=C, Conv }    as it is, or    three regions
    %y = Region(%x) graph { Conv of a picture in rows }    as it is, or    moved into blocks first

What lies between the convolutions of a depth-first fusion is in L2 anyway if it is small enough:
then the parts are taken without timing the whole, which at best is 3 % faster and costs a build
four compilations. Where nothing is timed, size alone decides. A stem is left as it is where nothing
is timed, or where no algorithm that saves products would take it in blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from planck.compiler.split import kernel_alone
from planck.dtypes import Array
from planck.ir.graph import Graph, Namer, Node
from planck.ops.region import all_names
from planck.passes.depth_first import cut
from planck.passes.unfold_stem import unfold_stem
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Kernel
from planck.target import Target
from planck.tune.choose import Choice

log = logging.getLogger(__name__)

Answers = dict[str, Choice | No]  # by the kernel's key
Tune = Callable[[Mapping[str, Kernel]], Answers]


@dataclass(frozen=True, slots=True)
class Rivals:
    """A region as one kernel and as several.

    weights:  constants that only the parts read; there are some if the region is a stem
    """

    node: Node
    parts: tuple[Node, ...]
    whole: Kernel
    alone: tuple[Kernel, ...]
    between_bytes: int
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def kernels(self) -> dict[str, Kernel]:
        return {kernel.key: kernel for kernel in (self.whole, *self.alone)}


def settle(graph: Graph, target: Target, threads: int, tune: Tune | None) -> tuple[Graph, Answers]:
    """The graph with each fused region as it is or cut, and what was found out on the way.

    tune:  chooses code for kernels, and times it; None to decide by sizes
    """
    namer = Namer(all_names(graph))
    found = [_rivals(node, graph, target, threads, namer) for node in graph.nodes]
    worth = target.l2_bytes * threads
    wanted: dict[str, Kernel] = {}
    for rivals in found:
        if rivals and (rivals.weights or rivals.between_bytes > worth):
            wanted |= rivals.kernels
    answers = tune(wanted) if tune and wanted else {}
    nodes: list[Node] = []
    weights = dict(graph.weights)
    replaced: set[str] = set()
    for node, rivals in zip(graph.nodes, found, strict=True):
        if rivals is None:
            nodes.append(node)
            continue
        verdict = _keeps(rivals, answers, worth)
        log.info("%s: %s", "; ".join(node.origin), verdict or f"in parts, {verdict}")
        nodes.extend([node] if verdict else rivals.parts)
        if not verdict and rivals.weights:
            weights |= rivals.weights
            replaced |= {v.name for v in rivals.node.inputs}
    if all(rivals is None for rivals in found):
        return graph, answers
    replaced -= {v.name for n in nodes for v in n.inputs}
    kept = {name: array for name, array in weights.items() if name not in replaced}
    return graph.with_(nodes=tuple(nodes), weights=kept), answers


def _rivals(node: Node, graph: Graph, target: Target, threads: int, namer: Namer) -> Rivals | None:
    parts = cut(node, target.lanes)
    if len(parts) < 2:
        return _stem(node, graph, target, threads, namer)
    whole, *alone = (kernel_alone(n, graph.weights, target, threads) for n in (node, *parts))
    between = sum(part.outputs[0].type.size * 4 for part in parts[:-1])
    return Rivals(node, tuple(parts), whole, tuple(alone), between)


def _stem(node: Node, graph: Graph, target: Target, threads: int, namer: Namer) -> Rivals | None:
    """A stem's picture moved into blocks, if an algorithm is there that saves products."""
    found = unfold_stem(node, graph.weights, target.lanes, namer)
    if isinstance(found, No):
        return None
    parts, new = found
    weights = {**graph.weights, **new}
    whole, *alone = (kernel_alone(n, weights, target, threads) for n in (node, *parts))
    saving = (tactic for tactic in TACTICS if not tactic.exact)
    if all(isinstance(tactic.offers(alone[-1]), No) for tactic in saving):
        return None
    between = parts[0].outputs[0].type.bytes
    return Rivals(node, parts, whole, tuple(alone), between, new)


def _keeps(rivals: Rivals, answers: Answers, worth: int) -> str | No:
    """Why a fused region stays whole; No with why it is cut."""
    if all(isinstance(tactic.offers(rivals.whole), No) for tactic in TACTICS):
        return No("no tactic takes it whole")
    whole_us = _best_us(rivals.whole, answers)
    parts_us = [_best_us(kernel, answers) for kernel in rivals.alone]
    if whole_us and all(parts_us):
        row = f"{whole_us:.1f} us whole, {' + '.join(f'{us:.1f}' for us in parts_us)} in parts"
        return row if whole_us <= sum(parts_us) else No(row)
    if rivals.weights:
        return "nothing was timed"
    row = f"{rivals.between_bytes} bytes between convolutions, caches of {worth}"
    return row if rivals.between_bytes > worth else No(row)


def _best_us(kernel: Kernel, answers: Answers) -> float:
    """Microseconds of the chosen code; 0 if nobody measured it."""
    answer = answers.get(kernel.key)
    return answer.timings[0].us if isinstance(answer, Choice) else 0.0
