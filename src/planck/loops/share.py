"""Places that all steps of a loop share, computed once for them: that loop goes inside.

for c, x: y[c, x] = a[c, floor(g[x] * 64)] * h(g[x])
->
for x:
    place, weight = floor(g[x] * 64), h(g[x])
    for c: y[c, x] = a[c, place] * weight

Notebook (EPYC with AVX2, one thread, the kernel alone, all operands in rows, us):

- Foretold: half the time. GridSample linear 32@64 1800 -> 630 by the loops alone, as LLVM writes a
  gather as eight loads, each of which takes its 64-bit place out of the lanes; with the places of
  lanes apart from where a channel begins these leave the loop: 310 to 370. Cubic 8@64 1330 -> 310.
  Places are kept inside their axis since (NaN is none): a whole call of the linear one takes 430.
- Resize linear 2x 64@64 4000 -> 1550, cubic 15600 -> 7300.
- All channels inside instead of runs of 8: 700 instead of 630 before places left the loop, as rows
  16 KB apart share the sets of the first-level cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from planck.loops.lower import Nest, rebound
from planck.loops.terms import factor_of, walk

# Functions of vectors that one step shares with the next, from which on it pays.
SHARED: Final = 5
# Steps that share. Each writes to a place of its own, and those often compete for lines of cache.
RUN: Final = 8
LONGEST: Final = 32  # where nothing divides them


def share(nest: Nest) -> Nest:
    """The nest with the loop inside that most of what is computed does not depend on."""
    vector = nest.vector
    plain = nest.guard is None and nest.across is None and nest.keep is None
    if vector is None or not plain or nest.loops[-1][0] != vector:
        return nest
    everything = dict.fromkeys(walk([s.value for s in nest.stores]))
    scattered = {
        t for t in everything if t.kind == "load" and factor_of(t.args[-1], vector) is None
    }
    if not scattered or any(t.kind == "reduce" for t in everything):
        return nest
    for name, extent in nest.loops[:-1]:
        own = {t for t in everything if t.kind == "load" and name in t.free}
        shared = sum(
            t.kind in ("apply", "cast") and vector in t.free and name not in t.free
            for t in everything
        )
        apart = own <= scattered and all(factor_of(t.args[-1], name) for t in own)
        if own and apart and shared >= SHARED:
            return _moved(nest, name, extent)
    return nest


def _moved(nest: Nest, name: str, extent: int) -> Nest:
    """The nest with a run of a loop's steps inside of all others."""
    whole = extent if extent <= LONGEST else 0
    run = next((n for n in range(min(RUN, extent), 1, -1) if extent % n == 0), whole)
    if not run:
        return nest
    if run == extent:
        loops = [loop for loop in nest.loops if loop[0] != name]
        return replace(nest, loops=(*loops, (name, extent)), shared=name)
    pool, outer, inner = nest.pool, f"{name}o", f"{name}i"
    at = pool.add(pool.scale(pool.index(outer, extent // run), run), pool.index(inner, run))
    loops = [(outer, extent // run) if own == name else (own, n) for own, n in nest.loops]
    return replace(rebound(nest, {name: at}, [*loops, (inner, run)]), shared=inner)
