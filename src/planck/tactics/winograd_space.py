"""Winograd's tuning space: tiles, and ways to share the work, that promise most cycles saved."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Final

from planck.codegen.bfloat import native
from planck.codegen.bilinear import algorithm, has_points
from planck.codegen.microkernel import tallest
from planck.codegen.tiling import balanced
from planck.codegen.winograd_spec import Winograd
from planck.codegen.winograd_transform import instructions
from planck.dtypes import bf16
from planck.tactics.cost import fma_per_cycle, k_step_cycles
from planck.tactics.kernel import Kernel
from planck.tactics.pattern import Anchored
from planck.tactics.winograd_form import Axes, axes_of, in_halves, run_of, shape_of, spec_of

MAX_SCRATCH_BYTES: Final = 4 << 20
SIDES: Final = range(2, 7)
MAX_POSITIONS: Final = 11  # of one axis; more would not stay in registers
RIVAL: Final = 2.0  # times the best cycles, for one whose weights grow less
LARGE_GROWTH_BYTES: Final = 4 << 20  # of one layer's weights
LESS: Final = 0.7  # times the growth of the fastest: what is worth a candidate's place
WORTH: Final = 0.8  # times a direct convolution's cycles: what is worth growing for
MAX_AXES: Final = 6  # pairs of algorithms that are reckoned in full
MAX_LIGHT: Final = 2  # further ones, with smaller weights
GROUPS: Final = (1, 2, 3, 4, 6)
PARTS: Final = (1, 2, 4, 8)
MIN_RUN: Final = 32  # channels; shorter sums spend their time in adding up

# Cycles, fitted on Zen 4. On Zen 5 they give 0.85 to 1.1 of what tuning measured on 60 layers; a
# direct convolution there takes half the cycles that it takes on Zen 4.
TRANSFORM_CYCLES: Final = 0.72  # for each instruction of a transform, loads and stores included
ADD_CYCLES: Final = 2.0  # to load, add and store a vector
MEMORY_BYTES_PER_CYCLE: Final = 10.0  # to each core, 37 GB/s
MEMORY_CORES: Final = 2  # that have this much at once
L3_BYTES_PER_CYCLE: Final = 20.0
L3_BYTES: Final = 8 << 20  # of one layer's weights, that are still there for the next strip


def configs_of(form: Anchored) -> list[tuple[float, dict[str, int]]]:
    """Configurations and their cycles: the best of each pair of sides, then the second best.

    Where the weights grow much, or take long to come from memory, which the model knows least, two
    whose weights grow less come before others: the best of those, and the smallest. A network's
    weights may not all grow (`compiler.weigh`).
    """
    ranked: list[tuple[int, float, dict[str, int]]] = []
    for sides in sides_of(form):
        found = [best for vectors in (1, 2, 3, 4) if (best := best_sharing(form, sides, vectors))]
        found.sort(key=lambda pair: pair[0])
        ranked += [(place, *pair) for place, pair in enumerate(found)]
    ranked.sort(key=lambda row: row[:2])
    configs = [row[1:] for row in ranked]
    if not configs:
        return []
    cycles, first = configs[0]
    spec = spec_of(form, first)

    def growth_bytes(pair: tuple[float, dict[str, int]]) -> int:
        return growth_of(form, spec_of(form, pair[1]))

    growth, early = growth_bytes(configs[0]), []
    if growth > LARGE_GROWTH_BYTES or memory_cycles(form.kernel, spec) > cycles / 4:
        most = min(RIVAL * cycles, WORTH * direct_cycles(form))
        light = [pair for pair in configs if pair[0] < most and growth_bytes(pair) < LESS * growth]
        early = [*light[:1], *sorted(light[1:], key=growth_bytes)[:1]]
    return list({id(pair): pair for pair in (configs[0], *early, *configs[1:])}.values())


def best_sharing(
    form: Anchored, sides: tuple[int, int], vectors: int
) -> tuple[float, dict[str, int]] | None:
    """The best sharing of work for tiles of some sides and panels of some width."""
    threads = form.kernel.threads
    config = {"down": sides[0], "along": sides[1], "rows": 1, "vectors": vectors}
    if in_halves(form, axes_of(form, config)):
        config["halves"] = 1
    wide = spec_of(form, {**config, "groups": 1, "parts": 1})
    if vectors > wide.blocks:
        return None
    most = min(tallest(form.kernel.target, vectors), wide.tiles)
    rows = -(-wide.tiles // -(-wide.tiles // most))
    best: tuple[float, dict[str, int]] | None = None
    for groups, parts in product(GROUPS, PARTS if threads > 1 else (1,)):
        for shared in (0, 1) if parts > 1 else (0,):
            spec = replace(wide, rows=rows, groups=groups, parts=parts, shared=bool(shared))
            if groups > spec.all_groups or parts > spec.panels:
                continue
            if spec.scratch_bytes + spec.v_bytes * shared > MAX_SCRATCH_BYTES:
                continue
            cycles = cycles_of(form.kernel, spec)
            if best is None or cycles < best[0]:
                own = {"shared": 1} if shared else {}
                best = cycles, {**config, "rows": rows, "groups": groups, "parts": parts, **own}
    return best


def sides_of(form: Anchored) -> list[tuple[int, int]]:
    """Sides of output tiles that are precise enough, the few with the least work."""
    taps, strides, out = shape_of(form)
    lanes = form.kernel.target.lanes
    in_blocks = -(-form.node.inputs[0].type.dims[1] // lanes)
    out_blocks = -(-form.result.type.dims[1] // lanes)
    choices = [
        [
            side
            for side in (SIDES if size > stride else (1,))
            if has_points(side, size, stride)
            and algorithm(side, size, stride).positions <= MAX_POSITIONS
            and side < 2 * extent
        ]
        for size, stride, extent in zip(taps, strides, out, strict=True)
    ]
    found: list[tuple[float, int, tuple[int, int]]] = []
    for down, along in product(*choices):
        if down > along and taps[0] == taps[1] and strides[0] == strides[1] and out[0] == out[1]:
            continue  # as good as along, down
        axes = algorithm(down, taps[0], strides[0]), algorithm(along, taps[1], strides[1])
        if run_of(axes) < MIN_RUN:
            continue
        tiles = -(-out[0] // down) * -(-out[1] // along)
        products = axes[0].positions * axes[1].positions * in_blocks * out_blocks * lanes
        work = products + in_blocks * read_cycles(axes) + out_blocks * write_cycles(axes)
        work *= tiles * form.result.type.dims[0] / transform_speed(form.kernel)
        weights = axes[0].positions * axes[1].positions * in_blocks * out_blocks * lanes**2
        weights *= 2 if in_halves(form, axes) else 4
        cycles = max(work, weights / MEMORY_BYTES_PER_CYCLE)
        found.append((cycles, axes[0].positions * axes[1].positions, (down, along)))
    found.sort()
    best = found[:MAX_AXES]
    fewest = min((positions for _, positions, _ in best), default=0)
    light = [row for row in found if row[0] < RIVAL * found[0][0] and row[1] < fewest]
    lightest = sorted(light, key=lambda row: row[1])[:MAX_LIGHT]
    return [sides for _, _, sides in (*best, *lightest)]


@cache
def read_cycles(axes: Axes) -> float:
    """Cycles to transform one block of a tile's input."""
    down, along = axes
    half = down.positions * along.window
    count = down.window * along.window + 2 * half + down.positions * along.positions
    count += instructions(down.read) * along.window + instructions(along.read) * down.positions
    return TRANSFORM_CYCLES * count


