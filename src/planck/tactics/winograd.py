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

- Two threads that transform tiles by turns for both, and units of more groups, so that no weight is
  read twice (us, weights from memory; before, now): 384 -> 256 @ 26 831, 711; 512 -> 1024 @ 13
  1711, 1477 (F2x3); 256 -> 512 @ 13 488, 386; 128 @ 28 130, 126; 128 @ 52 412, 396; 64 @ 56,
  stride 2 and 512 @ 7 as before. YOLOv3-tiny 7 % faster; beside a process that spins 10.7 ms for
  11.3. In a network the shared tiles' memory is cold, which timing had to learn: 64 -> 128 @ 112 in
  U-Net 385 us by tiles of one's own, 484 by shared ones that were timed at 336. Tiles claimed by
  turns or by neighbours and from both ends: the same time.
- Fetching the next unit's pixels beside the products, instead of the next weights, pixels from
  memory (us): one thread, 16 -> 32 @ 208 777 to 718, 32 -> 64 @ 104 644 to 586; from 64 channels on
  and on two threads nothing. Not kept.
- The fastest tiles shared and unshared, both timed, a candidate more for each kernel: on two
  threads eight networks take 0.988 to 1.004 times as long, builds a fifth longer. Not kept.

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

from collections.abc import Mapping
from typing import Final

import numpy as np

from planck.codegen import sharing
from planck.codegen.bilinear import transform_weights
from planck.codegen.winograd import write
from planck.codegen.winograd_spec import Winograd
from planck.dtypes import Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    check_bias,
    check_blocked,
    check_channel_operands,
    constant,
    pack_channels,
    symbol,
)
from planck.tactics.winograd_form import spec_of
from planck.tactics.winograd_space import configs_of, direct_cycles, growth_of, multiplications

MAX_OFFERS: Final = 6
MAX_TAPS: Final = 7
LARGEST_HALF_EXPONENT: Final = 15  # the scaled weights are below 2^15


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
        configs = configs_of(form)
        if not configs:
            return No("its tiles would be too imprecise, or need too much scratch memory")
        if configs[0][0] > direct_cycles(form):
            return No("the transforms would cost more than they save")
        return tuple(config for _, config in configs[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        form = _take(kernel)
        spec = spec_of(form, config)
        name = symbol("winograd", kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes,
            work_flops=multiplications(spec, kernel) * 2,
            workspace_bytes=spec.v_bytes if spec.shared else 0,
            counter_bytes=sharing.COUNTER_BYTES if spec.shared else 0,
            growth_bytes=max(0, growth_of(form, spec)),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        form = _take(kernel)
        spec = spec_of(form, config)
        weights = constant(kernel, constants, form.node.inputs[1].name)
        packed = {spec.weights: pack_weights(spec, weights)}
        if spec.scales:
            packed |= _in_halves(spec, packed[spec.weights])
        return packed | pack_channels(form, constants, spec.blocks * spec.lanes)


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
        check_bias(form, channels, lanes),
    ):
        if refusal is not None:
            return refusal
    return None


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
