"""Value, Op, Node and Graph: what every model is while Planck works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from planck.dtypes import Array
from planck.ir.types import TensorType
from planck.loops.expr import Expr, Tensor


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor: an identifier and a type. The file's own name is kept in Node.origin."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True)
class Op:
    """One operation; its fields are its attributes (numbers, strings, tuples, DTypes, Graphs).

    Inputs are never optional holes: what a file leaves out, its frontend fills in, or the operator
    takes fewer trailing inputs. Elementwise operands broadcast as in NumPy.
    """

    # True: has no body, runs as a reference step where no tactic is made for it
    reference_only: ClassVar[bool] = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """The outputs' types. raises: ShapeError, DTypeError with what was wrong"""
        raise NotImplementedError(type(self).__name__)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        """The outputs, by NumPy, in the outputs' dtypes: the definition of the operator."""
        raise NotImplementedError(type(self).__name__)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        """The scalar that stands at `index` of an output, as an expression of the inputs."""
        raise NotImplementedError(type(self).__name__)

    def attributes(self) -> dict[str, Any]:
        """The attributes by name, in declaration order."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def has_body(self) -> bool:
        return type(self).body is not Op.body and not self.reference_only


@dataclass(frozen=True, slots=True)
class Node:
    """One operation on values.

    origin:  where it comes from, "yolo.onnx:/model.0/conv/Conv"; every fusion joins its parts'
    """

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Frozen; a pass is a function Graph -> Graph.

    nodes:    in an order in which they can run
    weights:  constants by value name; a weight is used as an input of nodes like any value
    names:    what the model file calls inputs and outputs, by value name, where it differs
    metadata: what the file says of itself: class names, stride, ...
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    weights: Mapping[str, Array] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def with_(self, **changes: Any) -> Graph:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def producers(self) -> dict[str, Node]:
        """The node that makes each value, by value name; inputs and weights have none."""
        return {value.name: node for node in self.nodes for value in node.outputs}

    def users(self) -> dict[str, list[Node]]:
        """The nodes that read each value, by value name (a node once for each use)."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value.name, []).append(node)
        return found

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, weights in order of first use, results."""
        seen = set()
        for value in (
            *self.inputs,
            *(v for node in self.nodes for v in (*node.inputs, *node.outputs)),
            *self.outputs,
        ):
            if value.name not in seen:
                seen.add(value.name)
                yield value


class Namer:
    """Gives values names that are not taken yet: identifiers, close to what was asked for."""

    def __init__(self, taken: Iterator[str] | None = None) -> None:
        self._taken = set(taken or ())
        self._next: dict[str, int] = {}

    def __call__(self, wish: str) -> str:
        base = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in wish) or "v"
        if base[0].isdigit():
            base = f"v{base}"
        name = base
        while name in self._taken:
            self._next[base] = self._next.get(base, 0) + 1
            name = f"{base}_{self._next[base]}"
        self._taken.add(name)
        return name


Pass = Callable[[Graph], Graph]
