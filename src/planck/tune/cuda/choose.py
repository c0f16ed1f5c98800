"""Chooses a tactic and a configuration for each kernel of a GPU: from the cache, by time, by rank.

Candidates are compiled in processes, and timed, each in a graph of its own (tune/cuda/trial.py),
while others still compile: a graph runs without the host. Where nothing is timed, each kernel takes
the first offer that compiles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from planck.codegen.library import LibraryCode
from planck.codegen.triton.code import Cubin, TritonCode
from planck.device.cuda.library import LIBRARIES
from planck.errors import BuildError, CudaError, LibraryError
from planck.knobs import knobs
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.tactics.triton.tactic import CudaTactic
from planck.tune.cache import Timing, TimingCache
from planck.tune.choose import Candidate, offers
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.clock import Clock, FaultError
from planck.tune.cuda.trial import time_us

log = logging.getLogger(__name__)

# Candidates that each optimisation level times, over all tactics that offer. A kernel compiles in
# about half a second of one core.
CANDIDATES: Final = (1, 2, 4, 10, 24, 1000)
MARGIN: Final = 1.01  # by so much a rival must beat the first offer
NEAR: Final = 1.2  # over the fastest, for what the network's graph may still prefer
RIVALS: Final = 5
TRIGGER: Final = "trigger"  # when the next kernel may begin, which only the graph can tell
FAULT: Final = "the GPU failed when it ran"  # so does a reason begin for which no build tries again
AGAIN: Final = "build again with this timing cache: it is left out from now on"
KEEP: Final = (
    "build with a timing cache: it keeps which kernel failed, and the next build leaves it out"
)

Report = Callable[[str, int, int, str], None]
Ways = Mapping[str, Timing]  # by the kernel's key
Code = TritonCode | LibraryCode


class Pool(Protocol):
    """What compiles: codegen.triton.pool.CubinPool."""

    def submit(self, code: TritonCode) -> Future[Cubin]: ...


@dataclass
class Found:
    """A choice for each kernel by its key, and the ways that are nearly as fast, the best first."""

    answers: dict[str, Choice | No] = field(default_factory=dict)
    rivals: dict[str, list[Choice]] = field(default_factory=dict)


def choose(
    kernels: Sequence[Kernel],
    tactics: Sequence[CudaTactic],
    pool: Pool,
    cache: TimingCache,
    *,
    clock: Clock | None,
    level: int = 3,
    seconds: float | None = None,
    cold: bool = False,
    known: Ways | None = None,
    report: Report = lambda stage, done, total, what: None,
) -> Found:
    """A choice for each distinct kernel; No where no tactic takes it.

    clock:    None: nothing is timed
    seconds:  when these are over, kernels not timed yet take their first offer that compiles
    cold:     L2 does not hold the network's weights
    known:    how kernels run that an earlier build of the same network has settled, if it has
    raises:   MissingExtraError without Triton; CompilerProcessError; DeviceError
    """
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    level = level if clock else 0
    jobs = [_Job(kernel, tactics, cache, level, cold) for kernel in kernels]
    for job in jobs:
        job.start(pool, (known or {}).get(job.kernel.key))
    found = Found()
    try:
        for number, job in enumerate(jobs):
            report("tune" if level else "compile", number, len(jobs), job.title)
            job.wait(pool, late=time.monotonic() > end)
            if clock and level and time.monotonic() < end and not job.settled:
                job.measure(clock)
            found.answers[job.kernel.key] = job.answer()
    finally:
        cache.save()
    if level and not known and time.monotonic() < end:
        for job in jobs:
            job.start_triggers(pool)
        for job in jobs:
            job.wait_triggers()
            if len(job.rivals) > 1:
                found.rivals[job.kernel.key] = job.rivals[1:]
    return found


def key_of(kernel: Kernel, cold: bool) -> str:
    """Of a kernel in the timing cache. cold: L2 does not hold the network's weights"""
    return f"{kernel.key}/1{'/memory' if cold and kernel.constants else ''}"


def title_of(kernel: Kernel) -> str:
    return " ".join(type(node.op).__name__ for node in kernel.graph.nodes[:3])


