"""Rewrite rules: small pure functions `before -> after`, and the driver that applies them.

    @rule(Pointwise)
    def silu(view, node):
        \"\"\"mul(x, sigmoid(x)) -> silu(x)\"\"\"
        ...
        if not view.once(s):
            return No("the sigmoid is used elsewhere")
        patch = view.patch()
        return patch.replace(node.outputs[0], patch(Pointwise("silu"), x))

A rule reads the graph through a `View` and answers with a `Patch` or with `No`; a rule that finds
nothing of its shape answers `SKIP`. What a patch replaces goes away with everything that nothing
needs any more; new nodes take the names of the values they replace, and the origins of all that
went away.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from planck.dtypes import Array, from_numpy
from planck.errors import GraphError
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ir.text import node_text
from planck.ir.types import TensorType
from planck.refusal import No

_log: Final = logging.getLogger(__name__)

SKIP: Final = No("")  # not this rule's shape at all: nothing worth remembering


@dataclass(frozen=True, slots=True)
class Rule:
    """A named function that is tried on every node of some operators.

    place:  file:line of the function
    ops:    operators it looks at; none means all
    """

    name: str
    place: str
    ops: tuple[type[Op], ...]
    apply: Callable[[View, Node], Patch | No]


def rule(*ops: type[Op]) -> Callable[[Callable[[View, Node], Patch | No]], Rule]:
    """Make a function a Rule for nodes of the operators."""

    def make(function: Callable[[View, Node], Patch | No]) -> Rule:
        code = function.__code__
        place = f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"
        return Rule(function.__name__, place, ops, function)

    return make


class Patch:
    """New nodes and weights, and which values they replace."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        self.map: dict[Value, Value] = {}

    def __call__(self, op: Op, *inputs: Value) -> Value:
        """Add a node; its first output."""
        return self.add(op, *inputs)[0]

    def add(self, op: Op, *inputs: Value) -> tuple[Value, ...]:
        """Add a node; all its outputs, of the types that the operator infers."""
        types = op.infer(*(value.type for value in inputs))
        wish = type(op).__name__.lower()
        outputs = tuple(Value(self._view.fresh(wish), kind) for kind in types)
        self.nodes.append(Node(op, inputs, outputs))
        return outputs

    def weight(self, array: Array, wish: str = "weight") -> Value:
        """Add a constant."""
        value = Value(self._view.fresh(wish), TensorType(array.shape, from_numpy(array.dtype)))
        self.weights[value.name] = array
        return value

    def replace(self, old: Value, new: Value) -> Patch:
        """Let `new` stand wherever `old` is used."""
        assert (old.type.shape, old.type.dtype) == (new.type.shape, new.type.dtype), (
            f"{old} -> {new}"
        )
        self.map[old] = new
        return self


