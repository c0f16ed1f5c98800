"""Products with weights of 24 bits: against float64 and the rounded weights, and who is offered."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from planck.codegen.float24 import narrow
from planck.codegen.llvm import assembly
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.matmul24 import NarrowMultiply
from planck.tune.choose import offers
from tests.codegen.test_float24 import widened

TACTIC = NarrowMultiply()


def config(rows: int, vectors: int, fetch: bool = False) -> dict[str, Any]:
    tile = {"rows": rows, "vectors": vectors, "unroll": 4}
    return {**tile, "form": "packed", "panel_first": True, "fetch": fetch}


@pytest.mark.parametrize("chosen", [config(1, 4), config(4, 2, True), config(2, 3)], ids=str)
@pytest.mark.parametrize(
    ("left", "right", "transpose"),
    [
        ((1, 300), (300, 77), False),
        ((8, 65), (130, 65), True),
        ((2, 3, 33), (33, 5), False),
        ((5, 1), (1, 64), False),
    ],
    ids=str,
)
def test_multiplies_by_the_rounded_weights(
    case: Any, left: Any, right: Any, transpose: bool, chosen: dict[str, Any]
) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no such code")
    a, b = case.input(*left), case.constant(*right)
    x = case.arrays[a.name].astype(np.float64)
    y = widened(narrow(case.arrays[b.name])).astype(np.float64)
    want = x @ (y.T if transpose else y)
    bias = case.constant(want.shape[-1])
    c = case.node(MatMul(False, transpose), [a, b], want.shape)
    z = case.pointwise("relu", case.pointwise("add", c, bias))
    got = case.run(TACTIC, case.kernel(z, threads=2), chosen)[z.name]
    want = np.maximum(want + case.arrays[bias.name], 0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def product(case: Any, rows: int, k: int = 256, n: int = 1024, constant: bool = True) -> Any:
    a, b = case.input(rows, k), case.constant(k, n) if constant else case.input(k, n)
    return case.kernel(case.node(MatMul(), [a, b], (rows, n)))


def test_weights_take_three_quarters(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no such code")
    kernel = product(case, 1)
    for chosen in TACTIC.offers(kernel):
        arrays = {name: case.arrays[name] for name in kernel.constants}
        (weights,) = TACTIC.pack(kernel, chosen, arrays).values()
        assert weights.nbytes == 3 * 256 * 1024
        assert TACTIC.build(kernel, chosen).growth_bytes == -256 * 1024


def test_two_instructions_widen_a_vector(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no such code")
    kernel = product(case, 1)
    code = TACTIC.build(kernel, config(1, 4))
    text = assembly(case.target, code.llvm, code.level)
    fused = len(re.findall(r"\svfmadd\w+ps\s", text))
    moves = re.findall(r"\s(vpermd|vpshufb|vinsert\w+|vpermb|vperm[it]2\w)\s", text)
    assert len(moves) == 2 * fused
    assert not re.search(r"[yz]mm\d+.*\(%rsp\)", text)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"rows": 9}, "9 rows"),
        ({"rows": 1, "k": 16}, "bytes of weights"),
        ({"rows": 1, "constant": False}, "constants of float32"),
    ],
)
def test_refuses_what_does_not_wait_for_weights(
    case: Any, shape: dict[str, Any], reason: str
) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no such code")
    answer = TACTIC.offers(product(case, **shape))
    assert isinstance(answer, No)
    assert reason in answer.reason


def test_exact_code_is_offered_first(case: Any) -> None:
    """A build that times nothing takes the first."""
    found, _ = offers(product(case, 1), TACTICS)
    assert found[0].tactic.exact
    assert (case.target.isa == "portable") or found[1].tactic.name == TACTIC.name
