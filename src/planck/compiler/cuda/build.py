"""From the last stage's graph to a plan for a GPU.

Where the target is a GPU of this machine (`cuda`), kernels are chosen by time; for one that need
not be here (`cuda:sm_90`), and at level 0, each takes what was fastest on a GPU that the timing
cache knows, or else its tactic's best guess. Such a plan is of the machine "generic".
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from planck.codegen.triton.pool import CubinPool
from planck.compiler.assemble import Packs
from planck.compiler.cuda.accuracy import check
from planck.compiler.cuda.assemble import Assembly
from planck.compiler.cuda.branches import Fork, forks
from planck.compiler.cuda.dump import dump_kernels
from planck.compiler.cuda.join import join_moves
from planck.compiler.cuda.sources import tactics_of
from planck.compiler.feasible import take_apart
from planck.compiler.notes import or_reference, record, references, refuse_strings
from planck.compiler.options import Options
from planck.compiler.place import Placement, place
from planck.compiler.split import Launch, split
from planck.compiler.work import weight_bytes
from planck.errors import CudaError
from planck.ir.graph import Graph
from planck.knobs import knobs
from planck.plan.model import Plan, Step
from planck.refusal import No
from planck.tactics.library.tactic import LibraryTactic
from planck.tactics.triton.tactic import CudaTactic
from planck.target import GENERIC
from planck.tune.cache import Timing, TimingCache
from planck.tune.cuda.branches import faster_in_branches
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.choose import Found, blamed, choose
from planck.tune.cuda.clock import Clock, FaultError, GpuClock
from planck.tune.cuda.graph import FaultyError, settle
from planck.tune.cuda.trial import numbers

log = logging.getLogger(__name__)

# Raised when tactics offer other ways: networks that were settled among the old ones are again.
WAYS: Final = 2
# Seconds that each optimisation level gives to swapping kernels in the network's graph.
GRAPH_SECONDS: Final = (0.0, 0.0, 5.0, 20.0, 60.0, 600.0)


def compile_cuda(
    given: Graph,
    graph: Graph,
    options: Options,
    clock: Clock | None = None,
    tactics: Sequence[CudaTactic] | None = None,
) -> Plan:
    """The plan of a graph after its stages.

    given:   the network as its frontend gave it, which the plan is compared with
    clock:   what times kernels; by default the target's GPU, if it is one of this machine
    tactics: by default Planck's own, and those of the libraries that the options allow
    raises:  BuildError; MissingExtraError without Triton; DeviceError
    """
    cache = TimingCache.open(options.timing_cache, options.target)
    if options.level == 0:
        options, clock = replace(options, target=replace(options.target, machine=GENERIC)), None
    target = options.target
    if clock is None and target.machine != GENERIC:
        clock = GpuClock()
    refuse_strings(graph)
    tactics = tactics if tactics is not None else tactics_of(options, clock)
    graph = join_moves(take_apart(graph, tactics, target, 1), tactics, target)
    placement = place(graph)
    launches = _with_results(split(placement, graph.weights, target, 1))
    build = _Build(options, graph, launches, cache, clock, tactics)
    found = build.choose()
    answers = found.answers
    slow = references(launches, answers)
    build.launches = launches = [or_reference(launch, answers) for launch in launches]
    choices = {key: a for key, a in answers.items() if not isinstance(a, No)}
    packs: Packs = {}
    timed = any(choice.timings[0].us for choice in choices.values())
    notes: dict[str, Any] = {"tuned": clock is not None and timed}
    assembly = Assembly(graph, placement, launches, packs)
    if clock and not slow and build.settled is None:
        choices = build.settle(choices, found, assembly)
        assembly = Assembly(graph, placement, launches, packs)
    lanes: list[Fork] = []
    if (clock or build.forked) and not slow:
        lanes = build.branches(choices, placement, packs)
        assembly = Assembly(graph, placement, launches, packs, [fork.span for fork in lanes])
    if build.graph_us:
        notes["graph_us"] = build.graph_us
    options.progress("assemble", 0, 1, "")
    steps = build.steps(assembly, choices)
    for fork in lanes:
        for at, way in zip(fork.span, fork.ways, strict=True):
            steps[at] = _forked(steps[at], *way)
    said = {**record(options, slow, choices, placement.refused), **notes}
    plan = assembly.plan(steps, target, options.precision, said)
    if clock and options.accuracy:
        options.progress("check", 0, 1, "")
        plan = check(plan, given, options.accuracy)
    if dump := knobs().dump:
        dump_kernels(dump, {la.kernel.key: la.kernel for la in launches if la.kernel}, choices)
    options.progress("done", 1, 1, "")
    return plan


def _with_results(launches: Sequence[Launch]) -> list[Launch]:
    """Those that write anything: a GPU starts no grid of zero blocks."""
    return [la for la in launches if any(v.type.bytes for v in la.node.outputs)]


class _Build:
    """What choosing needs to know, and what the timing cache knows of this network.

    settled:   how an earlier build's kernels run, after it had timed the whole graph
    forked:    the regions that it found faster in branches, by their first steps
    graph_us:  the whole graph's time before it was settled, "straight" without branches, and after
    """

    def __init__(
        self,
        options: Options,
        graph: Graph,
        launches: Sequence[Launch],
        cache: TimingCache,
        clock: Clock | None,
        tactics: Sequence[CudaTactic],
    ) -> None:
        self.tactics = tactics
        self.options, self.graph, self.launches = options, graph, launches
        self.cache, self.clock = cache, clock
        self.start = time.monotonic()
        self.kernels = {la.kernel.key: la.kernel for la in launches if la.kernel}
        self.cold = weight_bytes(graph) > options.target.l2_bytes // 2
        head: list[Any] = [
            WAYS,
            options.level,
            self.cold,
            [la.kernel.key if la.kernel else "" for la in launches],
        ]
        # Without a library the key is what it was before there were any.
        head += [
            [tactic.name, tactic.version] for tactic in tactics if isinstance(tactic, LibraryTactic)
        ]
        digest = hashlib.sha256(json.dumps(head).encode()).hexdigest()[:24]
        self.key = f"graph/{digest}"
        self.settled, self.forked, us = _recalled(cache.checks.get(self.key))
        self.graph_us: dict[str, float] = us if clock else {}

    def choose(self) -> Found:
        options = self.options
        with CubinPool(options.target) as pool:
            return choose(
                list(self.kernels.values()),
                self.tactics,
                pool,
                self.cache,
                clock=self.clock,
                level=options.level,
                seconds=options.seconds,
                cold=self.cold,
                known=self.settled,
                report=options.progress,
            )

    def settle(
        self, choices: dict[str, Choice], found: Found, assembly: Assembly
    ) -> dict[str, Choice]:
        """The choices after the whole graph was timed; the cache keeps them."""
        options, clock, seconds = self.options, self.clock, self._seconds()
        if clock is None or seconds <= 0 or not found.rivals:
            return choices
        keys = [launch.kernel.key for launch in self.launches if launch.kernel]
        with self._watched():
            settled, self.graph_us = settle(
                keys,
                choices,
                found.rivals,
                lambda place, choice: assembly.step(self.launches[place], choice),
                lambda steps: assembly.plan(steps, options.target, options.precision, {}),
                clock,
                [numbers(value.type) for value in self.graph.inputs],
                seconds=seconds,
                report=options.progress,
            )
        settled = {key: _first(choice) for key, choice in settled.items()}
        self._keep(settled)
        return settled

    def branches(
        self, choices: Mapping[str, Choice], placement: Placement, packs: Packs
    ) -> list[Fork]:
        """The regions that run in parallel branches; the cache keeps them."""
        options, clock, seconds = self.options, self.clock, self._seconds()
        us = [choices[la.kernel.key].timings[0].us if la.kernel else 0.0 for la in self.launches]
        found = forks(placement, self.launches, us)
        if self.forked is None and found and clock is not None and seconds > 0:
            options.progress("graph", 0, 1, "branches")
            spans = [fork.span for fork in found]
            assembly = Assembly(self.graph, placement, self.launches, packs, spans)
            steps = self.steps(assembly, choices)
            count, regions = len(steps), []
            for fork in found:
                regions.append({place: len(steps) + i for i, place in enumerate(fork.span)})
                steps += [
                    _forked(steps[at], *way) for at, way in zip(fork.span, fork.ways, strict=True)
                ]
            plan = assembly.plan(steps, options.target, options.precision, {})
            inputs = [numbers(value.type) for value in self.graph.inputs]
            with self._watched():
                taken, straight, after = faster_in_branches(
                    plan, count, regions, clock, inputs, seconds=seconds
                )
            self.forked = [found[number].span.start for number in taken]
            before = self.graph_us.get("before", straight)
            self.graph_us = {"before": before, "straight": straight, "after": after}
            self._keep(choices)
        return [fork for fork in found if fork.span.start in (self.forked or ())]

    def steps(self, assembly: Assembly, choices: Mapping[str, Choice]) -> list[Step]:
        return [
            assembly.step(launch, choices[launch.kernel.key] if launch.kernel else None)
            for launch in self.launches
        ]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Say what ran when the GPU failed. raises: CudaError"""
        try:
            yield
        except FaultyError as fault:
            kernel = self.kernels[fault.key]
            raise blamed(fault, kernel, fault.way, self.cache, self.cold) from fault
        except FaultError as fault:
            raise CudaError(
                "the GPU failed while the whole network was timed",
                at=f"{self.graph.name}, {len(self.launches)} kernels",
                know=f"{fault.error.what}: {fault.error.know}",
                try_="build again; at optimisation level 1 only single kernels are timed",
            ) from fault

    def _seconds(self) -> float:
        """What is left for timing the whole graph."""
        seconds = GRAPH_SECONDS[self.options.level]
        if self.options.seconds is not None:
            seconds = min(seconds, self.start + self.options.seconds - time.monotonic())
        return seconds

    def _keep(self, choices: Mapping[str, Choice]) -> None:
        rows = {key: choice.timings[0].as_json() for key, choice in choices.items()}
        known: dict[str, Any] = {"us": self.graph_us, "ways": rows}
        if self.forked is not None:
            known["forked"] = self.forked
        self.cache.checks[self.key] = known
        self.cache.changed = True
        self.cache.save()


def _forked(step: Step, lane: int, after: tuple[int, ...]) -> Step:
    return replace(step, lane=lane, after=after)


def _first(choice: Choice) -> Choice:
    """The choice with its own timing in front of the others, which the graph disagreed with."""
    own = next((row for row in choice.timings if choice.is_way(row)), None)
    own = own or Timing(choice.tactic.name, choice.config)
    rest = (row for row in choice.timings if not choice.is_way(row))
    return replace(choice, timings=(own, *rest))


def _recalled(
    known: Any,
) -> tuple[dict[str, Timing] | None, list[int] | None, dict[str, float]]:
    """What the cache keeps of a settled network: its ways, its branches and the graph's times.

    known:  as `_Build._keep` gives it; None where there is nothing
    """
    try:
        ways = {key: Timing.from_json(row) for key, row in known["ways"].items()}
        us = {name: time + 0.0 for name, time in known["us"].items()}
        forked = known.get("forked")
        return ways, None if forked is None else [int(start) for start in forked], us
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, None, {}
