"""What rules ask of a graph: which function made a value, its constant factors, terms, clips."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planck.dtypes import Array
from planck.ir.graph import Node, Op, Value
from planck.ir.rewrite import View, scalar
from planck.ops.pointwise import Pointwise


def is_pointwise(node: Node | None, *functions: str) -> bool:
    """Whether a node is one of the pointwise functions (any, when none is named)."""
    if node is None or not isinstance(node.op, Pointwise):
        return False
    return not functions or node.op.fn in functions


def inner(view: View, value: Value, *ops: type[Op]) -> Node | None:
    """The producer of a value that is read once only, if it is of these operators."""
    node = view.producer(value)
    return node if node and isinstance(node.op, ops) and view.once(value) else None


def inner_pointwise(view: View, value: Value, *functions: str) -> Node | None:
    """The producer of a value that is read once only, if it is one of these functions."""
    node = inner(view, value, Pointwise)
    return node if is_pointwise(node, *functions) else None


def constant(view: View, value: Value) -> float | None:
    """The number of a constant of one element."""
    return scalar(view.weight(value))


def like(value: Value, number: float) -> Array:
    """A scalar constant of the value's dtype."""
    return np.array(number, value.type.dtype.numpy)


@dataclass(frozen=True, slots=True)
class Product:
    """factor * over[0] * over[1] ... / under[0] / under[1] ..."""

    factor: float = 1.0
    over: tuple[Value, ...] = ()
    under: tuple[Value, ...] = ()

    def __mul__(self, other: Product) -> Product:
        return Product(self.factor * other.factor, self.over + other.over, self.under + other.under)

    def inverse(self) -> Product:
        factor = 1 / self.factor if self.factor else float("inf")
        return Product(factor, self.under, self.over)

    @property
    def only(self) -> Value | None:
        """The value, where this is factor * value."""
        return self.over[0] if len(self.over) == 1 and not self.under else None


def product(view: View, value: Value, *, root: bool = False) -> Product:
    """A value as a product, through mul, div, neg and reciprocal of values that are read once.

    root:  True looks through the value itself however often it is read
    """
    number = constant(view, value)
    if number is not None:
        return Product(number)
    node = view.producer(value)
    if node is None or not (root or view.once(value)):
        return Product(over=(value,))
    if is_pointwise(node, "mul"):
        return product(view, node.inputs[0]) * product(view, node.inputs[1])
    if is_pointwise(node, "div") and value.type.dtype.is_float:
        return product(view, node.inputs[0]) * product(view, node.inputs[1]).inverse()
    if is_pointwise(node, "reciprocal"):
        return product(view, node.inputs[0]).inverse()
    if is_pointwise(node, "neg"):
        return Product(-1.0) * product(view, node.inputs[0])
    return Product(over=(value,))


@dataclass(frozen=True, slots=True)
class Sum:
    """constant + terms[0] + terms[1] ..."""

    constant: float = 0.0
    terms: tuple[Product, ...] = ()

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.constant + other.constant, self.terms + other.terms)

    def times(self, factor: float) -> Sum:
        return Sum(
            self.constant * factor,
            tuple(replace(term, factor=term.factor * factor) for term in self.terms),
        )


def total(view: View, value: Value, *, root: bool = False) -> Sum:
    """A value as a sum, through add, sub and constant factors of values that are read once."""
    number = constant(view, value)
    if number is not None:
        return Sum(number)
    node = view.producer(value) if root or view.once(value) else None
    if node is not None and is_pointwise(node, "add", "sub"):
        sign = 1.0 if is_pointwise(node, "add") else -1.0
        return total(view, node.inputs[0]) + total(view, node.inputs[1]).times(sign)
    found = product(view, value, root=root)
    if found.only is not None and found.only != value:
        return total(view, found.only).times(found.factor)
    return Sum(0.0, (found,))


def affine(view: View, value: Value) -> tuple[float, Value, float] | None:
    """(a, x, b) where the value is a * x + b with constants a and b."""
    found = total(view, value)
    if len(found.terms) != 1 or found.terms[0].only is None:
        return None
    return found.terms[0].factor, found.terms[0].only, found.constant


def clip(view: View, value: Value, *, root: bool = False) -> tuple[Value, float, float] | None:
    """(x, low, high) where the value is min(max(x, low), high) or max(min(x, high), low)."""
    bounds: dict[str, float] = {}
    for k in range(2):
        node = view.producer(value) if (root and k == 0) or view.once(value) else None
        if node is None or not is_pointwise(node, "min", "max", "relu"):
            return None
        if is_pointwise(node, "relu"):
            x, number, fn = node.inputs[0], 0.0, "max"
        else:
            assert isinstance(node.op, Pointwise)
            fn = node.op.fn
            x, limit = node.inputs
            number_or_none = constant(view, limit)
            if number_or_none is None:
                x, number_or_none = limit, constant(view, x)
            if number_or_none is None:
                return None
            number = number_or_none
        if fn in bounds:
            return None
        bounds[fn] = number
        value = x
    if bounds["max"] > bounds["min"]:
        return None
    return value, bounds["max"], bounds["min"]


def pair(node: Node, view: View) -> tuple[Value, Value] | None:
    """(value, constant) of a two-operand node one of whose operands is a constant."""
    a, b = node.inputs
    if view.weight(b) is not None:
        return a, b
    return (b, a) if view.weight(a) is not None else None


def channels_first(rank: int) -> tuple[int, ...]:
    """The order of axes that puts channels, which lie last, behind the batch."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of axes that puts channels, which lie behind the batch, last."""
    return (0, *range(2, rank), 1)


def per_axis(array: Array, rank: int, axis: int, extent: int) -> Array | None:
    """A constant that varies along one axis at most, as f64[extent]; None for any other.

    array:  broadcasts, as an operand, to `rank` axes
    """
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(n != 1 for k, n in enumerate(shape) if k != axis) or shape[axis] not in (1, extent):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (extent,))
