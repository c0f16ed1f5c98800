"""Depthwise convolution, small groups and pooling on blocked layouts; 1-D and 2-D.

Notebook (EPYC with Zen 4 cores, AVX-512, one core, in L2; a loop of fused multiply-adds makes
117 GFLOP/s):

- Depthwise 3x3 32@112 97 % of that, 384@14 109 %, 5x5 240@28 109 % (padding is never multiplied);
  3x3/2 96@112 56 %, by loads. Strips of 14 and of 10 are equal.
- Max pool 3x3/2 64@112 51 us, 5x5 256@20 39 us.
- Small groups (Zen 5, one core, us, beside direct code, which multiplies the zeros between groups):
  8 channels, 104@28 51 (91), 208@14 23 (46), 440@7 13 (23), /2 104@56 61 (93); 4 channels, 128@56
  112 (455); 2 channels, 64@56 28 (237). That is 70 to 95 % of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planck.codegen.sliding import Kind, Sliding, write
from planck.codegen.tiling import forward
from planck.dtypes import Array
from planck.ops.nn import Conv, Pool
from planck.refusal import No
from planck.tactics.cost import parts_of_work
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    blocked_memory,
    check_bias,
    check_blocked,
    check_channel_operands,
    constant,
    pack_channels,
    symbol,
    two_dimensional,
)

# Pixels of a strip, the best guess first: accumulators, a row of weights and one input fit in
# the registers.
WIDTHS: Final = {
    "avx512": (14, 10, 7, 20),
    "neon": (14, 10, 7),
    "avx2": (7, 8, 5, 4),
    "portable": (7, 8, 5, 4),
}
MOVED_FLOPS: Final = (
    12.0  # flops that one step of a window is worth: it loads more than it computes
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Sliding windows as 2-D; scales as in codegen.sliding."""

    form: Anchored
    kind: Kind
    batch: int
    channels: int
    image: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    scales: tuple[tuple[float, ...], tuple[float, ...]]
    each: int = 1


