"""Kernels of several convolutions: each as a kernel of its own, joined by operands in scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from planck.ir.graph import Graph, Node, Value
from planck.ops.nn import Conv
from planck.ops.pointwise import Cast
from planck.refusal import No
from planck.tactics.convolution import Problem, read_problem
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.pattern import float32_only
from planck.tactics.sliding import Depthwise
from planck.tactics.sliding import Problem as Slide


@dataclass(frozen=True, slots=True)
class Chain:
    """The convolutions of a kernel; what widens or what narrows may be missing, not both."""

    kernel: Kernel
    widen: Problem | None
    slide: Slide
    narrow: Problem | None


def read_chain(kernel: Kernel) -> Chain | No:
    """A kernel as convolutions behind each other, one of them depthwise; No where it is none."""
    if refusal := float32_only(kernel):
        return No(refusal)
    nodes, widened = _constants_apart(kernel)
    starts = [i for i, node in enumerate(nodes) if isinstance(node.op, Conv)]
    if len(starts) < 2 or starts[0] != 0:
        return No("not several convolutions, one behind the other")
    parts = [nodes[i:j] for i, j in zip(starts, [*starts[1:], len(nodes)], strict=True)]
    slides = [_is_depthwise(part[0]) for part in parts]
    if slides not in ([False, True], [True, False], [False, True, False]):
        return No("not one depthwise convolution with at most one before and one behind it")
    if nodes[0].inputs[0].type.rank != 4:
        return No("convolves along one axis: there are no rows to take a few of")
    if refusal := _tangled(kernel, parts):
        return No(refusal)
    between = {
        v.name: Value(v.name, v.type.with_block(kernel.target.lanes))
        for v in (part[-1].outputs[0] for part in parts[:-1])
    }
    kernels = [_kernel(kernel, part, widened, between) for part in parts]
    at = slides.index(True)
    slide = Depthwise().problem(kernels[at])
    if isinstance(slide, No):
        return slide
    widen = read_problem(kernels[0], Conv) if at else None
    narrow = read_problem(kernels[-1], Conv) if at < len(parts) - 1 else None
    if isinstance(widen, No):
        return widen
    if isinstance(narrow, No):
        return narrow
    for problem in (widen, slide if narrow else None):
        if problem and problem.form.epilogue.of_kind("full"):
            return No("a whole tensor is read beside what lies between the convolutions")
    if any(problem and problem.form.resized for problem in (widen, narrow)):
        return No("an operand is read resized: the cut of rows knows no other rows' places")
    if any(problem and problem.form.parts for problem in (widen, narrow)):
        return No("a convolution writes its result in parts")
    if widen and widen.groups > 1:
        return No("the first convolution has groups")
    if narrow and not (narrow.pointwise and narrow.groups == 1):
        return No("the last convolution reads more than one pixel, or has groups")
    return Chain(kernel, widen, slide, narrow)


def _constants_apart(kernel: Kernel) -> tuple[tuple[Node, ...], dict[str, Node]]:
    """The nodes without casts of constants; those casts by what they make."""
    casts = {
        node.outputs[0].name: node
        for node in kernel.graph.nodes
        if isinstance(node.op, Cast) and node.inputs[0].name in kernel.constants
    }
    nodes = tuple(n for n in kernel.graph.nodes if n.outputs[0].name not in casts)
    return nodes, casts


def _is_depthwise(node: Node) -> bool:
    return isinstance(node.op, Conv) and node.op.is_depthwise(node.inputs[1].type)


def _tangled(kernel: Kernel, parts: list[tuple[Node, ...]]) -> str:
    """Why the convolutions are no plain sequence; "" if they are."""
    outputs = {v.name for v in kernel.graph.outputs}
    weights = [part[0].inputs[1].name for part in parts]
    if len(set(weights)) < len(weights):
        return "two convolutions share weights, which each packs in its own way"
    for part, behind in pairwise(parts):
        last = part[-1].outputs[0].name
        made = {v.name for node in part for v in node.outputs}
        read = [v.name for p in parts if p is not part for node in p for v in node.inputs]
        if made & outputs or [name for name in read if name in made] != [last]:
            return "a value between the convolutions is read by more than the next one"
        if behind[0].inputs[0].name != last:
            return "a convolution reads what lies between others beside its image"
    return ""


def _kernel(
    kernel: Kernel,
    part: tuple[Node, ...],
    widened: Mapping[str, Node],
    between: Mapping[str, Value],
) -> Kernel:
    """The nodes of one convolution as a kernel; what lies between is blocked and dense."""
    graph = kernel.graph
    part = (*(widened[v.name] for n in part for v in n.inputs if v.name in widened), *part)

    def typed(value: Value) -> Value:
        return between.get(value.name, value)

    nodes = tuple(
        Node(n.op, tuple(map(typed, n.inputs)), tuple(map(typed, n.outputs))) for n in part
    )
    made = {v.name for n in nodes for v in n.outputs}
    outside = {v.name: v for n in nodes for v in n.inputs if v.name not in made}
    weights = {name: graph.weights[name] for name in outside if name in graph.weights}
    inputs = tuple(v for name, v in outside.items() if name not in weights)
    last = nodes[-1].outputs[0]
    outputs = (last,) if last.name in between else graph.outputs
    operands = {
        v.name: Operand.dense(v.type) if v.name in between else kernel.operands[v.name]
        for v in (*inputs, *outputs)
    }
    constants = kernel.constants & set(outside)
    inner = Graph("kernel", inputs, nodes, outputs, weights)
    return Kernel(inner, operands, constants, kernel.target, kernel.threads)
