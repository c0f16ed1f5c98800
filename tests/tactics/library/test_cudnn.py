"""cuDNN's convolutions: what is offered and what not, and results against float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.device.cuda.library import CUDNN, Algorithm, Problem
from planck.dtypes import bf16, f16, f32
from planck.errors import LibraryError
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.kernel import Operand
from planck.tactics.library.cudnn import Cudnn, Reading, read
from tests.device.fake_library import FUNCTIONS
from tests.tactics.library.running import Machine, machine

pytest.importorskip("triton", reason="Triton is not installed")

from tests.tactics.triton.conftest import H100, TritonCase

# The result's own rounding and the bias', which the library is given in the same 16 bits.
TOLERANCE = {f16: 1e-3, bf16: 8e-3, f32: 2e-6}


@pytest.fixture(params=["fake", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, CUDNN) as made:
        yield made


class Made:
    """A convolution, + bias, then steps of its epilogue; and its result in float64.

    steps:  "beside" adds a tensor, all else is a function
    """

    def __init__(
        self, dtype: Any = f16, channels: int = 16, columns: int = 24,
        size: tuple[int, ...] = (9, 7), images: int = 2, taps: int = 3, stride: int = 1,
        pads: tuple[int, ...] = (), step: int = 1,
        groups: int = 1, bias: bool = True, steps: Sequence[str] = ("relu",), wide: bool = False,
    ) -> None:  # fmt: skip
        self.case, self.dtype = TritonCase(dtype=dtype), dtype
        rank = len(size)
        image, x = self.operand((images, channels, *size))
        per = channels // groups
        weight, w = self.operand((columns, per, *[taps] * rank), True, (per * taps**rank) ** -0.5)
        pads = pads or (taps // 2,) * (2 * rank)
        op = Conv((stride,) * rank, pads, (step,) * rank, groups)
        wanted = op.reference(x, w)[0]
        made = self.case.node(op, [image, weight], wanted.shape, block=True)
        if bias:
            own = self.case.constant(1, columns, *[1] * rank)
            made = self.case.pointwise("add", made, own)
            wanted = wanted + self.case.arrays[own.name].astype(np.float64)
        for name in steps:
            if name == "beside":
                value, array = self.operand(wanted.shape)
                made, wanted = self.case.pointwise("add", value, made), wanted + array
            else:
                made, wanted = self.case.pointwise(name, made), FUNCTIONS[name](wanted)
        rounded = made if wide or dtype is f32 else self.case.rounded(made)
        self.kernel, self.wanted = self.case.kernel(rounded), wanted

    def operand(self, shape: tuple[int, ...], constant: bool = False, scale: float = 1.0) -> Any:
        if self.dtype is not f32:
            return self.case.short(*shape, constant=constant, scale=scale, block=not constant)
        value = self.case.input(*shape, scale=scale, block=not constant)
        self.case.constants |= {value.name} if constant else set()
        return value, self.case.arrays[value.name].astype(np.float64)

    def check(self, gpu: Machine) -> None:
        offers = gpu.tactic.offers(self.kernel)
        if isinstance(offers, No) and "no algorithm" in offers.reason:
            pytest.skip(f"this cuDNN has none here: {offers.reason}")
        assert offers, offers
        for number in range(len(offers)):
            (got,) = gpu.run(self.kernel, self.case.arrays, number).values()
            scale = np.abs(self.wanted).max()
            error = np.abs(got.astype(np.float64) - self.wanted).max() / scale
            assert error <= TOLERANCE[self.dtype], offers[number]


@pytest.mark.parametrize("dtype", [f16, bf16, f32])
@pytest.mark.parametrize("how", [
    {},
    {"steps": ("beside", "relu")},
    {"steps": ("silu",)},
    {"steps": ("silu", "beside")},
    {"bias": False, "steps": ()},
    {"taps": 1, "stride": 2, "columns": 40},
    {"taps": 3, "stride": 2, "size": (8, 8)},
    {"taps": 3, "pads": (1, 0, 2, 1), "stride": 2},
    {"taps": 3, "step": 2, "pads": (2, 2, 2, 2)},
    {"channels": 32, "columns": 32, "groups": 4},
    {"channels": 16, "columns": 16, "groups": 16},
    {"channels": 21, "columns": 11, "images": 1},
    {"size": (17,), "steps": ("sigmoid",)},
    {"pads": (0, 0, 0, 0), "taps": 4, "images": 1},  # a row of taps is one piece of memory
])  # fmt: skip
def test_convolutions_against_float64(gpu: Machine, dtype: Any, how: dict[str, Any]) -> None:
    """Lanes past the channels hold NaN."""
    Made(dtype, **how).check(gpu)


def test_images_may_be_parts(gpu: Machine) -> None:
    """Of wider ones, whose other channels stay as they are."""
    made = Made(steps=("beside", "silu"))
    for value in (*made.kernel.graph.inputs, *made.kernel.graph.outputs):
        own = made.kernel.operands[value.name]
        if value.name in made.kernel.constants:
            continue
        n, _, h, w, c = own.type.physical
        wide = c + 8
        strides = (h * w * wide, h * w * wide, w * wide, wide, 1)
        operands = {**made.kernel.operands, value.name: Operand(own.type, strides)}
        made.kernel = replace(made.kernel, operands=operands)
        assert n
    made.check(gpu)


def test_the_neighbour_is_added_before_the_bias_if_the_sum_is_the_same() -> None:
    found = read(Made(steps=("beside", "relu")).kernel)
    assert isinstance(found, Reading)
    assert found.convolution.steps == ("beside", "bias", "relu")
    found = read(Made(steps=("silu", "beside")).kernel)
    assert isinstance(found, Reading)
    assert found.convolution.steps == ("bias", "silu", "beside")


def test_padding_is_symmetric_where_that_is_the_same() -> None:
    even = read(Made(stride=2, size=(8, 9), pads=(1, 1, 0, 1)).kernel)
    assert isinstance(even, Reading)
    assert (even.convolution.before, even.convolution.after) == ((1, 1), (1, 1))
    odd = read(Made(size=(8, 9), pads=(1, 0, 2, 1)).kernel)
    assert isinstance(odd, Reading)
    assert (odd.convolution.before, odd.convolution.after) == ((1, 0), (2, 1))


def refusal(made: Made) -> str:
    found = read(made.kernel)
    assert isinstance(found, No), found
    return found.reason


def test_what_the_library_does_not_do_just_so_is_refused() -> None:
    assert "neg" in refusal(_ended("neg"))
    assert "a result in f32" in refusal(Made(wide=True))
    made = Made()
    name = made.kernel.graph.inputs[0].name
    own = made.kernel.operands[name]
    unaligned = {**made.kernel.operands, name: replace(own, aligned=False)}
    made.kernel = replace(made.kernel, operands=unaligned)
    assert "multiple of 16 bytes" in refusal(made)


def _ended(fn: str) -> Made:
    made = Made(steps=(), wide=True)
    value = made.case.nodes[-1].outputs[0]
    made.kernel = made.case.kernel(made.case.rounded(made.case.pointwise(fn, value)))
    return made


def test_tf32_is_a_precision_of_the_target() -> None:
    for extras in ((), ("tf32",)):
        kernel = Made(f32).kernel
        found = read(replace(kernel, target=replace(H100, extras=extras)))
        assert isinstance(found, Reading)
        assert found.convolution.tf32 == bool(extras)


def test_a_library_that_fails_is_no_offer() -> None:
    class Failing:
        version = 91_400

        def algorithms(self, product: Problem) -> Sequence[Algorithm]:
            raise LibraryError("cudnnCreate failed", know="status 1001")

    answer = Cudnn(Failing()).offers(Made().kernel)
    assert isinstance(answer, No)
    assert answer.reason == "cudnnCreate failed: status 1001"


def test_a_convolution_with_no_engine_is_no_offer() -> None:
    with machine("fake", CUDNN) as made:
        made.library.count = 0  # type: ignore[attr-defined]
        assert "no algorithm" in str(made.tactic.offers(Made().kernel))
