"""1x1 convolutions with seven products of quarters in place of eight, on blocked layouts.

Notebook (EPYC with Zen 5 cores, AVX-512, weights from memory, bias and ReLU; us, direct code and
this; the algorithm's own notes are in tactics/strassen.py):

    layer              one core            two cores
    64-256 @ 56        407.4  443.0  0.92  208.4  237.1  0.88
    256-128 @ 56       781.8  778.1  1.00  403.4  405.2  1.00
    256-512/2 @ 56     810.0  756.4  1.07  419.2  386.1  1.09
    512-128 @ 28       385.6  373.2  1.03  204.6  197.3  1.04
    1024-256 @ 14      389.2  368.8  1.06  211.1  205.4  1.03
    256-1024 @ 14      390.8  366.6  1.07  202.8  191.3  1.06
    2048-512 @ 7       431.7  366.7  1.18  230.8  200.2  1.15
    512-2048 @ 7       433.9  365.5  1.19  234.2  193.4  1.21
    256-256 @ 40       808.8  775.1  1.04  414.5  398.5  1.04
    512-512 @ 20       804.9  739.4  1.09  406.7  388.9  1.05

- Beside the products: sums of pixels 1.4 % (512-512 @ 20), sums to scratch and back 1.6 %, writing
  the quarters of C 1.5 %. They weigh as 1 / channels, so that fewer than 256 do not pay.
- Groups of rows whose operands and sums fit in half of L2, in place of 4 MB: 512-128 @ 28 from 386
  to 373, 256-256 @ 40 from 811 to 775, 256-512/2 from 783 to 756 on one core.
- Groups of one strip or two read B again and again: 1024-256 @ 14 212.9, in place of 199.4 with all
  of a thread's strips at once. A fifth of the time that B takes from the cache explains that.
- Pixels are picked by a table when the left operands are written: a stride costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

import numpy as np

from planck.codegen.epilogue import Apply, Epilogue
from planck.codegen.matmul import Matrix
from planck.codegen.microkernel import LINE_BYTES, tallest
from planck.codegen.strassen_blocked import BlockedStrassen, write
from planck.codegen.strassen_spec import DIFFERENCES, PRODUCTS, SLABS
from planck.dtypes import Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.convolution import Problem, read_problem
from planck.tactics.cost import k_step_cycles
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import blocked_memory, constant, float32_only, symbol
from planck.tactics.strassen import (
    claim_cycles,
    code_of,
    memory_cycles,
    pack_epilogue,
    pack_slabs,
    step_cycles,
)

MAX_OFFERS: Final = 4
MAX_VECTORS: Final = 6
LEAST_DEPTH: Final = 32
UNROLL: Final = 4
RIVAL: Final = 1.1  # times the least cycles of direct code: what it mostly takes

SUM_CYCLES: Final = 14.0  # to read a vector of each quarter of A and write seven
WRITE_CYCLES: Final = 4.0  # to load, finish and store a vector of C
L2_BYTES: Final = 24.0  # a cycle
L3_BYTES: Final = 20.0
STREAMED: Final = 0.2  # of the time that B takes to come again for each group of rows


class StrassenConvolution:
    """One level of Strassen's algorithm over the pixels and channels of a 1x1 convolution."""

    name = "strassen_1x1"
    exact = False  # sums and differences of pixels are rounded before they are multiplied

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = _problem(kernel)
        if isinstance(problem, No):
            return problem
        configs = _configs(problem)
        if configs[0][0] > RIVAL * _plain_cycles(problem):
            return No("the sums would cost more than the product that they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        problem = _take(kernel)
        spec = _spec(problem, config)
        name = symbol("strassen", kernel, config)
        llvm, weights = write(kernel.target, name, spec), problem.form.node.inputs[1]
        return code_of(name, llvm, spec, problem.flops, weights.type.bytes)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = _take(kernel)
        spec = _spec(problem, config)
        weights = constant(kernel, constants, problem.form.node.inputs[1].name)
        right = np.zeros((spec.n, spec.k), np.float32)
        right[: weights.shape[0]] = weights.reshape(weights.shape[0], -1)
        slabs = pack_slabs(spec, right, transpose=True)
        return {spec.b: slabs, **pack_epilogue(problem.form, spec, constants)}


def _problem(kernel: Kernel) -> Problem | No:
    refusal = float32_only(kernel)
    problem = No(refusal) if refusal else read_problem(kernel, Conv)
    if not isinstance(problem, Problem):
        return problem
    form, lanes = problem.form, problem.lanes
    if problem.kernel != (1, 1) or any(problem.pads) or problem.groups > 1 or problem.row_major:
        return No("takes ungrouped 1x1 convolutions without padding, on blocked layouts")
    if problem.in_channels % (2 * lanes) or problem.in_channels < 2 * LEAST_DEPTH:
        return No(
            f"input channels must be a multiple of {2 * lanes}, and {2 * LEAST_DEPTH} or more"
        )
    if problem.out_channels <= lanes or math.prod(problem.out) < 2:
        return No(f"{problem.out_channels} channels of an image are too few to be quartered")
    x = form.node.inputs[0].name
    if x in form.epilogue.operands:
        return No("the epilogue reads the image too")
    if form.resized or form.parts:
        return No("an operand is read resized, or the result is written in parts")
    for name in (*form.epilogue.of_kind("full"), *form.epilogue.outputs):
        memory = blocked_memory(kernel, name)
        if memory.row != problem.out[1] * memory.column and problem.out[0] > 1:
            return No(f"the rows of %{name} have gaps")
    return problem


def _take(kernel: Kernel) -> Problem:
    problem = _problem(kernel)
    assert isinstance(problem, Problem), problem
    return problem


# The tuning space


def _configs(problem: Problem) -> list[tuple[float, dict[str, int]]]:
    """Configurations and their cycles: the best way to divide the work for each width of a tile.

    The second is the best with groups of another size: how much of them L2 keeps is known least.
    """
    kernel = problem.form.kernel
    found: list[tuple[float, dict[str, int]]] = []
    others: list[tuple[float, dict[str, int]]] = []
    pairs, half = -(-math.prod(problem.out) // 2), -(-problem.blocks // 2)
    for vectors in range(min(2, half), min(MAX_VECTORS, half) + 1):  # one is slow, and may spill
        most = min(tallest(kernel.target, vectors), pairs)
        rows = -(-pairs // -(-pairs // most))
        ways = []
        for share, groups, claims in product((1 / 4, 1 / 2, 4.0), (1, kernel.threads), (1, 2, 4)):
            config = _divided(problem, rows, vectors, groups, int(share * kernel.target.l2_bytes))
            config["claims"] = claims
            ways.append((_cycles(problem, _spec(problem, config)), config))
        ways.sort(key=lambda pair: pair[0])
        found.append(ways[0])
        others += [way for way in ways if way[1]["strips"] != ways[0][1]["strips"]][:1]
    found.sort(key=lambda pair: pair[0])
    others = [way for way in others if way[1]["vectors"] == found[0][1]["vectors"]]
    return [found[0], *others, *found[1:]]


def _divided(
    problem: Problem, rows: int, vectors: int, groups: int, most_bytes: int
) -> dict[str, int]:
    """A configuration with at least so many groups of rows, and more to use less scratch."""
    pairs = -(-math.prod(problem.out) // 2)
    all_strips = -(-pairs // rows)
    vector_bytes = problem.form.kernel.target.vector_bytes
    row_bytes = 4 * (problem.in_channels * 4 + LINE_BYTES) + 4 * vectors * vector_bytes
    strips = max(1, min(-(-all_strips // groups), most_bytes // (rows * row_bytes)))
    strips = -(-all_strips // -(-all_strips // strips))
    lines = UNROLL * vectors * vector_bytes / LINE_BYTES
    return {"rows": rows, "vectors": vectors, "strips": strips, "ahead": int(-(-lines // strips))}


def _cycles(problem: Problem, spec: BlockedStrassen) -> float:
    """Cycles until all threads are done."""
    kernel = problem.form.kernel
    target = kernel.target
    weight_bytes = float(spec.panels * SLABS * spec.slab_bytes)
    near = L2_BYTES if weight_bytes < target.l2_bytes // 2 else L3_BYTES
    far = spec.scratch_bytes > target.l2_bytes * 3 // 4
    move = 2 * target.vector_bytes / L3_BYTES if far else 1.0  # a sum to scratch and back
    streamed = STREAMED * (len(PRODUCTS) + DIFFERENCES) * spec.slab_bytes / near

    def panel_cycles(sizes: Sequence[int]) -> float:
        steps = sum(step_cycles(target, size, spec.vectors) for size in sizes)
        moved = sum(sizes) * spec.vectors * (len(PRODUCTS) * move + 4 * WRITE_CYCLES)
        return spec.depth * steps + streamed + moved

    claims = claim_cycles(spec, kernel.threads, panel_cycles, SUM_CYCLES)
    return max(claims, memory_cycles(kernel, weight_bytes))


def _plain_cycles(problem: Problem) -> float:
    """Cycles of the eight products."""
    kernel = problem.form.kernel
    steps = problem.batch * math.prod(problem.out) * problem.in_channels
    rows = {v: tallest(kernel.target, v) for v in (1, 2, 3, 4)}
    cycles = min(k_step_cycles(kernel.target, r, v) / r / v for v, r in rows.items())
    cycles *= steps * problem.blocks / kernel.threads
    weights = 4.0 * problem.in_channels * problem.blocks * problem.lanes
    return max(cycles, memory_cycles(kernel, weights))


def _spec(problem: Problem, config: Config) -> BlockedStrassen:
    form, kernel = problem.form, problem.form.kernel
    x, w = (v.name for v in form.node.inputs[:2])
    right = f"{w}_slabs"
    epilogue = _with_bias(problem)
    image = blocked_memory(kernel, x)
    memory = {x: Matrix((image.batch,), 0, 4)}
    blocks = {x: image.block}
    for name in (*form.epilogue.of_kind("full"), *form.epilogue.outputs):
        own = blocked_memory(kernel, name)
        memory[name], blocks[name] = Matrix((own.batch,), own.column, 4), own.block
    down, along = problem.strides
    places = tuple(
        i * down * image.row + j * along * image.column
        for i in range(problem.out[0])
        for j in range(problem.out[1])
    )
    return BlockedStrassen(
        batch=(problem.batch,),
        m=math.prod(problem.out),
        k=problem.in_channels,
        n=problem.blocks * problem.lanes,
        rows=config["rows"],
        strips=config["strips"],
        vectors=config["vectors"],
        unroll=UNROLL,
        ahead=config["ahead"],
        claims=kernel.threads * config["claims"],
        arguments=tuple(dict.fromkeys((x, right, *epilogue.operands, *epilogue.outputs))),
        a=x,
        b=right,
        memory=memory,
        epilogue=epilogue,
        lanes=problem.lanes,
        places=places,
        blocks=blocks,
    )


def _with_bias(problem: Problem) -> Epilogue:
    """The epilogue, with the bias as its first step."""
    own, bias = problem.form.epilogue, problem.form.bias
    if not bias:
        return own
    return Epilogue(
        f"{own.source}_sum",
        (Apply("add", (f"{own.source}_sum", bias), own.source), *own.steps),
        {bias: "channel", **own.operands},
        own.constants,
        own.outputs,
        own.rounded,
        own.dtypes,
    )