class View:
    """A graph as rules see it, and as the driver changes it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.weights: dict[str, Array] = dict(graph.weights)
        self._inputs = {value.name for value in graph.inputs}
        self._outputs = {value.name for value in graph.outputs}
        self._nodes: dict[int, Node] = {}
        self._order: dict[int, int] = {}
        self._made_by: dict[str, int] = {}
        self._used_by: dict[str, dict[int, int]] = {}
        self._next = 0
        self._namer = Namer(value.name for value in graph.values())
        self._namer("")
        for name in graph.weights:
            self._namer(name)
        for k, node in enumerate(graph.nodes):
            self._insert(node, k)

    # What rules read.

    def producer(self, value: Value) -> Node | None:
        """The node that makes a value; None for inputs and weights."""
        key = self._made_by.get(value.name)
        return None if key is None else self._nodes[key]

    def users(self, value: Value) -> list[Node]:
        """The nodes that read a value, each once, in the order they came."""
        return [self._nodes[key] for key in self._used_by.get(value.name, ())]

    def uses(self, value: Value) -> int:
        """How many times nodes and the graph's outputs read a value."""
        return sum(self._used_by.get(value.name, {}).values()) + (value.name in self._outputs)

    def once(self, value: Value) -> bool:
        """Whether one node reads the value, in one place, and it is no output of the graph."""
        return value.name not in self._outputs and self.uses(value) == 1

    def is_output(self, value: Value) -> bool:
        return value.name in self._outputs

    def weight(self, value: Value) -> Array | None:
        """The array of a constant; None for everything else."""
        return self.weights.get(value.name)

    def patch(self) -> Patch:
        return Patch(self)

    def fresh(self, wish: str) -> str:
        """A name that is not taken."""
        return self._namer(wish)

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in no promised order."""
        return list(self._nodes.values())

    def position(self, node: Node) -> int:
        """Where a node, or the node it came from, stood in the graph."""
        return self._order[self._made_by[node.outputs[0].name]]

    # What the driver does.

    def _insert(self, node: Node, order: int) -> int:
        key, self._next = self._next, self._next + 1
        self._nodes[key], self._order[key] = node, order
        for value in node.outputs:
            self._made_by[value.name] = key
        for value in node.inputs:
            uses = self._used_by.setdefault(value.name, {})
            uses[key] = uses.get(key, 0) + 1
        return key

    def _remove(self, key: int) -> Node:
        node = self._nodes.pop(key)
        for value in node.outputs:
            if self._made_by.get(value.name) == key:
                del self._made_by[value.name]
        for value in node.inputs:
            self._used_by.get(value.name, {}).pop(key, None)
        return node

    def _rename(self, key: int, names: dict[str, Value]) -> None:
        """Let a node speak of values by their new names."""

        def moved(values: tuple[Value, ...]) -> tuple[Value, ...]:
            return tuple(names.get(value.name, value) for value in values)

        node = self._remove(key)
        node = replace(node, inputs=moved(node.inputs), outputs=moved(node.outputs))
        self._nodes[key] = node
        for value in node.outputs:
            self._made_by[value.name] = key
        for value in node.inputs:
            uses = self._used_by.setdefault(value.name, {})
            uses[key] = uses.get(key, 0) + 1

    def refuse(self, patch: Patch) -> No | None:
        """Why a patch cannot be applied: an output of the graph would lose its name."""
        made = {value.name for node in patch.nodes for value in node.outputs}
        for old, new in patch.map.items():
            fixed = (
                new.name in self._inputs or new.name in self._outputs or new.name in self.weights
            )
            fixed = fixed or new.name in patch.weights
            if old.name in self._outputs and new.name not in made and fixed:
                return No(f"%{old.name} is an output of the graph, a value of its own")
        return None

    def apply(self, patch: Patch, order: int) -> tuple[list[int], list[int]]:
        """Put a patch in place.

        gives:  keys of the new nodes, and keys of nodes whose surroundings changed
        """
        self.weights.update(patch.weights)
        renamed: dict[str, Value] = {}  # values of the patch that take an old value's name
        moved: dict[str, Value] = {}  # old values that existing values replace
        made = {value.name for node in patch.nodes for value in node.outputs}
        for old, new in patch.map.items():
            if new.name in made and new.name not in renamed:
                renamed[new.name] = old
            else:
                moved[old.name] = renamed.get(new.name, new)
        for old_name, new in list(moved.items()):
            if old_name in self._outputs:  # the existing value takes the output's name
                final = replace(new, name=old_name)
                moved[old_name] = final
                moved[new.name] = final
        dying = {self._made_by[old.name] for old in patch.map}
        replaced = {old.name for old in patch.map}
        for key in dying:
            for value in self._nodes[key].outputs:
                assert value.name in replaced or not self.uses(value), f"{value} is still needed"
        near = {key for old in patch.map for key in self._used_by.get(old.name, ())} - dying
        removed = [self._remove(key) for key in dying]
        touched = {name for name in moved if name in self._made_by or name in self._used_by}
        for key in {self._made_by[n] for n in touched if n in self._made_by} | {
            key for n in touched for key in self._used_by.get(n, {})
        }:
            self._rename(key, moved)
        final_names = {**moved, **renamed}
        new_keys = [
            self._insert(
                replace(
                    node,
                    inputs=tuple(final_names.get(v.name, v) for v in node.inputs),
                    outputs=tuple(renamed.get(v.name, v) for v in node.outputs),
                ),
                order,
            )
            for node in patch.nodes
        ]
        removed += self._sweep([v for node in removed for v in node.inputs], near)
        near = {key for key in near if key in self._nodes}
        kept = [self._made_by.get(moved.get(v.name, v).name) for v in patch.map.values()]
        heirs = new_keys or [key for key in kept if key is not None] or sorted(near)
        self._give_origins(removed, heirs)
        return new_keys, sorted(near)

    def _sweep(self, values: Iterable[Value], near: set[int]) -> list[Node]:
        """Remove the producers of values that nothing reads any more, and theirs."""
        gone: list[Node] = []
        todo = list(values)
        while todo:
            value = todo.pop()
            key = self._made_by.get(value.name)
            if key is None:
                continue
            if any(self.uses(output) for output in self._nodes[key].outputs):
                near.add(key)
                near.update(self._used_by.get(value.name, ()))
                continue
            gone.append(self._remove(key))
            todo.extend(gone[-1].inputs)
        return gone

    def _give_origins(self, removed: list[Node], heirs: list[int]) -> None:
        origin = tuple(dict.fromkeys(name for node in removed for name in node.origin))
        for key in heirs if origin else ():
            node = self._nodes[key]
            joined = tuple(dict.fromkeys((*node.origin, *origin)))
            self._nodes[key] = replace(node, origin=joined)

    def finish(self) -> Graph:
        """The graph as it is now: nodes near where they were, weights that something uses."""
        waiting = {
            key: len({self._made_by[v.name] for v in node.inputs if v.name in self._made_by})
            for key, node in self._nodes.items()
        }
        ready = [(self._order[key], key) for key, count in waiting.items() if count == 0]
        heapq.heapify(ready)
        nodes: list[Node] = []
        while ready:
            node = self._nodes[heapq.heappop(ready)[1]]
            nodes.append(node)
            for key in {key for v in node.outputs for key in self._used_by.get(v.name, ())}:
                waiting[key] -= 1
                if waiting[key] == 0:
                    heapq.heappush(ready, (self._order[key], key))
        assert len(nodes) == len(self._nodes), "a rewrite made a circle"
        used = {v.name for node in nodes for v in node.inputs} | self._outputs
        return self.graph.with_(
            nodes=tuple(nodes),
            weights={name: array for name, array in self.weights.items() if name in used},
        )


def rewrite(graph: Graph, rules: tuple[Rule, ...]) -> Graph:
    """Apply the rules until none has anything to do; earlier rules go first at each node.

    raises:  GraphError when rules undo each other without end
    """
    view = View(graph)
    limit = 1000 + 50 * len(graph.nodes)
    changes = 0
    while True:
        queue = deque(view._nodes)
        queued = set(queue)
        before = changes
        while queue:
            key = queue.popleft()
            queued.discard(key)
            if key not in view._nodes:
                continue
            for new in _try(view, key, rules):
                changes += 1
                if new not in queued:
                    queue.appendleft(new)
                    queued.add(new)
            if changes > limit:
                raise GraphError(
                    "rewrite rules undo each other without end",
                    at=node_text(view._nodes.get(key, graph.nodes[0])),
                    know="rules: " + ", ".join(r.name for r in rules),
                )
        if changes == before:
            return graph if changes == 0 else view.finish()


def _try(view: View, key: int, rules: tuple[Rule, ...]) -> list[int]:
    """Apply the first rule that fits a node; the keys of the nodes to look at next."""
    node = view._nodes[key]
    for one in rules:
        if one.ops and not isinstance(node.op, one.ops):
            continue
        answer = one.apply(view, node)
        if isinstance(answer, Patch):
            problem = view.refuse(answer)
            if problem is None:
                _tell(one, node, answer)
                new, near = view.apply(answer, view._order[key])
                return [*near, *reversed(new)] or [-1]
            answer = problem
        if answer.reason:
            at = node.outputs[0].name
            _log.debug("%s (%s) refuses %%%s: %s", one.name, one.place, at, answer.reason)
    return []


def _tell(one: Rule, node: Node, patch: Patch) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        after = "; ".join(map(node_text, patch.nodes))
        after = after or ", ".join(f"%{new.name}" for new in patch.map.values())
        _log.debug("%s (%s): %s -> %s", one.name, one.place, node_text(node), after)


def scalar(array: Array | None) -> float | None:
    """The one number of a constant of size 1; None for everything else.

    gives:  for floats the shortest decimal that rounds to the element: 1e-05, not 9.9999997e-06
    """
    if array is None or array.size != 1 or array.dtype.kind in "OUSc":
        return None
    return float(str(array.reshape(())[()]))


def close(a: float | None, b: float) -> bool:
    """Whether a constant of a file is the constant of a formula, by four digits or better."""
    return a is not None and math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-9)
