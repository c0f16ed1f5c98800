"""Chooses a tactic and a configuration for each kernel: from the cache, by time, or by rank."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from planck.benchmark.limits import Limits
from planck.codegen.processes import CompilePool
from planck.dtypes import bf16
from planck.knobs import knobs
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Offering, Tactic
from planck.tactics.pattern import SHORT_BOUND
from planck.tune.bound import BOUND_MARGIN, exact_bound_us, exact_flops
from planck.tune.cache import LOCK, Timing, TimingCache, turn
from planck.tune.error import LAYER_BOUND, kernel_errors
from planck.tune.measure import cold_outputs, measure

log = logging.getLogger(__name__)

# Candidates that each optimisation level measures, over all tactics that offer. On ResNet-50 (Zen
# 5, two threads) four of 4 to 13 hold the fastest of all in 18 of 22 kernels; in the others the
# best of the four takes 1 to 7 % longer.
CANDIDATES: Final = (1, 2, 3, 4, 8, 1000)
Report = Callable[[str, int, int, str], None]
MARGIN: Final = 1.02
LAST_RESORT: Final = "loops"
HEAVY: Final = frozenset({"Conv", "ConvTranspose", "MatMul", "Attention"})


@dataclass(frozen=True, slots=True)
class Choice:
    """How a kernel will run; timings lists all that was considered, the fastest first."""

    tactic: Tactic
    config: Config
    code: Code
    object: bytes
    timings: tuple[Timing, ...]


T = TypeVar("T", bound=Offering)


@dataclass(frozen=True)
class Candidate(Generic[T]):
    tactic: T
    config: Config


def offers(kernel: Kernel, tactics: Sequence[T]) -> tuple[list[Candidate[T]], list[Timing]]:
    """All ways to run a kernel, each tactic's best guess first; and who refused, with why."""
    found: list[list[Candidate[T]]] = []
    refused: list[Timing] = []
    for tactic in tactics:
        answer = tactic.offers(kernel)
        if isinstance(answer, No):
            refused.append(Timing(tactic.name, {}, refused=answer.reason))
        elif found and tactic.name == LAST_RESORT and _is_heavy(kernel):
            reason = "plain loops are not tried where a tactic made for the layer offers"
            refused.append(Timing(tactic.name, {}, refused=reason))
        else:
            found.append([Candidate(tactic, config) for config in answer])
    first = [rows[0] for rows in found if rows]
    rest = [c for rows in found for c in rows[1:]]
    return first + rest, refused


def admits(tactic: Tactic, error: float, kernel: Kernel) -> bool | No:
    """Whether a kernel's precision admits a tactic that has this error on it."""
    short = any(v.type.dtype is bf16 for v in kernel.graph.inputs if v.name in kernel.constants)
    name, bound = ("bf16", SHORT_BOUND) if short else ("fp32", LAYER_BOUND)
    if tactic.exact or error <= bound:
        return True
    return No(f"its error is {error:.1e} of the largest output, {name} admits {bound:.0e}")


def _is_heavy(kernel: Kernel) -> bool:
    return any(type(node.op).__name__ in HEAVY for node in kernel.graph.nodes)


