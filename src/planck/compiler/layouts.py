"""Layouts and tactics are chosen together, by measured time, where two layouts meet.

    %y: f32[1,255,13,13]:c16 = Region(%x) graph { Conv }     %y_row: f32[1,255,13,13] =
    %y_row: f32[1,255,13,13] = Identity(%y)               ->     Region(%x) graph { Conv }

The rules of `passes/layout.py` decide which tensors lie in blocks. Near each seam, a copy from one
layout into the other or a kernel that reads one and writes the other, nodes often have several
ways: a loop kernel, a pool or a concat may read and write either layout, a convolution may write
rows. Each way is a kernel, timed as any other is, with the operands lying as they do in the whole
network; where a producer and a reader disagree a copy stands, which is timed too. The assignment
with the least sum is found exactly (`tune/least.py`), and taken if it is more than noise better.

Notebook (Zen 5, two threads; us of a group by the rules, and as chosen):

- YOLOv5s' heads, whose convolutions now write rows to what transposes them: 1263 to 1072, 517 to
  469, 232 to 215; YOLOv8n's, rows into the concat of all scales: 310 to 296, 84 to 75, 22 to 20.
- The tiny YOLOs' heads of 255 channels stay: copies of 2 and 9 us take less than transposing tiles.
- No other seam of the benchmark's networks moves more than 64 kB. Resizes, pools and concats of
  their necks stand between convolutions, which all want blocks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.compiler.chains import Answers, Tune
from planck.compiler.place import place
from planck.compiler.split import kernel_alone, split
from planck.ir.graph import Graph, Node, Value
from planck.ops.identity import Identity
from planck.ops.movement import Concat, Slice
from planck.ops.nn import Attention, Conv, ConvTranspose, MatMul, Pool
from planck.ops.region import Region
from planck.passes.layout import (
    STEM_CHANNELS,
    Way,
    anchor_of,
    assign,
    is_copy,
    keeps_channels,
    region_of,
    unassign,
)
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Kernel
from planck.target import Target
from planck.tune.choose import LAST_RESORT, MARGIN, Choice
from planck.tune.least import Table, cheapest

log = logging.getLogger(__name__)

STEP_US: Final = 0.5  # that a step costs beside its kernel's time
WORTH_BYTES: Final = 1 << 16  # seams that move less, in about two microseconds, stay as they are

Notes = list[tuple[str, str]]  # a step, and why it reads and writes the layouts that it does


def choose_layouts(
    graph: Graph, target: Target, threads: int, tune: Tune
) -> tuple[Graph, Answers, Notes]:
    """The graph with its layouts chosen again by time; what was found out on the way; and why.

    graph:  after `passes.layout.assign`
    tune:   chooses code for kernels, and times it
    """
    if any(not node.outputs for node in graph.nodes):  # a step without results has no name
        return graph, {}, []
    network = _Network(graph, target, threads)
    answers: Answers = {}
    ways: dict[str, Way] = {}
    notes: dict[int, str] = {}
    costs = _Costs(network, tune, answers)
    costs.know(kernel for group in network.groups for kernel in network.kernels(group))
    for group in network.groups:
        found = _decide(network, group, costs)
        for number, way in found.ways.items():
            ways[network.name(number)] = way
            notes[number] = found.reason
        log.info("%s: %s", network.name(group[0]), found.reason)
        if not found.ways:
            notes |= {number: found.reason for number in group}
    if not ways:
        return graph, answers, network.steps(graph, notes)
    better = assign(network.plain, target.lanes, network.fixed | ways)
    if not network.runs(better, ways):
        log.info("the layouts chosen do not fit where their tensors lie; the rules' are kept")
        return graph, answers, []
    return better, answers, network.steps(better, notes)


@dataclass(frozen=True, slots=True)
class _Decision:
    ways: Mapping[int, Way]
    reason: str


def _decide(network: _Network, group: Sequence[int], costs: _Costs) -> _Decision:
    """The ways of a group of nodes with the least time in all; none where the rules' stay."""
    place_of = {number: i for i, number in enumerate(group)}
    sizes = [len(network.ways[number]) for number in group]
    tables: list[Table] = [
        ((i,), np.array([costs.of(number, way) for way in range(sizes[i])]))
        for i, number in enumerate(group)
    ]
    tables += [network.meeting(value, place_of, costs) for value in network.near(group)]
    chosen = cheapest(sizes, tables)
    if isinstance(chosen, No):
        return _Decision({}, f"as the rules say: {chosen}")
    before, after = (_sum(tables, row) for row in ([0] * len(group), chosen))
    if math.isinf(before):  # a time is not known: the build had no seconds left
        return _Decision({}, "as the rules say: not timed")
    if after * MARGIN >= before:
        return _Decision({}, f"as the rules say: {before:.1f} us, at best {after:.1f} us")
    ways = {n: network.ways[n][way] for n, way in zip(group, chosen, strict=True)}
    return _Decision(ways, f"{after:.1f} us with the copies, {before:.1f} us by the rules")


