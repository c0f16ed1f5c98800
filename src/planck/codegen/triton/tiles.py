"""How the steps of a loop nest are cut into tiles, one for each block of a GPU's kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from planck.loops.lower import Nest, walk_outside_reductions
from planck.loops.terms import Term

Way = Literal["flat", "across", "rows"]
Loop = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a nest is cut into blocks.

    rows, columns:  of a tile, powers of two
    trigger:        0 never; 2 right after the wait, 3 before the last stores
    parts:          blocks that share the reduction of one tile of rows; the last of them to be
                    done adds up what each left in the workspace
    """

    way: Way
    rows: int
    columns: int
    trigger: int = 2
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Groups:
    """The loops of a nest by what they are in a tile."""

    outer: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    columns: tuple[Loop, ...]


def groups(nest: Nest, way: Way) -> Groups:
    """The loops of a nest by what they are in a tile."""
    if way == "flat":
        return Groups((), (), nest.loops)
    if way == "across":
        pick = {nest.across: "rows", nest.vector: "columns"}
        outer = tuple(loop for loop in nest.loops if loop[0] not in pick)
        rows, columns = (
            tuple(loop for loop in nest.loops if pick.get(loop[0]) == side)
            for side in ("rows", "columns")
        )
        return Groups(outer, rows, columns)
    free = frozenset().union(*(t.free for t in reductions(nest)))
    rows = tuple(loop for loop in nest.loops if loop[0] in free)
    return Groups((), rows, tuple(loop for loop in nest.loops if loop[0] not in free))


def reductions(nest: Nest) -> list[Term]:
    """The reductions of a nest that stand in no other."""
    return [
        t for t in walk_outside_reductions([s.value for s in nest.stores]) if t.kind == "reduce"
    ]


def size(loops: Sequence[Loop]) -> int:
    return math.prod(n for _, n in loops)


def blocks(nest: Nest, tiling: Tiling) -> int:
    found = groups(nest, tiling.way)
    along = 1 if tiling.way == "rows" else -(-size(found.columns) // tiling.columns)
    return size(found.outer) * -(-size(found.rows) // tiling.rows) * along * tiling.parts


def divisible(nest: Nest) -> bool:
    """Whether several blocks may share a reduction: it is the only one, and stands for a row."""
    found = reductions(nest)
    alone = len(found) == 1 and not found[0].what[0].startswith("arg")
    return alone and size(groups(nest, "rows").columns) == 1