def choose(
    kernels: Sequence[Kernel],
    tactics: Sequence[Tactic],
    pool: CompilePool,
    cache: TimingCache,
    *,
    level: int = 3,
    seconds: float | None = None,
    weights_from_memory: bool = False,
    again: Collection[str] = (),
    report: Report = lambda stage, done, total, what: None,
) -> dict[str, Choice | No]:
    """A choice for each distinct kernel, by key; No where no tactic takes it.

    First everything is compiled, then everything is timed: compilers beside a measurement would
    spoil it. Between the two, kernels that have an inexact candidate are compared with float64.
    Where the machine's limits are known, exact candidates wait for the times of the inexact ones,
    and go through the same if those leave them a chance.

    level:    0 takes each first offer unmeasured; 5 measures all offers
    seconds:  when these are over, kernels not measured yet take their first offer
    weights_from_memory:  no cache will hold the weights when a layer's turn comes
    again:    keys of the kernels that read what weights they read just before
    """
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    jobs = [
        _Job(kernel, tactics, cache, level, weights_from_memory, kernel.key in again)
        for kernel in kernels
    ]
    limits = {n: cache.limits_of(n) for n in sorted({kernel.threads for kernel in kernels})}
    for job in jobs:
        job.start(pool, time.monotonic() > end, limits[job.kernel.threads])
    for number, job in enumerate(jobs):
        report("compile", number, len(jobs), job.title)
        job.wait()
    result: dict[str, Choice | No] = {}
    for number, job in enumerate(jobs):
        if job.inexact:
            report("compare", number, len(jobs), job.title)
            with turn(LOCK):
                job.compare()
    late = [job for job in jobs if job.late]
    for number, job in enumerate(late):
        report("tune", number, len(late), job.title)
        with turn(LOCK):
            job.measure(end)
    for job in late:
        job.start_late(pool)
    for job in late:
        job.wait()
    for number, job in enumerate(jobs):
        report("tune", number, len(jobs), job.title)
        with turn(LOCK):
            result[job.kernel.key] = job.finish(end)
    cache.save()
    return result


