"""The cheapest of all combinations of choices, exactly: variables are eliminated one by one.

A table has the cost of each combination of a few choices; the sum of all tables is to be least.
Taking the least over one choice leaves a table of those that stood beside it in any table
(non-serial dynamic programming; on a chain, the ordinary one). Where a chain or a tree meets few
others at a time, this takes no time at all.

source: U. Bertele and F. Brioschi, Nonserial Dynamic Programming, 1972
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from planck.refusal import No

MOST_ENTRIES: Final = 1 << 20  # of a table on the way

Costs = npt.NDArray[np.float64]
Table = tuple[tuple[int, ...], Costs]


def cheapest(sizes: Sequence[int], tables: Sequence[Table]) -> list[int] | No:
    """One choice for each variable, such that the sum of all tables is least; the first of equals.

    sizes:   how many choices each variable has
    tables:  the variables that a table depends on, and f64[size of each]; may hold infinity
    gives:   No where too many choices depend on each other
    """
    left = set(range(len(sizes)))
    rows = [(scope, np.asarray(costs, np.float64)) for scope, costs in tables]
    steps: list[tuple[int, tuple[int, ...], npt.NDArray[Any]]] = []
    while left:
        around = {v: _scope(v, rows) for v in left}
        entries = {v: math.prod(sizes[u] for u in (v, *around[v])) for v in left}
        variable = min(left, key=lambda v: (entries[v], v))
        if entries[variable] > MOST_ENTRIES:
            return No(f"a table of {entries[variable]} costs, {MOST_ENTRIES} are taken")
        scope = around[variable]
        joint = np.zeros([sizes[v] for v in (variable, *scope)])
        for table in rows:
            if variable in table[0]:
                joint = joint + _spread(table, (variable, *scope))
        steps.append((variable, scope, joint.argmin(0)))
        rows = [row for row in rows if variable not in row[0]]
        rows.append((scope, joint.min(0)))
        left.remove(variable)
    chosen = [0] * len(sizes)
    for variable, scope, best in reversed(steps):
        chosen[variable] = int(best[tuple(chosen[v] for v in scope)])
    return chosen


def _scope(variable: int, rows: Sequence[Table]) -> tuple[int, ...]:
    """The other variables of the tables that a variable stands in."""
    together = {v for scope, _ in rows if variable in scope for v in scope}
    return tuple(sorted(together - {variable}))


def _spread(table: Table, scope: tuple[int, ...]) -> Costs:
    """A table with an axis for each variable of a scope, of length 1 where it does not matter."""
    own, costs = table
    order = sorted(range(len(own)), key=lambda i: scope.index(own[i]))
    sizes = dict(zip(own, costs.shape, strict=True))
    return costs.transpose(order).reshape([sizes.get(v, 1) for v in scope])
