"""Builds GPU kernels node by node and runs them in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from planck.codegen.triton.code import Cubin
from planck.codegen.triton.compile import compile_cubin
from planck.dtypes import DType, bf16
from planck.tactics.kernel import Kernel
from planck.target import Target
from tests.tactics.conftest import Case
from tests.tactics.triton.interpreting import RUNNERS, run_triton
from tests.tactics.triton.launching import device, launch

Array = np.ndarray[Any, Any]
H100 = Target("sm_90", "cuda", cores=132, l1_bytes=227 * 1024, l2_bytes=50 << 20)


class TritonCase(Case):
    """As Case; `block=True` is NHWC with the channels rounded up to eight."""

    def __init__(self, target: Target = H100, seed: int = 0, dtype: DType = bf16) -> None:
        super().__init__(target, seed, dtype)

    def block(self, shape: tuple[int, ...]) -> int:
        return -(-shape[1] // 8) * 8

    def run(self, tactic: Any, kernel: Kernel, config: Any) -> dict[str, Array]:
        return run_triton(kernel, tactic, config, self.arrays)

    def compile(self, tactic: Any, kernel: Kernel, config: Any) -> Cubin:
        return compile_cubin(tactic.build(kernel, config), kernel.target)


@pytest.fixture(
    params=["interpreter", pytest.param("gpu", marks=pytest.mark.gpu)], autouse=True, scope="module"
)
def where(request: pytest.FixtureRequest) -> Iterator[None]:
    """All kernels of this folder run twice: in the interpreter, and on a GPU if there is one."""
    if request.param == "interpreter":
        yield
        return
    found = device()
    if isinstance(found, str):
        pytest.skip(found)
    RUNNERS.append(launch)
    yield
    RUNNERS.pop()


@pytest.fixture
def target() -> Target:
    return H100


@pytest.fixture
def case() -> TritonCase:
    return TritonCase()
