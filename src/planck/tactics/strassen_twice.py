"""Matrix multiplication with 49 products of sixteenths in place of 64; constant B.

Notebook (EPYC with Zen 5 cores, AVX-512, two cores: fused multiply-adds make 261 GFLOP/s on one and
501 on two; weights and large results from memory; us of this and of one level in the same run, from
several runs; one run and the next differ by 3 %):

    layer                one core               two cores
    1024x768x768         4366   4184  1.04      2191   2085  1.05
    1024x768x2304       12987  12210  1.06      6502   6064  1.07
    1024x768x3072 GELU  17755  16962  1.05      9186   8540  1.08
    1024x3072x768       16970  15998  1.06      9168   8103  1.13
    1576x768x768         6478   6251  1.04      3456   3231  1.07
    1576x768x3072 GELU     -      -            14552  13285  1.10
    1576x3072x768       26230  24314  1.08     13640  12306  1.11
    128x3072x768         2136   2091  1.02      1098   1177  0.93
    197x768x3072 GELU    3411   3353  1.02      1737   1852  0.94

The last two are not offered on two threads.

- BERT in batches of 8: 345 to 325 ms on two threads, 697 to 658 on one; ViT-B/16 565 to 538 on two.
- Predicted was 6 to 8 %, the eighth less beside what follows. The inner products alone run at 95 %
  of the limit; of 1024x768x768 the lefts take 5 %, differences of slabs 3, finishing 3, C22 3.
- The lefts are bound by L1's traffic with L2: 7 cycles for each of 49 vectors, with or without what
  goes before fetched, as much when made strip by strip at the first panel.
- All inner products of a strip before the next strip, so that inner sums stay in L1: a gain in two
  runs, of 1 to 6 % over one level's times; never compared in one run.
- B of a stage in L2 and lefts of one strip, in place of the lefts of all: no faster, or 2 % slower.
- Fetching results, or the next strip's rows of A, ahead: nothing.
- Groups that are equal matter more than tall tiles: 1576 rows on two threads by 9 x 3 or 11 x 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final

import numpy as np

from planck.codegen.microkernel import LINE_BYTES, tallest
from planck.codegen.strassen_spec import DIFFERENCES, PRODUCTS, SLABS
from planck.codegen.strassen_twice import write
from planck.codegen.strassen_twice_spec import FETCHED_BY_PLUS, Twice
from planck.dtypes import Array
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.matmul import Problem
from planck.tactics.pattern import constant, symbol
from planck.tactics.strassen import (
    UNROLL,
    code_of,
    least_cycles_once,
    memory_cycles,
    pack_epilogue,
    panels_of,
    problem_of_kernel,
    slabs_of,
    spec_of,
    step_cycles,
    take,
    widened,
)

MAX_OFFERS: Final = 4
MAX_VECTORS: Final = 4
LEAST_DEPTH: Final = 64  # of a chunk of a sixteenth
MAX_CHUNKS: Final = 16
MAX_BLOCKS: Final = 4
SHORTER: Final = 5  # rows that a tile may have less than the tallest, to make groups equal

# What comes beside the products, in cycles
TILE_CYCLES: Final = 40.0  # to enter and leave a tile
MOVE_CYCLES: Final = 1.5  # a vector of accumulators, of each inner product
LEFT_CYCLES: Final = 47.0  # to make a vector of each of seven lefts
RIGHT_CYCLES: Final = 10.0  # to make a vector of a difference of slabs
WRITE_CYCLES: Final = 12.0  # to finish and store a vector of C, with what is read beside it
COLD_CYCLES: Final = 2.0  # a line of B that nobody has prefetched
CROWDED: Final = 1.03  # times what it takes where L2 does not hold the lefts, or L3 the sums
MANY_SUM_BYTES: Final = 4 << 20
MAX_SCRATCH_BYTES: Final = 8 << 20  # of a thread
LEAST_QUADS: Final = 48  # of rows, in a group
ONCE: Final = 1.1  # times the cycles of one level by its model: where this may still be faster


class StrassenTwice:
    """Two levels of Strassen's algorithm over register-blocked products."""

    name = "strassen_twice"
    exact = False  # sums and differences of entries are rounded before they are multiplied

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = problem_of_kernel(kernel)
        if isinstance(problem, No):
            return problem
        if problem.k % 4 or problem.k // 4 < LEAST_DEPTH:
            return No(f"the sums must run over a multiple of 4, at least {4 * LEAST_DEPTH}")
        if problem.m < 4 or problem.columns < 4:
            return No(f"{problem.m} x {problem.n} is too small to be cut into 4 x 4 parts")
        once = least_cycles_once(problem)
        if isinstance(once, No):
            return once
        configs = _configs(problem)
        if not configs or configs[0][0] >= once * ONCE:
            return No("a second level's sums would cost more than the products that they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        problem = take(kernel)
        spec = _spec(problem, config)
        name = symbol("strassen_twice", kernel, config)
        llvm = write(kernel.target, name, spec)
        return code_of(name, llvm, spec, problem.flops, problem.b.type.bytes)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = take(kernel)
        spec = _spec(problem, config)
        right = constant(kernel, constants, problem.b.name)
        slabs = pack_slabs(spec, right, problem.transpose_b)
        return {spec.b: slabs, **pack_epilogue(problem.form, spec, constants)}


# The tuning space


def _configs(problem: Problem) -> list[tuple[float, dict[str, int]]]:
    """Configurations and their cycles: the best way to divide the work for each width of a tile."""
    target, threads = problem.form.kernel.target, problem.form.kernel.threads
    upper = -(-problem.m // 2)
    quads = -(-upper // 2)
    part = -(-problem.columns // 4)
    chunks = [
        n
        for n in range(1, MAX_CHUNKS + 1)
        if problem.k // 4 % n == 0 and problem.k // 4 // n >= LEAST_DEPTH
    ]
    groups = [threads]
    while quads // groups[-1] >= 2 * LEAST_QUADS:
        groups.append(2 * groups[-1])
    found = []
    for vectors in range(min(2, part), min(MAX_VECTORS, part) + 1):
        most = tallest(target, vectors)
        ways = []
        for rows, cut, blocks, parts in product(
            range(max(1, most - SHORTER), most + 1),
            groups,
            range(1, MAX_BLOCKS + 1),
            chunks,
        ):
            own, panels = -(-quads // cut), -(-part // vectors)
            strips = -(-own // rows)
            blocks = -(-panels // -(-panels // blocks))  # none is empty
            config = config_of(problem, rows, vectors, strips, blocks, parts)
            spec = _spec(problem, config)
            if spec.scratch_bytes <= MAX_SCRATCH_BYTES:
                ways.append((_cycles(problem, spec), config))
        found += sorted(ways, key=lambda pair: pair[0])[:1]
    return sorted(found, key=lambda pair: pair[0])


def config_of(
    problem: Problem, rows: int, vectors: int, strips: int, blocks: int, chunks: int
) -> dict[str, int]:
    """A configuration that fetches as many lines in a trip as the next panel needs."""
    depth = problem.k // 4 // chunks
    lines = depth * vectors * problem.form.kernel.target.vector_bytes / LINE_BYTES
    lines *= SLABS / (len(PRODUCTS) - FETCHED_BY_PLUS)
    ahead = int(-(-lines // (strips * max(1, depth // UNROLL))))
    return {
        "rows": rows,
        "vectors": vectors,
        "strips": strips,
        "blocks": blocks,
        "chunks": chunks,
        "ahead": ahead,
    }


def _cycles(problem: Problem, spec: Twice) -> float:
    """Cycles until all threads are done."""
    kernel = problem.form.kernel
    target, threads = kernel.target, kernel.threads
    stages, width = len(PRODUCTS) * spec.chunks, spec.vectors
    slab = spec.slab_bytes / target.vector_bytes
    made = SLABS * slab * (DIFFERENCES * RIGHT_CYCLES * spec.chunks + stages * COLD_CYCLES / 4)
    near = spec.lefts * spec.left_bytes + 3 * SLABS * spec.slab_bytes < 0.75 * target.l2_bytes
    late = 1.0 if near else CROWDED
    late *= 1.0 if spec.scratch_bytes < MANY_SUM_BYTES else CROWDED
    units = []
    for first in range(0, spec.all_strips, spec.strips):
        strips = range(first, min(first + spec.strips, spec.all_strips))
        sizes = [min(spec.rows, spec.pairs - strip * spec.rows) for strip in strips]
        steps = sum(step_cycles(target, size, width) for size in sizes) * spec.depth
        moved = len(PRODUCTS) * (sum(sizes) * width * MOVE_CYCLES + len(sizes) * TILE_CYCLES)
        panel = stages * (steps + moved) + 16 * sum(sizes) * width * WRITE_CYCLES + made
        lefts = stages * sum(sizes) * spec.depth / spec.lanes * LEFT_CYCLES
        for block in range(spec.blocks):
            panels = min(spec.across, spec.panels - block * spec.across)
            units.append(late * (panels * panel + lefts))
    units *= spec.products
    free = [0.0] * threads
    while units:  # every other thread claims from the end
        i = free.index(min(free))
        free[i] += units.pop(-(i % 2))
    return max(*free, memory_cycles(kernel, 4.0 * problem.k * problem.n))


def pack_slabs(spec: Twice, right: Array, transpose: bool) -> Array:
    """f32[..., K, N] (or [..., N, K]) -> f32[slab, chunk, panel, slab, depth, vectors * lanes].

    The slabs are B11, T2, B22 and B21 of `codegen.strassen_spec`, of each of them; zeros past N.
    """
    packed = np.empty(
        (SLABS, spec.chunks, spec.panels, SLABS, spec.depth, spec.vectors * spec.lanes), np.float32
    )
    for i, outer in enumerate(slabs_of(widened(spec, right, transpose))):
        for j, inner in enumerate(slabs_of(outer)):
            for k, chunk in enumerate(np.split(inner, spec.chunks)):
                packed[i, k, :, j] = panels_of(spec, chunk)
    return packed


def _spec(problem: Problem, config: Config) -> Twice:
    own = {key: config[key] for key in ("chunks", "blocks")}
    return spec_of(problem, config, Twice, claims=0, **own)
