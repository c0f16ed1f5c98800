"""Strassen's multiplication against float64 NumPy, one level and two, on all ISAs."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf
from typing import Any

import numpy as np
import pytest

from planck.codegen.strassen_spec import A11, A12, A22, PRODUCTS, S1, S2, S3, S4, TERMS
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.strassen import StrassenMultiply
from planck.tactics.strassen_twice import StrassenTwice
from planck.target import host
from tests.tactics.conftest import Case
from tests.tactics.test_assembly import check


@dataclass(frozen=True)
class Levels:
    """A tactic, and what it is tried with.

    error:    largest over the largest output: the sums mix the parts
    shapes:   of A and of B, and whether B is transposed
    changed:  what else than `config` to try
    """

    tactic: Any
    config: dict[str, int]
    error: float
    shapes: tuple[Any, ...]
    changed: tuple[dict[str, int], ...]

    def __str__(self) -> str:
        return str(self.tactic.name)

    def run(self, case: Any, kernel: Any, **changed: int) -> Any:
        return case.run(self.tactic, kernel, {**self.config, **changed})

    def assert_close(self, got: Any, want: Any) -> None:
        assert np.abs(got - want).max() < self.error * np.abs(want).max()


SMALL = {"rows": 5, "vectors": 2, "strips": 2, "ahead": 1}
ONCE = Levels(
    StrassenMultiply(),
    {**SMALL, "claims": 1},
    4e-6,
    (
        ((64, 128), (128, 96), False),
        ((2, 128), (128, 17), False),
        ((37, 134), (134, 53), False),
        ((31, 130), (80, 130), True),
        ((7, 9, 144), (144, 48), False),
        ((2, 3, 5, 150), (1, 150, 100), False),
        ((99, 128), (128, 33), False),
        ((45, 1024), (1024, 40), False),  # rows 4 KiB apart
    ),
    ({}, {"rows": 3, "vectors": 1, "strips": 1}, {"vectors": 3}),
)
TWICE = Levels(
    StrassenTwice(),
    {**SMALL, "blocks": 1, "chunks": 1},
    8e-6,
    (
        ((64, 256), (256, 128), False),
        ((4, 256), (256, 70), False),
        ((37, 264), (264, 53), False),  # the halves of the rows are odd, too
        ((39, 264), (264, 53), False),
        ((42, 260), (100, 260), True),
        ((7, 9, 288), (288, 48), False),
        ((2, 3, 29, 300), (1, 300, 100), False),  # products of a batch
        ((99, 256), (256, 17), False),  # parts of the columns that are past N
    ),
    ({}, {"rows": 3, "vectors": 1, "strips": 1, "blocks": 2}, {"vectors": 3, "strips": 4}),
)


def product(case: Any, shape: Any) -> tuple[Any, Any]:
    """A matrix product at unit variance, and its value in float64."""
    left, right, transpose = shape
    depth = left[-1]
    a, b = case.input(*left), case.constant(*right, scale=1 / np.sqrt(depth))
    x, y = (case.arrays[v.name].astype(np.float64) for v in (a, b))
    want = x @ (y.swapaxes(-1, -2) if transpose else y)
    return case.node(MatMul(False, transpose), [a, b], want.shape), want


@pytest.mark.parametrize(
    ("levels", "shape", "changed"),
    [
        (levels, shape, changed)
        for levels in (ONCE, TWICE)
        for shape in levels.shapes
        for changed in levels.changed
    ],
    ids=str,
)
def test_matches_float64(case: Any, levels: Levels, shape: Any, changed: dict[str, int]) -> None:
    c, want = product(case, shape)
    bias, residual = case.constant(want.shape[-1]), case.input(*want.shape)
    z = case.pointwise("relu", case.pointwise("add", case.pointwise("add", c, bias), residual))
    got = levels.run(case, case.kernel(z, threads=2), **changed)[z.name]
    biased = want + case.arrays[bias.name] + case.arrays[residual.name]
    levels.assert_close(got, np.maximum(biased, 0))


@pytest.mark.parametrize("chunks", [2, 3])
def test_depth_in_chunks(case: Any, chunks: int) -> None:
    c, want = product(case, ((43, 24 * 19), (24 * 19, 90), False))
    TWICE.assert_close(TWICE.run(case, case.kernel(c), chunks=chunks)[c.name], want)


@pytest.mark.parametrize(("levels", "depth"), [(ONCE, 128), (TWICE, 256)], ids=str)
@pytest.mark.parametrize("fn", ["gelu", "relu"])
def test_two_outputs(case: Any, levels: Levels, depth: int, fn: str) -> None:
    c, want = product(case, ((21, depth), (depth, 70), False))
    z = case.pointwise(fn, c)
    got = levels.run(case, case.kernel(c, z))
    gelu = want * (1 + np.vectorize(erf)(want / np.sqrt(2))) / 2
    levels.assert_close(got[c.name], want)
    levels.assert_close(got[z.name], gelu if fn == "gelu" else np.maximum(want, 0))


@pytest.mark.parametrize(("levels", "k", "n"), [(ONCE, 130, 48), (TWICE, 260, 80)], ids=str)
def test_rows_with_gaps_and_a_batch_that_does_not_fold(
    case: Any, levels: Levels, k: int, n: int
) -> None:
    c, want = product(case, ((3, 11, k), (k, n), False))
    kernel = case.kernel(c)
    case.operands["v0"] = Operand(kernel.operands["v0"].type, (13 * (k + 10), k + 10, 1))
    case.operands[c.name] = Operand(c.type, (12 * (n + 22), n + 22, 1))
    levels.assert_close(levels.run(case, kernel)[c.name], want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [512, 221])
def test_offers_match_float64(case: Any, threads: int, rows: int) -> None:
    check_offers(case, ONCE, ((rows, 512), (512, 1000), False), threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1024, 789])
def test_offers_of_two_levels_match_float64(threads: int, rows: int) -> None:
    check_offers(Case(host()), TWICE, ((rows, 768), (768, 1000), False), threads)


def check_offers(case: Any, levels: Levels, shape: Any, threads: int) -> None:
    c, want = product(case, shape)
    kernel = case.kernel(c, threads=threads)
    offers = levels.tactic.offers(kernel)
    assert offers, offers
    for offer in offers[:4]:
        levels.assert_close(levels.run(case, kernel, **offer)[c.name], want)


def test_every_product_finds_its_sums() -> None:
    """Each product is named once: pack lays B out in this order."""
    assert sorted(a for a, _, _ in PRODUCTS) == sorted([A11, A12, A22, S1, S2, S3, S4])
    assert set(TERMS) == {left for left, _, _ in PRODUCTS}


@pytest.mark.parametrize(
    ("levels", "m", "k", "n", "error"),
    [
        (ONCE, 128, 768, 192, 6e-6),
        (ONCE, 128, 3072, 192, 6e-6),
        (TWICE, 1024, 3072, 768, 1e-5),  # within half of what a layer may err
    ],
    ids=str,
)
def test_error_grows_little(levels: Levels, m: int, k: int, n: int, error: float) -> None:
    """At the depths of transformers: a few times that of a plain sum in float32."""
    case = Case(host())
    c, want = product(case, ((m, k), (k, n), False))
    kernel = case.kernel(c)
    offers = levels.tactic.offers(kernel)
    assert offers, offers
    got = levels.run(case, kernel, **offers[0])[c.name]
    assert np.abs(got - want).max() < error * np.abs(want).max()


@pytest.mark.parametrize(("levels", "done", "of"), [(ONCE, 7, 8), (TWICE, 49, 64)], ids=str)
def test_weights_do_not_grow(levels: Levels, done: int, of: int) -> None:
    """The sums of B are made by the call: what is packed is as large as B, but for padding."""
    case = Case(host())
    c, _ = product(case, ((128, 256), (256, 768), False))
    code = levels.tactic.build(case.kernel(c), {**levels.config, "vectors": 3})
    assert code.growth_bytes == 0
    assert code.work_flops == 2 * 128 * 256 * 768 * done // of


@pytest.mark.parametrize(
    ("levels", "m", "k", "n"), [(ONCE, 128, 512, 768), (TWICE, 1024, 1024, 1024)], ids=str
)
def test_keeps_sums_in_registers(case: Any, levels: Levels, m: int, k: int, n: int) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    c, _ = product(case, ((m, k), (k, n), False))
    check(case, levels.tactic, case.kernel(c))


@pytest.mark.parametrize(
    ("levels", "left", "right", "constant", "reason"),
    [
        (ONCE, (64, 128), (128, 64), False, "not known at build time"),
        (ONCE, (64, 129), (129, 64), True, "even number"),
        (ONCE, (64, 64), (64, 64), True, "at least 128"),
        (ONCE, (1, 256), (256, 256), True, "too small to be quartered"),
        (ONCE, (64, 256), (256, 4), True, "too small to be quartered"),
        (ONCE, (2, 256), (256, 256), True, "cost more"),
        (TWICE, (1024, 1024), (1024, 1024), False, "not known at build time"),
        (TWICE, (1024, 770), (770, 1024), True, "multiple of 4"),
        (TWICE, (1024, 192), (192, 1024), True, "at least 256"),
        (TWICE, (3, 256), (256, 256), True, "too small"),
        (TWICE, (1024, 256), (256, 12), True, "too small"),
        (TWICE, (16, 256), (256, 256), True, "cost more"),
    ],
    ids=str,
)
def test_refuses(
    case: Any, levels: Levels, left: Any, right: Any, constant: bool, reason: str
) -> None:
    a, b = case.input(*left), case.constant(*right) if constant else case.input(*right)
    c = case.node(MatMul(), [a, b], (left[0], right[1]))
    refusal = levels.tactic.offers(case.kernel(c))
    assert isinstance(refusal, No)
    assert reason in refusal.reason


def test_refuses_a_transposed_left_operand(case: Any) -> None:
    a, b = case.input(256, 64), case.constant(256, 256)
    c = case.node(MatMul(True, False), [a, b], (64, 256))
    refusal = ONCE.tactic.offers(case.kernel(c))
    assert isinstance(refusal, No)
    assert "dense" in refusal.reason
