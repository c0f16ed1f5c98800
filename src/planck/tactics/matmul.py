"""Matrix multiplication: batched, broadcast, transposed, strided; constant or run-time operands.

Notebook (EPYC with Zen 4 cores, AVX-512, one core; a loop of fused multiply-adds makes
117 GFLOP/s; % of that):

- BERT: 128x768x768 100, 128x768x3072 97, 128x3072x768 92 to 98, 12 heads QK 95, PV 96 to 98;
  1024^3 98 packed, 94 at run time; 8x2048x1000 97.
- Rows whose distance is a multiple of 4 KiB share one set of L1: 28 x 1 on 1024^3 falls to 20 %,
  14 x 2 to 75 %, 6 x 4 is unharmed. Zen 5 (128xKx768, GFLOP/s of 14 x 2, 9 x 3, 6 x 4): rows of
  3 KiB 251, 257, 257; of 2 KiB, two sets, 175, 246, 258; of 4 KiB 95, 149, 217, 5 x 5 242, 4 x 6
  258; of 8 KiB 93, 144, 211, 237, 233. So the model adds to the time by the rows in a set.
- AVX2, Zen 5, peak 129 to 134, GFLOP/s of 4 x 3, 6 x 2, 3 x 3, 2 x 4: 128x768x768 126, 125, 115,
  111; 128x1040x1024 125, 123, 113, 109; 128x1024x1024, whose rows share a set, 113, 80, 111, 109.
  Eight sums are at the latency's bound, and reach 121 even without loads.
- One row (GEMV) is as fast as memory: 97 GB/s from L3, 36 GB/s from DRAM.
- bfloat16 pairs, one core of Zen 5, peak 566 GFLOP/s: BERT's 128x768x2304 568, 128x768x768 562,
  128x3072x768 566; with GELU behind it 128x768x3072 505. 14 x 2 falls to 340 where K is 1024
  or 3072 (two sets of L1) and to 184 where it is 2048 (one), 6 x 4 to 519 and 431.
- Fetching the next packed panel, Zen 5, weights from memory, us without and with it: one core
  128x768x768 619 and 577 in 6 x 4, 761 and 599 in 14 x 2; 8x768x3072 362 and 282; 1x784x1024 74 and
  82, as one row is read at memory's speed anyway. BERT in bfloat16 28.0 and 26.4 ms on two threads,
  50.6 and 47.7 on one. With warm weights it costs nothing at M = 128, and 15 % at M = 8.
- B at run time: copying panels to scratch first and reading them as they lie are equal on
  1024^3, and 95 against 98 on PV; both are offered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planck.codegen.bfloat import native
from planck.codegen.float24 import f24, narrow
from planck.codegen.matmul import Form, Matrix, Multiplication, write
from planck.codegen.microkernel import LINE_BYTES, tallest
from planck.codegen.tiling import balanced
from planck.dtypes import Array, DType, bf16, f16, f32
from planck.ir.graph import Value
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics.cost import k_step_cycles, parts_of_work
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import Anchored, anchored, constant, padded, symbol

MAX_OFFERS: Final = 6
MAX_TILES: Final = 3
MAX_VECTORS: Final = 8
MANY_STRIPS: Final = 4  # beside which fetching a panel is not felt
CACHE_WAY_BYTES: Final = 4096  # of L1: lines so far apart fall into one set
FIT_IN_A_SET: Final = 4.6  # rows that stay in one while a panel streams past; see the notebook
CROWDING: Final = 0.18  # of the time, for each row beyond


class Multiply:
    """Register-blocked matrix multiplication."""

    name = "matmul"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, MatMul, -1, bfloat16=True)
        if isinstance(form, No):
            return form
        problem = problem_of(form)
        if not isinstance(problem, Problem):
            return problem
        return tuple(_configs(problem)[:MAX_OFFERS])

    def lying(self, problem: Problem) -> DType:
        """How panels made at build time lie: as B does if it is short and the code reads it so."""
        dtype = problem.b.type.dtype
        return dtype if problem.pairs or dtype is f16 else f32

    def build(self, kernel: Kernel, config: Config) -> Code:
        problem = _take(kernel)
        spec = _spec(problem, config, self.lying(problem))
        name, packed = symbol(self.name, kernel, config), spec.form == "packed"
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes,
            pairs=spec.pairs and native(kernel.target),
            growth_bytes=min(0, spec.weight_bytes - problem.b.type.bytes) if packed else 0,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = _take(kernel)
        spec = _spec(problem, config, self.lying(problem))
        packed: dict[str, Array] = {}
        if spec.form == "packed":
            right = constant(kernel, constants, problem.b.name)
            packed[spec.b] = pack_panels(spec, right, problem.transpose_b)
        whole = spec.columns * spec.lanes
        for name in spec.arguments:
            if name in packed or not problem.form.is_constant(name):
                continue
            array = constant(kernel, constants, name)
            along = problem.form.epilogue.operands.get(name) == "channel"
            packed[name] = padded(array, whole) if along else np.ascontiguousarray(array)
        return packed


@dataclass(frozen=True, slots=True)
class Problem:
    """A product as batch x [M, K] x [K, N]; leading axes are folded into M where they can be."""

    form: Anchored
    a: Value
    b: Value
    transpose_b: bool
    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    memory: Mapping[str, Matrix]
    b_constant: bool

    @property
    def pairs(self) -> bool:
        """Whether neighbouring k are multiplied in pairs of bfloat16."""
        short = self.a.type.dtype is bf16 and self.b.type.dtype is bf16
        return short and (self.memory[self.a.name].column == 2 or self.k == 1)

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.batch) * self.m * self.k * self.n

    @property
    def columns(self) -> int:
        return -(-self.n // self.form.kernel.target.lanes)


def _take(kernel: Kernel) -> Problem:
    form = anchored(kernel, MatMul, -1, bfloat16=True)
    assert isinstance(form, Anchored), form
    problem = problem_of(form)
    assert isinstance(problem, Problem), problem
    return problem


def problem_of(form: Anchored) -> Problem | No:
    kernel, node = form.kernel, form.node
    op = node.op
    assert isinstance(op, MatMul)
    a, b = node.inputs
    for name, operand in kernel.operands.items():
        if operand.type.block and operand.type.rank > 2:
            return No(f"%{name} lies in blocks")
    if a.type.rank == 1 or b.type.rank == 1:
        return No("a vector is no matrix")
    result = form.result.type.dims
    batch, (m, n) = result[:-2], result[-2:]
    k = a.type.dims[-2 if op.transpose_a else -1]
    if not all((m, n, k, *batch)):
        return No("there is nothing to multiply")
    b_constant = form.is_constant(b.name) and math.prod(b.type.dims[:-2]) == 1
    memory = {a.name: _matrix(kernel, a, len(batch), op.transpose_a)}
    if not b_constant:
        if b.name == a.name:
            return No("both operands are the same tensor")
        memory[b.name] = _matrix(kernel, b, len(batch), op.transpose_b)
    for name in (*form.epilogue.of_kind("full"), *form.epilogue.outputs):
        if name in memory:
            return No("the epilogue reads an operand of the product")
        memory[name] = _matrix_of(kernel, name, len(batch))
    outer = [name for name in memory if name not in (a.name, b.name)]
    if any(memory[name].column != memory[name].dtype.bytes and n > 1 for name in outer):
        return No("an output's rows have gaps")
    if not b_constant and n > 1 and k > 1:
        right = memory[b.name]
        if right.dtype.bytes not in (right.row, right.column):
            return No(f"%{b.name} is contiguous along neither axis")
    if b_constant or not any(memory[b.name].batch):
        batch, m, memory = _fold(batch, m, memory, b.name)
    return Problem(form, a, b, op.transpose_b, batch, m, k, n, memory, b_constant)


def _matrix(kernel: Kernel, value: Value, rank: int, transpose: bool) -> Matrix:
    """Strides of an operand of a product whose batch has this rank; 0 where it broadcasts."""
    dims, dtype = value.type.dims, value.type.dtype
    strides = [dtype.bytes * s for s in _strides(kernel, value)]
    batch = [0 if n == 1 else s for n, s in zip(dims[:-2], strides[:-2], strict=True)]
    row, column = strides[-2:]
    if transpose:
        row, column = column, row
    return Matrix((*[0] * (rank - len(batch)), *batch), row, column, dtype)


def _strides(kernel: Kernel, value: Value) -> tuple[int, ...]:
    operand = kernel.operands.get(value.name)
    if operand is None or operand.type.block:  # a weight of the graph; blocks only up to rank 2
        dims = value.type.dims
        return tuple(math.prod(dims[i + 1 :]) for i in range(len(dims)))
    return operand.strides


def _matrix_of(kernel: Kernel, name: str, rank: int) -> Matrix:
    operand = kernel.operands[name]
    return _matrix(kernel, Value(name, operand.type), rank, False)


def _fold(
    batch: tuple[int, ...], m: int, memory: dict[str, Matrix], right: str
) -> tuple[tuple[int, ...], int, dict[str, Matrix]]:
    """Fold batch axes into the rows, where every operand's rows go on across them."""
    moving = {name: own for name, own in memory.items() if name != right}
    fixed = {name: own for name, own in memory.items() if name == right}
    while batch:
        extent = batch[-1]
        if extent > 1 and m > 1 and any(o.batch[-1] != o.row * m for o in moving.values()):
            break
        rows = {n: o.row if m > 1 or extent == 1 else o.batch[-1] for n, o in moving.items()}
        moving = {n: replace(o, batch=o.batch[:-1], row=rows[n]) for n, o in moving.items()}
        fixed = {n: replace(o, batch=o.batch[:-1]) for n, o in fixed.items()}
        batch, m = batch[:-1], m * extent
    return batch, m, {**moving, **fixed}


