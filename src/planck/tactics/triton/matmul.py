"""Matrix products: on tensor cores; and of few rows, at the speed of memory.

Notebook (one H100 SXM; a prototype of the tensor-core kernel against cuBLASLt, fp16, us inside a
CUDA graph, batch 1 / 8 / 64 of 128 rows):

- BERT: 768x2304 5.5 (cuBLASLt 5.2) / - / 65 (50); 768x768 with a residual 4.5 (4.3) / 6.5 (5.6) /
  29 (18); 768x3072 with GELU 6.4 (5.9) / 20 (11) / 118 (72); 3072x768 8.1 (7.4), four blocks to a
  sum, / 16 (12) / 75 (66). So about 0.93 of cuBLASLt at batch 1, less beyond.
- One row by 2048x1000: 5.4 (6.0) in tiles of 16 x 32 x 128, four blocks to a sum.
- Predictions, to be measured: without tensor cores one to four rows are as fast, or faster, as more
  blocks read the weights at once; GELU by erf costs as much as a quarter of the products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.matmul import Matrices, Matrix, Rows, Shape, write_rows
from planck.codegen.triton.product import Product, write
from planck.codegen.triton.text import power_of_two
from planck.dtypes import SHORT_FLOATS, Array
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.matmul import Problem, problem_of
from planck.tactics.pattern import anchored, constant, symbol
from planck.tactics.triton.operands import (
    aligned_names,
    channel_stride,
    check_operands,
    dependent,
    multiplied,
    pack_operands,
    precisions,
    tail_of,
    tf32,
    values_of,
    written_bytes,
)
from planck.tactics.triton.tiles import Work, configs, cores_of, interleaved, ranked, tile_of

MAX_OFFERS: Final = 12
FEW_ROWS: Final = 8
DEEPEST: Final = 1024  # numbers of a row of weights that one step reads
ROW_TILES: Final = ((8, 512), (16, 256), (4, 1024), (32, 128))
REGISTERS: Final = 128  # of sums, in one thread


class TensorMatMul:
    """Tiles on tensor cores."""

    name = "triton_matmul"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel)
        if isinstance(problem, No):
            return problem
        shape = shape_of(problem)
        outer = int(np.prod(shape.batch, dtype=np.int64))
        short = problem.b.type.dtype in SHORT_FLOATS or problem.a.type.dtype in SHORT_FLOATS
        ways = precisions(kernel, shape.multiplied, short)
        found = []
        for way in ways:
            work = Work(
                shape.m, shape.n, outer, shape.k, shape.k, written_bytes(problem.form),
                shape.multiplied.bytes, way,
            )  # fmt: skip
            own = configs(ranked(work, kernel.target), MAX_OFFERS // len(ways))
            found.append([c for c in own if shape.packed or not c["fetch"]])
        return interleaved(found)

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem, tile = _take(kernel), tile_of(config)
        shape = shape_of(problem)
        loads = Matrices(shape, tile)
        growth = _growth(problem, tile.bn, loads.steps * tile.bk)
        return write(Product(
            symbol("matmul", kernel, config), loads, tile, tail_of(problem.form),
            dependent(kernel), growth,
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return _pack(_take(kernel), config, constants)


class FewRows:
    """A few rows by constant weights, each of which is read once."""

    name = "triton_rows"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel)
        if isinstance(problem, No):
            return problem
        shape = shape_of(problem)
        if shape.m > FEW_ROWS:
            return No(f"{shape.m} rows are enough for tensor cores")
        if not shape.packed or np.prod(shape.batch, dtype=np.int64) > 1:
            return No("the right side is no constant matrix")
        found: list[dict[str, object]] = []
        cores = cores_of(kernel.target)
        for bn, bk in ROW_TILES:
            bk = min(bk, max(32, power_of_two(shape.k)))
            steps, tiles = -(-shape.k // bk), -(-shape.n // bn)
            warps = 8 if shape.m > 4 else 4
            if shape.m * bn * bk > REGISTERS * 32 * warps:
                continue
            wanted = max(1, min(steps, 2 * cores // tiles))
            splits = -(-steps // -(-steps // wanted))
            base = {"bn": bn, "bk": bk, "splits": splits, "warps": warps, "trigger": 2}
            found += [{**base, "fetch": True}, {**base, "fetch": False}]
            if splits > 1:
                found.append({**base, "splits": 1, "fetch": True})
        if not found:
            return No("no tile has registers for its sums")
        return tuple(found[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        problem = _take(kernel)
        shape, bn, bk = shape_of(problem), config["bn"], config["bk"]
        return write_rows(Rows(
            symbol("rows", kernel, config), shape, tail_of(problem.form), bn, bk,
            config["splits"], config["warps"], config["trigger"], config["fetch"],
            dependent(kernel), _growth(problem, bn, -(-shape.k // bk) * bk),
        ))  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return _pack(_take(kernel), config, constants)


def read_problem(kernel: Kernel) -> Problem | No:
    form = anchored(kernel, MatMul, -1, bfloat16=True)
    if isinstance(form, No):
        return form
    if (refusal := check_operands(form)) is not None:
        return refusal
    problem = problem_of(form)
    if isinstance(problem, No):
        return problem
    # Constants among the runtime operands are packed densely, as their strides may not say.
    loose = [problem.a.name] + [problem.b.name] * (not problem.b_constant)
    if any(form.is_constant(name) and name not in kernel.constants for name in loose):
        return No("an operand is written into the code")
    return problem


def _take(kernel: Kernel) -> Problem:
    problem = read_problem(kernel)
    assert isinstance(problem, Problem), problem
    return problem


def shape_of(problem: Problem) -> Shape:
    form = problem.form
    kernel, values = form.kernel, values_of(form.kernel)
    aligned, rank = aligned_names(kernel), form.result.type.rank
    dtype = multiplied(problem.a.type.dtype, problem.b.type.dtype)
    memory = {}
    for name, own in problem.memory.items():
        size = own.dtype.bytes
        memory[name] = Matrix(
            tuple(s // size for s in own.batch), own.row // size, own.column // size, own.dtype,
            name in aligned,
        )  # fmt: skip
    packed = problem.b_constant
    return Shape(
        batch=problem.batch, m=problem.m, k=problem.k, n=problem.n,
        a=problem.a.name,
        b=f"{problem.b.name}_packed" if packed else problem.b.name,
        packed=packed,
        packed_dtype=dtype,
        multiplied=dtype,
        memory=memory,
        channel_strides={
            name: channel_stride(kernel, values[name], rank, -1) for name in form.channel_operands()
        },
    )  # fmt: skip


def _whole(size: int, tile: int) -> int:
    return -(-size // tile) * tile


def _growth(problem: Problem, bn: int, depth: int) -> int:
    if not problem.b_constant:
        return 0
    size = _whole(problem.n, bn) * depth * shape_of(problem).packed_dtype.bytes
    return max(0, size - problem.b.type.size * problem.b.type.dtype.bytes)


def _pack(problem: Problem, config: Config, constants: Mapping[str, Array]) -> dict[str, Array]:
    shape, name = shape_of(problem), problem.b.name
    skipped = frozenset([name]) if shape.packed else frozenset()
    packed = pack_operands(problem.form, constants, skipped)
    if shape.packed:
        right = constant(problem.form.kernel, constants, name)
        matrix = right.reshape(right.shape[-2:]).astype(np.float32)
        extents = _whole(shape.n, config["bn"]), _whole(shape.k, config["bk"])
        whole = np.zeros(extents, np.float32)
        whole[: shape.n, : shape.k] = matrix if problem.transpose_b else matrix.T
        if config.get("precision") == "tf32":
            whole = tf32(whole)
        packed[shape.b] = whole.astype(shape.packed_dtype.numpy)
    return packed
