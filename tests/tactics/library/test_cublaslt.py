"""cuBLASLt's products: what is offered and what not, and results against float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.device.cuda.library import Algorithm, Product
from planck.dtypes import bf16, f16, f32
from planck.errors import LibraryError
from planck.ir.types import strides_of
from planck.ops.nn import Conv, MatMul
from planck.refusal import No
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.library.cublaslt import CublasLt
from planck.tactics.library.product import Reading, read
from tests.tactics.library.running import Machine, machine

pytest.importorskip("triton", reason="Triton is not installed")

from tests.tactics.triton.conftest import H100, TritonCase

# The result's own rounding and the bias', which the library wants in the same 16 bits.
TOLERANCE = {f16: 1e-3, bf16: 8e-3, f32: 2e-6}


@pytest.fixture(params=["fake", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param) as made:
        yield made


class Made:
    """A product x W, scaled, + bias, + a tensor beside it, with an activation; and its result."""

    def __init__(
        self, dtype: Any, a: tuple[int, ...], b: tuple[int, ...], *, constant: bool = True,
        transposes: tuple[bool, bool] = (False, False), scale: float = 1.0, bias: bool = True,
        beside: bool = True, activation: str = "", wide: bool = False,
    ) -> None:  # fmt: skip
        self.case, self.dtype = TritonCase(dtype=dtype), dtype
        left, x = self.operand(a)
        right, w = self.operand(b, constant, b[-2] ** -0.5)
        x = x.swapaxes(-1, -2) if transposes[0] else x
        w = w.swapaxes(-1, -2) if transposes[1] else w
        self.wanted = x @ w
        self.made = self.case.node(MatMul(*transposes), [left, right], self.wanted.shape)
        if scale != 1.0:
            self.made = self.case.pointwise("mul", self.made, self.case.scalar(scale))
            self.wanted = self.wanted * scale
        self.end(bias, beside, activation, -1)
        self.kernel = self.case.kernel(self.made if wide else self.rounded())

    def operand(
        self, shape: tuple[int, ...], constant: bool = False, scale: float = 1.0,
        block: bool = False,
    ) -> Any:  # fmt: skip
        if self.dtype is not f32:
            return self.case.short(*shape, constant=constant, scale=scale, block=block)
        value = self.case.input(*shape, scale=scale, block=block)
        self.case.constants |= {value.name} if constant else set()
        return value, self.case.arrays[value.name].astype(np.float64)

    def end(
        self, bias: bool, beside: bool, activation: str, axis: int, block: bool = False
    ) -> None:
        shape = self.wanted.shape
        if bias:
            along = [1] * len(shape)
            along[axis] = shape[axis]
            own = self.case.constant(*(along if axis != -1 else [shape[-1]]))
            self.made = self.case.pointwise("add", self.made, own)
            self.wanted = self.wanted + self.case.arrays[own.name].astype(np.float64)
        if beside:
            value, array = self.operand(shape, block=block)
            self.made = self.case.pointwise("add", value, self.made)
            self.wanted = self.wanted + array
        if activation == "relu":
            self.wanted = np.maximum(self.wanted, 0)
        elif activation == "gelu_tanh":
            inner = np.sqrt(2 / np.pi) * (self.wanted + 0.044715 * self.wanted**3)
            self.wanted = self.wanted * (1 + np.tanh(inner)) / 2
        if activation:
            self.made = self.case.pointwise(activation, self.made)

    def rounded(self) -> Any:
        return self.made if self.dtype is f32 else self.case.rounded(self.made)

    def check(self, gpu: Machine) -> None:
        offers = gpu.tactic.offers(self.kernel)
        assert offers, offers
        for number in range(len(offers)):
            (got,) = gpu.run(self.kernel, self.case.arrays, number).values()
            scale = np.abs(self.wanted).max()
            error = np.abs(got.astype(np.float64) - self.wanted).max() / scale
            assert error <= TOLERANCE[self.dtype]


def pixels(
    dtype: Any = f16, channels: int = 24, columns: int = 40, images: int = 2, taps: int = 1,
    strides: int = 1, rows: bool = False, **ending: Any,
) -> Made:  # fmt: skip
    """A convolution of an image whose channels lie together."""
    made = Made.__new__(Made)
    made.case, made.dtype = TritonCase(dtype=dtype), dtype
    image, x = made.operand((images, channels, 6, 5), block=not rows)
    weight, w = made.operand((columns, channels, taps, taps), True, channels**-0.5)
    pads = (taps // 2,) * 4
    op = Conv((strides, strides), pads, (1, 1), 1)
    made.wanted = np.einsum("nchw,kc->nkhw", x, w[:, :, 0, 0])
    made.made = made.case.node(op, [image, weight], made.wanted.shape, block=not rows)
    made.end(ending.get("bias", True), ending.get("beside", True), ending.get("activation", ""),
             1, block=not rows)  # fmt: skip
    made.kernel = made.case.kernel(made.rounded())
    return made


@pytest.mark.parametrize("dtype", [f16, bf16, f32])
@pytest.mark.parametrize("how", [
    {"a": (17, 40), "b": (40, 24), "activation": "relu"},
    {"a": (2, 5, 24), "b": (24, 16), "activation": "gelu_tanh"},
    {"a": (33, 64), "b": (48, 64), "transposes": (False, True), "beside": False},
    {"a": (6, 7, 16), "b": (6, 16, 8), "constant": False, "scale": 0.25},
    {"a": (2, 3, 8, 16), "b": (2, 3, 24, 16), "constant": False, "transposes": (False, True),
     "bias": False, "beside": False},
    {"a": (4, 16, 8), "b": (16, 24), "constant": False, "transposes": (True, False)},
    {"a": (1, 72), "b": (72, 40), "bias": False},
    {"a": (9, 37), "b": (37, 40)},
])  # fmt: skip
def test_matrices_against_float64(gpu: Machine, dtype: Any, how: dict[str, Any]) -> None:
    Made(dtype, **how).check(gpu)


def test_a_wide_result_of_short_operands(gpu: Machine) -> None:
    Made(f16, (17, 40), (40, 24), beside=False, activation="relu", wide=True).check(gpu)


@pytest.mark.parametrize("how", [
    {"activation": "relu"},
    {"channels": 21, "columns": 11},
    {"dtype": bf16, "images": 1, "bias": False, "beside": False},
    {"dtype": f32, "activation": "relu"},
])  # fmt: skip
def test_pixels_against_float64(gpu: Machine, how: dict[str, Any]) -> None:
    """Lanes past the channels hold NaN."""
    pixels(**how).check(gpu)


def part(kernel: Kernel, name: str, *, aligned: bool = True) -> Kernel:
    """The kernel with an operand that is a part of a wider one."""
    own = kernel.operands[name]
    dims = own.type.dims
    strides = strides_of((*dims[:-1], dims[-1] + 8))
    changed = Operand(own.type, strides, aligned)
    return replace(kernel, operands={**kernel.operands, name: changed})


def test_operands_may_be_parts(gpu: Machine) -> None:
    made = Made(f16, (17, 40), (40, 24))
    for value in (made.kernel.graph.inputs[0], made.kernel.graph.outputs[0]):
        made.kernel = part(made.kernel, value.name)
    made.check(gpu)


def refusal(made: Made) -> str:
    found = read(made.kernel)
    assert isinstance(found, No), found
    return found.reason


def test_what_no_library_does_just_so_is_refused() -> None:
    plain = {"dtype": f16, "a": (8, 16), "b": (16, 24)}
    assert "gelu" in refusal(Made(**plain, beside=False, activation="gelu"))  # by erf
    assert "sigmoid" in refusal(Made(**plain, activation="sigmoid"))
    assert "no f32" in refusal(Made(**plain, wide=True))  # a wide result of a short neighbour
    unaligned = Made(**plain)
    name = unaligned.kernel.graph.inputs[0].name
    unaligned.kernel = part(unaligned.kernel, name, aligned=False)
    assert "multiple of 16 bytes" in refusal(unaligned)
    apart = Made(f16, (2, 3, 8, 16), (2, 3, 16, 24), constant=False)
    name, own = apart.kernel.graph.inputs[0].name, apart.kernel.graph.inputs[0].type
    gaps = Operand(own, (1000, *strides_of(own.dims)[1:]))
    apart.kernel = replace(apart.kernel, operands={**apart.kernel.operands, name: gaps})
    assert "two axes" in refusal(apart)
    assert "taps" in refusal(pixels(taps=3))
    assert "do not lie together" in refusal(pixels(rows=True))


def test_what_follows_an_activation_is_refused() -> None:
    made = Made(f16, (8, 16), (16, 24), beside=False, activation="relu", wide=True)
    made.kernel = made.case.kernel(made.case.pointwise("neg", made.made))
    assert "goes on after relu" in refusal(made)


def test_tf32_is_a_precision_of_the_target() -> None:
    for extras in ((), ("tf32",)):
        kernel = Made(f32, (8, 16), (16, 24)).kernel
        found = read(replace(kernel, target=replace(H100, extras=extras)))
        assert isinstance(found, Reading)
        assert found.product.tf32 == bool(extras)


def test_a_library_that_fails_is_no_offer() -> None:
    class Failing:
        version = 130_100

        def algorithms(self, product: Product) -> Sequence[Algorithm]:
            raise LibraryError("cublasLtCreate failed", know="CUBLAS_STATUS_ARCH_MISMATCH")

    answer = CublasLt(Failing()).offers(Made(f16, (8, 16), (16, 24)).kernel)
    assert isinstance(answer, No)
    assert answer.reason == "cublasLtCreate failed: CUBLAS_STATUS_ARCH_MISMATCH"


def test_a_product_with_no_algorithm_is_no_offer() -> None:
    with machine("fake") as made:
        made.library.count = 0  # type: ignore[attr-defined]
        answer = made.tactic.offers(Made(f16, (8, 16), (16, 24)).kernel)
        assert "no algorithm" in str(answer)


def test_a_library_that_is_not_here_says_why() -> None:
    tactic = CublasLt(No("cuBLASLt is not on this machine: looked for libcublasLt.so.13"))
    answer = tactic.offers(Made(f16, (8, 16), (16, 24)).kernel)
    assert isinstance(answer, No)
    assert "libcublasLt.so.13" in answer.reason
    assert tactic.version == 0
