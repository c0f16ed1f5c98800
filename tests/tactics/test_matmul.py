"""Matrix products against float64 NumPy: odd sizes, batches, transposes, strides, all ISAs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.matmul import Multiply
from tests.tactics.conftest import Case, target_of

# shape of A, shape of B, transpose A, transpose B, B constant
SHAPES = [
    ((64, 48), (48, 96), False, False, True),
    ((37, 19), (19, 53), False, False, True),
    ((1, 300), (300, 77), False, False, True),
    ((1, 65), (10, 65), False, True, True),
    ((5, 33), (33, 5), False, False, False),
    ((29, 40), (31, 40), False, True, False),
    ((40, 29), (40, 64), True, False, False),
    ((3, 2, 17, 21), (3, 2, 21, 18), False, False, False),
    ((3, 2, 17, 21), (2, 18, 21), False, True, False),
    ((7, 9, 16), (16, 32), False, False, True),
    ((7, 9, 16), (16, 32), False, False, False),
    ((6, 8), (4, 8, 3), False, False, False),
    ((13, 7), (1, 1, 7, 1), False, False, True),
    ((70, 2), (2, 47), False, False, False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, shape: Any) -> None:
    left, right, transpose_a, transpose_b, constant = shape
    a = case.input(*left)
    b = case.constant(*right) if constant else case.input(*right)
    x, y = (case.arrays[v.name].astype(np.float64) for v in (a, b))
    x = x.swapaxes(-1, -2) if transpose_a else x
    y = y.swapaxes(-1, -2) if transpose_b else y
    want = x @ y
    bias = case.constant(want.shape[-1])
    residual = case.input(*want.shape)
    c = case.node(MatMul(transpose_a, transpose_b), [a, b], want.shape)
    z = case.pointwise("relu", case.pointwise("add", case.pointwise("add", c, bias), residual))
    want = np.maximum(want + case.arrays[bias.name] + case.arrays[residual.name], 0)
    tactic, kernel = Multiply(), case.kernel(z, threads=2)
    offers = tactic.offers(kernel)
    assert offers, offers
    for config in offers[:2]:
        got = case.run(tactic, kernel, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


@pytest.mark.parametrize("transpose_b", [False, True])
def test_heads_of_attention_are_strided(case: Any, transpose_b: bool) -> None:
    heads, length, depth = 3, 21, 10
    a = case.input(2, heads, length, depth)
    b = case.input(2, heads, length, depth)
    if not transpose_b:
        a = case.input(2, heads, length, length)
    for value in (a, b):
        h, rows, columns = value.type.dims[1:]
        strides = (h * rows * columns, columns, h * columns, 1)  # [B, L, H, D] in memory
        case.operands[value.name] = Operand(value.type, strides)
    x, y = (case.arrays[v.name].astype(np.float64) for v in (a, b))
    want = x @ (y.swapaxes(-1, -2) if transpose_b else y)
    z = case.node(MatMul(False, transpose_b), [a, b], want.shape)
    tactic, kernel = Multiply(), case.kernel(z)
    for config in tactic.offers(kernel)[:3]:
        got = case.run(tactic, kernel, config)[z.name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(config))


@pytest.mark.parametrize("k", [512, 768, 1024, 3072, 4096])
def test_few_rows_share_a_set_of_the_first_cache(k: int) -> None:
    """The best guess: rows of 2 KiB lie in two sets, of 4 KiB in one, of 3 KiB in four."""
    case = Case(target_of("avx512"))
    a, b = case.input(128, k), case.constant(k, 768)
    kernel = case.kernel(case.node(MatMul(), [a, b], (128, 768)))
    offered = Multiply().offers(kernel)
    assert not isinstance(offered, No)
    rows = offered[0]["rows"]
    assert rows * math.gcd(4 * k, 4096) <= 5 * 4096
    assert rows >= 5
