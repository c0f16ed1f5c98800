"""What the cost models of register tiles share: cycles of a k-step, and sizes of units of work."""

from __future__ import annotations

import re
from typing import Final

from planck.target import Target

UNIT_FLOPS: Final = 1.5e6  # about 15 us of one core
L2_BYTES: Final = 24  # a cycle, to one core
FMA_PER_CYCLE: Final = 2  # where one starts (fma_per_cycle), tiles are nearly equal anyway
FMA_LATENCY: Final = 4  # cycles; Zen 3 to 5 and Intel since Skylake


_ZEN_4: Final = re.compile(r" 25/\d+/\d+ x\d+$")  # family 25, as target.host writes it


def fma_per_cycle(target: Target) -> int:
    """Fused multiply-adds of a whole vector that start in a cycle: two, but for 512 bits on Zen 4.

    Measured: 117 GFLOP/s a core at 3.7 GHz on Zen 4, 285 at 4.4 GHz on Zen 5.
    """
    return 1 if target.isa == "avx512" and _ZEN_4.search(target.machine) else FMA_PER_CYCLE


def k_step_cycles(target: Target, rows: int, vectors: int, panel_bytes: int = 0) -> float:
    """Cycles of one k-step of a rows x vectors tile, by its narrowest part."""
    compute = max(rows * vectors / FMA_PER_CYCLE, FMA_LATENCY)
    loads = (rows + vectors) / 2
    streamed = panel_bytes > target.l1_bytes // 2
    weights = vectors * target.vector_bytes / L2_BYTES if streamed else 0.0
    return max(compute, loads, weights) + 0.25  # what looping costs


def parts_of_work(flops: float, units: int, most: int, threads: int) -> int:
    """How many parts to cut each of some units into, so that they are neither few nor big."""
    wanted = flops / UNIT_FLOPS
    if threads > 1:
        wanted = max(wanted, min(4.0 * threads, flops / (UNIT_FLOPS / 8)))
    return max(1, min(most, round(wanted / units)))
