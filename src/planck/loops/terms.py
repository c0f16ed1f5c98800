"""Terms: expressions with equal parts shared, index arithmetic in affine form, and ranges known.

What the loop generator works on. Index arithmetic ends as sums of variables with constant factors
wherever that is possible; floor divisions and remainders that a range proves away disappear.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from planck.dtypes import DType, bool_, i64


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One expression of a Pool. Two of equal structure are the same object.

    kind, what, args:
        const    the number
        index    the variable's name
        affine   (factors of the args, constant)
        apply    the pointwise function; its operands
        cast     None; the value
        load     the operand; element offset, and for a load that may be out of range where its
                 condition does not hold, the offset clamped into the operand
        select   None; condition, then, other
        reduce   (kind, ((variable, extent), ...)); the value
    free:  the loop variables that it depends on
    bound: those of the reductions inside it
    low, high:  bounds of an integer, None where unknown
    """

    kind: str
    what: Any
    args: tuple[Term, ...]
    dtype: DType
    free: frozenset[str]
    bound: frozenset[str]
    low: int | None
    high: int | None
    number: int

    def __repr__(self) -> str:
        if self.kind in ("const", "index"):
            return str(self.what)
        if self.kind == "affine":
            factors, constant = self.what
            parts = [f"{f}*{a}" for f, a in zip(factors, self.args, strict=True)]
            return "(" + " + ".join([*parts, str(constant)]) + ")"
        inner = ", ".join(map(repr, self.args))
        return f"{self.kind}.{self.what}({inner})"


Sum = tuple[dict[Term, int], int]
_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
}


