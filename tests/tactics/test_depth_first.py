"""Convolutions run depth first against float64 NumPy; all ISAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.depth_first import FusedDepthwise

# batch, channels, image, first convolution (hidden channels, kernel, stride, pads; None for none),
# depthwise (kernel, strides, pads, dilations), output channels (0: no last convolution)
CHAINS = [
    (1, 16, (14, 13), (96, 1, 1, 0), ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), 24),
    (1, 17, (15, 11), (51, 1, 1, 0), ((3, 3), (2, 2), (0, 1, 1, 2), (1, 1)), 17),
    (2, 5, (21, 30), (33, 1, 1, 0), ((5, 5), (2, 1), (2, 2, 2, 2), (1, 1)), 5),
    (7, 3, (9, 20), (17, 1, 1, 0), ((5, 5), (1, 1), (2, 2, 2, 2), (1, 1)), 3),
    (1, 3, (31, 26), (40, 3, 2, 1), ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), 70),
    (1, 24, (13, 16), (35, 3, 1, 1), ((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)), 20),
    (1, 8, (12, 9), (20, 1, 1, 0), ((2, 3), (3, 1), (0, 0, 0, 0), (1, 1)), 0),
    (3, 17, (7, 7), (48, 1, 1, 0), ((3, 3), (1, 1), (5, 1, 4, 1), (1, 1)), 0),
    (1, 32, (20, 28), None, ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), 64),
    (7, 5, (8, 5), None, ((5, 3), (2, 2), (2, 1, 2, 1), (1, 1)), 3),
    (1, 20, (1, 40), (36, 1, 1, 0), ((1, 5), (1, 2), (0, 2, 0, 2), (1, 1)), 16),
    (1, 6, (12, 10), (18, 1, 1, 0), ((3, 3), (1, 1), (-1, 0, -1, 0), (1, 1)), 9),
]


def activate(fn: str, x: Any) -> Any:
    return np.maximum(x, 0) if fn == "relu" else x / (1 + np.exp(-x))


def crops(pads: tuple[int, ...], axis: int) -> tuple[int, int | None]:
    """What negative pads leave of an axis."""
    begin, end = pads[axis], pads[2 + axis]
    return max(0, -begin), end if end < 0 else None


def chain(case: Any, convolve: Any, shape: Any, fn: str, residual: bool) -> tuple[Any, Any]:
    """The last value of a chain's nodes, and what it should be."""
    n, c, image, first, (kernel, strides, pads, dilations), last = shape
    value = case.input(n, c, *image, block=first is None or c > 4)
    x, want = value, case.arrays[value.name].astype(np.float64)

    def add(op: Conv, m: int, *filter_: int, active: bool = True) -> Any:
        nonlocal want
        per = want.shape[1] // op.groups
        w = case.constant(m, per, *filter_, scale=(per * np.prod(filter_)) ** -0.5)
        b = case.constant(m)
        inner = want[:, :, slice(*crops(op.pads, 0)), slice(*crops(op.pads, 1))]
        pads = tuple(max(pad, 0) for pad in op.pads)
        want = convolve(inner, case.arrays[w.name], op.strides, pads, op.dilations, op.groups)
        want = want + case.arrays[b.name].reshape(-1, 1, 1)
        y = case.node(op, [value, w, b], want.shape, block=False)
        if not active:
            return y
        want = activate(fn, want)
        return case.pointwise(fn, y)

    if first:
        hidden, size, stride, pad = first
        op = Conv((stride, stride), (pad,) * 4, (1, 1), 1)
        value = add(op, hidden, size, size)
    hidden = want.shape[1]
    value = add(Conv(strides, pads, dilations, hidden), hidden, *kernel)
    if last:
        value = add(Conv((1, 1), (0,) * 4, (1, 1), 1), last, 1, 1, active=False)
    if residual:
        same = x.type.block and x.type.dims == want.shape
        other = x if same else case.input(*want.shape, block=True)
        want = want + case.arrays[other.name]
        value = case.pointwise("add", value, other)
    last_node = case.nodes[-1]
    typed = type(value)(value.name, value.type.with_block(case.target.lanes))
    case.nodes[-1] = type(last_node)(last_node.op, last_node.inputs, (typed,))
    return typed, want


@pytest.mark.parametrize("shape", CHAINS, ids=str)
@pytest.mark.parametrize(("fn", "residual"), [("relu", True), ("silu", False)])
def test_chain(case: Any, convolve: Any, shape: Any, fn: str, residual: bool) -> None:
    value, want = chain(case, convolve, shape, fn, residual)
    tactic, kernel = FusedDepthwise(), case.kernel(value, threads=2)
    offers = tactic.offers(kernel)
    assert not isinstance(offers, No), offers
    for config in offers:
        got = case.run(tactic, kernel, config)[value.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5, err_msg=str(config))
