"""Strassen's multiplication against float64 NumPy: odd sizes, batches, epilogues, all ISAs."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest

from planck.codegen.strassen_spec import A11, A12, A22, PRODUCTS, S1, S2, S3, S4
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.strassen import StrassenMultiply
from planck.target import host
from tests.tactics.conftest import Case
from tests.tactics.test_assembly import check

TACTIC = StrassenMultiply()
# shape of A, shape of B, B transposed
SHAPES = [
    ((64, 128), (128, 96), False),
    ((2, 128), (128, 17), False),
    ((37, 134), (134, 53), False),
    ((31, 130), (80, 130), True),
    ((7, 9, 144), (144, 48), False),
    ((2, 3, 5, 150), (1, 150, 100), False),
    ((99, 128), (128, 33), False),
    ((45, 1024), (1024, 40), False),  # rows 4 KiB apart
]


def config(**changed: int) -> dict[str, int]:
    return {"rows": 5, "vectors": 2, "strips": 2, "ahead": 1, "claims": 1, **changed}


def product(case: Any, shape: Any) -> tuple[Any, Any]:
    """A matrix product at unit variance, and its value in float64."""
    left, right, transpose = shape
    depth = left[-1]
    a, b = case.input(*left), case.constant(*right, scale=1 / np.sqrt(depth))
    x, y = (case.arrays[v.name].astype(np.float64) for v in (a, b))
    want = x @ (y.swapaxes(-1, -2) if transpose else y)
    return case.node(MatMul(False, transpose), [a, b], want.shape), want


def assert_close(got: Any, want: Any) -> None:
    """Errors are those of the largest output: the sums mix the quarters."""
    assert np.abs(got - want).max() < 4e-6 * np.abs(want).max()


@pytest.mark.parametrize("changed", [{}, {"rows": 3, "vectors": 1, "strips": 1}, {"vectors": 3}])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_float64(case: Any, shape: Any, changed: dict[str, int]) -> None:
    c, want = product(case, shape)
    bias, residual = case.constant(want.shape[-1]), case.input(*want.shape)
    z = case.pointwise("relu", case.pointwise("add", case.pointwise("add", c, bias), residual))
    got = case.run(TACTIC, case.kernel(z, threads=2), config(**changed))[z.name]
    biased = want + case.arrays[bias.name] + case.arrays[residual.name]
    assert_close(got, np.maximum(biased, 0))


def test_gelu(case: Any) -> None:
    c, want = product(case, ((21, 128), (128, 70), False))
    z = case.pointwise("gelu", c)
    got = case.run(TACTIC, case.kernel(z), config())[z.name]
    assert_close(got, want * (1 + np.vectorize(erf)(want / np.sqrt(2))) / 2)


def test_two_outputs(case: Any) -> None:
    c, want = product(case, ((19, 128), (128, 40), False))
    z = case.pointwise("relu", c)
    got = case.run(TACTIC, case.kernel(c, z), config())
    assert_close(got[c.name], want)
    assert_close(got[z.name], np.maximum(want, 0))


def test_rows_with_gaps_and_a_batch_that_does_not_fold(case: Any) -> None:
    c, want = product(case, ((3, 11, 130), (130, 48), False))
    kernel = case.kernel(c)
    case.operands["v0"] = Operand(kernel.operands["v0"].type, (13 * 140, 140, 1))
    case.operands[c.name] = Operand(c.type, (12 * 70, 70, 1))
    assert_close(case.run(TACTIC, kernel, config())[c.name], want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [512, 221])
def test_offers_match_float64(case: Any, threads: int, rows: int) -> None:
    c, want = product(case, ((rows, 512), (512, 1000), False))
    kernel = case.kernel(c, threads=threads)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    for offer in offers[:3]:
        assert_close(case.run(TACTIC, kernel, offer)[c.name], want)


def test_every_product_finds_its_sums() -> None:
    """Each product is named once: pack lays B out in this order."""
    assert sorted(a for a, _, _ in PRODUCTS) == sorted([A11, A12, A22, S1, S2, S3, S4])


@pytest.mark.parametrize("depth", [768, 3072])
def test_error_grows_little(depth: int) -> None:
    """At the depths of transformers: a few times that of a plain sum in float32."""
    case = Case(host())
    c, want = product(case, ((128, depth), (depth, 192), False))
    kernel = case.kernel(c)
    offers = TACTIC.offers(kernel)
    assert offers, offers
    got = case.run(TACTIC, kernel, offers[0])[c.name]
    assert np.abs(got - want).max() < 6e-6 * np.abs(want).max()


def test_weights_do_not_grow() -> None:
    """The sums of B are made by the call: what is packed is as large as B, but for padding."""
    case = Case(host())
    c, _ = product(case, ((128, 256), (256, 768), False))
    code = TACTIC.build(case.kernel(c), config(vectors=3))
    assert code.growth_bytes == 0


def test_keeps_sums_in_registers(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    c, _ = product(case, ((128, 512), (512, 768), False))
    check(case, TACTIC, case.kernel(c))


@pytest.mark.parametrize(
    ("left", "right", "constant", "reason"),
    [
        ((64, 128), (128, 64), False, "not known at build time"),
        ((64, 129), (129, 64), True, "even number"),
        ((64, 64), (64, 64), True, "at least 128"),
        ((1, 256), (256, 256), True, "too small to be quartered"),
        ((64, 256), (256, 4), True, "too small to be quartered"),
        ((2, 256), (256, 256), True, "cost more"),
    ],
)
def test_refuses(case: Any, left: Any, right: Any, constant: bool, reason: str) -> None:
    a, b = case.input(*left), case.constant(*right) if constant else case.input(*right)
    c = case.node(MatMul(), [a, b], (left[0], right[1]))
    refusal = TACTIC.offers(case.kernel(c))
    assert isinstance(refusal, No)
    assert reason in refusal.reason


def test_refuses_a_transposed_left_operand(case: Any) -> None:
    a, b = case.input(256, 64), case.constant(256, 256)
    c = case.node(MatMul(True, False), [a, b], (64, 256))
    refusal = TACTIC.offers(case.kernel(c))
    assert isinstance(refusal, No)
    assert "dense" in refusal.reason
