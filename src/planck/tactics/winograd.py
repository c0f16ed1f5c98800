"""Winograd convolution on blocked layouts: filters to 7x7, strides to 2, ungrouped.

Notebook (Zen 5, AVX-512, 4.4 GHz; weights from DRAM, bias and ReLU; one core; us, least of many)

    layer               direct   3x3 F4, F6 before     now
    128 @ 28x28            782   F6  307               F6x6   228
    256 @ 14x14            752   F4  541               F4x5   326
    512 @ 7x7              994   F4 1031               F2x4   681
    512 @ 13x13           2972   F4 2249               F4x4  1874
    64->128/2 @ 160x160   3394                         F5x5  2202
    128->256/2 @ 80x80    3390                         F5x5  2526
    256->512/2 @ 40x40    3383                         F2x5  2692

- Fetching the next position's weights beside the products: 256 @ 14 in panels of one vector 926 to
  352 us, 128 @ 28 307 to 228; two cores, 128 @ 28 276 to 167. Units of several groups fetch a share
  with each. 512 @ 7 is bound by memory: fewer weights win there, not fewer products.
- Strips of tiles that each read all weights (6 tiles a group, 2 groups, 16 tiles) lose a third to
  one strip of the same products; beyond L3 they lose more than the products save.
- Oblong tiles fit: 14x14 by 4x5 takes 12 tiles where 4x4 takes 16; 7x7 by 2x4 has 24 positions of
  weights where 4x4 has 36.
- Stride 2, F5: 121 products for 225. Planes summed before they are written: 81 for the 121.
- Before (Zen 4): the products run at 95 to 97 % of peak; the transforms take the rest, from 10 %
  (128 @ 28) to 40 % (32 @ 160). A block of a tile costs some 330 cycles in and 240 out for F4.
- A transform kept wholly in registers, or spilled by LLVM, is no faster than one that goes through
  scratch between its two axes, and takes 40 ms longer to compile. SiLU costs nothing measurable.
- Prefetching the next tile's pixels: 25 % off the transform at 160x160, nothing where L2 holds x.
- 28 sums of 7 tiles x 4 vectors leave no register for the broadcast: one spill in each step.

- On bfloat16 tensors, Zen 5, one core, in ResNet-50, beside direct pairs: 64 @ 56 313 us (F6)
  against 410, 128 @ 28 268 against 423, 256 @ 14 490 (F4) against 384: its float32 weights are
  eight times the pairs' and more.

- Then with the transformed weights in float16, for tiles to 5x5 (direct pairs, before, now; us):
  256 @ 14 417, 369, 244 (F5); 512 @ 13 1404, 1518, 945; 512 @ 7 410, 675, 406; 128 @ 28 430, 241,
  240; 64 @ 56 445, 253 (F6), 266. ResNet-50 on two threads 8.9 to 8.3 ms. Errors over the largest
  output, for any number of channels: 2x2 3.1e-4, 4x4 1.1e-3, 4x5 1.9e-3, 5x5 2.8e-3, 6x6 7.6e-3;
  rounding a direct convolution's operands to bfloat16: 2.4e-3. In bfloat16 4x4 would err by 8.8e-3.

Largest error over largest output, 24x24, normal weights; inputs normal / ReLU of normal

    filter  tile    64 channels        256                1024
    3x3     2x2     3.3e-7 / 2.9e-7    5.9e-7 / 5.6e-7    1.2e-6 / 1.4e-6
            4x4     1.0e-6 / 1.4e-6    2.7e-6 / 2.3e-6    4.2e-6 / 4.5e-6
            5x5     3.1e-6 / 2.3e-6    6.2e-6 / 5.4e-6    6.1e-6 / 9.6e-6
            6x6     7.9e-6 / 6.0e-6    8.3e-6 / 5.4e-6    6.4e-6 / 6.5e-6
            4x6     3.7e-6 / 1.9e-6    5.3e-6 / 5.9e-6    5.9e-6 / 6.3e-6
    3x3/2   2x2     8.0e-7 / 6.6e-7    1.4e-6 / 1.4e-6    2.8e-6 / 2.5e-6
            3x3     4.5e-7 / 3.2e-7    8.8e-7 / 1.3e-6    3.0e-6 / 1.2e-6
            4x4     9.1e-7 / 6.6e-7    1.6e-6 / 1.2e-6    3.8e-6 / 4.4e-6
            5x5     1.7e-6 / 1.2e-6    4.2e-6 / 2.7e-6    9.0e-6 / 7.6e-6
    direct          7.9e-7 / 5.3e-7    1.5e-6 / 1.1e-6    3.6e-6 / 2.4e-6

- All are 1.5e-8 to 3.6e-8 times the gains of both axes times the root of the channels: measured on
  20 algorithms, 16 to 256 channels. So the gain, which the matrices tell, chose the points (F4's
  +-11/16, +-3/2 and F6's +-1/2, +-1, +-2 had been found by measuring) and bounds the sums.
- F6 summed over 256 channels at once: 2.5e-5; in runs of 64 as here: 6.2e-6, for 2 % of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Final

import numpy as np

from planck.codegen.bfloat import native
from planck.codegen.bilinear import Algorithm, algorithm, has_points, transform_weights
from planck.codegen.half import native as converts_halves
from planck.codegen.microkernel import tallest
from planck.codegen.tiling import balanced
from planck.codegen.winograd import write
from planck.codegen.winograd_spec import Winograd
from planck.codegen.winograd_transform import instructions
from planck.dtypes import Array, bf16
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.cost import fma_per_cycle, k_step_cycles
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    SHORT_BOUND,
    Anchored,
    anchored,
    blocked_memory,
    check_blocked,
    check_channel_operands,
    constant,
    padded,
    symbol,
    two_dimensional,
)

MAX_OFFERS: Final = 6
MAX_SCRATCH_BYTES: Final = 4 << 20
MAX_TAPS: Final = 7
SIDES: Final = range(2, 7)
MAX_POSITIONS: Final = 11  # of one axis; more would not stay in registers
RIVAL: Final = 2.0  # times the best cycles, for one whose weights grow less
LARGE_GROWTH_BYTES: Final = 4 << 20  # of one layer's weights
LESS: Final = 0.7  # times the growth of the fastest: what is worth a candidate's place
WORTH: Final = 0.8  # times a direct convolution's cycles: what is worth growing for
MAX_AXES: Final = 6  # pairs of algorithms that are reckoned in full
MAX_LIGHT: Final = 2  # further ones, with smaller weights

# The largest error over the largest output is at most 2e-5: half of it for sums of products, each
# channel's rounding measured to be this much for a gain of 1; see the notebook.
MAX_SUM_ERROR: Final = 1e-5
CHANNEL_ERROR: Final = 2.5e-8
# What float16 for the transformed weights adds for a gain of 1, and what may be added in bfloat16,
# where rounding a layer's operands alone errs by 2.5e-3 of the largest output.
HALF_ERROR: Final = 1.75e-4
LARGEST_HALF_EXPONENT: Final = 15  # the scaled weights are below 2^15
MIN_RUN: Final = 32  # channels; shorter sums spend their time in adding up

# Cycles, fitted on Zen 4. On Zen 5 they give 0.85 to 1.1 of what tuning measured on 60 layers; a
# direct convolution there takes half the cycles that it takes on Zen 4.
TRANSFORM_CYCLES: Final = 0.72  # for each instruction of a transform, loads and stores included
ADD_CYCLES: Final = 2.0  # to load, add and store a vector
MEMORY_BYTES_PER_CYCLE: Final = 10.0  # to each core, 37 GB/s
MEMORY_CORES: Final = 2  # that have this much at once
L3_BYTES_PER_CYCLE: Final = 20.0
L3_BYTES: Final = 8 << 20  # of one layer's weights, that are still there for the next strip

Axes = tuple[Algorithm, Algorithm]


class WinogradConvolution:
    """Nested algorithms of two axes, with tiles of 2 to 6 pixels each way."""

    name = "winograd"
    exact = False

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, Conv, 1, bfloat16=True)
        if isinstance(form, No):
            return form
        refusal = _refusal(form)
        if refusal is not None:
            return refusal
        configs = _configs(form)
        if not configs:
            return No("its tiles would be too imprecise, or need too much scratch memory")
        if configs[0][0] > _direct_cycles(form):
            return No("the transforms would cost more than they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        form = _take(kernel)
        spec = _spec(form, config)
        name = symbol("winograd", kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes,
            work_flops=_multiplications(spec, kernel) * 2,
            growth_bytes=max(0, _growth_bytes(form, spec)),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        form = _take(kernel)
        spec = _spec(form, config)
        weights = constant(kernel, constants, form.node.inputs[1].name)
        packed = {spec.weights: pack_weights(spec, weights)}
        if spec.scales:
            packed |= _in_halves(spec, packed[spec.weights])
        names = [*form.channel_operands(), *([spec.bias] if spec.bias else [])]
        for name in names:
            if form.is_constant(name):
                packed[name] = padded(constant(kernel, constants, name), spec.blocks * spec.lanes)
        return packed


def _take(kernel: Kernel) -> Anchored:
    form = anchored(kernel, Conv, 1, bfloat16=True)
    assert isinstance(form, Anchored), form
    return form


def _refusal(form: Anchored) -> No | None:
    node, lanes = form.node, form.kernel.target.lanes
    op = node.op
    assert isinstance(op, Conv)
    x, w = node.inputs[:2]
    taps = w.type.dims[2:]
    if len(taps) > 2:
        return No(f"convolves one or two axes, not {len(taps)}")
    if max(taps) > MAX_TAPS or max(op.strides) > 2 or max(op.dilations) > 1:
        return No(f"takes filters to {MAX_TAPS}x{MAX_TAPS} with strides to 2 and dilation 1")
    if all(size <= stride for size, stride in zip(taps, op.strides, strict=True)):
        return No("pixels that no two outputs share leave nothing to save")
    if op.groups != 1:
        return No("takes ungrouped convolutions")
    if not form.is_constant(w.name):
        return No("the weights are not known at build time")
    channels = form.result.type.dims[1]
    names = (x.name, *form.epilogue.of_kind("full"), *form.epilogue.outputs)
    for refusal in (
        check_blocked(form, lanes, names),
        check_channel_operands(form, channels, lanes),
    ):
        if refusal is not None:
            return refusal
    if len(node.inputs) > 2 and not form.is_constant(node.inputs[2].name) and channels % lanes:
        return No("the bias is known at run time only and has no room for padding lanes")
    return None


# The tuning space


def _configs(form: Anchored) -> list[tuple[float, dict[str, int]]]:
    """Configurations and their cycles: the best of each pair of sides, then the second best.

    Where the weights grow much, or take long to come from memory, which the model knows least, two
    whose weights grow less come before others: the best of those, and the smallest. A network's
    weights may not all grow (`compiler.weigh`).
    """
    ranked: list[tuple[int, float, dict[str, int]]] = []
    for sides in _sides(form):
        found = [best for vectors in (1, 2, 3, 4) if (best := _best(form, sides, vectors))]
        found.sort(key=lambda pair: pair[0])
        ranked += [(place, *pair) for place, pair in enumerate(found)]
    ranked.sort(key=lambda row: row[:2])
    configs = [row[1:] for row in ranked]
    if not configs:
        return []
    cycles, first = configs[0]
    spec = _spec(form, first)

    def growth_bytes(pair: tuple[float, dict[str, int]]) -> int:
        return _growth_bytes(form, _spec(form, pair[1]))

    growth, early = growth_bytes(configs[0]), []
    if growth > LARGE_GROWTH_BYTES or _memory_cycles(form.kernel, spec) > cycles / 4:
        most = min(RIVAL * cycles, WORTH * _direct_cycles(form))
        light = [pair for pair in configs if pair[0] < most and growth_bytes(pair) < LESS * growth]
        early = [*light[:1], *sorted(light[1:], key=growth_bytes)[:1]]
    return list({id(pair): pair for pair in (configs[0], *early, *configs[1:])}.values())


def _best(
    form: Anchored, sides: tuple[int, int], vectors: int
) -> tuple[float, dict[str, int]] | None:
    """The best sharing of work for tiles of some sides and panels of some width."""
    threads = form.kernel.threads
    config = {"down": sides[0], "along": sides[1], "rows": 1, "vectors": vectors}
    if _halves(form, _axes(form, config)):
        config["halves"] = 1
    wide = _spec(form, {**config, "groups": 1, "parts": 1})
    if vectors > wide.blocks:
        return None
    most = min(tallest(form.kernel.target, vectors), wide.tiles)
    rows = -(-wide.tiles // -(-wide.tiles // most))
    best: tuple[float, dict[str, int]] | None = None
    for groups, parts in product((1, 2, 4), (1, 2, 4, 8) if threads > 1 else (1,)):
        spec = replace(wide, rows=rows, groups=groups, parts=parts)
        if groups > spec.all_groups or parts > spec.panels:
            continue
        if spec.scratch_bytes > MAX_SCRATCH_BYTES:
            continue
        cycles = _cycles(form.kernel, spec)
        if best is None or cycles < best[0]:
            best = cycles, {**config, "rows": rows, "groups": groups, "parts": parts}
    return best


def _sides(form: Anchored) -> list[tuple[int, int]]:
    """Sides of output tiles that are precise enough, the few with the least work."""
    taps, strides, out = _shape(form)
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
        if _run(axes) < MIN_RUN:
            continue
        tiles = -(-out[0] // down) * -(-out[1] // along)
        products = axes[0].positions * axes[1].positions * in_blocks * out_blocks * lanes
        work = products + in_blocks * _read_cycles(axes) + out_blocks * _write_cycles(axes)
        work *= tiles * form.result.type.dims[0] / _transform_speed(form.kernel)
        weights = axes[0].positions * axes[1].positions * in_blocks * out_blocks * lanes**2
        weights *= 2 if _halves(form, axes) else 4
        cycles = max(work, weights / MEMORY_BYTES_PER_CYCLE)
        found.append((cycles, axes[0].positions * axes[1].positions, (down, along)))
    found.sort()
    best = found[:MAX_AXES]
    fewest = min((positions for _, positions, _ in best), default=0)
    light = [row for row in found if row[0] < RIVAL * found[0][0] and row[1] < fewest]
    lightest = sorted(light, key=lambda row: row[1])[:MAX_LIGHT]
    return [sides for _, _, sides in (*best, *lightest)]


def _shape(form: Anchored) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Taps, strides and output pixels, down and along."""
    op = form.node.op
    assert isinstance(op, Conv)
    return (
        two_dimensional(form.node.inputs[1].type.dims[2:], 1),
        two_dimensional(op.strides, 1),
        two_dimensional(form.result.type.dims[2:], 1),
    )