class _Job:
    """One kernel on its way to a choice: start, wait, finish."""

    def __init__(
        self,
        kernel: Kernel,
        tactics: Sequence[Tactic],
        cache: TimingCache,
        level: int,
        weights_from_memory: bool,
        again: bool,
    ) -> None:
        self.kernel, self.cache, self.level, self.again = kernel, cache, level, again
        weights_from_memory = weights_from_memory and not again
        self.cold_outputs = weights_from_memory and bool(cold_outputs(kernel))
        self.weights_from_memory = weights_from_memory and bool(kernel.constants)
        self.candidates, self.refused = offers(kernel, tactics)
        self.cached: list[Timing] | None = None
        self.late: list[tuple[Candidate[Tactic], Code]] = []
        self.bound_us = 0.0
        self.times: list[float] = []
        self.building: list[tuple[Candidate[Tactic], Code, Future[bytes]]] = []
        self.ready: list[tuple[Candidate[Tactic], Code, bytes]] = []
        self.errors: list[float | None] = []
        self.title = " ".join(type(node.op).__name__ for node in kernel.graph.nodes[:3])

    @property
    def _key(self) -> str:
        key = f"{self.kernel.key}/{self.kernel.threads}"
        if self.again:
            return f"{key}/again"
        if self.cold_outputs:
            return f"{key}/memory/results"
        return f"{key}/memory" if self.weights_from_memory else key

    def start(self, pool: CompilePool, hurry: bool, limits: Limits | None) -> None:
        """Write the code of the candidates worth timing, and hand it to the compilers.

        Exact candidates beside inexact ones that do much less come later, if limits say what they
        take at least. Each tactic's best guess does not: the network may need it in place of what
        errs or grows.
        """
        chosen = self.candidates[: 1 if hurry else CANDIDATES[self.level]]
        if chosen and not any(c.tactic.exact for c in chosen):  # to have one if these err too much
            chosen += [c for c in self.candidates if c.tactic.exact][:1]
        self.cached = self.cache.get(self._key) if chosen else None
        if self.cached:
            known = self._offered(self.cached[0])
            tried = [(row.tactic, dict(row.config)) for row in self.cached]
            whole = all((c.tactic.name, dict(c.config)) in tried for c in chosen)
            self.cached = [row for row in self.cached if row.refused or self._offered(row)]
            chosen, self.cached = ([known], self.cached) if known and whole else (chosen, None)
        codes = [(c, c.tactic.build(self.kernel, c.config)) for c in chosen]
        saved = [code.work_flops for c, code in codes if not c.tactic.exact and code.work_flops]
        if limits and saved and BOUND_MARGIN * min(saved) < exact_flops(self.kernel):
            self.bound_us = exact_bound_us(self.kernel, limits, self.weights_from_memory)
        if self.bound_us:
            guesses = {c.tactic.name: c for c in reversed(chosen)}.values()
            self.late = [row for row in codes if row[0].tactic.exact and row[0] not in guesses]
        self._compile(pool, [row for row in codes if row not in self.late])

    def start_late(self, pool: CompilePool) -> None:
        """Hand on those that came later, or refuse them because of what was measured meanwhile."""
        best = min(self.times, default=0.0)
        if not best or self.bound_us <= BOUND_MARGIN * best:
            self._compile(pool, self.late)
            return
        reason = f"at the machine's limits it would take {self.bound_us:.1f} us"
        self.refused += [Timing(c.tactic.name, c.config, refused=reason) for c, _ in self.late]

    def _compile(self, pool: CompilePool, codes: Sequence[tuple[Candidate[Tactic], Code]]) -> None:
        for candidate, code in codes:
            if knobs().debug >= 4:
                log.info("%s %s\n%s", code.symbol, dict(candidate.config), code.llvm)
            self.building.append((candidate, code, pool.submit(code.llvm, code.level)))

    def _offered(self, timing: Timing) -> Candidate[Tactic] | None:
        """The candidate that a cached timing names, if its tactic still offers it."""
        for candidate in self.candidates:
            same = candidate.tactic.name == timing.tactic
            if same and dict(candidate.config) == dict(timing.config):
                known = candidate.tactic.exact or timing.error is not None
                return candidate if known else None
        return None

    def wait(self) -> None:
        """Take what the compilers made since the last call; its errors are not known."""
        self.ready += [(c, code, future.result()) for c, code, future in self.building]
        self.building = []
        self.errors += [None] * (len(self.ready) - len(self.errors))

    @property
    def inexact(self) -> bool:
        """Whether a candidate's error must be measured: the cache does not know it."""
        return not self.cached and not all(c.tactic.exact for c, _, _ in self.ready)

    def compare(self) -> None:
        """Measure all candidates' errors; refuse the inexact ones that err too much."""
        runs = [(c.tactic, c.config, code, object_) for c, code, object_ in self.ready]
        found = list(zip(self.ready, kernel_errors(self.kernel, runs), strict=True))
        kept = []
        for ready, error in found:
            refusal = admits(ready[0].tactic, error, self.kernel)
            if isinstance(refusal, No):
                row = Timing(ready[0].tactic.name, ready[0].config, 0.0, refusal.reason, error)
                self.refused.append(row)
            else:
                kept.append((ready, error))
        self.ready = [ready for ready, _ in kept]
        self.errors = [error for _, error in kept]

    def _row(self, number: int, us: float) -> Timing:
        candidate, code, _ = self.ready[number]
        name, growth = candidate.tactic.name, code.growth_bytes
        return Timing(name, candidate.config, us, "", self.errors[number], growth)

    def measure(self, end: float) -> None:
        """Time what is ready, unless all of it was timed side by side."""
        if len(self.times) == len(self.ready) or time.monotonic() > end:
            return
        runs = [(c.tactic, c.config, code, object_) for c, code, object_ in self.ready]
        # Rounded as the cache keeps them, so that a build from the cache gives the same bytes.
        cold = self.weights_from_memory or self.cold_outputs
        self.times = [round(us, 3) for us in measure(self.kernel, runs, cold, self.again)]

    def finish(self, end: float) -> Choice | No:
        """The fastest candidate. Timed unless the cache knows, or there is no time."""
        if not self.ready:
            reasons = "; ".join(f"{t.tactic}: {t.refused}" for t in self.refused)
            return No(reasons or "no tactic offers")
        if not self.cached and self.level:
            self.measure(end)
        if self.cached or len(self.times) < len(self.ready):
            best = self.ready[0]
            first = self._row(0, 0.0)
            rows = self.cached or [first, *self.refused]
            return Choice(best[0].tactic, best[0].config, best[1], best[2], tuple(rows))
        times = self.times
        # The first offer is the cost model's; a rival must beat it by more than noise.
        timed = sorted((us * (MARGIN if n else 1.0), n) for n, us in enumerate(times))
        rows = [*(self._row(n, times[n]) for _, n in timed), *self.refused]
        self.cache.put(self._key, rows)
        if knobs().debug >= 3:
            log.info("%s", "\n".join([self.title, *(f"  {row.as_json()}" for row in rows)]))
        candidate, code, object_ = self.ready[timed[0][1]]
        return Choice(candidate.tactic, candidate.config, code, object_, tuple(rows))
