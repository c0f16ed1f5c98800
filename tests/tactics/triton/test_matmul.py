"""Matrix products for GPUs against float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from planck.dtypes import bf16, f16, f32
from planck.ops.nn import MatMul
from planck.tactics.triton.matmul import FewRows, TensorMatMul
from tests.tactics.triton.conftest import H100, TritonCase

TOLERANCE = {f16: 6e-4, bf16: 5e-3, f32: 2e-6}


def product(
    dtype: Any, a: tuple[int, ...], b: tuple[int, ...], constant: bool = True,
    transposes: tuple[bool, bool] = (False, False), full: bool = True,
) -> Any:  # fmt: skip
    """A case with its kernel, and what it should give: x W + bias, GELU, plus a residual."""
    case = TritonCase(dtype=dtype)

    def operand(shape: tuple[int, ...], fixed: bool = False, scale: float = 1.0) -> Any:
        if dtype is not f32:
            return case.short(*shape, constant=fixed, scale=scale)
        value = case.input(*shape, scale=scale)
        case.constants |= {value.name} if fixed else set()
        return value, case.arrays[value.name].astype(np.float64)

    left, x = operand(a)
    right, w = operand(b, constant, b[-2] ** -0.5)
    x = x.swapaxes(-1, -2) if transposes[0] else x
    w = w.swapaxes(-1, -2) if transposes[1] else w
    wanted = x @ w
    made = case.node(MatMul(*transposes), [left, right], wanted.shape)
    bias = case.constant(wanted.shape[-1])
    made = case.pointwise("gelu", case.pointwise("add", made, bias))
    wanted = wanted + case.arrays[bias.name].astype(np.float64)
    wanted = wanted * 0.5 * (1 + np.vectorize(math.erf)(wanted / math.sqrt(2)))
    if full:
        beside, array = operand(wanted.shape)
        made, wanted = case.pointwise("add", made, beside), wanted + array
    return case, case.kernel(made if dtype is f32 else case.rounded(made)), wanted


def check(
    tactic: Any, dtype: Any, case: TritonCase, kernel: Any, wanted: Any, **changes: Any
) -> None:
    offers = tactic.offers(kernel)
    assert offers, offers
    (got,) = case.run(tactic, kernel, {**offers[0], **changes}).values()
    error = np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [f16, bf16, f32])
@pytest.mark.parametrize(
    ("a", "b", "constant", "transposes"),
    [
        ((17, 40), (40, 33), True, (False, False)),
        ((2, 5, 19), (19, 24), True, (False, False)),
        ((33, 64), (48, 64), True, (False, True)),
        ((2, 3, 7, 16), (2, 3, 16, 9), False, (False, False)),
        ((2, 3, 7, 16), (3, 9, 16), False, (False, True)),
        ((4, 16, 7), (16, 24), False, (True, False)),
        ((2, 3, 7, 16), (3, 16, 9), True, (False, False)),
    ],
)
def test_against_float64(a: Any, b: Any, constant: bool, transposes: Any, dtype: Any) -> None:
    check(TensorMatMul(), dtype, *product(dtype, a, b, constant, transposes))


def test_shared_sums() -> None:
    made = product(f16, (20, 256), (256, 40))
    check(TensorMatMul(), f16, *made, splits=4, bm=32, bn=32, bk=64, fetch=True)


@pytest.mark.parametrize("dtype", [f16, f32])
@pytest.mark.parametrize("m", [1, 3, 8])
@pytest.mark.parametrize("splits", [1, 3])
def test_few_rows(m: int, splits: int, dtype: Any) -> None:
    made = product(dtype, (m, 300), (300, 37))
    check(FewRows(), dtype, *made, splits=splits, bk=64, bn=16, fetch=True)


def test_what_is_refused() -> None:
    _, kernel, _ = product(f16, (9, 32), (32, 8))
    assert "enough for tensor cores" in str(FewRows().offers(kernel))
    _, kernel, _ = product(f16, (4, 32), (32, 8), constant=False)
    assert "no constant" in str(FewRows().offers(kernel))


@pytest.mark.parametrize(
    ("tactic", "a", "b"),
    [(TensorMatMul(), (128, 768), (768, 3072)), (FewRows(), (1, 2048), (2048, 1000))],
)
def test_compiles(tactic: Any, a: Any, b: Any) -> None:
    case, kernel, _ = product(f16, a, b)
    offers = tactic.offers(kernel)
    assert offers, offers
    cubin = case.compile(tactic, kernel, offers[0])
    assert cubin.shared_bytes <= H100.l1_bytes


def test_weights_are_rounded_for_tf32_and_for_nothing_else() -> None:
    case, kernel, _ = product(f32, (33, 64), (64, 48))
    tactic, constants = TensorMatMul(), {name: case.arrays[name] for name in kernel.constants}
    offers = tactic.offers(kernel)
    assert offers, offers
    packed = {
        way: tactic.pack(kernel, {**offers[0], "precision": way}, constants)
        for way in ("tf32", "ieee")
    }
    changed = [n for n, a in packed["ieee"].items() if not np.array_equal(a, packed["tf32"][n])]
    assert len(changed) == 1  # the bias stays
    exact, rounded = (packed[way][changed[0]] for way in ("ieee", "tf32"))
    assert not (rounded.view(np.uint32) & 0x1FFF).any()
    assert np.abs(rounded - exact).max() <= 2.0**-11 * np.abs(exact).max()
    assert abs((np.abs(rounded) - np.abs(exact)).mean()) < 2.0**-14 * np.abs(exact).mean()
