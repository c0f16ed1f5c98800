"""Products of few rows with their weights rounded to 24 bits; a constant B.

Such products wait for weights. Of these they read three bytes instead of four.
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
