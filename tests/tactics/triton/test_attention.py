"""Attention for GPUs against float64: odd sizes, masks, causal, heads that lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.dtypes import bf16, f16, f32
from planck.ir.graph import Value
from planck.ir.types import strides_of
from planck.ops.nn import Attention
from planck.tactics.kernel import Operand
from planck.tactics.triton.attention import FlashAttention
from tests.tactics.test_attention import reference
from tests.tactics.triton.conftest import H100, TritonCase

# Of 16 bits: weights are rounded before they are multiplied, results after.
TOLERANCE = {f16: 1e-3, bf16: 8e-3, f32: 2e-6}


def by_heads(case: TritonCase, value: Value) -> None:
    """The operand as [B, L, H, D] memory seen as [B, H, L, D]."""
    b, h, n, d = value.type.dims
    far = strides_of((b, n, h, d))
    case.operands[value.name] = Operand(value.type, (far[0], far[2], far[1], far[3]))


def attend(
    dtype: Any, lead: tuple[int, ...], queries: int, keys: int, depth: int, width: int, kind: str
) -> Any:
    case = TritonCase(dtype=dtype)
    shapes = [(*lead, queries, depth), (*lead, keys, depth), (*lead, keys, width)]
    if kind == "mask":
        shapes.append((*lead, queries, keys))
    if kind == "keys":
        shapes.append((*(1 for _ in lead), 1, keys))
    if dtype is f32:
        inputs = [case.input(*shape) for shape in shapes]
    else:
        inputs = [case.short(*shape)[0] for shape in shapes]
    if len(lead) == 2:
        for value in case.inputs[:3:2]:
            by_heads(case, value)
    scale = 1 / np.sqrt(depth)
    made = case.node(Attention(scale, kind == "causal"), inputs, (*lead, queries, width))
    out = made if dtype is f32 else case.rounded(made)
    kernel = case.kernel(out)
    if len(lead) == 2:
        by_heads(case, out)
    arrays = [case.arrays[v.name] for v in case.inputs]
    masks = [array.astype(np.float64) for array in arrays[3:]]
    return case, kernel, reference(*arrays[:3], scale, *masks, causal=kind == "causal")


@pytest.mark.parametrize(
    ("lead", "queries", "keys", "depth", "width", "dtype"),
    [
        ((1, 2), 17, 17, 16, 16, f16),
        ((2, 3), 5, 33, 5, 7, bf16),
        ((), 1, 3, 3, 17, f32),
        ((2,), 50, 97, 32, 48, f16),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "mask", "keys", "causal"])
def test_against_float64(
    lead: Any, queries: int, keys: int, depth: int, width: int, dtype: Any, kind: str
) -> None:
    case, kernel, wanted = attend(dtype, lead, queries, keys, depth, width, kind)
    offers = FlashAttention().offers(kernel)
    assert offers, offers
    for config in (offers[0], {**offers[-1], "bm": 32, "bn": 32}):
        (got,) = case.run(FlashAttention(), kernel, config).values()
        error = np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max()
        assert error <= TOLERANCE[dtype]


def test_compiles() -> None:
    case, kernel, _ = attend(f16, (1, 12), 128, 128, 64, 64, "keys")
    cubin = case.compile(FlashAttention(), kernel, FlashAttention().offers(kernel)[0])
    assert cubin.shared_bytes <= H100.l1_bytes
