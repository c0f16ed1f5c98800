"""Depthwise convolutions, whose time is that of reading and writing images.

Notebook: nothing measured yet. Prediction: MobileNetV2's 96@112 by 3x3/2 at batch 64 within a third
of what memory allows; at batch 1 all take little more than a launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.convolution import Shape
from planck.codegen.triton.depthwise import Depthwise, write
from planck.codegen.triton.text import power_of_two
from planck.dtypes import Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import constant, symbol
from planck.tactics.triton.images import LANES, Problem, read_problem
from planck.tactics.triton.operands import dependent, pack_operands, tail_of
from planck.tactics.triton.tiles import cores_of

MAX_OFFERS: Final = 8
TILES: Final = ((8, 64, 4), (16, 64, 4), (32, 32, 4), (32, 64, 4), (64, 32, 4), (8, 32, 2),
                (4, 128, 4), (128, 16, 4))  # fmt: skip


class DepthwiseConvolution:
    """One filter for each channel."""

    name = "triton_depthwise"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = _read(kernel)
        if isinstance(problem, No):
            return problem
        shape = _whole_shape(problem)
        cores = cores_of(kernel.target)
        widest = max(16, power_of_two(shape.columns))
        found = {}
        for pixels, channels, warps in TILES:
            if channels > widest:
                continue
            blocks = -(-shape.rows // pixels) * -(-shape.columns // channels)
            waste = -(-shape.columns // channels) * channels / shape.columns
            # Enough blocks for four waves of a few each; beyond that larger ones start less often.
            idle = max(0.0, 1 - blocks / (8 * cores))
            found[pixels, channels, warps] = waste + idle + 16 / (pixels * channels / warps)
        best = sorted(found, key=lambda tile: found[tile])[: MAX_OFFERS - 1]
        made = [
            {"pixels": p, "channels": c, "warps": w, "trigger": 2, "held": False}
            for p, c, w in best
        ]
        more = [{**made[0], "held": True}, {**made[0], "trigger": 3}]
        return (made[0], *more, *made[1:2], *({**m, "held": True} for m in made[1:2]), *made[2:])

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem = _take(kernel)
        return write(Depthwise(
            symbol("depthwise", kernel, config), _whole_shape(problem), tail_of(problem.form),
            config["pixels"], config["channels"], config["warps"], config["trigger"],
            config["held"], dependent(kernel),
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = _take(kernel)
        shape, name = _whole_shape(problem), problem.form.node.inputs[1].name
        weights = constant(kernel, constants, name)
        taps = weights.reshape(weights.shape[0], -1).T
        whole = -(-shape.columns // config["channels"]) * config["channels"]
        packed = np.zeros((taps.shape[0], whole), weights.dtype)
        packed[:, : shape.columns] = taps
        others = pack_operands(problem.form, constants, frozenset([name]))
        return {**others, shape.weights: packed}


def _read(kernel: Kernel) -> Problem | No:
    problem = read_problem(kernel)
    if isinstance(problem, No):
        return problem
    op, w = problem.form.node.op, problem.form.node.inputs[1]
    if not isinstance(op, Conv) or not op.is_depthwise(w.type):
        return No("not one filter for each channel")
    if w.type.dims[0] != op.groups:
        return No("several filters for each channel")
    return problem


def _take(kernel: Kernel) -> Problem:
    problem = _read(kernel)
    assert isinstance(problem, Problem), problem
    return problem


def _whole_shape(problem: Problem) -> Shape:
    """All channels in one group. Lanes past the last hold anything, and stay by themselves."""
    x, w = problem.form.node.inputs[:2]
    channels, block = x.type.dims[1], x.type.block
    wide = block >= channels and is_whole(problem)
    return replace(
        problem.shape,
        groups=1,
        channels=channels,
        columns=channels,
        weights_dtype=w.type.dtype,
        lanes=-(-channels // LANES) * LANES if wide else channels,
    )


def is_whole(problem: Problem) -> bool:
    """Whether an image is no part of another: its lanes past the channels are its own."""
    x = problem.form.node.inputs[0]
    operand = problem.form.kernel.operands[x.name]
    return operand.strides[-2] == x.type.block
