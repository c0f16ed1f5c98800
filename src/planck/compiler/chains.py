"""Depth-first fusions are kept where they are faster: timed whole and in parts, like tactics.

    %y = Region(%x) graph { Conv, Conv groups=C, Conv }    as it is, or    three regions

What lies between the convolutions is in L2 anyway if it is small enough: then the parts are taken
without timing the whole, which at best is 3 % faster and costs a build four compilations. Where
nothing is timed, size alone decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planck.compiler.split import kernel_alone
from planck.ir.graph import Graph, Node
from planck.passes.depth_first import cut
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
    """A fused region as one kernel and as several."""

    node: Node
    parts: tuple[Node, ...]
    whole: Kernel
    alone: tuple[Kernel, ...]
    between_bytes: int

    @property
    def kernels(self) -> dict[str, Kernel]:
        return {kernel.key: kernel for kernel in (self.whole, *self.alone)}


def settle(graph: Graph, target: Target, threads: int, tune: Tune | None) -> tuple[Graph, Answers]:
    """The graph with each fused region as it is or cut, and what was found out on the way.

    tune:  chooses code for kernels, and times it; None to decide by sizes
    """
    found = [_rivals(node, graph, target, threads) for node in graph.nodes]
    worth = target.l2_bytes * threads
    wanted: dict[str, Kernel] = {}
    for rivals in found:
        if rivals and rivals.between_bytes > worth:
            wanted |= rivals.kernels
    answers = tune(wanted) if tune and wanted else {}
    nodes: list[Node] = []
    for node, rivals in zip(graph.nodes, found, strict=True):
        if rivals is None:
            nodes.append(node)
            continue
        verdict = _keeps(rivals, answers, worth)
        log.info("%s: %s", "; ".join(node.origin), verdict or f"in parts, {verdict}")
        nodes.extend([node] if verdict else rivals.parts)
    if all(rivals is None for rivals in found):
        return graph, answers
    return graph.with_(nodes=tuple(nodes)), answers


def _rivals(node: Node, graph: Graph, target: Target, threads: int) -> Rivals | None:
    parts = cut(node, target.lanes)
    if len(parts) < 2:
        return None
    whole, *alone = (kernel_alone(n, graph.weights, target, threads) for n in (node, *parts))
    between = sum(part.outputs[0].type.size * 4 for part in parts[:-1])
    return Rivals(node, tuple(parts), whole, tuple(alone), between)


def _keeps(rivals: Rivals, answers: Answers, worth: int) -> str | No:
    """Why a fused region stays whole; No with why it is cut."""
    if all(isinstance(tactic.offers(rivals.whole), No) for tactic in TACTICS):
        return No("no tactic takes it whole")
    whole_us = _best_us(rivals.whole, answers)
    parts_us = [_best_us(kernel, answers) for kernel in rivals.alone]
    if whole_us and all(parts_us):
        row = f"{whole_us:.1f} us whole, {' + '.join(f'{us:.1f}' for us in parts_us)} in parts"
        return row if whole_us <= sum(parts_us) else No(row)
    row = f"{rivals.between_bytes} bytes between convolutions, caches of {worth}"
    return row if rivals.between_bytes > worth else No(row)


def _best_us(kernel: Kernel, answers: Answers) -> float:
    """Microseconds of the chosen code; 0 if nobody measured it."""
    answer = answers.get(kernel.key)
    return answer.timings[0].us if isinstance(answer, Choice) else 0.0