def _sum(tables: Sequence[Table], chosen: Sequence[int]) -> float:
    return float(sum(costs[tuple(chosen[v] for v in scope)] for scope, costs in tables))


class _Network:
    """A graph with what its nodes may do: nodes by their number in the graph without layouts."""

    def __init__(self, graph: Graph, target: Target, threads: int) -> None:
        self.graph, self.target, self.threads = graph, target, threads
        self.plain = unassign(graph)
        self.outputs = {v.name for v in graph.outputs}
        self.users = self.plain.users()
        self.number = {node.outputs[0].name: i for i, node in enumerate(self.plain.nodes)}
        self.made_by = {v.name: i for i, node in enumerate(self.plain.nodes) for v in node.outputs}
        rules = self._in(graph)
        self.fixed = {
            name: _way_of(self.plain.nodes[i], rules[i]) for name, i in self.number.items()
        }
        self.ways = [self._ways(node) for node in self.plain.nodes]
        self.groups = [g for g in self._groups() if self._seam_bytes(g) >= WORTH_BYTES]
        self.made: dict[tuple[int, int], Kernel | None] = {}

    def name(self, number: int) -> str:
        return self.plain.nodes[number].outputs[0].name

    def _in(self, graph: Graph) -> list[Node]:
        """The nodes of the plain graph as they stand in one with layouts, in their order."""
        producers = graph.producers()
        found = []
        for node in self.plain.nodes:
            own = producers[node.outputs[0].name]
            found.append(producers[own.inputs[0].name] if is_copy(own) else own)
        return found

    def _ways(self, node: Node) -> tuple[Way, ...]:
        """All ways of a node, the rules' first."""
        rule, block = self.fixed[node.outputs[0].name], self.target.lanes
        found = [rule]
        if isinstance(node.op, Region):
            anchor, _ = anchor_of(node.op.graph)
            if isinstance(anchor.op, Conv):
                found += self._convolving(node, anchor)
            elif not isinstance(anchor.op, ConvTranspose | MatMul | Attention):
                found += self._free(node, isinstance(anchor.op, Pool))
        elif isinstance(node.op, Concat | Slice) and node.outputs[0].type.rank >= 3:
            rows = tuple(0 for _ in node.inputs)
            found.append(Way(rows, 0))
            if rule.writes == 0 and node.outputs[0].name not in self.outputs:
                whole = tuple(block for _ in {v.name for v in node.inputs})
                found.append(Way(whole, block, kernel=True))
        return tuple(dict.fromkeys(found))

    def _convolving(self, node: Node, anchor: Node) -> list[Way]:
        """The other ways of a convolution: it writes rows, or reads them if it has few channels."""
        assert isinstance(node.op, Region)
        assert isinstance(anchor.op, Conv)
        inner, rule = node.op.graph, self.fixed[node.outputs[0].name]
        if sum(isinstance(n.op, Conv) for n in inner.nodes) > 1:
            return []
        image = anchor.inputs[0]
        reads = [rule.reads]
        users = sum(v.name == image.name for n in inner.nodes for v in n.inputs)
        few = STEM_CHANNELS < image.type.dims[1] <= self.target.lanes
        if few and users == 1 and anchor.op.groups == 1 and image in inner.inputs:
            at = inner.inputs.index(image)
            reads.append((*rule.reads[:at], 0, *rule.reads[at + 1 :]))
        return [Way(own, writes) for own in reads for writes in (rule.writes, 0)][1:]

    def _free(self, node: Node, pools: bool) -> list[Way]:
        """The ways of loop kernels and pools: all images in one layout, results in either."""
        assert isinstance(node.op, Region)
        block, rule = self.target.lanes, self.fixed[node.outputs[0].name]
        images = [v.type.rank >= 3 and v.name not in self.plain.weights for v in node.inputs]
        blocked = [keeps_channels(n) for n in node.op.graph.nodes]
        writes = [block, 0] if pools or all(blocked) else [0]
        if not any(images):
            return []
        return [
            Way(
                tuple(b if image else own for image, own in zip(images, rule.reads, strict=True)), w
            )
            for b in (block, 0)
            for w in writes
            if b or not (w and pools)
        ]

    # Groups of nodes that decide together

    def _groups(self) -> list[list[int]]:
        """Nodes with several ways near seams; the nodes of a group have values in common."""
        seams = [v.name for n in filter(is_copy, self.graph.nodes) for v in (*n.inputs, *n.outputs)]
        for node, ways in zip(self.plain.nodes, self.ways, strict=True):
            if len(ways) > 1 and _changes(ways[0]):
                seams += [v.name for v in node.inputs]
        groups: list[list[int]] = []
        seen: set[str] = set()
        done: set[int] = set()
        for name in dict.fromkeys(seams):
            if name in self._known - seen and (group := self._reached(name, seen) - done):
                groups.append(sorted(group))
                done |= group
        return groups

    @property
    def _known(self) -> set[str]:
        return {v.name for v in self.plain.values() if v.type.rank >= 3} - set(self.plain.weights)

    def _ends(self, node: Node) -> list[Value]:
        """What a node reads and writes that may lie in either layout."""
        ends = (*node.inputs, *node.outputs)
        return [v for v in ends if v.type.rank >= 3 and v.name not in self.plain.weights]

    def _reached(self, start: str, seen: set[str]) -> set[int]:
        """Nodes with a choice of what they do with a value, and with those beyond them."""
        found: set[int] = set()
        values = [start]
        while values:
            value = values.pop()
            if value in seen:
                continue
            seen.add(value)
            makers = [self.made_by[value]] if value in self.made_by else []
            for number in (*makers, *self._readers(value)):
                moved = self._may_move(number)
                if value in moved:
                    found.add(number)
                    values += moved
        return found

    def _may_move(self, number: int) -> list[str]:
        """The values that a node reads or writes in one layout or the other, as it chooses."""
        node, ways = self.plain.nodes[number], self.ways[number]
        ends = {v.name for v in self._ends(node)}
        if len({way.writes for way in ways}) < 2:
            ends -= {v.name for v in node.outputs}
        for value in node.inputs:
            if len({b for i in range(len(ways)) for b in self._wanted(number, i, value.name)}) < 2:
                ends.discard(value.name)
        return sorted(ends)

    def _readers(self, value: str) -> list[int]:
        return [self.number[n.outputs[0].name] for n in self.users.get(value, ())]

    def _seam_bytes(self, group: Iterable[int]) -> int:
        """What is moved from one layout into another now."""
        near = {v.name for v in self.near(group)}
        total = 0
        for node in filter(is_copy, self.graph.nodes):
            if near & {node.inputs[0].name, node.outputs[0].name}:
                total += node.inputs[0].type.bytes
        for number in group:
            if not self._convolves(number) and _changes(self.ways[number][0]):
                total += sum(v.type.bytes for v in self._ends(self.plain.nodes[number]))
        return total

    def _convolves(self, number: int) -> bool:
        op = self.plain.nodes[number].op
        return isinstance(op, Region) and isinstance(anchor_of(op.graph)[0].op, Conv)

    def near(self, group: Iterable[int]) -> list[Value]:
        """The values that a group's nodes may read or write in either layout, each once."""
        found: dict[str, Value] = {}
        for number in group:
            moved = self._may_move(number)
            found |= {v.name: v for v in self._ends(self.plain.nodes[number]) if v.name in moved}
        return list(found.values())

    # Kernels

    def kernel(self, number: int, way: int) -> Kernel | None:
        """A node's kernel if all near seams go this way as far as they can; None for a view."""
        if (number, way) not in self.made:
            ways = {
                self.name(i): self.ways[i][min(way, len(self.ways[i]) - 1)]
                for group in self.groups
                for i in group
            }
            graph = self.graph
            if way:
                graph = assign(self.plain, self.target.lanes, self.fixed | ways)
            for i, kernel in enumerate(self._kernels_in(graph)):
                self.made[i, way] = kernel
        return self.made[number, way]

    def _kernels_in(self, graph: Graph) -> list[Kernel | None]:
        """The nodes' kernels in a graph with layouts, by number; None for views."""
        launches = split(place(graph), graph.weights, self.target, self.threads)
        by_name = {launch.node.outputs[0].name: launch.kernel for launch in launches}
        return [by_name.get(node.outputs[0].name) for node in self._in(graph)]

    def runs(self, graph: Graph, names: Iterable[str]) -> bool:
        """Whether tactics made for them take nodes as they lie in a graph with layouts."""
        kernels = self._kernels_in(graph)
        own = [kernels[self.number[name]] for name in names]
        return all(_is_made_for(kernel) for kernel in own if kernel is not None)

    def copy(self, value: Value, block: int) -> Kernel:
        """The kernel of a copy from one layout into another, `block` that of the result."""
        source = Value(value.name, value.type.with_block(0 if block else self.target.lanes))
        made = Value(f"{value.name}_copy", value.type.with_block(block))
        node = region_of(Node(Identity(), (source,), (made,)))
        return kernel_alone(node, self.graph.weights, self.target, self.threads)

    def kernels(self, group: Sequence[int]) -> list[Kernel]:
        """All that must be timed for a group's decision."""
        copies = [self.copy(v, b) for v in self.near(group) for b in (0, self.target.lanes)]
        own = [self.kernel(i, way) for i in group for way in range(len(self.ways[i]))]
        return [kernel for kernel in (*copies, *own) if kernel is not None]

    def meeting(self, value: Value, place_of: Mapping[int, int], costs: _Costs) -> Table:
        """What a value's copies cost, by the ways of those of a group that write and read it."""
        maker = self.made_by.get(value.name, -1)
        readers = self._readers(value.name)
        scope = tuple(dict.fromkeys(n for n in (maker, *readers) if n in place_of))
        shape = [len(self.ways[n]) for n in scope]
        table = np.zeros(shape)
        for index in np.ndindex(*shape):
            chosen = dict(zip(scope, index, strict=True))
            lies = self.ways[maker][chosen.get(maker, 0)].writes if maker >= 0 else 0
            wanted = {0} if value.name in self.outputs else set()
            for number in readers:
                wanted |= self._wanted(number, chosen.get(number, 0), value.name)
            for block in wanted - {lies}:
                table[index] += costs.us(self.copy(value, block)) + STEP_US
        return tuple(place_of[n] for n in scope), table

    def _wanted(self, number: int, way: int, name: str) -> set[int]:
        node, own = self.plain.nodes[number], self.ways[number][way]
        inputs = dict.fromkeys(v.name for v in node.inputs) if own.kernel else None
        names = list(inputs) if inputs else [v.name for v in node.inputs]
        return {block for n, block in zip(names, own.reads, strict=True) if n == name}

    def steps(self, graph: Graph, notes: Mapping[int, str]) -> Notes:
        """Notes by the name of the step in a graph with layouts."""
        nodes = self._in(graph)
        return [
            (nodes[i].outputs[0].name, f"{self._layouts(nodes[i])}: {why}")
            for i, why in sorted(notes.items())
        ]

    def _layouts(self, node: Node) -> str:
        """What a node reads and writes, in words."""
        read = [v for v in node.inputs if v.type.rank >= 3 and v.name not in self.graph.weights]
        words = {False: "rows", True: "blocks"}
        reads, writes = (
            " and ".join(sorted({words[bool(v.type.block)] for v in values}))
            for values in (read, node.outputs)
        )
        return f"reads {reads or 'no images'}, writes {writes}"


