"""Errors against float64: the measure itself, kernels by themselves, and what float32 admits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from planck.codegen.llvm import compile_object
from planck.codegen.processes import CompilePool
from planck.dtypes import f32
from planck.ir.types import TensorType
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.direct import Direct
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.pattern import SHORT_BOUND
from planck.tactics.winograd import WinogradConvolution
from planck.target import host
from planck.tune.cache import TimingCache
from planck.tune.choose import Choice, choose
from planck.tune.error import LAYER_BOUND, kernel_errors, relative_error, rounded
from planck.tune.ladder import ladders
from tests.tactics.conftest import Case

Array = np.ndarray[Any, Any]


def f(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    ("got", "want", "error"),
    [
        (f(1, -4), np.array([1.0, -4.0]), 0.0),
        (f(1, -3), np.array([1.0, -4.0]), 0.25),
        (f(0.5, 0), np.array([0.0, 0.0]), 0.5),
        (f(np.nan, 2), np.array([np.nan, 2.0]), 0.0),
        (f(np.inf, 2), np.array([1e300, 2.0]), 0.0),  # float32 has nothing else for it
        (f(np.nan, 2), np.array([1.0, 2.0]), 1.0),
        (f(np.inf, 2), np.array([-np.inf, 2.0]), 1.0),
        (f(), np.array([]), 0.0),
    ],
)
def test_relative_error(got: Array, want: Array, error: float) -> None:
    assert relative_error(got, want) == error


@pytest.mark.parametrize(
    ("error", "two"),
    [(0.0, 0.0), (1.0e-4, 1.0e-4), (1.001e-4, 1.1e-4), (9.91e-6, 1.0e-5), (3.0, 3.0)],
)
def test_rounding_goes_up(error: float, two: float) -> None:
    assert rounded(error) == two


def convolution(batch: int = 1, channels: int = 37) -> Kernel:
    """A layer with bias and residual that is a part of a larger tensor, as after a concat."""
    case = Case(host())
    x = case.input(batch, channels, 13, 19, block=True)
    w = case.constant(35, channels, 3, 3)
    bias = case.constant(35)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w, bias], (batch, 35, 13, 19), block=True)
    z = case.pointwise("add", y, case.input(*y.type.dims, block=True))
    kernel = case.kernel(z)
    wide = TensorType((batch, 35 + 4 * case.target.lanes, 13, 19), f32, case.target.lanes)
    for name in (x.name, z.name):
        type_ = kernel.operands[name].type
        strides = Operand.dense(wide).strides
        kernel.operands[name] = Operand(type_, strides)  # type: ignore[index]
    return kernel


@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_rounding_to_bfloat16_is_no_error_of_the_kernel(scale: float) -> None:
    """What Winograd errs is seen behind a rounding that is larger; a wrong scale is seen, too."""
    case = Case(host())
    x, _ = case.short(1, 37, 13, 19, block=True)
    w, _ = case.short(35, 37, 3, 3, constant=True)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 35, 13, 19), block=True)
    kernel = case.kernel(case.rounded(y))

    class Scaled(WinogradConvolution):
        def pack(self, kernel: Kernel, config: Any, constants: Any) -> Any:
            packed = super().pack(kernel, config, constants)
            return {name: array * np.float32(scale) for name, array in packed.items()}

    tactic, config = Scaled(), _winograd(6)
    code = tactic.build(kernel, config)
    object_ = compile_object(kernel.target, code.llvm, code.level)
    [error] = kernel_errors(kernel, [(tactic, config, code, object_)])
    assert error < LAYER_BOUND if scale == 1.0 else error > LAYER_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_a_kernel_in_strided_memory_is_compared_with_float64(batch: int) -> None:
    kernel = convolution(batch)
    runs = []
    for tactic, config in (
        (Direct(), _first(Direct(), kernel)),
        *((WinogradConvolution(), _winograd(side)) for side in (2, 4, 6)),
    ):
        code = tactic.build(kernel, config)
        runs.append((tactic, config, code, compile_object(kernel.target, code.llvm, code.level)))
    direct, two, four, six = kernel_errors(kernel, runs)
    assert 1e-8 < direct < 2e-6
    assert 1e-8 < two < four < six < LAYER_BOUND


def _first(tactic: Any, kernel: Kernel) -> Any:
    offered = tactic.offers(kernel)
    assert not isinstance(offered, No), offered
    return offered[0]


def _winograd(side: int) -> dict[str, int]:
    return {"down": side, "along": side, "rows": 4, "vectors": 1, "groups": 1, "parts": 1}


class Sloppy(Direct):
    """Direct convolution by weights of a few bits; fast, or so it says."""

    name = "sloppy"
    exact = False
    bits = 12

    def pack(self, kernel: Kernel, config: Any, constants: Mapping[str, Array]) -> Any:
        packed = super().pack(kernel, config, constants)
        unit = np.float32(2**self.bits)
        return {name: (np.round(a * unit) / unit).astype(a.dtype) for name, a in packed.items()}


class Fair(Sloppy):
    name = "fair"
    bits = 22


def _choose(kernel: Kernel, tactics: Any, level: int, cache: TimingCache | None = None) -> Choice:
    with CompilePool(kernel.target, jobs=1) as pool:
        cache = cache or TimingCache(None, kernel.target)
        answers = choose([kernel], tactics, pool, cache, level=level)
    answer = answers[kernel.key]
    assert not isinstance(answer, No), answer
    return answer


@pytest.mark.parametrize("level", [0, 2])
def test_what_errs_too_much_is_refused(level: int) -> None:
    kernel = convolution()
    choice = _choose(kernel, (Sloppy(), Direct()), level)
    assert choice.tactic.name == "direct"
    rows = [row for row in choice.timings if row.tactic == "sloppy"]
    assert rows
    for row in rows:
        assert "of the largest output, fp32 admits 2e-05" in row.refused
        assert row.error is not None
        assert row.error > LAYER_BOUND
        assert row.as_json()["error"] == row.error


@pytest.mark.parametrize(("side", "admitted"), [(2, True), (5, True), (6, False)])
def test_what_bfloat16_admits(side: int, admitted: bool) -> None:
    """Winograd's weights in float16 err by less than its rounding, but in the largest tiles."""

    class Halves(WinogradConvolution):
        def offers(self, kernel: Kernel) -> Any:
            return ({**_winograd(side), "halves": 1},)

    case = Case(host())
    x, _ = case.short(1, 64, 13, 19, block=True)
    w, _ = case.short(67, 64, 3, 3, constant=True)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 67, 13, 19), block=True)
    kernel = case.kernel(case.rounded(y))
    choice = _choose(kernel, (Halves(), Direct()), 1)
    (row,) = (row for row in choice.timings if row.tactic == "winograd")
    assert row.error is not None
    assert row.error > LAYER_BOUND
    assert (row.error <= SHORT_BOUND) == admitted
    assert ("bf16 admits 4e-03" in row.refused) != admitted


