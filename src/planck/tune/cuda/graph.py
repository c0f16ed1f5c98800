"""Settles in the network's graph what single kernels' times leave open.

Alone, a kernel follows itself, and its neighbours' caches, tails and dependent launches are not
there. So where several ways of a kernel took nearly as long, each is put into the graph of the
whole network in turn, in all places at once, and stays if the graph takes 0.2 % less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from planck.dtypes import Array
from planck.plan.model import Plan, Step
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.clock import Clock, FaultError, Session, Trial, medians_us

log = logging.getLogger(__name__)

GAIN: Final = 0.002
RUNS: Final = 11
SWEEPS: Final = 2  # a change of one kernel may move another's best; the second finds little

Report = Callable[[str, int, int, str], None]


class FaultyError(FaultError):
    """The GPU failed in the network's graph with another way of one kernel."""

    def __init__(self, key: str, way: Choice, fault: FaultError) -> None:
        super().__init__(fault.number, fault.error)
        self.key, self.way = key, way


def settle(
    keys: Sequence[str],
    choices: Mapping[str, Choice],
    rivals: Mapping[str, Sequence[Choice]],
    step_of: Callable[[int, Choice], Step],
    plan_of: Callable[[Sequence[Step]], Plan],
    clock: Clock,
    inputs: Sequence[Array],
    *,
    seconds: float,
    report: Report = lambda stage, done, total, what: None,
) -> tuple[dict[str, Choice], dict[str, float]]:
    """The choices that make the network fastest, and its microseconds "before" and "after".

    keys:     of the kernels of all steps, in order
    step_of:  the step of a place in that order, run in a given way
    plan_of:  a plan that holds all given steps
    seconds:  best so far when they are over
    raises:   FaultyError if the GPU fails in a graph with a rival, FaultError in any other
    """
    steps = [step_of(place, choices[key]) for place, key in enumerate(keys)]
    ways: dict[str, list[tuple[Choice, dict[int, int]]]] = {}  # and the steps in each place
    for key in dict.fromkeys(keys):
        places = [place for place, own in enumerate(keys) if own == key]
        ways[key] = [(choices[key], {place: place for place in places})]
        for rival in rivals.get(key, ()):
            numbers = {place: len(steps) + i for i, place in enumerate(places)}
            steps += [step_of(place, rival) for place in places]
            ways[key].append((rival, numbers))
    plan = plan_of(steps)
    order = sorted(
        (key for key in ways if len(ways[key]) > 1),
        key=lambda key: -sum(steps[n].measured_us for n in ways[key][0][1].values()),
    )
    with clock.open(Trial(plan, inputs=tuple(inputs))) as session:
        end = time.monotonic() + seconds  # from when others have let it begin
        return _climb(session, list(range(len(keys))), choices, ways, order, end, report)


def _climb(
    session: Session,
    now: list[int],
    choices: Mapping[str, Choice],
    ways: Mapping[str, list[tuple[Choice, dict[int, int]]]],
    order: Sequence[str],
    end: float,
    report: Report,
) -> tuple[dict[str, Choice], dict[str, float]]:
    taken = dict(choices)
    best = session.capture(now)
    before = after = medians_us(session, [best], RUNS, cold=False)[0]
    for sweep in range(SWEEPS):
        changed = False
        for number, key in enumerate(order):
            report("graph", number + sweep * len(order), SWEEPS * len(order), key)
            for rival, places in ways[key]:
                if rival.code.symbol == taken[key].code.symbol:
                    continue
                if time.monotonic() > end:
                    session.drop(best)
                    return taken, _record(before, after)
                other = [places.get(place, step) for place, step in enumerate(now)]
                graph = session.capture(other)
                try:
                    own, its = medians_us(session, [best, graph], RUNS, cold=False)
                except FaultError as fault:
                    if fault.number == 0:  # what had run without the rival
                        raise
                    raise FaultyError(key, rival, fault) from fault
                if its < own * (1 - GAIN):
                    log.info("%s: %.2f us, %.2f before", rival.code.symbol, its, own)
                    graph, best, now, after, changed = best, graph, other, its, True
                    taken[key] = rival
                session.drop(graph)
        if not changed:
            break
    session.drop(best)
    return taken, _record(before, after)


def _record(before: float, after: float) -> dict[str, float]:
    return {"before": round(before, 2), "after": round(after, 2)}
