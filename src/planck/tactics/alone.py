"""Tactics of one operator by itself, for which there is one way and nothing to tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from planck.dtypes import Array
from planck.ir.graph import Node, Op, Value
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Operand
from planck.tactics.pattern import symbol
from planck.target import Target

Spec = TypeVar("Spec")


class Alone(Generic[Spec]):
    """What such tactics share; views are read and written as they lie.

    ops:  the operators
    """

    name: str
    exact = True
    ops: ClassVar[tuple[type[Op], ...]]

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert not isinstance(spec, No), spec
        return self.code(kernel.target, symbol(self.name, kernel, config), spec)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return {**constants, **kernel.graph.weights}

    def _spec(self, kernel: Kernel) -> Spec | No:
        node = kernel.graph.nodes[0]
        if len(kernel.graph.nodes) != 1 or not isinstance(node.op, self.ops):
            return No(f"is no {' or '.join(op.__name__ for op in self.ops)} alone")
        return self.read(kernel, node)

    def read(self, kernel: Kernel, node: Node) -> Spec | No:
        """Everything that the code depends on, or why there is none."""
        raise NotImplementedError

    def code(self, target: Target, name: str, spec: Spec) -> Code:
        """The kernel's code, whose function has that name."""
        raise NotImplementedError


def strides_of(kernel: Kernel, value: Value) -> tuple[int, ...]:
    """How a value lies in memory, in elements; single numbers are dense."""
    operand = kernel.operands.get(value.name) or Operand.dense(value.type)
    return operand.strides


def line_strides(kernel: Kernel, value: Value, axis: int) -> tuple[int, ...]:
    """The same, along all other axes and then along one."""
    own = strides_of(kernel, value)
    return (*own[:axis], *own[axis + 1 :], own[axis])