def _run(axes: Axes) -> int:
    """Channels that one sum may run over before its error is too large."""
    return int((MAX_SUM_ERROR / CHANNEL_ERROR / axes[0].gain / axes[1].gain) ** 2)


def _halves(form: Anchored, axes: Axes) -> bool:
    """Whether the transformed weights lie in float16: among bfloat16 nobody sees the rounding."""
    short = all(v.type.dtype is bf16 for v in form.node.inputs[:2])
    small = HALF_ERROR * axes[0].gain * axes[1].gain <= SHORT_BOUND
    return short and small and converts_halves(form.kernel.target)


def _axes(form: Anchored, config: Config) -> Axes:
    taps, strides, _ = _shape(form)
    return (
        algorithm(config["down"], taps[0], strides[0]),
        algorithm(config["along"], taps[1], strides[1]),
    )


@cache
def _read_cycles(axes: Axes) -> float:
    """Cycles to transform one block of a tile's input."""
    down, along = axes
    half = down.positions * along.window
    count = down.window * along.window + 2 * half + down.positions * along.positions
    count += instructions(down.read) * along.window + instructions(along.read) * down.positions
    return TRANSFORM_CYCLES * count


@cache
def _write_cycles(axes: Axes) -> float:
    """Cycles to transform one block of a tile's output."""
    down, along = axes
    half = down.side * along.sums
    count = down.sums * along.sums + 2 * half + down.side * along.side
    count += instructions(down.write) * along.sums + instructions(along.write) * down.side
    return TRANSFORM_CYCLES * count