# The tuning space


def _configs(problem: Problem) -> list[dict[str, object]]:
    """Configurations, the one that the cost model likes best first."""
    result: list[dict[str, object]] = []
    for rows, vectors in tiles(problem):
        tile: dict[str, object] = {"rows": rows, "vectors": vectors, "unroll": 4}
        strips = len(balanced(problem.m, rows))
        own = [
            {**tile, "form": form, "panel_first": True, "fetch": fetch}
            for form in _forms(problem)
            for fetch in _fetches(problem, strips)
        ]
        if not result and strips > 1:
            own.insert(1, {**own[0], "panel_first": False})
        result += own
    return result


def tiles(problem: Problem, widest: int = MAX_VECTORS, registers: int = 0) -> list[tuple[int, int]]:
    """Rows and vectors of a few tiles, what the cost model likes best first.

    registers:  that the code needs besides sums, a row of weights and a broadcast
    """
    target = problem.form.kernel.target
    found: dict[tuple[int, int], float] = {}
    for vectors in range(1, min(widest, problem.columns) + 1):
        rows = min(tallest(target, vectors, registers), problem.m)
        if rows > 0:
            found[rows, vectors] = _cost(problem, rows, vectors)
    return sorted(found, key=lambda key: found[key])[:MAX_TILES]


