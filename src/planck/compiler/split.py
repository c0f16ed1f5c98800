"""Split: the steps of a placement -> kernels, named canonically so that equal ones are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from planck.compiler.place import Placement
from planck.dtypes import Array
from planck.ir.graph import Graph, Node, Value
from planck.ops.region import Region
from planck.tactics.kernel import Kernel, Operand
from planck.target import Target

ALIGNED_BYTES: Final = 16  # what a thread of a GPU loads at once


@dataclass(frozen=True, slots=True)
class Launch:
    """One step of the plan to be.

    kernel:  None for a reference step
    names:   the kernel's canonical names -> the graph's values
    """

    node: Node
    kernel: Kernel | None
    names: Mapping[str, Value]


def split(
    placement: Placement, weights: Mapping[str, Array], target: Target, threads: int
) -> list[Launch]:
    """One launch for each step, in order."""
    return [_launch(node, placement, weights, target, threads) for node in placement.steps]


def repeated(launches: Sequence[Launch]) -> frozenset[str]:
    """Keys of the kernels whose weights are mostly those that were read last, as in recurrences."""
    runs: Counter[str] = Counter()
    again: Counter[str] = Counter()
    last: tuple[str, ...] = ()
    for launch in launches:
        if launch.kernel is None or not launch.kernel.constants:
            continue
        own = tuple(launch.names[name].name for name in sorted(launch.kernel.constants))
        runs[launch.kernel.key] += 1
        again[launch.kernel.key] += own == last
        last = own
    return frozenset(key for key, count in runs.items() if 2 * again[key] > count)


def _launch(
    node: Node, placement: Placement, weights: Mapping[str, Array], target: Target, threads: int
) -> Launch:
    if not isinstance(node.op, Region):
        return Launch(node, None, {v.name: v for v in (*node.inputs, *node.outputs)})
    operands = {}
    for v in (*node.inputs, *node.outputs):
        spot = placement.spots[v.name]
        aligned = not target.is_cuda or spot.offset * v.type.dtype.bytes % ALIGNED_BYTES == 0
        operands[v.name] = Operand(v.type, spot.strides, aligned)
    return Launch(node, *kernel_of(node, operands, weights, target, threads))


def kernel_alone(node: Node, weights: Mapping[str, Array], target: Target, threads: int) -> Kernel:
    """A region's kernel where everything lies densely, as it mostly will."""
    operands = {v.name: Operand.dense(v.type) for v in (*node.inputs, *node.outputs)}
    return kernel_of(node, operands, weights, target, threads)[0]


def kernel_of(
    node: Node,
    operands: Mapping[str, Operand],
    weights: Mapping[str, Array],
    target: Target,
    threads: int,
) -> tuple[Kernel, Mapping[str, Value]]:
    """A region's kernel, and which of the graph's values its canonical names stand for.

    operands:  how the region's inputs and outputs lie, by the graph's names
    """
    assert isinstance(node.op, Region)
    inner = node.op.graph
    renamed: dict[str, str] = {}

    def canonical(value: Value) -> Value:
        return Value(renamed.setdefault(value.name, f"v{len(renamed)}"), value.type)

    inputs = tuple(canonical(v) for v in inner.inputs)
    nodes = tuple(
        Node(n.op, tuple(map(canonical, n.inputs)), tuple(map(canonical, n.outputs)))
        for n in inner.nodes
    )
    outputs = tuple(canonical(v) for v in inner.outputs)
    scalars = {renamed[name]: array for name, array in inner.weights.items() if name in renamed}
    graph = Graph("kernel", inputs, nodes, outputs, scalars)
    names = (v.name for v in (*inputs, *outputs))
    outer = dict(zip(names, (*node.inputs, *node.outputs), strict=True))
    own = {name: operands[value.name] for name, value in outer.items()}
    constants = frozenset(name for name, value in outer.items() if value.name in weights)
    return Kernel(graph, own, constants, target, threads), outer
