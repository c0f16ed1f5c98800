"""Triton kernels become cubins, in this process or in workers, without a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.pool import CubinPool
from planck.errors import BuildError
from planck.target import Target

pytest.importorskip("triton", reason="Triton is not installed")

SOURCE = """
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def exponential(x, y):
    i = tl.program_id(0) * 256 + tl.arange(0, 256)
    gdc_wait()
    v = tl.load(x + i, mask=i < 1000)
    gdc_launch_dependents()
    tl.store(y + i, libdevice.exp(v), mask=i < 1000)
"""
CODE = TritonCode(
    "exponential", SOURCE, ("x", "y"), ("*fp32", "*fp32"), (True, False), 4, 2, dependent=True
)
TARGET = Target("sm_90", "cuda")


def test_same_bytes_wherever_it_is_compiled() -> None:
    with CubinPool(TARGET, 1) as here, CubinPool(TARGET, 2) as workers:
        made = [pool.submit(CODE).result() for pool in (here, workers, here)]
    assert made[0] == made[1] == made[2]
    cubin = made[0]
    assert cubin.image.startswith(b"\x7fELF")
    assert cubin.threads == 64
    assert 8 <= cubin.registers <= 64
    assert not any(part in cubin.image for part in (b"/tmp", b"<exponential>", b"planck"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_error_is_the_compilers_own(jobs: int) -> None:
    wrong = replace(CODE, source=SOURCE.replace("exp(v)", "exp(w)"))
    with CubinPool(TARGET, jobs) as pool, pytest.raises(BuildError, match="does not compile") as e:
        pool.submit(wrong).result()
    assert "NameError('w is not defined')" in str(e.value)
