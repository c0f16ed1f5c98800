"""Products of few rows with their weights rounded to 24 bits; a constant B.

Such products wait for weights. Of these they read three bytes instead of four.

Notebook (EPYC with Zen 5 cores, AVX-512; us of the best tile of matmul and of this one)

    layer        weights from   one core              two cores
    1x784x1024   L3             25.0   19.2           13.6   10.9
                 memory         72.8   57.7           57.1   43.5
    2x784x1024   L3             29.7   21.4           14.3   12.7
    4x784x1024   L3             27.0   29.9
                 memory         78.1   63.1
    8x1024x1024  L3             69.6   79.8           38.3   42.5
                 memory         117.4  92.9           84.1   66.8
    12x784x1024  memory         84.5   80.3
    1x4096x4096  memory         1558   1253           1210   903
    1x256x1024   L2, again      7.5    4.9            2.4    3.1

- VGG-16's first, 1x25088x4096, 13199 and 10875 on one core, 8005 and 6103 on two. float16 reads two
  bytes: 1x4096x4096 from memory 843 on one core.
- From L3 few rows wait, from memory eight; beyond, widening costs more than reading saves. For up
  to two rows fetching the next panel costs up to two thirds from L3 and wins little from memory;
  for eight it wins 20 %. Tiles of 4 vectors are as good as wider ones from L3, 10 % better from L2.
- AVX2 widens half as much at a time: from L3 15 % slower than matmul at M = 1, from memory 0.82 of
  its time. Two loads of 16 bytes and one VPSHUFB, for VPERMD and VPSHUFB: 32.8, not 29.3, from L3.
- A 7x7 image has 49 rows: at 268 GFLOP/s and 46 GB/s, a 1x1 convolution of ResNet-50 multiplies
  four times as long as its weights take from memory (an estimate), so it has nothing to gain.

Largest error over largest output, normal entries:

    depth   256      784      1024     4096     25088
    matmul  1.9e-7   4.7e-7   7.2e-7   2.3e-6   5.8e-6
    this    2.8e-6   5.1e-6   3.9e-6   7.0e-6   7.4e-6

A weight is rounded by at most 2^-16 = 1.5e-5 of itself.
"""

from __future__ import annotations

from typing import Final

from planck.codegen.float24 import POSITIONS, f24
from planck.dtypes import DType, f32
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.matmul import Multiply, Problem, problem_of, tiles
from planck.tactics.pattern import anchored

LEAST_BYTES: Final = 1 << 18  # of weights, which come from L3 in 2.5 us: less has nothing to give
WIDEST: Final = 4  # vectors of a tile


class NarrowMultiply(Multiply):
    """Matrix multiplication with weights of 24 bits."""

    name = "matmul24"
    exact = False

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, MatMul, -1)
        problem = form if isinstance(form, No) else problem_of(form)
        if isinstance(problem, No):
            return problem
        target = kernel.target
        if target.isa == "portable":
            return No("portable code moves no bytes within vectors")
        if not problem.b_constant or problem.b.type.dtype is not f32:
            return No("narrows constants of float32 only")
        if problem.m > target.lanes // 2:
            return No(f"weights do not limit {problem.m} rows")
        if problem.b.type.bytes < LEAST_BYTES:
            return No(f"{problem.b.type.bytes} bytes of weights are soon read")
        fetch = problem.m > target.lanes // 8
        return tuple(
            {"rows": rows, "vectors": vectors, "unroll": 4, "form": "packed",
             "panel_first": True, "fetch": fetch}
            for rows, vectors in tiles(problem, WIDEST, POSITIONS)
        )  # fmt: skip

    def lying(self, problem: Problem) -> DType:
        return f24
