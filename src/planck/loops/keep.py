"""Rows kept in scratch: what a reduction computes and the loop after it needs again.

sum(exp(x[r] - max) for r)                       sum(keep[r] := exp(x[r] - max) for r)
y[d] = exp(x[d] - max) / sum              ->     y[d] = keep[d] / sum
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from planck.loops.lower import EXPENSIVE, Keep, Nest
from planck.loops.terms import Pool, Term, walk

# What stays in the second-level cache beside the operands' rows.
LARGEST_ROW_BYTES: Final = 128 * 1024
KEPT: Final = "@kept"


def keep(nest: Nest) -> Nest:
    """The nest with one expensive row kept, where a reduction has computed it before."""
    if nest.vector is None:
        return nest
    values = [s.value for s in nest.stores]
    everything = dict.fromkeys(walk(values))  # in an order that does not change
    for reduction in everything:
        if reduction.kind != "reduce" or nest.vector in reduction.free:
            continue
        found = _again(nest, reduction, everything)
        if found is None:
            continue
        inner, outer = found
        pool, extent = nest.pool, nest.extent(nest.vector)
        row = pool.load(KEPT, pool.index(nest.vector, extent), None, outer.dtype)
        memo = {outer: row}
        stores = tuple(replace(s, value=_exchanged(pool, s.value, memo)) for s in nest.stores)
        return replace(nest, stores=stores, keep=Keep(reduction, inner, extent * inner.dtype.bytes))
    return nest


def _again(nest: Nest, reduction: Term, everything: Collection[Term]) -> tuple[Term, Term] | None:
    """An expensive term inside a reduction, and the same term over the vector's loop."""
    over = reduction.what[1]
    assert nest.vector is not None
    extent = nest.extent(nest.vector)
    if reduction.what[0].startswith("arg") or len(over) != 1 or over[0][1] != extent:
        return None
    column = nest.pool.index(nest.vector, extent)
    for term in walk(reduction.args):
        expensive = term.kind == "apply" and term.what in EXPENSIVE and over[0][0] in term.free
        if not expensive or extent * term.dtype.bytes > LARGEST_ROW_BYTES:
            continue
        again = nest.pool.at(term, over[0][0], column)
        if again in everything and again is not term:
            return term, again
    return None


def _exchanged(pool: Pool, term: Term, memo: dict[Term, Term]) -> Term:
    """The term with others in the place of some; reductions are left as they are."""
    if term in memo:
        return memo[term]
    if term.kind in ("const", "index", "affine", "load", "reduce"):
        return term
    args = tuple(_exchanged(pool, a, memo) for a in term.args)
    match term.kind:
        case "apply":
            result = pool.apply(term.what, args, term.dtype)
        case "cast":
            result = pool.cast(args[0], term.dtype)
        case _:
            result = pool.select(*args)
    memo[term] = result
    return result
