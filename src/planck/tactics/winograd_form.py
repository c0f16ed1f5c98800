"""Convolutions as Winograd's algorithms see them: shapes, precision, what a configuration means."""

from __future__ import annotations

from typing import Final

from planck.codegen.bilinear import Algorithm, algorithm
from planck.codegen.half import native as converts_halves
from planck.codegen.winograd_spec import Winograd
from planck.dtypes import bf16
from planck.ops.nn import Conv
from planck.plan.model import SHARED
from planck.tactics.kernel import Config
from planck.tactics.pattern import SHORT_BOUND, Anchored, blocked_memory, two_dimensional

# The largest error over the largest output is at most 2e-5: half of it for sums of products, each
# channel's rounding measured to be this much for a gain of 1; see the notebook in winograd.py.
MAX_SUM_ERROR: Final = 1e-5
CHANNEL_ERROR: Final = 2.5e-8
# What float16 for the transformed weights adds for a gain of 1; pattern.SHORT_BOUND may be added in
# bfloat16, where rounding a layer's operands alone errs by 2.5e-3 of the largest output.
HALF_ERROR: Final = 1.75e-4

Axes = tuple[Algorithm, Algorithm]


def shape_of(form: Anchored) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Taps, strides and output pixels, down and along."""
    op = form.node.op
    assert isinstance(op, Conv)
    return (
        two_dimensional(form.node.inputs[1].type.dims[2:], 1),
        two_dimensional(op.strides, 1),
        two_dimensional(form.result.type.dims[2:], 1),
    )


def run_of(axes: Axes) -> int:
    """Channels that one sum may run over before its error is too large."""
    return int((MAX_SUM_ERROR / CHANNEL_ERROR / axes[0].gain / axes[1].gain) ** 2)


def in_halves(form: Anchored, axes: Axes) -> bool:
    """Whether the transformed weights lie in float16: among bfloat16 nobody sees the rounding."""
    short = all(v.type.dtype is bf16 for v in form.node.inputs[:2])
    small = HALF_ERROR * axes[0].gain * axes[1].gain <= SHORT_BOUND
    return short and small and converts_halves(form.kernel.target)


def axes_of(form: Anchored, config: Config) -> Axes:
    taps, strides, _ = shape_of(form)
    return (
        algorithm(config["down"], taps[0], strides[0]),
        algorithm(config["along"], taps[1], strides[1]),
    )


def spec_of(form: Anchored, config: Config) -> Winograd:
    kernel, op = form.kernel, form.node.op
    assert isinstance(op, Conv)
    x, w = form.node.inputs[:2]
    names = (x.name, *form.epilogue.of_kind("full"), *form.epilogue.outputs)
    packed = f"{w.name}_transformed"
    operands = [name for name in form.epilogue.operands if name not in (x.name, form.bias)]
    biases = [form.bias] if form.bias else []
    scales = [f"{w.name}_scales"] if config.get("halves") else []
    shared = SHARED if config.get("shared") else ()
    lanes = kernel.target.lanes
    batch, channels, *image = x.type.dims
    axes, out = axes_of(form, config), shape_of(form)[2]
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
        run=max(1, run_of(axes) // lanes),
        arguments=(x.name, packed, *scales, *biases, *operands, *form.epilogue.outputs, *shared),
        x=x.name,
        weights=packed,
        bias=form.bias,
        memory={name: blocked_memory(kernel, name) for name in names},
        epilogue=form.epilogue,
        scales=scales[0] if scales else "",
        shared=bool(shared),
    )
