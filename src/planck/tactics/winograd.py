"""Winograd convolution on blocked layouts: 3x3, stride 1, ungrouped, 2-D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.codegen.microkernel import budget
from planck.codegen.winograd import Winograd, write
from planck.codegen.winograd_transform import PAIRS, transform_weights
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

# Cycles to transform one vector block of one tile, there and back, measured on Zen 4; by side.
READ_CYCLES: Final = {2: 60.0, 4: 230.0, 6: 600.0}
WRITE_CYCLES: Final = {2: 50.0, 4: 160.0, 6: 450.0}


class WinogradConvolution:
    """F(2x2, 3x3), F(4x4, 3x3) and F(6x6, 3x3)."""

    name = "winograd"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, Conv, 1)
        if not form:
            return form
        refusal = _refusal(form)
        return refusal or tuple(_configs(form)[:MAX_OFFERS])

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
    refusal = check_blocked(form, lanes, names) or check_channel_operands(form, channels, lanes)
    if refusal:
        return refusal
    if len(node.inputs) > 2 and not form.is_constant(node.inputs[2].name) and channels % lanes:
        return No("the bias is known at run time only and has no room for padding lanes")
    return None


# The tuning space


def _configs(form: Anchored) -> list[dict[str, int]]:
    """Configurations, the one that the cost model likes best first."""
    kernel = form.kernel
    found: list[tuple[float, dict[str, int]]] = []
    for side in PAIRS:
        for vectors in (1, 2, 4):
            config = {"side": side, "rows": 1, "vectors": vectors, "groups": 1, "parts": 1}
            spec = _spec(form, config)
            if vectors > spec.blocks:
                continue
            rows = min(budget(kernel.target) // vectors, spec.tiles)
            config["rows"] = -(-spec.tiles // -(-spec.tiles // rows))
            for groups in (1, 2, 3, 4):
                for parts in (1, 2, 4, 8):
                    config = {**config, "groups": groups, "parts": parts}
                    spec = _spec(form, config)
                    fits = spec.scratch_bytes <= MAX_SCRATCH_BYTES
                    if fits and groups <= spec.all_groups and parts <= spec.panels:
                        found.append((_cycles(kernel, spec), config))
    found.sort(key=lambda pair: pair[0])
    return [config for _, config in found]


def _cycles(kernel: Kernel, spec: Winograd) -> float:
    """Cycles of the whole kernel, on one thread of as many as share it."""
    target = kernel.target
    speed = 1 if target.isa == "avx512" else 2
    steps = spec.all_groups * spec.panels * spec.positions * spec.channels
    cycles = steps * k_step_cycles(target, spec.rows, spec.vectors)
    cycles += spec.tiles * spec.parts * spec.in_blocks * READ_CYCLES[spec.side] / speed
    cycles += spec.tiles * spec.blocks * WRITE_CYCLES[spec.side] / speed
    waves = -(-spec.units // kernel.threads)
    return cycles * waves / spec.units


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
