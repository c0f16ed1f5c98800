"""The loop-level language of one kernel: scalar expressions over indices, loads and reductions.

An operator's body maps an output index to such an expression; composing bodies is fusion. Index
arithmetic is simplified as it is built, so that a chain of reshapes and transposes ends as one map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from planck.dtypes import DType, bool_, i64


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: float | int | bool
    dtype: DType


@dataclass(frozen=True, slots=True)
class Index:
    """A loop variable: 0 <= it < extent; i64."""

    name: str
    extent: int

    @property
    def dtype(self) -> DType:
        return i64


@dataclass(frozen=True, slots=True)
class Apply:
    """A pointwise function by its name in `ops.pointwise`, on scalars of the same dtype."""

    fn: str
    args: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Cast:
    """A conversion, as ONNX Cast does it (float to integer truncates)."""

    value: Expr
    dtype: DType


@dataclass(frozen=True, slots=True)
class Load:
    """One element of an operand, by its logical index; every index is in range."""

    operand: str
    index: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Select:
    """`then` where the condition holds, else `other`; only the chosen side's loads happen."""

    condition: Expr
    then: Expr
    other: Expr

    @property
    def dtype(self) -> DType:
        return self.then.dtype


@dataclass(frozen=True, slots=True)
class Reduce:
    """A reduction of `value` over loop variables that stand nowhere outside it.

    kind: "sum", "prod", "max", "min", "any", "all", "argmax", "argmin" (first wins; gives the
          row-major position as i64), "argmax_last", "argmin_last" (last wins)
    """

    kind: str
    over: tuple[Index, ...]
    value: Expr
    dtype: DType


Expr = Const | Index | Apply | Cast | Load | Select | Reduce


@dataclass(frozen=True, slots=True)
class Tensor:
    """An operand as a body sees it: call it with an index to get the element's expression."""

    shape: tuple[int, ...]
    dtype: DType
    at: Callable[[tuple[Expr, ...]], Expr]

    def __call__(self, *index: Expr) -> Expr:
        return self.at(index)

    def broadcast(self, index: tuple[Expr, ...]) -> Expr:
        """The element that NumPy's broadcasting pairs with `index` of a larger shape."""
        own = index[len(index) - len(self.shape) :]
        return self.at(
            tuple(integer(0) if n == 1 else i for n, i in zip(self.shape, own, strict=True))
        )


def integer(value: int) -> Const:
    return Const(value, i64)


def number(expr: Any) -> int | None:
    """The value of an integer constant, else None."""
    return int(expr.value) if isinstance(expr, Const) and expr.dtype is i64 else None


def add(a: Expr, b: Expr | int) -> Expr:
    b = integer(b) if isinstance(b, int) else b
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return integer(x + y)
    if y == 0:
        return a
    if x == 0:
        return b
    return Apply("add", (a, b), i64)


def sub(a: Expr, b: Expr | int) -> Expr:
    b = integer(b) if isinstance(b, int) else b
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return integer(x - y)
    return a if y == 0 else Apply("sub", (a, b), i64)


def mul(a: Expr, b: Expr | int) -> Expr:
    b = integer(b) if isinstance(b, int) else b
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return integer(x * y)
    if x == 0 or y == 0:
        return integer(0)
    if y == 1:
        return a
    return b if x == 1 else Apply("mul", (a, b), i64)


