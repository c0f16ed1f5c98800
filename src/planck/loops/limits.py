"""The ends of reductions that leave out what lies beyond a border.

sum(0 <= 2 y + r - 1 ? a[2 y + r - 1] : 0 for r in 0..3)
->
sum(a[2 y + r - 1] for r in max(0, 1 - 2 y)..3)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from planck.dtypes import i64
from planck.loops.terms import Pool, Term, split, walk


@dataclass(frozen=True, slots=True)
class Limited:
    """A reduced value, and the ends of the loops that it is reduced over where they are not all."""

    value: Term
    ends: Mapping[str, tuple[Term, Term]]


def limited(
    pool: Pool,
    term: Term,
    neutral: object,
    outside: Callable[[Term], bool],
    whole: Collection[str] = (),
) -> Limited:
    """A reduction's value without the tests that its loops' ends make needless.

    neutral:  what changes no result
    outside:  whether a term has one value for all steps and lanes of the reduction
    whole:    loops that keep their ends
    """
    (value,) = term.args
    ends: dict[str, tuple[Term, Term]] = {}
    if value.kind != "select" or value.args[2].kind != "const" or value.args[2].what != neutral:
        return Limited(value, ends)
    extents = dict(term.what[1])
    left = []
    for test in _conjunction(value.args[0]):
        found = _end(pool, test, extents, outside)
        if found is None or found[0] in whole:
            left.append(test)
            continue
        name, end = found
        low, high = ends.get(name, (pool.integer(0), pool.integer(extents[name])))
        if test.what == "less":
            high = pool.apply("min", (high, end), i64)
        else:
            low = pool.apply("max", (low, end), i64)
        ends[name] = low, high
    if not ends:
        return Limited(value, ends)
    if not left:
        return Limited(_within(pool, value.args[1]), ends)
    condition = left[0]
    for test in left[1:]:
        condition = pool.apply("and", (condition, test), condition.dtype)
    return Limited(pool.select(condition, *value.args[1:]), ends)


def _conjunction(condition: Term) -> list[Term]:
    if condition.kind == "apply" and condition.what == "and":
        return [test for part in condition.args for test in _conjunction(part)]
    return [condition]


def _end(
    pool: Pool, test: Term, extents: Mapping[str, int], outside: Callable[[Term], bool]
) -> tuple[str, Term] | None:
    """The one loop that a test is about, and from where on its answer is another."""
    if test.kind != "apply" or test.what not in ("less", "greater_equal"):
        return None
    if test.args[0].dtype is not i64:
        return None
    a, b = test.args
    parts, constant = split(pool.add(a, b, -1))
    own = [t for t in parts if t.kind == "index" and t.what in extents]
    if len(own) != 1 or parts[own[0]] < 1:
        return None
    factor = parts.pop(own[0])
    if not all(outside(t) and not t.free & extents.keys() for t in parts):
        return None
    rest = pool.affine({t: -f for t, f in parts.items()}, factor - 1 - constant)
    return own[0].what, pool.floordiv(rest, factor)


def _within(pool: Pool, value: Term) -> Term:
    """The value without the clamps of places that loops name, as all of them are in range here.

    What another test guards stays clamped, and places that are read from memory are trusted never.
    """
    inside = list(walk((value,)))
    if any(t.kind in ("select", "reduce") for t in inside):
        return value
    memo = {
        t: pool.load(t.what, t.args[0], None, t.dtype)
        for t in inside
        if t.kind == "load" and all(part.kind == "index" for part in split(t.args[0])[0])
    }
    return pool.exchange(value, memo)