class Pool:
    """Makes terms."""

    def __init__(self) -> None:
        self._terms: dict[Any, Term] = {}

    def _make(
        self,
        kind: str,
        what: Any,
        args: tuple[Term, ...],
        dtype: DType,
        low: int | None = None,
        high: int | None = None,
        free: frozenset[str] | None = None,
    ) -> Term:
        # repr tells 0.0 from -0.0 and NaN from NaN, and 1 from True
        mark = repr(what) if kind == "const" else what
        key = (kind, mark, tuple(a.number for a in args), dtype.name, low, high)
        found = self._terms.get(key)
        if found is None:
            if free is None:
                free = frozenset().union(*(a.free for a in args))
            bound = frozenset().union(*(a.bound for a in args))
            if kind == "reduce":
                bound |= {name for name, _ in what[1]}
            found = Term(kind, what, args, dtype, free, bound, low, high, len(self._terms))
            self._terms[key] = found
        return found

    def const(self, value: float | int | bool, dtype: DType) -> Term:
        if dtype.is_integer:
            value = int(value)
            return self._make("const", value, (), dtype, value, value)
        return self._make("const", value, (), dtype)

    def integer(self, value: int) -> Term:
        return self.const(value, i64)

    def index(self, name: str, extent: int) -> Term:
        if extent == 1:
            return self.integer(0)
        return self._make("index", name, (), i64, 0, extent - 1, frozenset((name,)))

    def affine(self, parts: Mapping[Term, int], constant: int) -> Term:
        """A sum of terms with factors."""
        parts = {atom: factor for atom, factor in parts.items() if factor}
        if any(a.kind == "apply" and a.what == "mod" for a in parts):
            parts, constant = _rejoined(parts, constant)
        if not parts:
            return self.integer(constant)
        if not constant and len(parts) == 1:
            ((atom, factor),) = parts.items()
            if factor == 1:
                return atom
        atoms = tuple(sorted(parts, key=lambda a: a.number))
        factors = tuple(parts[a] for a in atoms)
        low, high = bounds(parts, constant)
        return self._make("affine", (factors, constant), atoms, i64, low, high)

    def add(self, a: Term, b: Term, sign: int = 1) -> Term:
        (x, m), (y, n) = split(a), split(b)
        total = dict(x)
        for atom, factor in y.items():
            total[atom] = total.get(atom, 0) + sign * factor
        return self.affine(total, m + sign * n)

    def scale(self, a: Term, by: int) -> Term:
        parts, constant = split(a)
        return self.affine({atom: f * by for atom, f in parts.items()}, constant * by)

    def floordiv(self, a: Term, by: int) -> Term:
        """Floor division by a positive number."""
        quotient, rest, by = self._divided(a, by)
        parts, constant = split(rest)
        if by == 1:
            return self.add(quotient, rest)
        if len(parts) == 1 and not constant:
            ((atom, factor),) = parts.items()
            if factor == 1 and atom.kind == "apply" and atom.args[-1].kind == "const":
                inner, other = atom.args[0], atom.args[-1].what
                if atom.what == "floordiv":
                    return self.add(quotient, self.floordiv(inner, other * by))
                if atom.what == "mod" and other % by == 0:
                    return self.add(quotient, self.mod(self.floordiv(inner, by), other // by))
        if rest.low is not None and rest.high is not None and rest.low // by == rest.high // by:
            return self.add(quotient, self.integer(rest.low // by))
        divisor = self.integer(by)
        low, high = _quotient(rest, by)
        return self.add(quotient, self._make("apply", "floordiv", (rest, divisor), i64, low, high))

    def _divided(self, a: Term, by: int) -> tuple[Term, Term, int]:
        """quotient, rest, divisor: a // by == quotient + rest // divisor."""
        parts, constant = split(a)
        quotient = {t: f // by for t, f in parts.items() if f % by == 0}
        rest = {t: f for t, f in parts.items() if f % by}
        whole, constant = constant // by, constant % by
        for common in sorted({math.gcd(f, by) for f in rest.values()}, reverse=True):
            if common == 1:
                continue
            small = {t: f for t, f in rest.items() if f % common}
            low, high = bounds(small, constant % common)
            if _within(low, high, common):
                # What is smaller than the common factor never reaches the next multiple.
                rest = {t: f // common for t, f in rest.items() if f % common == 0}
                constant, by = constant // common, by // common
                break
        return self.affine(quotient, whole), self.affine(rest, constant), by

    def mod(self, a: Term, by: int) -> Term:
        """Remainder of floor division by a positive number."""
        parts, constant = split(a)
        rest = {t: f for t, f in parts.items() if f % by}
        constant %= by
        for common in sorted({math.gcd(f, by) for f in rest.values()}, reverse=True):
            small = {t: f for t, f in rest.items() if f % common}
            low, high = bounds(small, constant % common)
            if common > 1 and _within(low, high, common):
                large = {t: f // common for t, f in rest.items() if f % common == 0}
                upper = self.mod(self.affine(large, constant // common), by // common)
                lower = self.affine(small, constant % common)
                return self.add(self.scale(upper, common), lower)
        value = self.affine(rest, constant)
        if by == 1:
            return self.integer(0)
        if value.low is not None and value.high is not None and value.low // by == value.high // by:
            return self.add(value, self.integer(-(value.low // by) * by))
        if value.kind == "apply" and value.what == "mod" and value.args[1].what % by == 0:
            return self.mod(value.args[0], by)
        return self._make("apply", "mod", (value, self.integer(by)), i64, 0, by - 1)

    def apply(self, fn: str, args: tuple[Term, ...], dtype: DType) -> Term:
        """A pointwise function, simplified if it is index arithmetic or a known comparison."""
        if dtype is i64:
            simple = self._integer(fn, args)
            if simple is not None:
                return simple
        if dtype is bool_:
            simple = self._boolean(fn, args)
            if simple is not None:
                return simple
        low, high = self._range(fn, args) if dtype is i64 else (None, None)
        return self._make("apply", fn, args, dtype, low, high)

    def _integer(self, fn: str, args: tuple[Term, ...]) -> Term | None:
        if fn in ("add", "sub"):
            return self.add(args[0], args[1], 1 if fn == "add" else -1)
        if fn == "mul":
            for a, b in (args, args[::-1]):
                if b.kind == "const":
                    return self.scale(a, b.what)
        if fn == "neg":
            return self.scale(args[0], -1)
        if fn in ("floordiv", "mod") and args[1].kind == "const" and args[1].what > 0:
            return getattr(self, fn)(args[0], args[1].what)  # type: ignore[no-any-return]
        if fn in ("min", "max"):
            a, b = args if fn == "min" else args[::-1]
            if _less_equal(a, b):
                return args[0]
            if _less_equal(b, a):
                return args[1]
        if fn == "select" and args[0].kind == "const":
            return args[1] if args[0].what else args[2]
        return None

    def _boolean(self, fn: str, args: tuple[Term, ...]) -> Term | None:
        if fn in ("and", "or"):
            stop = fn == "or"
            for a, b in (args, args[::-1]):
                if a.kind == "const":
                    return self.const(stop, bool_) if bool(a.what) == stop else b
            return args[0] if args[0] is args[1] else None
        if fn == "not" and args[0].kind == "const":
            return self.const(not args[0].what, bool_)
        if fn in _COMPARE and args[0].dtype is i64:
            (a, b), test = args, _COMPARE[fn]
            difference = self.add(a, b, -1)
            low, high = difference.low, difference.high
            if low is None or high is None:
                return None
            if fn == "equal":
                if low == high == 0:
                    return self.const(True, bool_)
                return self.const(False, bool_) if low > 0 or high < 0 else None
            answers = {test(low, 0), test(high, 0)}
            return self.const(answers.pop(), bool_) if len(answers) == 1 else None
        return None

    def _range(self, fn: str, args: tuple[Term, ...]) -> tuple[int | None, int | None]:
        if fn in ("min", "max"):
            a, b = args
            if fn == "min":
                lows = None if a.low is None or b.low is None else min(a.low, b.low)
                highs = [n for n in (a.high, b.high) if n is not None]
                return lows, min(highs) if highs else None
            high = None if a.high is None or b.high is None else max(a.high, b.high)
            known = [n for n in (a.low, b.low) if n is not None]
            return max(known) if known else None, high
        if fn == "select":
            return _union(*args[1:])
        return None, None

    def cast(self, value: Term, dtype: DType) -> Term:
        if value.dtype is dtype:
            return value
        low, high = (value.low, value.high) if dtype.is_integer else (None, None)
        if dtype.is_integer and not (_holds(dtype, low) and _holds(dtype, high)):
            low = high = None
        return self._make("cast", None, (value,), dtype, low, high)

    def load(self, operand: str, offset: Term, clamped: Term | None, dtype: DType) -> Term:
        args = (offset,) if clamped is None or clamped is offset else (offset, clamped)
        return self._make("load", operand, args, dtype)

    def select(self, condition: Term, then: Term, other: Term) -> Term:
        if condition.kind == "const":
            return then if condition.what else other
        if then is other:
            return then
        low, high = _union(then, other)
        return self._make("select", None, (condition, then, other), then.dtype, low, high)

    def reduce(
        self, kind: str, over: tuple[tuple[str, int], ...], value: Term, dtype: DType
    ) -> Term:
        free = value.free - {name for name, _ in over}
        return self._make("reduce", (kind, over), (value,), dtype, free=free)

    def replace(self, term: Term, bind: Mapping[str, Term], memo: dict[Term, Term]) -> Term:
        """A term with variables replaced by terms. A reduction's own variables are renamed only
        to sums of new index variables, over which it then runs."""
        if not (term.free | term.bound) & bind.keys():
            return term
        if term not in memo:
            memo[term] = self._replaced(term, bind, memo)
        return memo[term]

    def exchange(self, term: Term, memo: dict[Term, Term]) -> Term:
        """A term with others in the place of some; reductions are left as they are."""
        if term in memo:
            return memo[term]
        if term.kind in ("const", "index", "affine", "load", "reduce"):
            return term
        args = tuple(self.exchange(a, memo) for a in term.args)
        match term.kind:
            case "apply":
                result = self.apply(term.what, args, term.dtype)
            case "cast":
                result = self.cast(args[0], term.dtype)
            case _:
                result = self.select(*args)
        memo[term] = result
        return result

    def at(self, term: Term, name: str, value: Term) -> Term:
        """A term with a free variable replaced; reductions over one of that name stay."""
        inside = {t for t in walk((term,)) if t.kind == "reduce" and name not in t.free}
        return self.replace(term, {name: value}, {t: t for t in inside})

    def _replaced(self, term: Term, bind: Mapping[str, Term], memo: dict[Term, Term]) -> Term:
        if term.kind == "index":
            return bind[term.what]
        args = tuple(self.replace(a, bind, memo) for a in term.args)
        match term.kind:
            case "affine":
                factors, constant = term.what
                result = self.integer(constant)
                for factor, arg in zip(factors, args, strict=True):
                    result = self.add(result, self.scale(arg, factor))
                return result
            case "apply":
                return self.apply(term.what, args, term.dtype)
            case "cast":
                return self.cast(args[0], term.dtype)
            case "load":
                return self.load(term.what, args[0], args[-1], term.dtype)
            case "select":
                return self.select(*args)
        kind, over = term.what
        new: list[tuple[str, int]] = []
        for name, extent in over:
            if name not in bind:
                new.append((name, extent))
                continue
            atoms = sorted(split(bind[name])[0].items(), key=lambda item: -item[1])
            new.extend((atom.what, atom.high + 1) for atom, _ in atoms if atom.high is not None)
        return self.reduce(kind, tuple(new), args[0], term.dtype)


def split(term: Term) -> Sum:
    """A term as a sum: factors of its parts, and a constant."""
    if term.kind == "const":
        return {}, term.what
    if term.kind == "affine":
        factors, constant = term.what
        return dict(zip(term.args, factors, strict=True)), constant
    return {term: 1}, 0


def _rejoined(parts: dict[Term, int], constant: int) -> Sum:
    """e // b * b + e % b is e."""
    for rest in parts:
        if rest.kind != "apply" or rest.what != "mod" or rest.args[1].kind != "const":
            continue
        factor = parts[rest]
        for whole in parts:
            if whole.kind != "apply" or whole.what != "floordiv" or whole.args != rest.args:
                continue
            if parts[whole] == factor * rest.args[1].what:
                more, plus = split(rest.args[0])
                joined = {a: f for a, f in parts.items() if a is not rest and a is not whole}
                for atom, f in more.items():
                    joined[atom] = joined.get(atom, 0) + f * factor
                joined = {a: f for a, f in joined.items() if f}
                return _rejoined(joined, constant + plus * factor)
    return parts, constant


def bounds(parts: Mapping[Term, int], constant: int) -> tuple[int | None, int | None]:
    """The least and greatest value of a sum."""
    low = high = constant
    for atom, factor in parts.items():
        if atom.low is None or atom.high is None:
            return None, None
        low += min(factor * atom.low, factor * atom.high)
        high += max(factor * atom.low, factor * atom.high)
    return low, high


def walk(roots: Iterable[Term]) -> Iterator[Term]:
    """Every term below, once each."""
    seen: set[Term] = set()
    stack = list(roots)
    while stack:
        term = stack.pop()
        if term not in seen:
            seen.add(term)
            yield term
            stack.extend(term.args)


def factor_of(term: Term, name: str) -> int | None:
    """How far a sum moves when a variable grows by one; None where that is not constant."""
    if name not in term.free:
        return 0
    result = 0
    for atom, factor in split(term)[0].items():
        if atom.kind == "index" and atom.what == name:
            result = factor
        elif name in atom.free:
            return None
    return result


def _quotient(a: Term, by: int) -> tuple[int | None, int | None]:
    if a.low is None or a.high is None or not isinstance(by, int):
        return None, None
    return a.low // by, a.high // by


def _union(a: Term, b: Term) -> tuple[int | None, int | None]:
    if a.low is None or b.low is None or a.high is None or b.high is None:
        return None, None
    return min(a.low, b.low), max(a.high, b.high)


def _less_equal(a: Term, b: Term) -> bool:
    return a.high is not None and b.low is not None and a.high <= b.low


def _within(low: int | None, high: int | None, end: int) -> bool:
    return low is not None and high is not None and low >= 0 and high < end


def _holds(dtype: DType, value: int | None) -> bool:
    if value is None:
        return False
    bits = dtype.bits - (dtype.kind == "i")
    return (-(1 << bits) if dtype.kind == "i" else 0) <= value < 1 << bits