def _fetches(problem: Problem, strips: int) -> tuple[bool, ...]:
    """Whether to fetch the next panel: at M = 1 it costs, beside many strips nothing."""
    if not problem.b_constant or problem.m == 1:
        return (False,)
    return (True,) if strips >= MANY_STRIPS else (False, True)


def least_cycles(problem: Problem) -> float:
    """Cycles of the tile that the cost model likes best, on all threads, if memory keeps up."""
    return (
        _cost(problem, *tiles(problem)[0])
        * problem.k
        * math.prod(problem.batch)
        / problem.form.kernel.threads
    )


def _forms(problem: Problem) -> list[Form]:
    """How the panels of B may be read, the best guess first."""
    if problem.b_constant:
        return ["packed"]
    own = problem.memory[problem.b.name]
    if own.column != own.dtype.bytes and problem.n > 1:
        return ["transpose"]
    if problem.pairs:
        return ["copy"]
    # A panel is worth copying if many tiles read it, or if its rows fall into the same cache sets.
    return ["copy", "rows"] if problem.m >= 64 else ["rows", "copy"]


def _cost(problem: Problem, rows: int, vectors: int) -> float:
    """Cycles of a k-step for all tiles: lower is better."""
    target = problem.form.kernel.target
    whole, left = divmod(problem.columns, vectors)
    sizes = [size for _, size in balanced(problem.m, rows)]
    steps = -(-problem.k // 2) if problem.pairs else problem.k
    panel = steps * vectors * target.vector_bytes
    total = sum(k_step_cycles(target, size, vectors, panel) for size in sizes) * whole
    if left:
        total += sum(k_step_cycles(target, size, left, panel) for size in sizes)
    shapes = len(set(sizes)) * (1 + bool(left))
    sets = CACHE_WAY_BYTES // math.gcd(problem.memory[problem.a.name].row, CACHE_WAY_BYTES)
    crowd = rows / sets - FIT_IN_A_SET
    clash = 1.0 + CROWDING * crowd if crowd > 0 and steps > 16 else 1.0
    return total * (1 + 0.02 * (shapes - 1)) * clash


def _spec(problem: Problem, config: Config, packed: DType) -> Multiplication:
    form, kernel = problem.form, problem.form.kernel
    right = f"{problem.b.name}_panels" if config["form"] == "packed" else problem.b.name
    arguments = (problem.a.name, right, *form.epilogue.operands, *form.epilogue.outputs)
    vectors = config["vectors"]
    panels = -(-problem.columns // vectors)
    strips = len(balanced(problem.m, config["rows"]))
    groups = parts_of_work(problem.flops, panels * math.prod(problem.batch), strips, kernel.threads)
    if config["form"] in ("copy", "transpose"):
        # Every group packs the panel again: only as many as the threads need.
        units = panels * math.prod(problem.batch)
        groups = min(groups, max(1, -(-4 * kernel.threads // units)) if kernel.threads > 1 else 1)
    spec = Multiplication(
        batch=problem.batch,
        m=problem.m,
        k=problem.k,
        n=problem.n,
        rows=config["rows"],
        vectors=vectors,
        unroll=max(1, min(config["unroll"], problem.k // 2 if problem.pairs else problem.k)),
        groups=groups,
        panel_first=config["panel_first"],
        form=config["form"],
        arguments=tuple(dict.fromkeys(arguments)),
        a=problem.a.name,
        b=right,
        memory=problem.memory,
        epilogue=form.epilogue,
        lanes=kernel.target.lanes,
        pairs=problem.pairs,
        packed=packed,
    )
    return replace(spec, ahead=_lines_ahead(spec, strips)) if config["fetch"] else spec


def _lines_ahead(spec: Multiplication, strips: int) -> int:
    """Lines in a trip with which the strips that share a panel fetch the next one."""
    sharing = strips if spec.panel_first else max(1, strips // spec.groups)
    trips = max(1, (spec.k // 2 if spec.pairs else spec.k) // spec.unroll)
    return -(-spec.panel_bytes // (LINE_BYTES * trips * sharing))


def pack_panels(spec: Multiplication, right: Array, transpose: bool) -> Array:
    """[..., K, N] (or [..., N, K]) -> f32 or f16[panel][K][vectors * lanes], zeros past N.

    In float24: u8[panel][K][vectors * lanes][3].
    In pairs: bf16[panel][K / 2][vectors * lanes][2], zeros past K.
    """
    matrix = right.reshape(right.shape[-2:]).astype(np.float32)
    if transpose:
        matrix = matrix.T
    pair = 2 if spec.pairs else 1
    whole = np.zeros((spec.steps * pair, spec.columns * spec.lanes), np.float32)
    whole[: spec.k, : spec.n] = matrix
    rows = whole.reshape(spec.steps, pair, -1).swapaxes(1, 2)  # [step, column, pair]
    width = spec.vectors * spec.lanes
    panels = [rows[:, i : i + width].reshape(-1) for i in range(0, whole.shape[1], width)]
    flat = np.concatenate(panels)
    return narrow(flat) if spec.packed is f24 else flat.astype(spec.packed.numpy)