class _Costs:
    """Times of kernels, as far as they are known."""

    def __init__(self, network: _Network, tune: Tune, answers: Answers) -> None:
        self.network, self.tune, self.answers = network, tune, answers

    def know(self, kernels: Iterable[Kernel]) -> None:
        """Have kernels timed that were not yet, all in one go."""
        wanted = {k.key: k for k in kernels if k.key not in self.answers and _is_made_for(k)}
        if wanted:
            self.answers |= self.tune(wanted)

    def us(self, kernel: Kernel) -> float:
        """Microseconds of the chosen code; infinite if no tactic made for it takes it."""
        answer = self.answers.get(kernel.key)
        if not isinstance(answer, Choice) or not answer.timings[0].us:
            return math.inf
        return answer.timings[0].us

    def of(self, number: int, way: int) -> float:
        kernel = self.network.kernel(number, way)
        return 0.0 if kernel is None else self.us(kernel) + STEP_US


def _is_made_for(kernel: Kernel) -> bool:
    """Whether a tactic takes a kernel, and for a convolution another than plain loops."""
    heavy = any(isinstance(n.op, Conv) for n in kernel.graph.nodes)
    tactics = [t for t in TACTICS if not (heavy and t.name == LAST_RESORT)]
    return any(not isinstance(tactic.offers(kernel), No) for tactic in tactics)


def _way_of(plain: Node, node: Node) -> Way:
    """How a node with layouts reads and writes."""
    kernel = isinstance(node.op, Region) and not isinstance(plain.op, Region)
    writes = max((v.type.block for v in node.outputs), default=0)
    return Way(tuple(v.type.block for v in node.inputs), writes, kernel)


def _changes(way: Way) -> bool:
    """Whether a node reads blocks and writes rows."""
    return way.writes == 0 and any(way.reads)
