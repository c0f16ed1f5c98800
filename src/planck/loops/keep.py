"""Rows kept in scratch: what a reduction computes and the loop after it needs again.

sum(exp(x[r] - max) for r)                       sum(keep[r] := exp(x[r] - max) for r)
y[d] = exp(x[d] - max) / sum              ->     y[d] = keep[d] / sum
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from planck.loops.lower import EXPENSIVE, Keep, Nest
from planck.loops.terms import Term, walk

# Floats that stay in the second-level cache beside the operands' rows.
LONGEST_ROW: Final = 32 * 1024
KEPT: Final = "@kept"


def keep(nest: Nest) -> Nest:
    """The nest with one expensive row kept, where a reduction has computed it before."""
    if nest.vector is None:
        return nest
    everything = dict.fromkeys(walk([s.value for s in nest.stores]))  # in a fixed order
    order = [name for name, _ in nest.loops]
    for reduction in everything:
        if reduction.kind != "reduce":
            continue
        wide = nest.vector in reduction.free
        loops = order[order.index(nest.vector) + 1 :] if wide else [nest.vector]
        for loop in loops:
            if loop in reduction.free:
                continue
            found = _again(nest, reduction, loop, everything)
            if found is not None:
                return _kept(nest, reduction, loop, wide, *found)
    return nest


def _kept(nest: Nest, reduction: Term, loop: str, wide: bool, inner: Term, outer: Term) -> Nest:
    pool, extent = nest.pool, nest.extent(loop)
    assert nest.vector is not None
    lane = pool.index(nest.vector, nest.extent(nest.vector))
    row = pool.load(KEPT, pool.index(loop, extent), lane, outer.dtype)
    memo = {outer: row}
    stores = tuple(replace(s, value=pool.exchange(s.value, memo)) for s in nest.stores)
    return replace(nest, stores=stores, keep=Keep(reduction, inner, extent, wide))


def _again(
    nest: Nest, reduction: Term, loop: str, everything: Collection[Term]
) -> tuple[Term, Term] | None:
    """An expensive term inside a reduction, and the same term over a loop of the nest."""
    over, extent = reduction.what[1], nest.extent(loop)
    if reduction.what[0].startswith("arg") or len(over) != 1 or over[0][1] != extent:
        return None
    (name, _), column = over[0], nest.pool.index(loop, extent)
    for term in walk(reduction.args):
        expensive = term.kind == "apply" and term.what in EXPENSIVE and name in term.free
        if not expensive or extent > LONGEST_ROW:
            continue
        again = nest.pool.at(term, name, column)
        if again in everything and again is not term:
            return term, again
    return None