def _cycles(kernel: Kernel, spec: Winograd) -> float:
    """Cycles of the whole kernel when all threads work on it."""
    target = kernel.target
    speed = _transform_speed(kernel)
    groups = balanced(spec.tiles, spec.rows)
    step = sum(k_step_cycles(target, size, spec.vectors, spec.slab) for _, size in groups)
    products = step * spec.panels * spec.positions * spec.channels
    runs = -(-spec.in_blocks // spec.run)
    products += (runs - 1) * spec.tiles * spec.blocks * spec.positions * ADD_CYCLES
    transforms = spec.tiles * spec.parts * spec.in_blocks * _read_cycles(spec.axes) / speed
    transforms += spec.tiles * spec.blocks * _write_cycles(spec.axes) / speed
    share = (-(-spec.units // kernel.threads) + 0.1) / spec.units
    # Weights come from memory while others are multiplied, not while pixels are transformed.
    memory = _memory_cycles(kernel, spec)
    products *= share
    return max(products, memory) + 0.1 * min(products, memory) + transforms * share


def _memory_cycles(kernel: Kernel, spec: Winograd) -> float:
    """Cycles that the weights take to come from memory, and again for each further strip."""
    bytes_ = spec.panels * spec.positions * spec.slab
    cached = bytes_ / spec.parts < L3_BYTES
    again = (spec.strips - 1) / (L3_BYTES_PER_CYCLE if cached else MEMORY_BYTES_PER_CYCLE)
    cycles = bytes_ * (1 / MEMORY_BYTES_PER_CYCLE + again * (bytes_ > kernel.target.l2_bytes // 2))
    return cycles / min(kernel.threads, MEMORY_CORES)


def _growth_bytes(form: Anchored, spec: Winograd) -> int:
    return spec.panels * spec.positions * spec.slab - form.node.inputs[1].type.bytes


def _multiplications(spec: Winograd, kernel: Kernel) -> int:
    """Those of the products in the transformed domain; the transforms only add."""
    out_channels = kernel.graph.nodes[0].outputs[0].type.dims[1]
    return spec.tiles * spec.positions * spec.channels * out_channels


def _transform_speed(kernel: Kernel) -> int:
    """The transforms' cycles were fitted on 512 bits; narrower vectors take half as long."""
    return 1 if kernel.target.isa == "avx512" else 2


def _direct_cycles(form: Anchored) -> float:
    """Cycles of the multiplications that a direct convolution would do."""
    kernel = form.kernel
    n, m, *out = form.result.type.dims
    vectors = n * -(-m // kernel.target.lanes) * math.prod(out)
    filter_channels, *taps = form.node.inputs[1].type.dims[1:]
    if all(v.type.dtype is bf16 for v in form.node.inputs[:2]) and native(kernel.target):
        filter_channels = -(-filter_channels // 2)  # it multiplies them in pairs
    work = filter_channels * math.prod(taps)
    return vectors * work / fma_per_cycle(kernel.target) / kernel.threads


# From a configuration to code


def _spec(form: Anchored, config: Config) -> Winograd:
    kernel, op = form.kernel, form.node.op
    assert isinstance(op, Conv)
    x, w = form.node.inputs[:2]
    bias = form.node.inputs[2].name if len(form.node.inputs) > 2 else ""
    names = (x.name, *form.epilogue.of_kind("full"), *form.epilogue.outputs)
    packed = f"{w.name}_transformed"
    operands = [name for name in form.epilogue.operands if name not in (x.name, bias)]
    biases = [bias] if bias else []
    scales = [f"{w.name}_scales"] if config.get("halves") else []
    lanes = kernel.target.lanes
    batch, channels, *image = x.type.dims
    axes, out = _axes(form, config), _shape(form)[2]
    return Winograd(
        lanes=lanes,
        axes=axes,
        batch=batch,
        channels=channels,
        blocks=-(-form.result.type.dims[1] // lanes),
        image=two_dimensional(tuple(image), 1),
        out=out,
        pads=two_dimensional(op.pads[: len(image)], 0),
        rows=config["rows"],
        vectors=config["vectors"],
        groups=config["groups"],
        parts=config["parts"],
        run=max(1, _run(axes) // lanes),
        arguments=(x.name, packed, *scales, *biases, *operands, *form.epilogue.outputs),
        x=x.name,
        weights=packed,
        bias=bias,
        memory={name: blocked_memory(kernel, name) for name in names},
        epilogue=form.epilogue,
        scales=scales[0] if scales else "",
    )


def pack_weights(spec: Winograd, weights: Array) -> Array:
    """f32[panel, position, channel, vectors * lanes], zeros beyond the last output channel.

    Positions lie in the order in which they are multiplied.

    weights:  f32[M, C, *taps]
    """
    filters = weights.reshape(*weights.shape[:2], *(axis.taps for axis in spec.axes))
    transformed = transform_weights(*spec.axes, filters)  # [positions, C, M]
    transformed = transformed[[position for _, row in spec.order for position in row]]
    width = spec.vectors * spec.lanes
    whole = np.zeros((*transformed.shape[:2], spec.panels * width), np.float32)
    whole[:, :, : transformed.shape[2]] = transformed
    split = whole.reshape(*whole.shape[:2], spec.panels, width)
    return np.ascontiguousarray(split.transpose(2, 0, 1, 3))


def _in_halves(spec: Winograd, packed: Array) -> dict[str, Array]:
    """Packed weights in float16, and by what to multiply each output channel's sums.

    The scales are powers of two, so that only float16's own rounding is left, and no channel's
    weights are denormals because they are small beside those of others.
    """
    width = spec.vectors * spec.lanes
    largest = np.abs(packed).max(axis=(1, 2))  # [panel, vectors * lanes]
    exponents = np.frexp(np.where(largest > 0, largest, 1))[1]
    scales = np.ldexp(np.float32(1), exponents - LARGEST_HALF_EXPONENT)
    halves = (packed / scales[:, None, None, :]).astype(np.float16)
    assert scales.shape == (spec.panels, width)
    return {spec.weights: halves, spec.scales: scales.astype(np.float32).reshape(-1)}
