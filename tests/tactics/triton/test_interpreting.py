"""The harness itself: that it finds what is wrong, and that what is right passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from planck.codegen.triton.code import TritonCode
from planck.dtypes import Array, bf16
from planck.ir.graph import Value
from planck.ops.pointwise import Cast
from planck.tactics.kernel import Kernel
from tests.tactics.triton.conftest import TritonCase
from tests.tactics.triton.interpreting import RUNNERS, Memory, run_code

SOURCE = """
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def _larger(a, b):
    return tl.where(a > b, a, b)


@triton.jit
def softmax(x, y):
    row = tl.program_id(0)
    j = tl.arange(0, 32)
    gdc_wait()
    v = tl.load(x + row * 19 + j, mask=j < LOADED, other=float("-inf")).to(tl.float32)
    gdc_launch_dependents()
    v = libdevice.exp(v - tl.reduce(v, 0, _larger))
    total = tl.sum(v, 0)
    tl.store(y + row * 19 + j, (v / total + tl.max(v, 0) * 0.0).to(tl.bfloat16), mask=j < STORED)
"""


class Softmax:
    """Rows of 19."""

    def __init__(self, loaded: int = 19, stored: int = 19) -> None:
        self.loaded, self.stored = loaded, stored

    def build(self, kernel: Kernel, config: Any) -> TritonCode:
        text = SOURCE.replace("LOADED", str(self.loaded)).replace("STORED", str(self.stored))
        names = (kernel.graph.inputs[0].name, kernel.graph.outputs[0].name)
        return TritonCode("softmax", text, names, ("*bf16", "*bf16"), (True, False), 5)

    def pack(self, kernel: Kernel, config: Any, constants: Mapping[str, Array]) -> Any:
        return constants


def softmax_case() -> tuple[TritonCase, Kernel, Value]:
    case = TritonCase()
    x = case.input(5, 19, dtype=bf16)
    y = case.rounded(case.pointwise("neg", case.node(Cast(x.type.dtype), [x], (5, 19))))
    return case, case.kernel(y), x


def test_right_kernel_passes_and_compiles() -> None:
    case, kernel, x = softmax_case()
    (found,) = case.run(Softmax(), kernel, {}).values()
    wanted = np.exp(case.arrays[x.name].astype(np.float64))
    wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=2**-8)
    assert np.array_equal(found, wanted.astype(np.float32).astype(found.dtype))
    assert case.compile(Softmax(), kernel, {}).threads == 128


def test_wrong_kernels_are_found() -> None:
    """A GPU does not tell who read or wrote where: only what became of it is seen there."""
    on_gpu = bool(RUNNERS)
    case, kernel, _ = softmax_case()
    with pytest.raises(AssertionError, match="was not written at"):
        case.run(Softmax(stored=18), kernel, {})
    outside = "bytes beside .* were written" if on_gpu else "addresses are of no argument"
    with pytest.raises(AssertionError, match=outside):
        case.run(Softmax(stored=20), kernel, {})
    if on_gpu:
        (found,) = case.run(Softmax(loaded=20), kernel, {}).values()
        assert np.isnan(found[-1].astype(np.float32)).all()  # behind the last row lies poison
        return
    with pytest.raises(AssertionError, match=outside):
        case.run(Softmax(loaded=20), kernel, {})


DIVISION = """
import triton
import triton.language as tl


@triton.jit
def division(x, y):
    i = tl.arange(0, 16)
    v = tl.load(x + i)
    tl.store(y + i, v // 3)
    tl.store(y + 16 + i, v % 3)
"""


def test_integers_are_divided_as_in_c() -> None:
    code = TritonCode("division", DIVISION, ("x", "y"), ("*i32", "*i32"), (True, True), 1)
    values = np.arange(-8, 8, dtype=np.int32)
    memory = {"x": Memory(values), "y": Memory(np.zeros(32, np.int32))}
    run_code(code, memory)
    whole = np.trunc(values / 3).astype(np.int32)
    np.testing.assert_array_equal(memory["y"].flat, [*whole, *(values - 3 * whole)])


MASKED = """
import triton
import triton.language as tl


@triton.jit
def masked(x, y):
    i = tl.arange(0, 16)
    tl.store(y + i, tl.load(x + i, mask=i < 9))
"""


def test_what_is_masked_is_poison() -> None:
    code = TritonCode("masked", MASKED, ("x", "y"), ("*fp32", "*fp32"), (True, True), 1)
    memory = {"x": Memory(np.ones(9, np.float32)), "y": Memory(np.zeros(16, np.float32))}
    run_code(code, memory)
    found = memory["y"].flat
    assert np.array_equal(found[:9], np.ones(9, np.float32))
    assert RUNNERS or np.isnan(found[9:]).all()  # a GPU may leave anything there


CONVERSION = """
import triton
import triton.language as tl


@triton.jit
def conversion(x, short, wide):
    i = tl.arange(0, 16)
    v = tl.load(x + i)
    tl.store(short + i, v.to(tl.int32))
    tl.store(wide + i, v.to(tl.int64))
"""


def test_floats_that_are_no_integers_are_converted_as_on_a_gpu() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 1e30, -1e30, 2.9, -2.9], np.float32)
    memory = {"x": Memory(np.resize(values, 16))}
    kinds = {"short": np.int32, "wide": np.int64}
    memory |= {name: Memory(np.zeros(16, kind)) for name, kind in kinds.items()}
    types = ("*fp32", "*i32", "*i64")
    run_code(TritonCode("conversion", CONVERSION, tuple(memory), types, (True,) * 3, 1), memory)
    most, least = 2**31 - 1, -(2**31)
    ends = [most, least, most, least, most, least, 2, -2]
    np.testing.assert_array_equal(memory["short"].flat[:9], [0, *ends])
    ends = [2**63 - 1, -(2**63), 3 * 10**9, -3 * 10**9, 2**63 - 1, -(2**63), 2, -2]
    np.testing.assert_array_equal(memory["wide"].flat[:9], [-(2**63), *ends])
