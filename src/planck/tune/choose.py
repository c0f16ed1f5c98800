"""Chooses a tactic and a configuration for each kernel: from the cache, by time, or by rank."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from planck.codegen.processes import CompilePool
from planck.errors import BuildError
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Tactic
from planck.tune.cache import Timing, TimingCache, turn
from planck.tune.measure import measure

log = logging.getLogger(__name__)

# Candidates that each optimisation level measures, over all tactics that offer.
CANDIDATES: Final = (1, 2, 3, 4, 8, 1000)
Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """How a kernel will run; timings lists all that was considered, the fastest first."""

    tactic: Tactic
    config: Config
    code: Code
    object: bytes
    timings: tuple[Timing, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    tactic: Tactic
    config: Config


def offers(kernel: Kernel, tactics: Sequence[Tactic]) -> tuple[list[Candidate], list[Timing]]:
    """All ways to run a kernel, each tactic's best guess first; and who refused, with why."""
    found: list[list[Candidate]] = []
    refused: list[Timing] = []
    for tactic in tactics:
        answer = tactic.offers(kernel)
        if isinstance(answer, No):
            refused.append(Timing(tactic.name, {}, refused=answer.reason))
        else:
            found.append([Candidate(tactic, config) for config in answer])
    first = [rows[0] for rows in found if rows]
    rest = [c for rows in found for c in rows[1:]]
    return first + rest, refused


def choose(
    kernels: Sequence[Kernel],
    tactics: Sequence[Tactic],
    pool: CompilePool,
    cache: TimingCache,
    *,
    level: int = 3,
    seconds: float | None = None,
    report: Report = lambda done, total, what: None,
) -> dict[str, Choice | No]:
    """A choice for each distinct kernel, by key; No where no tactic takes it.

    level:    0 takes each first offer unmeasured; 5 measures all offers
    seconds:  when these are over, kernels not measured yet take their first offer
    """
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    jobs = [_Job(kernel, tactics, pool, cache, level) for kernel in kernels]
    result: dict[str, Choice | No] = {}
    lock = Path(tempfile.gettempdir()) / "planck-timing.lock"
    ahead = 2 * pool.jobs + 2
    for number, job in enumerate(jobs):
        for later in jobs[number : number + ahead]:
            later.start(hurry=time.monotonic() > end)
        report(number, len(jobs), job.title)
        with turn(lock):
            result[job.kernel.key] = job.finish(end)
    report(len(jobs), len(jobs), "")
    cache.save()
    return result


class _Job:
    """One kernel: its candidates compile while earlier kernels are measured."""

    def __init__(
        self,
        kernel: Kernel,
        tactics: Sequence[Tactic],
        pool: CompilePool,
        cache: TimingCache,
        level: int,
    ) -> None:
        self.kernel, self.tactics, self.pool, self.cache = kernel, tactics, pool, cache
        self.level = level
        self.started = False
        self.cached: list[Timing] | None = None
        self.refused: list[Timing] = []
        self.building: list[tuple[Candidate, Code, Future[bytes]]] = []
        self.title = kernel.graph.name

    @property
    def _key(self) -> str:
        return f"{self.kernel.key}/{self.kernel.threads}"

    def start(self, hurry: bool = False) -> None:
        if self.started:
            return
        self.started = True
        candidates, self.refused = offers(self.kernel, self.tactics)
        if not candidates:
            return
        chosen = candidates[: CANDIDATES[self.level]]
        self.cached = self.cache.get(self._key)
        if self.cached:
            chosen, self.cached = self._cached_first(candidates) or (chosen, None)
        if hurry:
            chosen = chosen[:1]
        for candidate in chosen:
            code = candidate.tactic.build(self.kernel, candidate.config)
            self.building.append((candidate, code, self.pool.submit(code.llvm, code.level)))

    def _cached_first(
        self, candidates: list[Candidate]
    ) -> tuple[list[Candidate], list[Timing]] | None:
        """The cache's best, if a tactic still offers it."""
        assert self.cached
        best = self.cached[0]
        for candidate in candidates:
            same = candidate.tactic.name == best.tactic
            if same and dict(candidate.config) == dict(best.config):
                return [candidate], self.cached
        return None

    def finish(self, end: float) -> Choice | No:
        if not self.building:
            reasons = "; ".join(f"{t.tactic}: {t.refused}" for t in self.refused)
            return No(reasons or "no tactic offers")
        ready = [(c, code, future.result()) for c, code, future in self.building]
        if self.cached or len(ready) == 1 or time.monotonic() > end:
            candidate, code, object_ = ready[0]
            timings = self.cached or [Timing(candidate.tactic.name, candidate.config)]
            return Choice(candidate.tactic, candidate.config, code, object_, tuple(timings))
        rows: list[tuple[float, int]] = []
        for number, (candidate, code, object_) in enumerate(ready):
            try:
                us = measure(self.kernel, candidate.tactic, candidate.config, code, object_)
            except BuildError as error:
                self.refused.append(
                    Timing(candidate.tactic.name, candidate.config, refused=str(error))
                )
                continue
            log.debug("%s %s %s: %.1f us", self.title, candidate.tactic.name, candidate.config, us)
            rows.append((us, number))
        if not rows:
            return No("; ".join(t.refused for t in self.refused))
        rows.sort()
        timings = [
            Timing(ready[n][0].tactic.name, ready[n][0].config, us) for us, n in rows
        ] + self.refused
        self.cache.put(self._key, timings)
        candidate, code, object_ = ready[rows[0][1]]
        return Choice(candidate.tactic, candidate.config, code, object_, tuple(timings))
