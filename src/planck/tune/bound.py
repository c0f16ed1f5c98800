"""What an exact way to run a kernel takes at least on this machine, by its measured limits.

A candidate whose bound is well above the time of another one is not worth compiling.
"""

from __future__ import annotations

import math
from typing import Final

from planck.benchmark.limits import MEMORY, Limits
from planck.dtypes import f32
from planck.ir.graph import Node
from planck.ops.nn import Conv, MatMul
from planck.tactics.kernel import Kernel

# Limits are the best of many runs, on a machine that may have been busy through all of them.
BOUND_MARGIN: Final = 1.25


def exact_bound_us(kernel: Kernel, limits: Limits, weights_from_memory: bool) -> float:
    """Microseconds below which no sum of the definition's own products is; 0 if not known.

    limits:               of kernel.threads threads
    weights_from_memory:  no cache holds the weights when the kernel begins
    """
    operands = [kernel.operands[v.name].type for v in kernel.graph.inputs]
    if limits.threads != kernel.threads or any(t.dtype is not f32 for t in operands):
        return 0.0
    bound = exact_flops(kernel) / limits.peak_gflops / 1e3
    if weights_from_memory:
        bytes_ = sum(kernel.operands[name].type.bytes for name in kernel.constants)
        rates = [own.gbytes_per_s for own in limits.levels if own.name == MEMORY]
        bound = max(bound, bytes_ / rates[0] / 1e3) if rates else bound
    return bound


def exact_flops(kernel: Kernel) -> int:
    """Multiply-adds, counted twice, of the definition's products."""
    return sum(_flops(node) for node in kernel.graph.nodes)


def _flops(node: Node) -> int:
    """Multiply-adds, counted twice, that any direct code does: none on padding."""
    op, out = node.op, node.outputs[0].type.dims if node.outputs else ()
    if isinstance(op, MatMul):
        a = node.inputs[0].type.dims
        return 2 * math.prod(out) * a[-2 if op.transpose_a and len(a) > 1 else -1]
    if not isinstance(op, Conv):
        return 0
    image, (_, channels, *taps) = node.inputs[0].type.dims[2:], node.inputs[1].type.dims
    pairs = math.prod(
        _taps(image[i], out[2 + i], taps[i], op.strides[i], op.dilations[i], op.pads[i])
        for i in range(len(taps))
    )
    return 2 * out[0] * out[1] * channels * pairs


def _taps(extent: int, out: int, taps: int, stride: int, dilation: int, pad: int) -> int:
    """Pairs of an output and a tap along an axis that meet inside the image."""
    shifts = [tap * dilation - pad for tap in range(taps)]
    return sum(0 <= i * stride + shift < extent for i in range(out) for shift in shifts)