def floordiv(a: Expr, b: int) -> Expr:
    """a // b for a >= 0, b > 0."""
    x = number(a)
    if x is not None:
        return integer(x // b)
    if b == 1:
        return a
    if isinstance(a, Index) and a.extent <= b:
        return integer(0)
    return Apply("floordiv", (a, integer(b)), i64)


def mod(a: Expr, b: int) -> Expr:
    """a % b for a >= 0, b > 0."""
    x = number(a)
    if x is not None:
        return integer(x % b)
    if b == 1:
        return integer(0)
    if isinstance(a, Index) and a.extent <= b:
        return a
    return Apply("mod", (a, integer(b)), i64)


def flatten(index: tuple[Expr, ...], shape: tuple[int, ...]) -> Expr:
    """The row-major position of an index."""
    position: Expr = integer(0)
    for i, extent in zip(index, shape, strict=True):
        position = add(mul(position, extent), i)
    return position


def unflatten(position: Expr, shape: tuple[int, ...]) -> tuple[Expr, ...]:
    """The index at a row-major position; the position is in range."""
    index: list[Expr] = []
    outer = next((k for k, extent in enumerate(shape) if extent != 1), 0)
    for k in range(len(shape) - 1, -1, -1):
        if k <= outer:
            index.append(position if k == outer else integer(0))
        else:
            index.append(mod(position, shape[k]))
            position = floordiv(position, shape[k])
    return tuple(reversed(index))


def select(condition: Expr, then: Expr, other: Expr) -> Expr:
    """A Select, or the chosen side where the condition is known."""
    if isinstance(condition, Const):
        return then if condition.value else other
    return Select(condition, then, other)


def minimum(a: Expr, b: Expr | int) -> Expr:
    b = integer(b) if isinstance(b, int) else b
    x, y = number(a), number(b)
    return integer(min(x, y)) if x is not None and y is not None else Apply("min", (a, b), i64)


def maximum(a: Expr, b: Expr | int) -> Expr:
    b = integer(b) if isinstance(b, int) else b
    x, y = number(a), number(b)
    return integer(max(x, y)) if x is not None and y is not None else Apply("max", (a, b), i64)


def compare(fn: str, a: Expr, b: Expr | int) -> Expr:
    """fn: "less", "less_equal", "greater", "greater_equal", "equal"; gives bool."""
    b = integer(b) if isinstance(b, int) else b
    return Apply(fn, (a, b), bool_)


def both(*conditions: Expr) -> Expr:
    """All of the conditions."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = Apply("and", (result, condition), bool_)
    return result


def variables(index: tuple[Expr, ...], extents: Iterable[int]) -> tuple[Expr, ...]:
    """Loop variables to reduce over, of names that stand nowhere in `index`; 0 for an extent of 1.

    The same index gives the same names, so that equal parts of a kernel are equal expressions.
    """
    taken: set[str] = set()
    for part in index:
        _collect(part, taken)
    free = (name for n in count() if (name := f"r{n}") not in taken)
    return tuple(integer(0) if n == 1 else Index(next(free), n) for n in extents)


def _collect(part: Expr, names: set[str]) -> None:
    """Add the names of a part's loop variables."""
    match part:
        case Index(name):
            names.add(name)
        case Apply(args=parts) | Load(index=parts):
            for inner in parts:
                _collect(inner, names)
        case Cast(value=inner):
            _collect(inner, names)
        case Select(condition, then, other):
            for inner in (condition, then, other):
                _collect(inner, names)
        case Reduce(over=over, value=inner):
            names.update(variable.name for variable in over)
            _collect(inner, names)


def reduce(kind: str, over: Iterable[Expr], value: Expr) -> Expr:
    """A reduction over what `variables` gave; "argmax" and "argmin" kinds give i64."""
    loops = tuple(variable for variable in over if isinstance(variable, Index))
    if kind.startswith("arg"):
        return Reduce(kind, loops, value, i64) if loops else integer(0)
    return Reduce(kind, loops, value, value.dtype) if loops else value


def cast(value: Expr, dtype: DType) -> Expr:
    """The value in a dtype."""
    return value if value.dtype is dtype else Cast(value, dtype)


def apply(fn: str, *args: Expr | float) -> Expr:
    """A function of values of the first argument's dtype; numbers become constants of it."""
    first = args[0]
    assert not isinstance(first, float | int), "the first argument says the dtype"
    dtype = first.dtype
    parts = tuple(Const(a, dtype) if isinstance(a, float | int) else a for a in args)
    return Apply(fn, parts, dtype)
