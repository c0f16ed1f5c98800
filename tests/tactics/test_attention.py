"""Fused attention against float64: odd sizes, masks, causal, strided heads, every ISA."""

import numpy as np
import pytest

from planck.ir.types import strides_of
from planck.ops.nn import Attention
from planck.tactics.attention import FusedAttention
from planck.tactics.kernel import Operand

TOLERANCE = 2e-5  # float32 sums over up to 200 keys of numbers near 1


def reference(q, k, v, scale, mask=None, causal=False):
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * scale
    if mask is not None:
        scores = scores + mask
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True) @ v


def by_heads(case, value):
    """The operand as [B, L, H, D] memory seen as [B, H, L, D]."""
    b, h, n, d = value.type.dims
    far = strides_of((b, n, h, d))
    case.operands[value.name] = Operand(value.type, (far[0], far[2], far[1], far[3]))


@pytest.mark.parametrize(
    ("lead", "queries", "keys", "depth", "width"),
    [
        ((1, 2), 17, 17, 16, 16),
        ((2, 3), 5, 33, 5, 7),
        ((), 1, 3, 3, 17),
        ((1, 4), 128, 128, 64, 64),
        ((2,), 50, 197, 32, 48),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "mask", "keys", "causal"])
def test_against_float64(case, lead, queries, keys, depth, width, kind):
    scale = 1 / np.sqrt(depth)
    q, k, v = (case.input(*lead, n, d) for n, d in
               ((queries, depth), (keys, depth), (keys, width)))  # fmt: skip
    inputs = [q, k, v]
    if kind == "mask":
        inputs.append(case.input(*lead, queries, keys))
    if kind == "keys":
        inputs.append(case.input(*(1 for _ in lead), 1, keys))
    if len(lead) == 2:
        for value in (q, v):
            by_heads(case, value)
    op = Attention(scale, kind == "causal")
    out = case.node(op, inputs, (*lead, queries, width))
    kernel = case.kernel(out, threads=2)
    if len(lead) == 2:
        by_heads(case, out)
    arrays = [case.arrays[x.name] for x in inputs]
    want = reference(*arrays[:3], scale, *arrays[3:], causal=kind == "causal")
    tactic = FusedAttention()
    configs = tactic.offers(kernel)
    assert configs, configs
    for config in (configs[0], configs[-1]):
        got = case.run(tactic, kernel, config)[out.name]
        assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_constant_queries_and_mask(case):
    """Learned queries, and a bias by place that several windows share."""
    q, mask = case.constant(1, 2, 5, 4), case.constant(2, 5, 8)
    k, v = case.input(3, 2, 8, 4), case.input(3, 2, 8, 7)
    out = case.node(Attention(0.5), [q, k, v, mask], (3, 2, 5, 7))
    kernel = case.kernel(out)
    tactic = FusedAttention()
    want = reference(*(case.arrays[x.name] for x in (q, k, v)), 0.5, case.arrays[mask.name])
    got = case.run(tactic, kernel, tactic.offers(kernel)[0])[out.name]
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_what_is_refused(case):
    q = case.input(1, 2, 8, 4)
    mask = case.scalar(0.5)
    out = case.node(Attention(0.5), [q, q, q, mask], (1, 2, 8, 4))
    assert "single number" in str(FusedAttention().offers(case.kernel(out)))
