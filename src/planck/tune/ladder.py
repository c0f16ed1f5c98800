"""Other ways to run kernels whose choice is inexact, down to the one of the least error."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from planck.codegen.processes import CompilePool
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Tactic
from planck.tune.cache import Timing, turn
from planck.tune.choose import Candidate, Choice, Report, admits, offers
from planck.tune.error import kernel_errors
from planck.tune.measure import measure

_Building = tuple[Candidate[Tactic], Code, Future[bytes]]


@dataclass(frozen=True, slots=True)
class Ladder:
    """What may stand in for a kernel's choice.

    rungs:   the choice itself, then each the fastest whose error is at most half of the one before;
             the last has the least error of all. Their timings are their own row alone
    others:  rows of all that was considered, the fastest first, then those that refused
    """

    rungs: tuple[Choice, ...]
    others: tuple[Timing, ...]

    def errors(self) -> list[float]:
        """Of the rungs, on the kernel alone."""
        return [rung.timings[0].error or 0.0 for rung in self.rungs]

    def choice(self, rung: int, reason: str) -> Choice:
        """A rung as the kernel's choice; faster ways that err more are refused for a reason."""
        chosen = self.rungs[rung]
        own = chosen.timings[0]
        rows = []
        for row in self.others:
            if (row.tactic, dict(row.config)) == (own.tactic, dict(own.config)):
                continue
            worse = not row.refused and row.us <= own.us and (row.error or 0.0) > (own.error or 0.0)
            rows.append(replace(row, refused=reason) if rung and worse else row)
        rows.sort(key=lambda row: bool(row.refused))
        return replace(chosen, timings=(own, *rows))


def ladders(
    kernels: Mapping[str, Kernel],
    choices: Mapping[str, Choice],
    tactics: Sequence[Tactic],
    pool: CompilePool,
    *,
    weights_from_memory: bool = False,
    report: Report = lambda stage, done, total, what: None,
) -> dict[str, Ladder]:
    """A ladder for each kernel, by key.

    Everything that inexact tactics offer is compiled, compared with float64 and timed, beside what
    was timed before and the best guess of the exact ones.
    """
    found: dict[str, Ladder] = {}
    building: dict[str, list[_Building]] = {}
    for key, kernel in kernels.items():
        building[key] = []
        for candidate in _candidates(kernel, choices[key], tactics):
            code = candidate.tactic.build(kernel, candidate.config)
            building[key].append((candidate, code, pool.submit(code.llvm, code.level)))
    lock = Path(tempfile.gettempdir()) / "planck-timing.lock"
    for number, (key, started) in enumerate(building.items()):
        report("compile", number, len(kernels), key)
        for *_, future in started:
            future.result()
    for number, (key, kernel) in enumerate(kernels.items()):
        report("compare", number, len(kernels), key)
        with turn(lock):
            found[key] = _ladder(kernel, choices[key], building[key], weights_from_memory)
    return found


def _candidates(
    kernel: Kernel, choice: Choice, tactics: Sequence[Tactic]
) -> list[Candidate[Tactic]]:
    """All that inexact tactics offer, the exact ones' first, and what was timed."""
    offered, _ = offers(kernel, tactics)
    exact = [c for c in offered if c.tactic.exact]
    rows = {_name(row.tactic, row.config) for row in choice.timings if row.us}
    return [
        c
        for c in offered
        if not c.tactic.exact or c is exact[0] or _name(c.tactic.name, c.config) in rows
    ]


def _ladder(
    kernel: Kernel,
    choice: Choice,
    building: Sequence[_Building],
    weights_from_memory: bool,
) -> Ladder:
    rows = {_name(row.tactic, row.config): row for row in choice.timings}
    ways = []
    for c, code, future in building:
        row = rows.get(_name(c.tactic.name, c.config)) or Timing(c.tactic.name, c.config)
        ways.append(Choice(c.tactic, c.config, code, future.result(), (row,)))
    ways = _with_errors(kernel, ways)
    refused = [row for row in choice.timings if row.refused]
    known = {_name(row.tactic, row.config) for row in refused}
    kept = []
    for way in ways:
        own = way.timings[0]
        refusal = admits(way.tactic, own.error or 0.0, kernel)
        if not isinstance(refusal, No):
            kept.append(way)
        elif _name(own.tactic, own.config) not in known:
            refused.append(replace(own, refused=refusal.reason))
    kept = _with_times(kernel, kept, weights_from_memory and bool(kernel.constants))
    kept.sort(key=lambda way: way.timings[0].us)
    present = _name(choice.tactic.name, choice.config)
    start = next(way for way in kept if _name(way.tactic.name, way.config) == present)
    return Ladder(_rungs(kept, start), (*_rows(kept), *refused))


def _with_errors(kernel: Kernel, ways: Sequence[Choice]) -> list[Choice]:
    """The ways with the errors that their rows lack."""
    runs = [_run(way) for way in ways if way.timings[0].error is None]
    errors = iter(kernel_errors(kernel, runs) if runs else ())
    rows = [r if r.error is not None else replace(r, error=next(errors)) for r in _rows(ways)]
    return [replace(way, timings=(row,)) for way, row in zip(ways, rows, strict=True)]


def _with_times(kernel: Kernel, ways: Sequence[Choice], weights_from_memory: bool) -> list[Choice]:
    """The ways with times: those known if all are, else all timed side by side.

    Times of two minutes do not compare where others use the machine as well.
    """
    if all(row.us for row in _rows(ways)):
        return list(ways)
    times = measure(kernel, [_run(way) for way in ways], weights_from_memory)
    rows = [replace(r, us=round(us, 3)) for r, us in zip(_rows(ways), times, strict=True)]
    return [replace(way, timings=(row,)) for way, row in zip(ways, rows, strict=True)]


def _rows(ways: Sequence[Choice]) -> list[Timing]:
    return [way.timings[0] for way in ways]


def _run(way: Choice) -> tuple[Tactic, Config, Code, bytes]:
    return way.tactic, way.config, way.code, way.object


def _rungs(ways: Sequence[Choice], start: Choice) -> tuple[Choice, ...]:
    """From start down; ways are given the fastest first."""

    def error(way: Choice) -> float:
        return way.timings[0].error or 0.0

    rungs = [start]
    while better := [way for way in ways if error(way) <= error(rungs[-1]) / 2 < error(rungs[-1])]:
        rungs.append(better[0])
    least = min(ways, key=error)
    if error(least) < error(rungs[-1]):
        rungs.append(least)
    return tuple(rungs)


def _name(tactic: str, config: Mapping[str, object]) -> str:
    return f"{tactic} {sorted(config.items())}"
