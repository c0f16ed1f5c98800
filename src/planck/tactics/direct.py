"""Direct convolution on blocked layouts, and transposed convolution by its phases; 1-D and 2-D.

Notebook (EPYC with Zen 4 cores, AVX-512, one core; a loop of fused multiply-adds makes
117 GFLOP/s; % of that, weights not in cache, counting the taps on padding that are never run):

- ResNet-50: stem 99, 3x3 64@56 101, 128@28 104, 256@14 109, 512@7 115; 1x1 97 to 100; strided
  95 to 101. YOLOv5s: 93 to 105. MobileNet 1x1 91 to 100. Grouped 3x3 with 4 channels a group: 24,
  three quarters of it multiplying zeros.
- One multiply-add a cycle makes tiles nearly equal: 14 x 2, 28 x 1, 9 x 3, 6 x 4 differ by 2 %; so
  the model prefers few shapes (compile time) and no padding. 7 x 4 spills: 28 sums, four weights
  and a broadcast are 33 registers; nobody notices here, but it would on wider cores.
- Tiles of several rows lose: at the borders their rows disagree on the taps to skip (3 x 7: 101 at
  7x7, against 115 with 1 x 7).
- SiLU by a loop over the stored tile is as fast as in registers (1x1 64-256@56: 1084 against
  1101 us, where ReLU takes 894) and compiles in half the time; ReLU by the loop costs 5 %.
- Weights from memory: ResNet-50's last layers run at 60 % of peak without fetching ahead (Zen 5,
  283 GFLOP/s; 3x3 512@7: 1018 us, 1x1 2048-512@7: 569). The tiles of a panel share the next one's
  lines. In pieces of 8 lines for each tile: 737 and 547; each tile one stretch: 795 and 397, which
  is kept; in turns of 64 lines: 753 and 432. A thread that goes down the panels looks down.
- bfloat16 pairs on one core of Zen 5 (GFLOP/s, least of many in the whole network; float32's peak
  is 283, so the pairs' is 566): ResNet-50 1x1 507 to 558, 3x3 547 to 605, as taps on padding are
  never run. The stem's three channels stay float32: 277.
- Compile time 40 to 150 ms, with a second shape for the last panel up to 450.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from planck.codegen.bfloat import native
from planck.codegen.convolution_unit import write
from planck.codegen.microkernel import tallest
from planck.codegen.tiling import balanced
from planck.dtypes import Array, f32
from planck.ops.nn import Conv, ConvTranspose
from planck.refusal import No
from planck.tactics.convolution import (
    Problem,
    group_blocks,
    input_blocks,
    is_flat,
    lower,
    pack_weights,
    read_problem,
    slab_bytes,
)
from planck.tactics.cost import k_step_cycles
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import constant, pack_channels, symbol

MAX_OFFERS: Final = 8


class Direct:
    """Register-blocked direct convolution."""

    name = "direct"
    exact = True
    anchor: type[Conv] | type[ConvTranspose] = Conv
    rows = True  # it writes them too

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        problem = read_problem(kernel, self.anchor, self.rows)
        if not isinstance(problem, Problem):
            return problem
        return tuple(_configs(problem)[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = lower(self._problem(kernel), config)
        name = symbol(self.name, kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes(kernel.target),
            pairs=spec.pairs and native(kernel.target),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = self._problem(kernel)
        spec = lower(problem, config)
        weights = constant(kernel, constants, problem.form.node.inputs[1].name)
        packed = {spec.weights: pack_weights(problem, spec, weights)}
        size = spec.blocks * kernel.target.lanes
        return packed | pack_channels(problem.form, constants, size)

    def _problem(self, kernel: Kernel) -> Problem:
        problem = read_problem(kernel, self.anchor, self.rows)
        assert isinstance(problem, Problem), problem
        return problem


class Transposed(Direct):
    """Transposed convolution: a direct convolution for each phase of the output."""

    name = "transposed"
    anchor = ConvTranspose
    rows = False


def _configs(problem: Problem) -> list[dict[str, object]]:
    """Configurations, the one that the cost model likes best first."""
    target = problem.form.kernel.target
    out = _extents(problem)
    widest = group_blocks(problem)
    found: dict[tuple[int, int, int], float] = {}
    for vectors in (1, 2, 3, 4):
        if vectors > widest:
            continue
        if any(start % (vectors * problem.lanes) for _, start in problem.form.parts):
            continue  # a panel is written to one part
        width = tallest(target, vectors)
        for rows in (1, 2, 3):
            if rows > 1 and (is_flat(problem) or rows > out[0] or out[1] > width // 2):
                continue
            columns = min(width // rows, out[1])
            if columns:
                key = (rows, columns, vectors)
                found[key] = tile_cost(problem, out, *key)
    ranked = sorted(found, key=lambda key: found[key])
    result: list[dict[str, object]] = []
    for rows, columns, vectors in ranked[:5]:
        result.append(_config(problem, rows, columns, vectors, chunk=0))
    rows, columns, vectors = ranked[0]
    slab = slab_bytes(problem, vectors)
    if slab > target.l2_bytes // 2 and _keeps_sums(problem):
        chunk = max(1, input_blocks(problem) * target.l2_bytes // (4 * slab))
        result.insert(1, _config(problem, rows, columns, vectors, chunk))
    other = dict(result[0])
    other["panel_first"] = not other["panel_first"]
    result.insert(2, other)
    return result


def _keeps_sums(problem: Problem) -> bool:
    """Whether sums can wait in the first output without being rounded."""
    form = problem.form
    return form.epilogue.dtype(form.epilogue.outputs[0]) is f32 and not problem.in_rows


def _extents(problem: Problem) -> tuple[int, int]:
    """Rows and columns of pixels that tiles are cut from."""
    if is_flat(problem):
        return 1, math.prod(problem.out)
    down, along = (-(-n // s) for n, s in zip(problem.out, problem.phases, strict=True))
    return down, along


def _config(
    problem: Problem, rows: int, columns: int, vectors: int, chunk: int
) -> dict[str, object]:
    slab = slab_bytes(problem, vectors)
    x_bytes = math.prod(problem.image) * problem.in_channels * 4
    l2 = problem.form.kernel.target.l2_bytes
    # Weights of all panels in L2 while pixels stream, or one panel while it meets all pixels.
    panels = -(-problem.blocks // vectors)
    pixels_stream = slab * panels < l2 // 2 and x_bytes > l2 // 4
    return {
        "rows": rows,
        "columns": columns,
        "vectors": vectors,
        "unroll": 4,
        "chunk": chunk,
        "panel_first": not pixels_stream,
    }


def tile_cost(
    problem: Problem, extents: tuple[int, int], rows: int, columns: int, vectors: int
) -> float:
    """Cycles of one k-step for each useful vector of the output: lower is better.

    extents:  rows and columns of pixels that tiles are cut from
    """
    lanes, target = problem.lanes, problem.form.kernel.target
    down = [size for _, size in balanced(extents[0], rows)]
    along = [size for _, size in balanced(extents[1], columns)]
    slab = slab_bytes(problem, vectors)
    total = 0.0
    for size in {r * c for r in down for c in along}:
        count = sum(1 for r in down for c in along if r * c == size)
        for width, panels in _panel_widths(problem, vectors):
            total += count * panels * k_step_cycles(target, size, width, slab)
    shapes = len(set(down)) * len(set(along)) * len(_panel_widths(problem, vectors))
    useful = math.prod(extents) * problem.out_channels / lanes
    # Each shape of tile is code to compile and to keep in the instruction cache. Tiles of several
    # rows share their filter rows' borders, and so multiply padding; tall ones with one vector
    # leave no room where two multiply-adds start in a cycle.
    waste = 1.0 + 0.02 * (shapes - 1)
    waste += 0.1 * (rows > 1 and any(problem.pads)) + 0.01 * (vectors == 1)
    # A panel beyond half of L2 comes from L3 again for each tile.
    waste += 0.05 * (slab > target.l2_bytes // 2)
    return total / useful * waste


def _panel_widths(problem: Problem, vectors: int) -> list[tuple[int, int]]:
    """(vectors, panels) of the whole panels and of the narrower last one."""
    whole, left = divmod(problem.blocks, vectors)
    return [(w, n) for w, n in ((vectors, whole), (left, 1 if left else 0)) if n]
