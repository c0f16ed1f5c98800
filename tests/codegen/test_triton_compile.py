"""Triton kernels become cubins, in this process or in workers, without a GPU."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.compile import compile_cubin
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


HALVES = """
import triton
import triton.language as tl


@triton.jit
def halves(x, y):
    i = tl.arange(0, 32)
    both = tl.inline_asm_elementwise(
        "{\\n\\t.reg .b32 %c;\\n\\tmov.b32 %c, 0x00070005;\\n\\tadd.s16x2 \\t$0, $1, %c;\\n\\t}",
        "=r,r", [tl.load(x + i)], dtype=tl.int32, is_pure=True, pack=1,
    )
    tl.store(y + i, both.to(tl.int16))
"""


def test_sum_of_which_one_half_is_used_is_assembled_rightly(tmp_path: Path) -> None:
    """ptxas before CUDA 13 adds nothing: VIADD.16x2 R0, R0, 0x0."""
    import triton

    code = TritonCode("halves", HALVES, ("x", "y"), ("*i32", "*i16"), (True, True), 1, 1)
    file = tmp_path / "halves.cubin"
    file.write_bytes(compile_cubin(code, TARGET).image)
    tool = [triton.knobs.nvidia.cuobjdump.path, "-sass", str(file)]
    text = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert "STG.E.U16" in text
    assert "0x5" in text
    assert "VIADD.16x2" not in text
