"""Matrix multiplication with seven products of quarters in place of eight; constant B.

Notebook (EPYC with Zen 5 cores, AVX-512, two cores: fused multiply-adds make 570 GFLOP/s; weights
from memory, bias, GELU or residual in the epilogue; us as the tuner measures)

    layer               matmul           strassen         times
    128x768x768         298              271              1.10
    128x768x2304        876              805              1.09
    128x768x3072 GELU   1232             1114             1.11
    128x3072x768        1289             1090             1.18
    197x768x3072 GELU   1922             1741             1.10
    197x3072x768        1968             1751             1.12

- The arithmetic: 7/8 of the products; sums of A cost 10 cycles for a vector of each quarter, 2 % of
  128x768x768 on one core and 0.5 % of 128x768x3072; accumulators to scratch and back, 28 loads and
  stores for each 384 steps of 12 to 14 cycles, under 1 %.
- B stays as large as it was; all seven right sides packed take 7/4 of the bytes, and BERT's process
  then peaks at 716 MB, not 469. One core, the best tile of each, us: seven slabs 511, 2086 and 2074
  for 128x768x768, 128x768x3072 and 128x3072x768; four, a difference made for every strip 518, 2117
  and 2086; made by the first strip and kept in scratch 519, 2115 and 2127. Tiles wider than 3
  vectors are bad at it, as two slabs come from L2 for one: 4 x 6 606. With B12 in place of T2, four
  sums have to be made, and it takes 544. BERT takes 44.4 ms on two threads, with seven slabs 44.0,
  and 83.9 on one, where those take 85.2; ViT-B/16 71.6 and 69.9 on two.
- Fetching both slabs to L1 some steps ahead gains nothing: 523 to 527 us for 128x768x768.
- The products are in an order in which each slab is done with soon. Deep ones still want narrow
  tiles, of which L2 holds three slabs: 128x3072x768 2116 in tiles of 13 x 2, 2172 in 8 x 3.
- Rows of A a multiple of 4 KiB apart share a set of L1: copies of A beside its sums bring
  128x3072x768 from 2233 to 2074, and tiles of 13 x 2 from 11800 to 2083.
- AVX2, two threads: 128x3072x768 takes 2193 us with copies, 2262 without; 197x3072x768, whose
  copies and sums are 4.9 MB for each thread, 3605 and 3497 in tiles of 4 x 3, 3543 and 3444 in
  6 x 2. Without the sums, which both threads make, it would take 5 % less; 197x768x3072 would take
  3 to 4 % less without writing C.
- All products for one strip of rows before the next strip would keep more in registers, but stream
  all of B through L2 for every strip. Product by product, a slab comes from memory once, while the
  one before it is at work: with seven slabs, tiles of 4 x 6 take 46.8 ms for BERT without that
  prefetching (45.9 without Strassen), 42.3 with it. What a claim reads first comes unprefetched, so
  slabs had better be narrow.
- One group of rows for each thread spares the sums that both would make: 1 %. Two claims for each
  thread cost 1 %, and pay where groups are unequal.

Largest error over largest output, normal entries; left operand normal / ReLU of normal

    depth    matmul             strassen
    256      6.2e-7 / 4.3e-7    1.6e-6 / 1.4e-6
    768      1.0e-6 / 6.9e-7    2.4e-6 / 2.1e-6
    3072     2.3e-6 / 1.3e-6    4.6e-6 / 3.5e-6

An infinity or a NaN in a row of A makes NaN of the row half the rows away, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import product
from typing import Final, TypeVar

import numpy as np

from planck.codegen.microkernel import LINE_BYTES, tallest
from planck.codegen.strassen import write
from planck.codegen.strassen_spec import DIFFERENCES, PRODUCTS, Strassen
from planck.dtypes import Array
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.cost import k_step_cycles
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.matmul import Problem, least_cycles, problem_of
from planck.tactics.pattern import Anchored, anchored, constant, padded, symbol
from planck.target import Target

Spec = TypeVar("Spec", bound=Strassen)

MAX_OFFERS: Final = 6
MAX_VECTORS: Final = 6
MAX_SUM_BYTES: Final = 4 << 20  # of the sums of A that a call keeps in scratch
LEAST_DEPTH: Final = 64
UNROLL: Final = 4

SUM_CYCLES: Final = 10.0  # to read a vector of each quarter of A and write four sums
COLD_BYTES_PER_CYCLE: Final = 4.0  # of a claim's first B, which nobody has prefetched
DIFFERENCE_BYTES_PER_CYCLE: Final = 36.0  # from L2
LIVE_SLABS: Final = 3  # two that make a difference and the one that is fetched
LATE: Final = 1.04  # times what it takes where these are more than L2 holds beside A
MEMORY_BYTES_PER_CYCLE: Final = 10.0  # to each core
MEMORY_CORES: Final = 2  # that have this much at once


class StrassenMultiply:
    """One level of Strassen's algorithm over register-blocked products."""

    name = "strassen"
    exact = False  # sums and differences of entries are rounded before they are multiplied

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = problem_of_kernel(kernel)
        if isinstance(problem, No):
            return problem
        refusal = _refusal(problem)
        if refusal is not None:
            return refusal
        configs = _configs(problem)
        if configs[0][0] >= _plain_cycles(problem):  # equal where memory takes longest
            return No("the sums would cost more than the product that they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        problem = take(kernel)
        spec = _spec(problem, config)
        name = symbol("strassen", kernel, config)
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


def problem_of_kernel(kernel: Kernel) -> Problem | No:
    form = anchored(kernel, MatMul, -1)
    return problem_of(form) if isinstance(form, Anchored) else form


def take(kernel: Kernel) -> Problem:
    problem = problem_of_kernel(kernel)
    assert isinstance(problem, Problem), problem
    return problem


def _refusal(problem: Problem) -> No | None:
    target = problem.form.kernel.target
    own = problem.memory[problem.a.name]
    if not problem.b_constant:
        return No("the right operand is not known at build time")
    if problem.k % 2 or problem.k // 2 < LEAST_DEPTH:
        return No(f"the sums must run over an even number, at least {2 * LEAST_DEPTH}")
    if problem.m < 2 or problem.n <= target.lanes:
        return No(f"{problem.m} x {problem.n} is too small to be quartered")
    if own.column != 4 or not 4 * problem.k <= own.row <= 8 * problem.k:
        return No("rows of the left operand are not dense")
    return None


# The tuning space


def least_cycles_once(problem: Problem) -> float | No:
    """Cycles of the best configuration."""
    refusal = _refusal(problem)
    return refusal if refusal is not None else _configs(problem)[0][0]


def _configs(problem: Problem) -> list[tuple[float, dict[str, int]]]:
    """Configurations and their cycles: the best way to divide the work for each width of a tile."""
    kernel = problem.form.kernel
    found: list[tuple[float, dict[str, int]]] = []
    pairs, half = -(-problem.m // 2), -(-problem.columns // 2)
    for vectors in range(min(2, half), min(MAX_VECTORS, half) + 1):  # one is slow, and may spill
        most = min(tallest(kernel.target, vectors), pairs)
        rows = -(-pairs // -(-pairs // most))
        ways = []
        for groups, claims in product((1, kernel.threads), (1, 2)):
            config = _divided(problem, rows, vectors, groups)
            spec = _spec(problem, {**config, "claims": claims})
            ways.append((_cycles(problem, spec), {**config, "claims": claims}))
        found.append(min(ways, key=lambda pair: pair[0]))
    return sorted(found, key=lambda pair: pair[0])


def _divided(problem: Problem, rows: int, vectors: int, groups: int) -> dict[str, int]:
    """A configuration with at least so many groups of rows, and more if scratch would be large."""
    target = problem.form.kernel.target
    pairs = -(-problem.m // 2)
    all_strips = -(-pairs // rows)
    row = 2 * rows * problem.memory[problem.a.name].row
    strips = max(1, min(-(-all_strips // groups), MAX_SUM_BYTES // row))
    strips = -(-all_strips // -(-all_strips // strips))
    lines = UNROLL * vectors * target.vector_bytes / LINE_BYTES
    ahead = -(-lines // strips)
    return {"rows": rows, "vectors": vectors, "strips": strips, "ahead": int(ahead)}


def _cycles(problem: Problem, spec: Strassen) -> float:
    """Cycles until all threads are done."""
    kernel = problem.form.kernel
    late = LATE if LIVE_SLABS * spec.slab_bytes > 0.75 * kernel.target.l2_bytes else 1.0

    def panel_cycles(sizes: Sequence[int]) -> float:
        steps = sum(step_cycles(kernel.target, size, spec.vectors) for size in sizes)
        return spec.depth * steps * late

    claims = claim_cycles(spec, kernel.threads, panel_cycles, SUM_CYCLES)
    return max(claims, memory_cycles(kernel, 4.0 * problem.k * problem.n))


def claim_cycles(
    spec: Strassen,
    threads: int,
    panel_cycles: Callable[[Sequence[int]], float],
    sum_cycles: float,
) -> float:
    """Cycles until all claims are done, each going to the thread that is free first.

    panel_cycles:  of a panel for a group of rows, which has strips of so many pairs
    sum_cycles:    to make the sums of a vector of each quarter of A
    """
    free = [0.0] * threads
    heapify(free)
    for begin in range(0, spec.units, spec.grain):
        end = min(begin + spec.grain, spec.units)
        cycles = spec.slab_bytes / COLD_BYTES_PER_CYCLE
        for number in range(begin // spec.panels, (end - 1) // spec.panels + 1):
            first = number % spec.groups * spec.strips
            sizes = [
                min(spec.rows, spec.pairs - strip * spec.rows)
                for strip in range(first, min(first + spec.strips, spec.all_strips))
            ]
            panels = min(end, (number + 1) * spec.panels) - max(begin, number * spec.panels)
            cycles += panels * panel_cycles(sizes)
            cycles += sum(sizes) * spec.depth / spec.lanes * sum_cycles
        heapreplace(free, free[0] + cycles)
    return max(free)


def step_cycles(target: Target, rows: int, vectors: int) -> float:
    """Of a step of all products. Those by a difference load twice as much from L2.

    The fewer operands a step loads, the sooner it recovers from one that came late.
    """
    step = k_step_cycles(target, rows, vectors) + 0.05 * (rows + vectors)
    loads = 2 * vectors * target.vector_bytes / DIFFERENCE_BYTES_PER_CYCLE
    return (len(PRODUCTS) - DIFFERENCES) * step + DIFFERENCES * max(step, loads)


def memory_cycles(kernel: Kernel, weight_bytes: float) -> float:
    """Cycles that so many bytes take from memory, to all threads."""
    return weight_bytes / MEMORY_BYTES_PER_CYCLE / min(kernel.threads, MEMORY_CORES)


def _plain_cycles(problem: Problem) -> float:
    """Cycles of the eight products."""
    memory = memory_cycles(problem.form.kernel, 4.0 * problem.k * problem.n)
    return max(least_cycles(problem), memory)


def _spec(problem: Problem, config: Config) -> Strassen:
    claims = problem.form.kernel.threads * config["claims"]
    return spec_of(problem, config, Strassen, claims=claims)


def spec_of(problem: Problem, config: Config, kind: Callable[..., Spec], **own: int) -> Spec:
    """A product with a configuration's decisions, ready to be written.

    own:  what kinds of it do not decide alike
    """
    form = problem.form
    right = f"{problem.b.name}_slabs"
    arguments = (problem.a.name, right, *form.epilogue.operands, *form.epilogue.outputs)
    return kind(
        batch=problem.batch,
        m=problem.m,
        k=problem.k,
        n=problem.n,
        rows=config["rows"],
        strips=config["strips"],
        vectors=config["vectors"],
        unroll=UNROLL,
        ahead=config["ahead"],
        arguments=tuple(dict.fromkeys(arguments)),
        a=problem.a.name,
        b=right,
        memory=problem.memory,
        epilogue=form.epilogue,
        lanes=form.kernel.target.lanes,
        **own,
    )


def code_of(name: str, llvm: str, spec: Strassen, flops: int, weight_bytes: int) -> Code:
    """The code of a product that has so many operations and bytes of B without this algorithm."""
    packed_bytes = spec.packed_bytes
    return Code(
        symbol=name,
        llvm=llvm,
        arguments=spec.arguments,
        tiles=spec.units,
        scratch_bytes=spec.scratch_bytes,
        grain=spec.grain,
        work_flops=flops * len(PRODUCTS) ** spec.levels // 8**spec.levels,
        growth_bytes=max(0, packed_bytes - weight_bytes),
    )


def pack_epilogue(
    form: Anchored, spec: Strassen, constants: Mapping[str, Array]
) -> dict[str, Array]:
    """The constants of the epilogue, padded to whole panels."""
    packed = {}
    for name, kind in spec.epilogue.operands.items():
        if form.is_constant(name):
            array = constant(form.kernel, constants, name)
            whole = padded(array, spec.width) if kind == "channel" else array
            packed[name] = np.ascontiguousarray(whole)
    return packed


def pack_slabs(spec: Strassen, right: Array, transpose: bool) -> Array:
    """f32[..., K, N] (or [..., N, K]) -> f32[panel, slab, K / 2, vectors * lanes].

    The slabs are B11, T2, B22 and B21 of `codegen.strassen_spec`; zeros past N.
    """
    return np.stack(
        [panels_of(spec, slab) for slab in slabs_of(widened(spec, right, transpose))], 1
    )


def widened(spec: Strassen, right: Array, transpose: bool) -> Array:
    """f32[..., K, N] (or [..., N, K]) -> f64[K, width], zeros past N."""
    matrix = right.reshape(right.shape[-2:])
    if transpose:
        matrix = matrix.T
    result = np.zeros((spec.k, spec.width))
    result[:, : spec.n] = matrix
    return result


def slabs_of(matrix: Array) -> tuple[Array, Array, Array, Array]:
    """B11, T2, B22 and B21 of a matrix."""
    upper, lower = np.split(matrix, 2)
    (b11, b12), (b21, b22) = np.split(upper, 2, axis=1), np.split(lower, 2, axis=1)
    return b11, b22 - b12 + b11, b22, b21


def panels_of(spec: Strassen, slab: Array) -> Array:
    """[K, N] -> f32[panel, K, vectors * lanes], zeros past N."""
    depth, columns = slab.shape
    width = spec.vectors * spec.lanes
    result = np.zeros((depth, spec.panels * width), np.float32)
    result[:, :columns] = slab
    return result.reshape(depth, spec.panels, width).swapaxes(0, 1)