@cache
def write_cycles(axes: Axes) -> float:
    """Cycles to transform one block of a tile's output."""
    down, along = axes
    half = down.side * along.sums
    count = down.sums * along.sums + 2 * half + down.side * along.side
    count += instructions(down.write) * along.sums + instructions(along.write) * down.side
    return TRANSFORM_CYCLES * count


def cycles_of(kernel: Kernel, spec: Winograd) -> float:
    """Cycles of the whole kernel when all threads work on it."""
    target = kernel.target
    speed = transform_speed(kernel)
    groups = balanced(spec.tiles, spec.rows)
    step = sum(k_step_cycles(target, size, spec.vectors, spec.slab) for _, size in groups)
    products = step * spec.panels * spec.positions * spec.channels
    runs = -(-spec.in_blocks // spec.run)
    products += (runs - 1) * spec.tiles * spec.blocks * spec.positions * ADD_CYCLES
    reading = spec.tiles * spec.in_blocks * read_cycles(spec.axes) / speed
    writing = spec.tiles * spec.blocks * write_cycles(spec.axes) / speed
    share = (-(-spec.units // kernel.threads) + 0.1) / spec.units
    if spec.shared:
        reading = (reading + 2 * spec.v_bytes / L3_BYTES_PER_CYCLE) / kernel.threads
    else:
        reading *= spec.parts * share
    # Weights come from memory while others are multiplied, not while pixels are transformed.
    memory = memory_cycles(kernel, spec)
    products *= share
    transforms = reading + writing * share
    return max(products, memory) + 0.1 * min(products, memory) + transforms


def memory_cycles(kernel: Kernel, spec: Winograd) -> float:
    """Cycles that the weights take to come from memory, and again for each further strip."""
    bytes_ = spec.panels * spec.positions * spec.slab
    cached = bytes_ / spec.parts < L3_BYTES
    again = (spec.strips - 1) / (L3_BYTES_PER_CYCLE if cached else MEMORY_BYTES_PER_CYCLE)
    cycles = bytes_ * (1 / MEMORY_BYTES_PER_CYCLE + again * (bytes_ > kernel.target.l2_bytes // 2))
    return cycles / min(kernel.threads, MEMORY_CORES)


def growth_of(form: Anchored, spec: Winograd) -> int:
    return spec.panels * spec.positions * spec.slab - form.node.inputs[1].type.bytes


def multiplications(spec: Winograd, kernel: Kernel) -> int:
    """Those of the products in the transformed domain; the transforms only add."""
    out_channels = kernel.graph.nodes[0].outputs[0].type.dims[1]
    return spec.tiles * spec.positions * spec.channels * out_channels


def transform_speed(kernel: Kernel) -> int:
    """The transforms' cycles were fitted on 512 bits; narrower vectors take half as long."""
    return 1 if kernel.target.isa == "avx512" else 2


def direct_cycles(form: Anchored) -> float:
    """Cycles of the multiplications that a direct convolution would do."""
    kernel = form.kernel
    n, m, *out = form.result.type.dims
    vectors = n * -(-m // kernel.target.lanes) * math.prod(out)
    filter_channels, *taps = form.node.inputs[1].type.dims[1:]
    if all(v.type.dtype is bf16 for v in form.node.inputs[:2]) and native(kernel.target):
        filter_channels = -(-filter_channels // 2)  # it multiplies them in pairs
    work = filter_channels * math.prod(taps)
    return vectors * work / fma_per_cycle(kernel.target) / kernel.threads