def test_what_errs_little_is_admitted_and_its_error_kept() -> None:
    kernel = convolution()
    cache = TimingCache(None, kernel.target)
    for _ in range(2):  # measured, then from the cache
        choice = _choose(kernel, (Fair(),), 1, cache)
        assert choice.tactic.name == "fair"
        assert 1e-7 < (choice.timings[0].error or 0.0) < LAYER_BOUND
    assert cache.hits == 1


def test_an_old_cache_without_errors_is_measured_again() -> None:
    kernel = convolution()
    cache = TimingCache(None, kernel.target)
    first = _choose(kernel, (Fair(),), 1, cache)
    (key,) = cache.entries
    cache.entries[key] = [type(row)(row.tactic, row.config, row.us) for row in first.timings]
    again = _choose(kernel, (Fair(),), 1, cache)
    assert again.timings[0].error == first.timings[0].error


@pytest.mark.slow
def test_a_ladder_goes_down_to_the_least_error() -> None:
    kernel = convolution(channels=128)
    tactics = (WinogradConvolution(), Direct())
    choice = _choose(kernel, tactics, 0)
    assert choice.tactic.name == "winograd"
    with CompilePool(kernel.target, jobs=1) as pool:
        ladder = ladders({"k": kernel}, {"k": choice}, tactics, pool)["k"]
    errors = ladder.errors()
    assert dict(ladder.rungs[0].config) == dict(choice.config)
    assert errors == sorted(errors, reverse=True)
    assert all(low <= high / 2 for high, low in pairwise(errors[:-1]))
    assert errors[-1] == min(row.error for row in ladder.others if row.error is not None)
    last = ladder.choice(len(errors) - 1, "too much in all")
    assert last.timings[0] == ladder.rungs[-1].timings[0]
    refused = [row for row in last.timings if row.refused == "too much in all"]
    assert all((row.error or 0) > (last.timings[0].error or 0) for row in refused)
    assert len({str(row) for row in last.timings}) == len(last.timings)


def test_a_higher_level_times_what_the_cache_has_not_met() -> None:
    kernel = convolution()
    cache = TimingCache(None, kernel.target)
    few = _choose(kernel, (Direct(),), 1, cache)
    many = _choose(kernel, (Direct(),), 5, cache)
    again = _choose(kernel, (Direct(),), 1, cache)
    assert len(few.timings) < len(many.timings) == len(again.timings)
