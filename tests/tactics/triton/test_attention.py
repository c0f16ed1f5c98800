"""Attention for GPUs against float64: odd sizes, masks, causal, heads that lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.dtypes import bf16, f16, f32
from planck.ir.graph import Value
from planck.ir.types import strides_of
from planck.ops.nn import Attention
from planck.refusal import No
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


@pytest.mark.parametrize("dtype", [f32, f16])
def test_constant_queries_and_mask(dtype: Any) -> None:
    """Learned queries, and a bias by place that several windows share; keys that heads share."""
    case = TritonCase(dtype=dtype)
    shapes = (1, 2, 3, 5, 4), (2, 2, 1, 8, 4), (2, 2, 1, 8, 7)
    if dtype is f32:
        q, k, v = (case.input(*shape) for shape in shapes)
        case.constants.add(q.name)
    else:
        q, k, v = (case.short(*shape, constant=at == 0)[0] for at, shape in enumerate(shapes))
    arrays = [case.arrays[x.name].astype(np.float64) for x in case.inputs]
    mask = case.constant(3, 5, 8)
    made = case.node(Attention(0.5), [q, k, v, mask], (2, 2, 3, 5, 7))
    kernel = case.kernel(made if dtype is f32 else case.rounded(made))
    wanted = reference(*arrays, 0.5, case.arrays[mask.name].astype(np.float64))
    (config, *_) = FlashAttention().offers(kernel)
    (got,) = case.run(FlashAttention(), kernel, config).values()
    assert np.abs(got - wanted).max() <= TOLERANCE[dtype] * np.abs(wanted).max()


def test_queries_that_see_no_key() -> None:
    """All keys weigh alike behind the least float32; behind minus infinity there is no number."""
    case = TritonCase()
    q, k, v, mask = (case.input(*shape) for shape in ((3, 5, 8), (3, 7, 8), (3, 7, 4), (3, 1, 7)))
    case.arrays[mask.name][:] = 0
    case.arrays[mask.name][1:] = np.array([np.finfo(np.float32).min, -np.inf])[:, None, None]
    kernel = case.kernel(case.node(Attention(0.5), [q, k, v, mask], (3, 5, 4)))
    arrays = [case.arrays[x.name].astype(np.float64) for x in (q, k, v)]
    (config, *_) = FlashAttention().offers(kernel)
    (got,) = case.run(FlashAttention(), kernel, config).values()
    assert np.abs(got[0] - reference(*arrays, 0.5)[0]).max() <= TOLERANCE[f32]
    assert np.abs(got[1] - arrays[2][1].mean(0)).max() <= TOLERANCE[f32]
    assert np.isnan(got[2]).all()


def test_compiles() -> None:
    case, kernel, _ = attend(f16, (1, 12), 128, 128, 64, 64, "keys")
    cubin = case.compile(FlashAttention(), kernel, FlashAttention().offers(kernel)[0])
    assert cubin.shared_bytes <= H100.l1_bytes


def test_blocks_of_channels_are_refused() -> None:
    case = TritonCase(dtype=f32)
    q, k, v = case.input(17, 16, block=True), case.input(17, 16), case.input(17, 16)
    kernel = case.kernel(case.node(Attention(0.25), [q, k, v], (17, 16)))
    answer = FlashAttention().offers(kernel)
    assert isinstance(answer, No)
    assert "not blocks of channels" in answer.reason
