"""Settles in the network's graph which regions run in parallel branches.

A fork costs: steps at its ends begin only when others have ended, and branches share the GPU. So
each region is put into the graph in branches in turn, and stays so if the graph takes 0.2 % less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from planck.dtypes import Array
from planck.plan.model import Plan
from planck.tune.cuda.clock import Clock, Trial, medians_us
from planck.tune.cuda.graph import GAIN, RUNS

log = logging.getLogger(__name__)


def faster_in_branches(
    plan: Plan,
    count: int,
    regions: Sequence[Mapping[int, int]],
    clock: Clock,
    inputs: Sequence[Array],
    *,
    seconds: float,
) -> tuple[list[int], float, float]:
    """The numbers of the regions that gain, and the graph's microseconds without and with them.

    plan:     its first `count` steps are the network, one after the other
    regions:  for each, by place in the network, the number of the same step in a branch
    seconds:  those so far when they are over
    """
    with clock.open(Trial(plan, inputs=tuple(inputs))) as session:
        end = time.monotonic() + seconds
        now = list(range(count))
        best = session.capture(now)
        straight = us = medians_us(session, [best], RUNS, cold=False)[0]
        taken = []
        order = sorted(
            range(len(regions)),
            key=lambda n: -sum(plan.steps[place].measured_us for place in regions[n]),
        )
        for number in order:
            if time.monotonic() > end:
                break
            other = [regions[number].get(place, step) for place, step in enumerate(now)]
            graph = session.capture(other)
            own, its = medians_us(session, [best, graph], RUNS, cold=False)
            if its < own * (1 - GAIN):
                log.info("steps %s in branches: %.2f us, %.2f before", regions[number], its, own)
                taken.append(number)
                graph, best, now, us = best, graph, other, its
            session.drop(graph)
        session.drop(best)
    return sorted(taken), round(straight, 2), round(us, 2)