class _Job:
    """One kernel on its way to a choice.

    ready:   ways that are compiled, in the order of the offers
    rivals:  the choice and those near it, the fastest first
    """

    def __init__(
        self,
        kernel: Kernel,
        tactics: Sequence[CudaTactic],
        cache: TimingCache,
        level: int,
        cold: bool,
    ) -> None:
        self.kernel, self.cache, self.level, self.cold = kernel, cache, level, cold
        offered, self.refused = offers(kernel, tactics)
        faults = [r for r in cache.entries.get(self._key, ()) if r.refused.startswith(FAULT)]
        self.refused += faults
        self.candidates = [
            c for c in offered if not any(row.is_of(c.tactic.name, c.config) for row in faults)
        ]
        self.rows: list[Timing] = []
        self.settled = False
        self.ready: list[Choice] = []
        self.rivals: list[Choice] = []
        self.building: list[tuple[Candidate[CudaTactic], Code | None, Future[Cubin] | None]] = []
        self.title = title_of(kernel)

    @property
    def _key(self) -> str:
        return key_of(self.kernel, self.cold)

    def start(self, pool: Pool, known: Timing | None) -> None:
        """Hand the candidates worth timing to the compilers; where nothing is timed, one of them.

        That one was the fastest on another GPU, if the cache knows.
        """
        cached = self.cache.get(self._key) if self.candidates else None
        wanted = self.wanted
        settled = self._known(known) if known else None
        if settled:
            self.rows = [known] if known else []
            if cached:
                self.rows += [row for row in cached if row != known]
            wanted = [settled]
        elif cached and not self.level:
            won = next((c for row in cached if not row.refused and (c := self._known(row))), None)
            self.rows, wanted = (cached, [won]) if won else ([], wanted)
        elif cached and self._covers(cached, wanted):
            self.rows = cached
            timed = [row for row in cached if not row.refused]
            near = [row for row in timed if row.us <= NEAR * timed[0].us][: RIVALS + 1]
            wanted = [c for row in near if (c := self._offered(row))]
        self.settled = bool(self.rows)
        self._compile(pool, wanted)

    @property
    def wanted(self) -> list[Candidate[CudaTactic]]:
        """What is timed: the best guesses, and all that a library offers, which is not compiled."""
        ours = [c for c in self.candidates if c.tactic.name not in LIBRARIES]
        theirs = [c for c in self.candidates if c.tactic.name in LIBRARIES]
        return ours[: CANDIDATES[self.level]] + (theirs if self.level else [])

    def _covers(self, cached: Sequence[Timing], wanted: Sequence[Candidate[CudaTactic]]) -> bool:
        """Whether what is cached has the fastest that is still offered, and all that is wanted."""
        tried = [(row.tactic, dict(row.config)) for row in cached]
        whole = all((c.tactic.name, dict(c.config)) in tried for c in wanted)
        return whole and not cached[0].refused and self._offered(cached[0]) is not None

    def _known(self, row: Timing) -> Candidate[CudaTactic] | None:
        """What was found before; a library's only where it can be tried."""
        return self._offered(row) if self.level or row.tactic not in LIBRARIES else None

    def _offered(self, row: Timing) -> Candidate[CudaTactic] | None:
        for c in self.candidates:
            if row.is_of(c.tactic.name, c.config):
                return c
        return None

    def _compile(self, pool: Pool, wanted: Sequence[Candidate[CudaTactic]]) -> None:
        """Hand them to the compilers; what a library makes itself waits until it is taken."""
        for candidate in wanted:
            if candidate.tactic.name in LIBRARIES:
                self.building.append((candidate, None, None))
            elif (code := self._code(candidate)) is not None:
                assert isinstance(code, TritonCode)
                self.building.append((candidate, code, pool.submit(code)))

    def _code(self, candidate: Candidate[CudaTactic]) -> Code | None:
        try:
            code = candidate.tactic.build(self.kernel, candidate.config)
        except BuildError as error:
            self._refuse(candidate, error)
            return None
        if knobs().debug >= 4:
            log.info("%s %s\n%s", code.symbol, dict(candidate.config), code.source)
        return code

    def wait(self, pool: Pool, late: bool = False) -> None:
        """Take what was compiled; where that is nothing, the next offer that compiles.

        late:  nothing will be timed: of what was to be, only the first is waited for
        """
        if late and not self.settled:
            for _, _, future in self.building[1:]:
                if future:
                    future.cancel()
            self.building = self.building[:1]
        tried = [candidate for candidate, _, _ in self.building]
        self._take()
        rest = iter([c for c in self.candidates if c not in tried and not self._is_refused(c)])
        while not self.ready and (candidate := next(rest, None)):
            self._compile(pool, [candidate])
            self._take()

    def _is_refused(self, candidate: Candidate[CudaTactic]) -> bool:
        return any(row.is_of(candidate.tactic.name, candidate.config) for row in self.refused)

    def _refuse(self, candidate: Candidate[CudaTactic], error: BuildError) -> None:
        name, config = candidate.tactic.name, candidate.config
        log.warning("%s %s: %s", name, dict(config), error)
        self.refused.append(Timing(name, config, refused="it does not compile"))

    def _take(self) -> list[Choice]:
        made = []
        for candidate, built, future in self.building:
            code = built or self._code(candidate)
            if code is None:
                continue
            name, config = candidate.tactic.name, candidate.config
            try:
                cubin = future.result() if future else None
            except BuildError as error:
                self._refuse(candidate, error)
                continue
            if cubin and cubin.shared_bytes > self.kernel.target.l1_bytes:
                reason = f"it needs {cubin.shared_bytes} bytes of shared memory"
                self.refused.append(Timing(name, config, refused=reason))
                continue
            made.append(Choice(candidate.tactic, config, code, cubin))
        self.building = []
        self.ready += made
        return made

    def measure(self, clock: Clock) -> None:
        if not self.ready:
            return
        try:
            found = time_us(self.kernel, self.ready, clock, self.cold)
        except LibraryError as error:
            self._drop_calls(error)
            self.measure(clock)
            return
        except FaultError as fault:
            way = self.ready[fault.number]
            raise blamed(fault, self.kernel, way, self.cache, self.cold) from fault
        times = [round(us, 3) for us in found]
        order = sorted(range(len(times)), key=lambda n: times[n] * (MARGIN if n else 1.0))
        self.ready = [self.ready[n] for n in order]
        timed = [
            Timing(w.tactic.name, w.config, times[n], growth_bytes=w.code.growth_bytes)
            for w, n in zip(self.ready, order, strict=True)
        ]
        self.rows = [*timed, *self.refused]
        self.cache.put(self._key, self.rows)
        if knobs().debug >= 3:
            log.info("%s", "\n".join([self.title, *(f"  {row.as_json()}" for row in self.rows)]))

    def _drop_calls(self, error: LibraryError) -> None:
        """Refuse what a library offered and then did not run."""
        log.warning("%s: %s", self.title, error)
        calls = [way for way in self.ready if isinstance(way.code, LibraryCode)]
        assert calls, "a library failed that no way calls"
        reason = f"{error.what}: {error.know}"
        self.refused += [Timing(w.tactic.name, w.config, refused=reason) for w in calls]
        self.ready = [way for way in self.ready if way not in calls]

    def answer(self) -> Choice | No:
        """The fastest way; the first offer where nothing was timed."""
        if not self.ready:
            reasons = "; ".join(f"{t.tactic}: {t.refused}" for t in self.refused)
            return No(reasons or "no tactic offers")
        best = self.ready[0]
        first = Timing(best.tactic.name, best.config, growth_bytes=best.code.growth_bytes)
        rows = tuple(self.rows or [first, *self.refused])
        near = NEAR * _us(best, rows)
        ways = [w for w in self.ready[1:] if 0 < _us(w, rows) <= near]
        self.rivals = [replace(w, timings=rows) for w in (best, *ways[:RIVALS])]
        return self.rivals[0]

    def start_triggers(self, pool: Pool) -> None:
        """Compile the choice with other moments at which the next kernel may begin."""
        if not self.rivals:
            return
        best = self.rivals[0]
        have = [(w.tactic.name, dict(w.config)) for w in self.rivals]
        config = {k: v for k, v in best.config.items() if k != TRIGGER}
        for c in self.candidates:
            own = {k: v for k, v in c.config.items() if k != TRIGGER}
            same = c.tactic.name == best.tactic.name and own == config
            if same and (c.tactic.name, dict(c.config)) not in have:
                self._compile(pool, [c])

    def wait_triggers(self) -> None:
        made = self._take()
        if made:
            rows = self.rivals[0].timings
            self.rivals += [replace(way, timings=rows) for way in made]


def blamed(
    fault: FaultError, kernel: Kernel, way: Choice, cache: TimingCache, cold: bool
) -> CudaError:
    """The error for a way that the GPU failed in, which the cache keeps from being tried again."""
    name, config = way.tactic.name, dict(way.config)
    know = f"{fault.error.what}: {fault.error.know}"
    cache.refuse(key_of(kernel, cold), Timing(name, config, refused=f"{FAULT}: {know}"))
    at = f"{name} {config} for {title_of(kernel)}"
    try_ = AGAIN if cache.path else KEEP
    return CudaError("the GPU failed while a kernel was timed", at=at, know=know, try_=try_)


def _us(way: Choice, rows: Sequence[Timing]) -> float:
    """A way's time; 0 if nobody measured it."""
    return next((row.us for row in rows if way.is_way(row)), 0.0)