class _SlidingTactic:
    """What both tactics share: only how they read the anchor differs."""

    name = ""
    exact = True

    def problem(self, kernel: Kernel) -> Problem | No:
        raise NotImplementedError

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = self.problem(kernel)
        if not isinstance(problem, Problem):
            return problem
        width = problem.out[1]
        sizes = dict.fromkeys(min(size, width) for size in WIDTHS[kernel.target.isa])
        return tuple({"columns": size} for size in sizes)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self.spec(kernel, config)
        name = symbol(self.name, kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes(kernel.target),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = self.problem(kernel)
        assert isinstance(problem, Problem), problem
        spec = self.spec(kernel, config)
        packed: dict[str, Array] = {}
        lanes = kernel.target.lanes
        if spec.weights:
            weights = constant(kernel, constants, problem.form.node.inputs[1].name)
            packed[spec.weights] = pack_taps(weights, spec.blocks, lanes, spec.taps[1])
        return packed | pack_channels(problem.form, constants, spec.blocks * lanes)

    def spec(self, kernel: Kernel, config: Config) -> Sliding:
        """The kernel with a configuration's decisions, ready to be written."""
        problem = self.problem(kernel)
        assert isinstance(problem, Problem), problem
        form, inputs = problem.form, problem.form.node.inputs
        filters = problem.kind in ("depthwise", "grouped")
        weights = f"{inputs[1].name}_taps" if filters else ""
        sizes = 1, config["columns"]
        rows, columns = map(
            forward, problem.image, problem.out, sizes, problem.kernel,
            problem.strides, problem.dilations, problem.pads,
        )  # fmt: skip
        names = (inputs[0].name, *form.epilogue.of_kind("full"), *form.epilogue.outputs)
        parameters = tuple(name for name in (weights, form.bias) if name)
        arguments = (inputs[0].name, *parameters, *form.epilogue.operands, *form.epilogue.outputs)
        blocks = -(-problem.channels // kernel.target.lanes)
        steps = problem.batch * problem.channels * math.prod((*problem.out, *problem.kernel))
        steps *= problem.each
        units = problem.batch * blocks
        parts = parts_of_work(MOVED_FLOPS * steps, units, problem.out[0], kernel.threads)
        return Sliding(
            kind=problem.kind,
            batch=problem.batch,
            blocks=blocks,
            taps=problem.kernel,
            rows=rows,
            columns=columns,
            scales=problem.scales,
            groups=parts,
            arguments=tuple(dict.fromkeys(arguments)),
            x=inputs[0].name,
            weights=weights,
            bias=form.bias,
            memory={name: blocked_memory(kernel, name) for name in names},
            epilogue=form.epilogue,
            each=problem.each,
        )


class Depthwise(_SlidingTactic):
    """Convolution of each channel with a filter of its own."""

    name = "depthwise"

    def problem(self, kernel: Kernel) -> Problem | No:
        form = anchored(kernel, Conv, 1, bfloat16=True)
        if isinstance(form, No):
            return form
        op, x = form.node.op, form.node.inputs[0]
        assert isinstance(op, Conv)
        channels = x.type.dims[1]
        if op.groups != channels or form.result.type.dims[1] != channels:
            return No("not one filter for each channel")
        return _filters(form, "depthwise")


class Grouped(_SlidingTactic):
    """Convolution in groups of a few channels, as many out as in, several groups in a vector."""

    name = "grouped"

    def problem(self, kernel: Kernel) -> Problem | No:
        form = anchored(kernel, Conv, 1, bfloat16=True)
        if isinstance(form, No):
            return form
        op, x = form.node.op, form.node.inputs[0]
        assert isinstance(op, Conv)
        channels, lanes = x.type.dims[1], kernel.target.lanes
        each = channels // op.groups
        if form.result.type.dims[1] != channels or each == 1:
            return No("not groups of several channels with as many outputs")
        if each >= lanes or lanes % each:
            return No(f"groups of {each} channels do not divide a vector of {lanes}")
        found = _filters(form, "grouped")
        return found if isinstance(found, No) else replace(found, each=each)


class Pooling(_SlidingTactic):
    """Max and average pooling."""

    name = "pool"

    def problem(self, kernel: Kernel) -> Problem | No:
        form = anchored(kernel, Pool, 1, bfloat16=True)
        if isinstance(form, No):
            return form
        op = form.node.op
        assert isinstance(op, Pool)
        if op.kind == "max":
            kind: Kind = "max"
        elif op.kind == "average":
            kind = "average"
        else:
            return No(f"pools by max and average, not by {op.kind}")
        return _problem(form, kind, op.kernel, op.strides, op.dilations, op.pads, op.include_pad)


def _filters(form: Anchored, kind: Kind) -> Problem | No:
    """A convolution that has as many channels as its input."""
    op, w = form.node.op, form.node.inputs[1]
    assert isinstance(op, Conv)
    if not form.is_constant(w.name):
        return No("the weights are not known at build time")
    refusal = check_bias(form, form.result.type.dims[1], form.kernel.target.lanes)
    if refusal is not None:
        return refusal
    return _problem(form, kind, w.type.dims[2:], op.strides, op.dilations, op.pads, False)


def _problem(
    form: Anchored,
    kind: Kind,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
    include_pad: bool,
) -> Problem | No:
    x = form.node.inputs[0]
    rank = x.type.rank - 2
    if rank not in (1, 2):
        return No(f"slides along one or two axes, not {rank}")
    lanes = form.kernel.target.lanes
    n, c, *image = x.type.dims
    out = form.result.type.dims[2:]
    names = (x.name, *form.epilogue.of_kind("full"), *form.epilogue.outputs)
    for refusal in (check_blocked(form, lanes, names), check_channel_operands(form, c, lanes)):
        if refusal is not None:  # a No is false
            return refusal
    scales = [
        _scales(image[i], out[i], kernel[i], strides[i], dilations[i], pads[i], pads[rank + i],
                include_pad)
        for i in range(rank)
    ]  # fmt: skip
    return Problem(
        form, kind, n, c,
        two_dimensional(tuple(image), 1),
        two_dimensional(out, 1),
        two_dimensional(kernel, 1),
        two_dimensional(strides, 1),
        two_dimensional(dilations, 1),
        two_dimensional(pads[:rank], 0),
        (scales[0], scales[1]) if rank == 2 else ((1.0,), scales[0]),
    )  # fmt: skip


def _scales(
    extent: int, out: int, kernel: int, stride: int, dilation: int, begin: int, end: int,
    include_pad: bool,
) -> tuple[float, ...]:  # fmt: skip
    """One over the number of elements that each window of an average holds along an axis.

    source: ONNX operator AveragePool: a window never counts what lies beyond the padding
    """
    low, high = (-begin, extent + end) if include_pad else (0, extent)
    result = []
    for o in range(out):
        first = o * stride - begin
        inside = sum(low <= first + k * dilation < high for k in range(kernel))
        result.append(1.0 / max(1, inside))
    return tuple(result)


def pack_taps(weights: Array, blocks: int, lanes: int, columns: int = 1) -> Array:
    """f32[C, each, *kernel] -> [block][row of taps][each][column][lanes], zeros past C.

    columns:  taps in a row
    """
    channels, each = weights.shape[:2]
    whole = np.zeros((blocks * lanes, each, weights[0, 0].size // columns, columns), np.float32)
    whole[:channels] = weights.reshape(channels, *whole.shape[1:])
    split = whole.reshape(blocks, lanes, *whole.shape[1:])
    return np.ascontiguousarray(split.transpose(0, 3, 2, 4, 1))
