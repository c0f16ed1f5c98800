"""The weight budget: fast kernels whose weights grow give way where they win least for their bytes.

Winograd's transform makes weights up to seven times as large. Time is worth memory, but not any
amount of it: beyond an allowance, kernels go back to ways with smaller weights, such that the
network takes the least time that the allowance permits (a knapsack with one of several ways for
each kernel, by dynamic programming over the bytes). The times are those of the tuner; where
nothing was timed, nothing is weighed.

Giving way one by one, the fewest microseconds for each byte first, left room unused: YOLOv3-tiny at
batch 8 grew by 17 MB of 48. With this and more ways with smaller weights to choose from (the
candidates of `tactics.winograd`), batch 8 on two threads of Zen 5 takes 0.84 of the time for
YOLOv3-tiny, YOLOv4-tiny 0.94, U-Net 0.97, YOLOv5s 0.98, ResNet-50 0.99.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from planck.codegen.processes import CompilePool
from planck.compiler.split import Launch
from planck.tactics.kernel import Kernel, Tactic
from planck.tune.cache import Timing
from planck.tune.choose import Choice, offers

log = logging.getLogger(__name__)

# Small networks may grow by much of their size, large ones by less of it. With 15 %, VGG-16 takes
# 1.6 times as long on one thread.
# What this means beside other runtimes' memory stands in docs/performance.md.
LEAST_ALLOWANCE_BYTES: Final = 48_000_000
ALLOWANCE_SHARE: Final = 0.75
BINS: Final = 4096  # the allowance is weighed in so many parts; growth is rounded up to one


def allowance(weight_bytes: int) -> int:
    """Bytes by which a network's weights may grow where nobody says how many."""
    return max(LEAST_ALLOWANCE_BYTES, int(ALLOWANCE_SHARE * weight_bytes))


@dataclass(slots=True)
class _Use:
    """A kernel in the network: how often it runs, on how many sets of weights, by which row."""

    kernel: Kernel
    rows: list[Timing]
    runs: int
    sets: int
    at: int = 0

    def bytes_of(self, row: int) -> int:
        return self.rows[row].growth_bytes * self.sets

    def us_of(self, row: int) -> float:
        return self.rows[row].us * self.runs


def weigh(
    launches: Sequence[Launch],
    choices: Mapping[str, Choice],
    tactics: Sequence[Tactic],
    pool: CompilePool,
    limit: int | None = None,
) -> dict[str, Choice]:
    """The choices, some replaced so that the weights grow by no more than the limit, if they can.

    limit:  bytes; None for `allowance`
    """
    uses, weight_bytes = _uses(launches, choices)
    limit = allowance(weight_bytes) if limit is None else limit
    before = sum(use.bytes_of(0) for use in uses.values())
    if before > limit:
        _fit(list(uses.values()), limit)
    total = sum(use.bytes_of(use.at) for use in uses.values())
    replaced = {key: use for key, use in uses.items() if use.at}
    if replaced:
        log.info(
            "%d kernels give way: weights would grow by %.1f MB, now by %.1f; %.1f are allowed",
            *(len(replaced), before / 1e6, total / 1e6, limit / 1e6),
        )
    building = []
    for key, use in replaced.items():
        row = use.rows[use.at]
        (candidate,) = (
            c
            for c in offers(use.kernel, tactics)[0]
            if c.tactic.name == row.tactic and dict(c.config) == dict(row.config)
        )
        code = candidate.tactic.build(use.kernel, candidate.config)
        building.append((key, candidate, code, pool.submit(code.llvm, code.level)))
    result = dict(choices)
    for key, candidate, code, future in building:
        rows = _rows(choices[key].timings, uses[key].rows[uses[key].at], limit)
        result[key] = Choice(candidate.tactic, candidate.config, code, future.result(), rows)
    return result


def _fit(uses: Sequence[_Use], limit: int) -> None:
    """Give each kernel a row such that all take the least time within the limit.

    Where even the smallest are too large together, they are what is taken.
    """
    least = [min(map(use.bytes_of, range(len(use.rows)))) for use in uses]  # below zero: shrinks
    over = limit - sum(least)
    if over < 0:
        for use, bytes_ in zip(uses, least, strict=True):
            use.at = next(row for row in range(len(use.rows)) if use.bytes_of(row) == bytes_)
        return
    bin_bytes = max(1, over // BINS)
    room = over // bin_bytes
    best = np.zeros(room + 1)  # microseconds of the kernels so far, by the bins they may fill
    taken: list[tuple[list[int], npt.NDArray[np.intp]]] = []
    for use, own in zip(uses, least, strict=True):
        sizes = [-(-(use.bytes_of(row) - own) // bin_bytes) for row in range(len(use.rows))]
        costs = np.full((len(sizes), room + 1), np.inf)
        for row, size in enumerate(sizes):
            if size <= room:
                costs[row, size:] = best[: room + 1 - size] + use.us_of(row)
        taken.append((sizes, costs.argmin(0)))
        best = costs.min(0)
    for use, (sizes, rows) in zip(reversed(uses), reversed(taken), strict=True):
        use.at = int(rows[room])
        room -= sizes[use.at]


def _uses(launches: Sequence[Launch], choices: Mapping[str, Choice]) -> tuple[dict[str, _Use], int]:
    """The kernels that were timed, by key; and the bytes of all weights as the model has them."""
    sources: dict[str, list[tuple[str, ...]]] = {}
    weights: dict[str, int] = {}
    kernels: dict[str, Kernel] = {}
    for launch in launches:
        if launch.kernel is None:
            continue
        own = [launch.names[name] for name in sorted(launch.kernel.constants)]
        sources.setdefault(launch.kernel.key, []).append(tuple(v.name for v in own))
        weights |= {v.name: v.type.bytes for v in own}
        kernels[launch.kernel.key] = launch.kernel
    uses = {}
    for key, names in sources.items():
        rows = [row for row in choices[key].timings if row.us and not row.refused]
        rows = rows[:1] + [row for row in rows if row.growth_bytes < rows[0].growth_bytes]
        if rows and rows[0].growth_bytes:
            uses[key] = _Use(kernels[key], rows, len(names), len(set(names)))
    return uses, sum(weights.values())


def _rows(timings: Sequence[Timing], chosen: Timing, limit: int) -> tuple[Timing, ...]:
    """The chosen row first; larger and faster ones are refused, with the reason."""
    reason = f"the network's weights may grow by {limit / 1e6:.0f} MB, and others win more by it"
    rows = []
    for row in timings:
        if row is chosen:
            continue
        given_up = not row.refused and row.growth_bytes > chosen.growth_bytes
        rows.append(replace(row, refused=reason) if given_up and row.us <= chosen.us else row)
    rows.sort(key=lambda row: bool(row.refused))
    return (chosen, *rows)
