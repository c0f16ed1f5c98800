"""The border of a vectorised loop apart from its interior, where no element needs a test.

for x in 0..56: max(0 <= 2 x + r - 1 ? a[2 x + r - 1] : -inf for r in 0..3)
->
for x in 0..1:  max(0 <= 2 x + r - 1 ? a[2 x + r - 1] : -inf for r in 0..3)
for x in 1..56: max(a[2 x + r - 1] for r in 0..3)

Each piece is the same nest over a part of the loop: comparisons, clamps and remainders that a
part's range decides disappear, as they do wherever a range decides them.

Notebook (EPYC with AVX2, one thread, the kernel alone, all operands in rows, us):

- Foretold: a fifth of the time, as each tap of a window was a masked load, or a gather at stride
  2. Max pool 3x3/2 64@112 4100 -> 450, 5x5 64@20 860 -> 126, 13x13 64@20 7500 -> 1330 (8 of 20
  columns are interior); average 3x3 64@56 1700 -> 240, 64@7 22 -> 8; 3-D 4460 -> 565. Reflect by
  3 32@128 1050 -> 135, a constant 480 -> 132; by 1 32@14 9.6 -> 4.3. A concat of 4 and 80 columns
  waits for memory: 170 both.
- A narrow border of windows takes no lanes: by the elements' own ends (`loops.limits`) instead of
  a branch for each tap, the average pool's borders cost 57 us instead of 160.
- Rows of a window beyond the border are ends of a loop too; to cut the loop over rows as well
  would make nine bodies of three, for nothing.
- Every other element by four loads of half a vector instead of two of a whole one and a
  permutation (`memory.read_strided`): 33 us where two take 28.5, loads are what is short.
- A maximum with NaN as three instructions instead of four (`reductions.extreme`): 34.5 -> 28.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from planck.dtypes import i64
from planck.loops.lower import Nest, rebound
from planck.loops.terms import Pool, Term, bounds, split, walk

# Pieces of one loop: each is code of its own.
MOST: Final = 8
_STRICT: Final = ("less", "greater_equal")  # tests whether a - b < 0
_LAX: Final = ("less_equal", "greater")  # tests whether a - b <= 0
_CLAMP: Final = ("min", "max")  # of equals either


def pieces(nest: Nest) -> list[Nest]:
    """The nest over each part of its vector's loop."""
    plain = nest.guard is None and nest.across is None and nest.keep is None
    if nest.vector is None or not plain:
        return [nest]
    found = _parts(nest, nest.vector)
    return found if len(found) <= MOST else [nest]


def _parts(nest: Nest, name: str) -> list[Nest]:
    extent = nest.extent(name)
    cuts = sorted(_cuts(nest, name, extent))
    if not cuts:
        return [nest]
    ends = zip([0, *cuts], [*cuts, extent], strict=True)
    return [part for begin, end in ends for part in _parts(_part(nest, name, begin, end), name)]


def _part(nest: Nest, name: str, begin: int, end: int) -> Nest:
    """The nest where one loop runs from `begin` to `end` only."""
    at = nest.pool.add(nest.pool.index(name, end - begin), nest.pool.integer(begin))
    loops = [(own, end - begin if own == name else n) for own, n in nest.loops]
    return rebound(nest, {name: at}, loops)


def undecided(nest: Nest) -> bool:
    """Whether something in the nest still tests where the vector's loop stands."""
    assert nest.vector is not None
    return any(True for _ in _tests(nest, nest.vector))


def _tests(nest: Nest, name: str) -> Iterator[Term]:
    """Comparisons and clamps of whole numbers that depend on a loop."""
    for term in walk(nest.roots):
        whole = term.kind == "apply" and term.args[0].dtype is i64 and name in term.free
        if whole and term.what in (*_STRICT, *_LAX, *_CLAMP, "mod"):
            yield term


def _cuts(nest: Nest, name: str, extent: int) -> set[int]:
    """Where a test that most of the loop passes, or fails, begins or ends to be certain.

    Clamps are looked at where all else is certain: most are so too, then.
    """
    tests, clamps = set[int](), set[int]()
    for term in _tests(nest, name):
        a, b = term.args
        if term.what == "mod":
            tests |= _turns(a, b, name, extent)
            continue
        ends = _uncertain(nest.pool, term, name, extent)
        if ends is None:
            continue
        begin, end = (min(max(at, 0), extent) for at in ends)
        if 2 * (end - begin) <= extent:
            (clamps if term.what in _CLAMP else tests).update((begin, end))
    outer = {0, extent}
    return tests - outer or clamps - outer


def _uncertain(pool: Pool, term: Term, name: str, extent: int) -> tuple[int, int] | None:
    """From where to where the answer depends on more than a loop's variable."""
    a, b = term.args
    parts, constant = split(pool.add(a, b, -1))
    own = next((t for t in parts if t.kind == "index" and t.what == name), None)
    if own is None or any(name in t.free for t in parts if t is not own):
        return None
    factor = parts.pop(own)
    low, high = bounds(parts, constant)
    if low is None or high is None:
        return None
    lax = term.what in _LAX
    if factor < 0:  # a - b <= 0 is the opposite of b - a < 0
        factor, low, high, lax = -factor, -high, -low, not lax
    above, over = -(low // factor), -low // factor + 1  # from where on a - b >= 0, and > 0
    if term.what not in _CLAMP:
        return (-high // factor + 1, over) if lax else (-(high // factor), above)
    begin = -high // factor + 1
    if begin <= above:
        return begin, above
    cut = begin if 2 * above > extent else above  # what is certain anyway goes to the longer part
    return cut, cut


def _turns(value: Term, by: Term, name: str, extent: int) -> set[int]:
    """Where a remainder begins anew, if it hardly does."""
    parts, constant = split(value)
    ((atom, factor),) = parts.items() if len(parts) == 1 else ((value, 0),)
    if atom.kind != "index" or atom.what != name or factor < 1 or by.kind != "const":
        return set()
    first, last = constant // by.what, (constant + factor * (extent - 1)) // by.what
    if last - first > 2:
        return set()
    return {-((constant - turn * by.what) // factor) for turn in range(first + 1, last + 1)}
