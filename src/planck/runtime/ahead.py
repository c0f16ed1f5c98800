"""What each step brings to the caches for steps to come: a schedule over the weights of a plan.

Where a network's weights do not stay in the last cache, a step whose weights take about as long to
come from memory as its products take to compute waits for them, on several threads more than on
one, as they share what memory gives. Memory rests meanwhile in steps that compute for long on few
weights. So those fetch for it: their innermost loops take a line or two in each trip
(`codegen/microkernel.stream`), from the two ends of the weights to come, where threads begin.

Notebook (Zen 5, 2 cores, 46 GB/s from memory, L3 of 32 MB; us a step, two threads)

- Before, of ResNet-50's 13,165 us on two threads, 766 were lost against half of one thread's time
  because steps that wait for memory ran no faster than it gives; 16 in waking, 74 at steps'
  ends. YOLOv4-tiny: 520 of 7,164; 20 and 78.
- A 3x3 convolution of 256 channels at 14x14 (9.2 MB transformed): 206 before, 171 now; the 1x1
  convolutions before it, which fetch most of that, 207 before, 213 now.
- Two lines a trip, for steps that ask for 20 GB/s: ResNet-50 3.2 % faster, YOLOv4-tiny the same.
  For steps that ask for 12 GB/s: no better. One line a trip: 0.8 % on ResNet-50.
- On one thread ResNet-50 lost 0.9 %: it had little to win. YOLOv8n lost 0.5 %: its weights are
  about as much as the last cache holds.
- Two lines cost 0.4 % where nothing is fetched, so kernels have them only where weights come from
  memory (`Kernel.streams`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planck.plan.model import Plan, Step

# Bytes in a microsecond, over all threads.
STARVED: Final = 20e3  # a step that asks memory for more is worth fetching for
FREE: Final = 22e3  # what a step may ask for, its own weights included: half of what memory gives

# Loops fetch two lines in each trip, which has up to 112 multiply-adds of 16 floats; what a unit
# does not get to is not fetched.
FLOPS_A_BYTE: Final = 30
LEAST_BYTES: Final = 1 << 16
KEPT: Final = 0.5  # of the last cache, for weights that were fetched and not used yet
MORE: Final = 1.5  # times the last cache: of fewer weights, many are still there from the last run


@dataclass(frozen=True, slots=True)
class Ahead:
    """A range of the weights to fetch: from `front` on by the lower units of a step, and down from
    `back` by its upper ones; half of the bytes each.
    """

    front: int = 0
    back: int = 0
    bytes: int = 0


def schedule(plan: Plan, threads: int) -> list[Ahead]:
    """What each step of a plan fetches when so many threads run it: weights of a later step, or
    nothing.

    Nothing for one thread, in plans whose weights the last cache mostly keeps, or whose steps have
    no measured times.
    """
    found = [Ahead()] * len(plan.steps)
    kept = int(KEPT * plan.target.l3_bytes)
    if threads == 1 or len(plan.weights) <= MORE * plan.target.l3_bytes:
        return found
    slabs = _slabs(plan)
    times_us = [step.measured_us * plan.threads / threads for step in plan.steps]
    for number in range(1, len(plan.steps)):
        begin, size = slabs[number]
        if not times_us[number] or size < STARVED * times_us[number]:
            continue
        fetched = between = 0
        for source in range(number - 1, -1, -1):
            between += plan.steps[source].weight_bytes
            most = min(size, kept - between) - fetched
            bytes_ = min(most, _spare_bytes(plan.steps[source], times_us[source]))
            if most < LEAST_BYTES:
                break
            if bytes_ < LEAST_BYTES or found[source].bytes:
                continue
            done = fetched // 2
            found[source] = Ahead(begin + done, begin + size - done, bytes_)
            fetched += bytes_
    return found


def _spare_bytes(step: Step, time_us: float) -> int:
    """What a step can fetch beside its own weights."""
    by_memory = FREE * time_us - step.weight_bytes
    by_loops = (step.work_flops or step.flops) / FLOPS_A_BYTE
    return int(max(0.0, min(by_memory, by_loops)))


def _slabs(plan: Plan) -> Sequence[tuple[int, int]]:
    """Each step's largest array of weights: where it begins, and its bytes."""
    places = [
        [place.offset_bytes for place in step.arguments if place.space == "weights"]
        for step in plan.steps
    ]
    starts = sorted({offset for row in places for offset in row})
    sizes = dict(zip(starts, [*starts[1:], len(plan.weights)], strict=True))
    arrays = [[(at, sizes[at] - at) for at in row] for row in places]
    return [max(row, key=lambda array: array[1], default=(0, 0)) for row in arrays]
