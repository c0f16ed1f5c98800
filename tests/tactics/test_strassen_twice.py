"""Two levels of Strassen's multiplication against float64 NumPy: odd sizes, batches, all ISAs."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest

from planck.codegen.strassen_spec import PRODUCTS, TERMS
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.strassen_twice import StrassenTwice
from planck.target import host
from tests.tactics.conftest import Case
from tests.tactics.test_assembly import check
from tests.tactics.test_strassen import product

TACTIC = StrassenTwice()
# shape of A, shape of B, B transposed
SHAPES = [
    ((64, 256), (256, 128), False),
    ((4, 256), (256, 70), False),
    ((37, 264), (264, 53), False),  # the halves of the rows are odd, too
    ((39, 264), (264, 53), False),
    ((42, 260), (100, 260), True),
    ((7, 9, 288), (288, 48), False),
    ((2, 3, 29, 300), (1, 300, 100), False),  # products of a batch
    ((99, 256), (256, 17), False),  # parts of the columns that are past N
]
CONFIGS = [
    {},
    {"rows": 3, "vectors": 1, "strips": 1, "blocks": 2},
    {"vectors": 3, "strips": 4},
]


def config(**changed: int) -> dict[str, int]:
    base = {"rows": 5, "vectors": 2, "strips": 2, "blocks": 1, "chunks": 1, "ahead": 1}
    return {**base, **changed}


def assert_close(got: Any, want: Any) -> None:
    """Errors are those of the largest output: the sums mix the parts."""
    assert np.abs(got - want).max() < 8e-6 * np.abs(want).max()


@pytest.mark.parametrize("changed", CONFIGS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, shape: Any, changed: dict[str, int]) -> None:
    c, want = product(case, shape)
    bias, residual = case.constant(want.shape[-1]), case.input(*want.shape)
    z = case.pointwise("relu", case.pointwise("add", case.pointwise("add", c, bias), residual))
    got = case.run(TACTIC, case.kernel(z, threads=2), config(**changed))[z.name]
    biased = want + case.arrays[bias.name] + case.arrays[residual.name]
    assert_close(got, np.maximum(biased, 0))


@pytest.mark.parametrize("chunks", [2, 3])
def test_depth_in_chunks(case: Any, chunks: int) -> None:
    c, want = product(case, ((43, 24 * 19), (24 * 19, 90), False))
    assert_close(case.run(TACTIC, case.kernel(c), config(chunks=chunks))[c.name], want)


def test_gelu_and_two_outputs(case: Any) -> None:
    c, want = product(case, ((21, 256), (256, 70), False))
    z = case.pointwise("gelu", c)
    got = case.run(TACTIC, case.kernel(c, z), config())
    assert_close(got[c.name], want)
    assert_close(got[z.name], want * (1 + np.vectorize(erf)(want / np.sqrt(2))) / 2)


def test_rows_with_gaps_and_a_batch_that_does_not_fold(case: Any) -> None:
    c, want = product(case, ((3, 11, 260), (260, 80), False))
    kernel = case.kernel(c)
    case.operands["v0"] = Operand(kernel.operands["v0"].type, (13 * 270, 270, 1))
    case.operands[c.name] = Operand(c.type, (12 * 90, 90, 1))
    assert_close(case.run(TACTIC, kernel, config())[c.name], want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1024, 789])
def test_offers_match_float64(rows: int, threads: int) -> None:
    case = Case(host())
    c, want = product(case, ((rows, 768), (768, 1000), False))
    kernel = case.kernel(c, threads=threads)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    for offer in offers:
        assert_close(case.run(TACTIC, kernel, offer)[c.name], want)


def test_error_grows_little() -> None:
    """At the depth of a transformer's second layer: within half of what a layer may err."""
    case = Case(host())
    c, want = product(case, ((1024, 3072), (3072, 768), False))
    kernel = case.kernel(c)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    got = case.run(TACTIC, kernel, offers[0])[c.name]
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def test_every_outer_left_is_made() -> None:
    """The outer lefts are sums of quarters of A, for each of the products."""
    assert set(TERMS) == {left for left, _, _ in PRODUCTS}


def test_weights_do_not_grow() -> None:
    case = Case(host())
    c, _ = product(case, ((128, 256), (256, 768), False))
    code = TACTIC.build(case.kernel(c), config(vectors=3))
    assert code.growth_bytes == 0
    assert code.work_flops == 2 * 128 * 256 * 768 * 49 // 64


def test_keeps_sums_in_registers(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    c, _ = product(case, ((1024, 1024), (1024, 1024), False))
    check(case, TACTIC, case.kernel(c))


@pytest.mark.parametrize(
    ("left", "right", "constant", "reason"),
    [
        ((1024, 1024), (1024, 1024), False, "not known at build time"),
        ((1024, 770), (770, 1024), True, "multiple of 4"),
        ((1024, 192), (192, 1024), True, "at least 256"),
        ((3, 256), (256, 256), True, "too small"),
        ((1024, 256), (256, 12), True, "too small"),
        ((16, 256), (256, 256), True, "cost more"),
    ],
)
def test_refuses(case: Any, left: Any, right: Any, constant: bool, reason: str) -> None:
    a, b = case.input(*left), case.constant(*right) if constant else case.input(*right)
    c = case.node(MatMul(), [a, b], (left[0], right[1]))
    refusal = TACTIC.offers(case.kernel(c))
    assert isinstance(refusal, No)
    assert reason in refusal.reason
