"""Winograd convolution on blocked layouts: 3x3, stride 1, ungrouped, 2-D.

Notebook (Zen 4, AVX-512, 3.7 GHz; cold weights, bias and ReLU; us, least of many)

                       one core                                two cores
    layer            direct  F(2,3)  F(4,3)  F(6,3)  times    direct  first offer  times
    64 @ 104x104       6865    3884    2750    2006    3.4      3693   F6     934    4.0
    128 @ 52x52        6733    3701    2138    1780    3.8      3386   F6     892    3.8
    256 @ 26x26        6583    3574    2293    2108    3.1      3259   F6    1001    3.3
    64 @ 56x56         1967    1003     587     549    3.6       976   F6     287    3.4
    128 @ 28x28        1906     952     544     502    3.8       967   F6     274    3.5
    256 @ 14x14        1862     915     687     740    2.7       903   F4     362    2.5
    512 @ 7x7          1668    1192    1045    1720    1.6       820   F4     512    1.6
    32 @ 160x160       4246    2231    1499    1258    3.4      2154   F6     610    3.5
    384->256 @ 26x26  10085    5214    3597    3280    3.1      4931   F6    1591    3.1

- The products run at 95 to 97 % of peak; the transforms take the rest, from 10 % (128 @ 28) to 40 %
  (32 @ 160). A block of a tile costs some 330 cycles in and 240 out for F4, 650 and 690 for F6.
- 512 @ 7: F4's 38 MB of weights come from memory at 36 GB/s to one core and 74 to two, which is all
  that it does.
- A transform kept wholly in registers, or spilled by LLVM, is no faster than one that goes through
  scratch between its two axes, and takes 40 ms longer to compile. SiLU costs nothing measurable.
- Prefetching the next tile's pixels: 25 % off the transform at 160x160, nothing where L2 holds x.
- Scratch beyond L2, and weights that come from L3 for each strip of tiles, cost less than 3 %.
- 28 sums of 7 tiles x 4 vectors leave no register for the broadcast: one spill in each step.

Largest error over largest output, 24x24, normal weights; inputs normal / ReLU of normal

    channels  direct             F(2,3)             F(4,3)             F(6,3)
    64        7.9e-7 / 5.3e-7    3.3e-7 / 2.9e-7    1.5e-6 / 1.2e-6    7.4e-6 / 7.6e-6
    256       1.5e-6 / 1.1e-6    5.9e-7 / 5.6e-7    2.8e-6 / 2.2e-6    6.2e-6 / 6.7e-6
    1024      3.6e-6 / 2.4e-6    1.2e-6 / 1.4e-6    5.6e-6 / 4.3e-6    7.7e-6 / 6.6e-6

- F4's points by search: +-11/16, +-3/2 have 0.4 times the error of the usual +-1, +-2.
- F6 summed over 256 channels at once: 2.5e-5; in runs of 64 as here: 6.2e-6, for 2 % of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final

import numpy as np

from planck.codegen.microkernel import tallest
from planck.codegen.tiling import balanced
from planck.codegen.winograd import Winograd, write
from planck.codegen.winograd_transform import PAIRS, TAPS, transform_weights
from planck.dtypes import Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.cost import k_step_cycles
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    blocked_memory,
    check_blocked,
    check_channel_operands,
    constant,
    padded,
    symbol,
)

MAX_OFFERS: Final = 6
MAX_SCRATCH_BYTES: Final = 4 << 20

# Input channels that one sum may run over before the error exceeds 2e-5 of the largest output, by
# side; where it is not named, more than any layer has. See the notebook.
MAX_RUN: Final = {6: 64}

# Cycles to transform one vector block of one tile, there and back, fitted on Zen 4; by side.
READ_CYCLES: Final = {2: 60.0, 4: 230.0, 6: 540.0}
WRITE_CYCLES: Final = {2: 50.0, 4: 160.0, 6: 400.0}
ADD_CYCLES: Final = 2.0  # to load, add and store a vector
MEMORY_BYTES_PER_CYCLE: Final = 10.0  # to each core, 37 GB/s
MEMORY_CORES: Final = 2  # that have this much at once
L3_BYTES_PER_CYCLE: Final = 100.0  # what is not hidden behind the products


class WinogradConvolution:
    """F(2x2, 3x3), F(4x4, 3x3) and F(6x6, 3x3)."""

    name = "winograd"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, Conv, 1)
        if isinstance(form, No):
            return form
        refusal = _refusal(form)
        if refusal is not None:
            return refusal
        configs = _configs(form)
        if configs[0][0] > _direct_cycles(form, form.node.inputs[0].type.dims[1]):
            return No("the transforms would cost more than they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = _spec(_take(kernel), config)
        name = symbol("winograd", kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        form = _take(kernel)
        spec = _spec(form, config)
        weights = constant(kernel, constants, form.node.inputs[1].name)
        packed = {spec.weights: pack_weights(spec, weights)}
        names = [*form.channel_operands(), *([spec.bias] if spec.bias else [])]
        for name in names:
            if form.is_constant(name):
                packed[name] = padded(constant(kernel, constants, name), spec.blocks * spec.lanes)
        return packed


def _take(kernel: Kernel) -> Anchored:
    form = anchored(kernel, Conv, 1)
    assert isinstance(form, Anchored), form
    return form


def _refusal(form: Anchored) -> No | None:
    node, lanes = form.node, form.kernel.target.lanes
    op = node.op
    assert isinstance(op, Conv)
    x, w = node.inputs[:2]
    if w.type.dims[2:] != (3, 3) or op.strides != (1, 1) or op.dilations != (1, 1):
        return No("takes 3x3 filters with stride 1 and dilation 1")
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
    """Configurations and their cycles: the best for each side and width, the best of all first."""
    threads = form.kernel.threads
    found: dict[tuple[int, int], tuple[float, dict[str, int]]] = {}
    for side in PAIRS:
        for vectors in (1, 2, 3, 4):
            config = {"side": side, "rows": 1, "vectors": vectors, "groups": 1, "parts": 1}
            wide = _spec(form, config)
            if vectors > wide.blocks:
                continue
            most = min(tallest(form.kernel.target, vectors), wide.tiles)
            rows = -(-wide.tiles // -(-wide.tiles // most))
            for groups, parts in product((1, 2, 4), (1, 2, 4, 8) if threads > 1 else (1,)):
                spec = replace(wide, rows=rows, groups=groups, parts=parts)
                if groups > spec.all_groups or parts > spec.panels:
                    continue
                if spec.scratch_bytes > MAX_SCRATCH_BYTES:
                    continue
                cycles = _cycles(form.kernel, spec)
                known = found.get((side, vectors))
                if known is None or cycles < known[0]:
                    chosen = {**config, "rows": rows, "groups": groups, "parts": parts}
                    found[side, vectors] = cycles, chosen
    return sorted(found.values(), key=lambda pair: pair[0])


def _cycles(kernel: Kernel, spec: Winograd) -> float:
    """Cycles of the whole kernel when all threads work on it."""
    target = kernel.target
    speed = _fma_per_cycle(kernel)
    groups = balanced(spec.tiles, spec.rows)
    slab = spec.channels * spec.vectors * spec.lanes * 4
    step = sum(k_step_cycles(target, size, spec.vectors, slab) for _, size in groups)
    compute = step * spec.panels * spec.positions * spec.channels
    runs = -(-spec.in_blocks // spec.run)
    compute += (runs - 1) * spec.tiles * spec.blocks * spec.positions * ADD_CYCLES
    compute += spec.tiles * spec.parts * spec.in_blocks * READ_CYCLES[spec.side] / speed
    compute += spec.tiles * spec.blocks * WRITE_CYCLES[spec.side] / speed
    weights_bytes = spec.panels * spec.vectors * spec.lanes * spec.positions * spec.channels * 4
    if weights_bytes > target.l2_bytes // 2:
        compute += spec.strips * weights_bytes / L3_BYTES_PER_CYCLE
    if spec.scratch_bytes > target.l2_bytes * 3 // 4:
        compute *= 1.02
    waves = -(-spec.units // kernel.threads)
    compute *= (waves + 0.1) / spec.units
    memory = weights_bytes / MEMORY_BYTES_PER_CYCLE / min(kernel.threads, MEMORY_CORES)
    return max(compute, memory) + 0.1 * min(compute, memory)


def _fma_per_cycle(kernel: Kernel) -> int:
    return 1 if kernel.target.isa == "avx512" else 2


def _direct_cycles(form: Anchored, channels: int) -> float:
    """Cycles of the multiplications that a direct convolution would do."""
    kernel = form.kernel
    n, m, *out = form.result.type.dims
    vectors = n * -(-m // kernel.target.lanes) * math.prod(out)
    return vectors * channels * TAPS**2 / _fma_per_cycle(kernel) / kernel.threads


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
    lanes = kernel.target.lanes
    batch, channels, *image = x.type.dims
    _, out_channels, *out = form.result.type.dims
    return Winograd(
        lanes=lanes,
        side=config["side"],
        batch=batch,
        channels=channels,
        blocks=-(-out_channels // lanes),
        image=(image[0], image[1]),
        out=(out[0], out[1]),
        pads=(op.pads[0], op.pads[1]),
        rows=config["rows"],
        vectors=config["vectors"],
        groups=config["groups"],
        parts=config["parts"],
        run=max(1, MAX_RUN.get(config["side"], channels) // lanes),
        arguments=(x.name, packed, *biases, *operands, *form.epilogue.outputs),
        x=x.name,
        weights=packed,
        bias=bias,
        memory={name: blocked_memory(kernel, name) for name in names},
        epilogue=form.epilogue,
    )


def pack_weights(spec: Winograd, weights: Array) -> Array:
    """f32[panel, position, channel, vectors * lanes], zeros beyond the last output channel.

    weights:  f32[M, C, 3, 3]
    """
    transformed = transform_weights(spec.side, weights)  # [positions, C, M]
    width = spec.vectors * spec.lanes
    whole = np.zeros((*transformed.shape[:2], spec.panels * width), np.float32)
    whole[:, :, : transformed.shape[2]] = transformed
    split = whole.reshape(*whole.shape[:2], spec.panels, width)
    return np.ascontiguousarray(split.transpose(2, 0, 1, 3))
