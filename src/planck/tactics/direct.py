"""Direct convolution on blocked layouts: any kernel, stride, dilation, padding, groups; 1-D and 2-D.

Notebook (Zen 4, AVX-512, one core)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planck.codegen.convolution import Convolution
from planck.codegen.convolution_unit import write
from planck.codegen.microkernel import budget
from planck.codegen.tables import Memory
from planck.codegen.tiling import Axis, balanced, forward
from planck.dtypes import Array
from planck.ops.nn import Conv
from planck.refusal import No
from planck.tactics.cost import k_step_cycles, parts_of_work
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    blocked_memory,
    check_blocked,
    check_channel_operands,
    constant,
    padded,
    symbol,
    two_dimensional,
)

MAX_OFFERS: Final = 8
FLAT_COLUMNS: Final = 56  # wider images tile well without being flattened


class Direct:
    """Register-blocked direct convolution."""

    name = "direct"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        form = anchored(kernel, Conv, 1)
        if not form:
            return form
        problem = _problem(form)
        if not isinstance(problem, Problem):
            return problem
        return tuple(_configs(problem)[:MAX_OFFERS])

    def build(self, kernel: Kernel, config: Config) -> Code:
        problem = _take(kernel)
        spec = _spec(problem, config)
        name = symbol("conv", kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes(kernel.target),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        problem = _take(kernel)
        spec = _spec(problem, config)
        weights = constant(kernel, constants, problem.form.node.inputs[1].name)
        packed = {spec.weights: pack_weights(problem, spec, weights)}
        channels = spec.blocks * kernel.target.lanes
        names = problem.form.channel_operands()
        if spec.bias:
            names = [*names, spec.bias]
        for name in names:
            if problem.form.is_constant(name):
                packed[name] = padded(constant(kernel, constants, name), channels)
        return packed


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution as 2-D: batch, channels, images, filter."""

    form: Anchored
    lanes: int
    row_major: bool
    batch: int
    in_channels: int
    out_channels: int
    groups: int
    image: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]  # begins; ends follow from out

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    @property
    def blocks(self) -> int:
        return -(-self.out_channels // self.lanes)

    @property
    def flops(self) -> int:
        inner = self.in_channels // self.groups * math.prod(self.kernel)
        return 2 * self.batch * self.out_channels * math.prod(self.out) * inner


def _take(kernel: Kernel) -> Problem:
    form = anchored(kernel, Conv, 1)
    assert isinstance(form, Anchored), form
    problem = _problem(form)
    assert isinstance(problem, Problem), problem
    return problem


def _problem(form: Anchored) -> Problem | No:
    kernel, node = form.kernel, form.node
    op = node.op
    assert isinstance(op, Conv)
    lanes = kernel.target.lanes
    x, w = node.inputs[:2]
    rank = x.type.rank - 2
    if rank not in (1, 2):
        return No(f"convolves one or two axes, not {rank}")
    if not form.is_constant(w.name):
        return No("the weights are not known at build time")
    n, c, *image = x.type.dims
    _, m, *out = form.result.type.dims
    row_major = x.type.block == 0
    if row_major and (op.groups > 1 or c > lanes):
        return No(f"%{x.name} lies in rows and has {c} channels")
    names = (*form.epilogue.of_kind("full"), *form.epilogue.outputs)
    refusal = check_blocked(form, lanes, names if row_major else (x.name, *names))
    refusal = refusal or check_channel_operands(form, m, lanes)
    if refusal:
        return refusal
    if len(node.inputs) > 2 and not form.is_constant(node.inputs[2].name) and m % lanes:
        return No("the bias is known at run time only and has no room for padding lanes")
    return Problem(
        form, lanes, row_major, n, c, m, op.groups,
        two_dimensional(tuple(image), 1),
        two_dimensional(tuple(out), 1),
        two_dimensional(w.type.dims[2:], 1),
        two_dimensional(op.strides, 1),
        two_dimensional(op.dilations, 1),
        two_dimensional(op.pads[:rank], 0),
    )  # fmt: skip


# The tuning space


def _configs(problem: Problem) -> list[dict[str, object]]:
    """Configurations, the one that the cost model likes best first."""
    target = problem.form.kernel.target
    limit = budget(target)
    group_blocks = _group_blocks(problem)
    found: dict[tuple[int, int, int], float] = {}
    for vectors in (1, 2, 3, 4):
        if vectors > group_blocks:
            continue
        width = limit // vectors
        for rows in (1, 2, 3):
            if rows > problem.out[0] or (rows > 1 and problem.out[1] > width // 2):
                continue
            columns = min(width // rows, _pixels(problem))
            if columns:
                key = (rows, columns, vectors)
                found[key] = _cost(problem, *key)
    ranked = sorted(found, key=lambda key: found[key])
    result: list[dict[str, object]] = []
    for rows, columns, vectors in ranked[:5]:
        result.append(_config(problem, rows, columns, vectors, chunk=0))
    rows, columns, vectors = ranked[0]
    slab = _slab_bytes(problem, vectors)
    if slab > target.l2_bytes // 2:
        chunk = max(1, _in_blocks(problem) * target.l2_bytes // (4 * slab))
        result.insert(1, _config(problem, rows, columns, vectors, chunk))
    other = dict(result[0])
    other["panel_first"] = not other["panel_first"]
    result.insert(2, other)
    return result


def _pixels(problem: Problem) -> int:
    return math.prod(problem.out) if _flat(problem) else problem.out[1]


def _config(
    problem: Problem, rows: int, columns: int, vectors: int, chunk: int
) -> dict[str, object]:
    slab = _slab_bytes(problem, vectors)
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


def _cost(problem: Problem, rows: int, columns: int, vectors: int) -> float:
    """Cycles of one k-step for each useful vector of the output: lower is better."""
    lanes, target = problem.lanes, problem.form.kernel.target
    extents = (1, math.prod(problem.out)) if _flat(problem) else problem.out
    down = [size for _, size in balanced(extents[0], rows)]
    along = [size for _, size in balanced(extents[1], columns)]
    total = 0.0
    for size in {r * c for r in down for c in along}:
        count = sum(1 for r in down for c in along if r * c == size)
        for width, panels in _panel_widths(problem, vectors):
            total += count * panels * k_step_cycles(target, size, width)
    shapes = len(set(down)) * len(set(along)) * len(_panel_widths(problem, vectors))
    useful = math.prod(problem.out) * problem.out_channels / lanes
    # Each shape of tile is code to compile and to keep in the instruction cache. Tiles of several
    # rows share their filter rows' borders, and so multiply padding; tall ones with one vector
    # leave no room where two multiply-adds start in a cycle.
    waste = 1.0 + 0.02 * (shapes - 1)
    waste += 0.1 * (rows > 1 and any(problem.pads)) + 0.01 * (vectors == 1)
    # A panel beyond half of L2 comes from L3 again for each tile.
    waste += 0.05 * (_slab_bytes(problem, vectors) > target.l2_bytes // 2)
    return total / useful * waste


def _panel_widths(problem: Problem, vectors: int) -> list[tuple[int, int]]:
    """(vectors, panels) of the whole panels and of the narrower last one."""
    whole, left = divmod(problem.blocks, vectors)
    return [(w, n) for w, n in ((vectors, whole), (left, 1 if left else 0)) if n]


# From a configuration to code


def _flat(problem: Problem) -> bool:
    """Whether the image may be taken as one row: 1x1 filters, and rows without gaps."""
    kernel = problem.form.kernel
    if not problem.pointwise or problem.row_major or problem.out[1] >= FLAT_COLUMNS:
        return False
    names = (
        problem.form.node.inputs[0].name,
        *problem.form.epilogue.of_kind("full"),
        *problem.form.epilogue.outputs,
    )
    memories = [blocked_memory(kernel, name) for name in names]
    return all(m.row == problem.image[1] * m.column or problem.image[0] == 1 for m in memories)


def _group_blocks(problem: Problem) -> int:
    """Output blocks that a panel may span without meeting needless groups."""
    if problem.groups == 1:
        return problem.blocks
    return max(1, problem.out_channels // problem.groups // problem.lanes)


def _panel_starts(problem: Problem, vectors: int) -> tuple[tuple[int, ...], int]:
    """First input block of each panel, and how many blocks each panel reads."""
    lanes, groups = problem.lanes, problem.groups
    all_blocks = -(-problem.in_channels // lanes)
    if groups == 1:
        return (), all_blocks
    per_in, per_out = problem.in_channels // groups, problem.out_channels // groups
    ranges = []
    for first in range(0, problem.blocks, vectors):
        last = min((first + vectors) * lanes, problem.out_channels) - 1
        begin = first * lanes // per_out * per_in
        end = (last // per_out + 1) * per_in
        ranges.append((begin // lanes, -(-end // lanes)))
    count = max(end - begin for begin, end in ranges)
    return tuple(min(begin, all_blocks - count) for begin, _ in ranges), count


def _in_blocks(problem: Problem) -> int:
    return 1 if problem.row_major else -(-problem.in_channels // problem.lanes)


def _slab_bytes(problem: Problem, vectors: int) -> int:
    count = 1 if problem.row_major else _panel_starts(problem, vectors)[1]
    channels = problem.in_channels if problem.row_major else problem.lanes
    return count * math.prod(problem.kernel) * channels * vectors * problem.lanes * 4


def _axes(problem: Problem, config: Config) -> tuple[Axis, Axis]:
    if _flat(problem):
        pixels = math.prod(problem.out)
        return forward(1, 1, 1, 1), forward(pixels, pixels, config["columns"], 1)
    rows, columns = (
        forward(
            problem.image[i], problem.out[i], size, problem.kernel[i],
            problem.strides[i], problem.dilations[i], problem.pads[i],
        )
        for i, size in enumerate((config["rows"], config["columns"]))
    )  # fmt: skip
    return rows, columns


def _spec(problem: Problem, config: Config) -> Convolution:
    form, kernel = problem.form, problem.form.kernel
    x, w = (v.name for v in form.node.inputs[:2])
    bias = form.node.inputs[2].name if len(form.node.inputs) > 2 else ""
    rows, columns = _axes(problem, config)
    vectors = min(config["vectors"], problem.blocks)
    names = (*form.epilogue.of_kind("full"), *form.epilogue.outputs)
    memory = {name: blocked_memory(kernel, name) for name in names}
    unroll = config["unroll"]
    if problem.row_major:
        strides = [4 * s for s in kernel.operands[x].strides]
        batch, plane = strides[:2]
        row, column = strides[2:] if len(strides) == 4 else (0, strides[2])
        memory[x] = Memory(batch, 0, row, column)
        starts: tuple[int, ...] = ()
        in_blocks, tail, channels, k_bytes = 1, 0, problem.in_channels, plane
        unroll = max(u for u in range(1, 5) if channels % u == 0)
    else:
        memory[x] = blocked_memory(kernel, x)
        starts, in_blocks = _panel_starts(problem, vectors)
        tail = problem.in_channels % problem.lanes
        in_blocks -= bool(tail)
        channels, k_bytes = problem.lanes, 4
    packed = f"{w}_panels"
    operands = [name for name in form.epilogue.operands if name not in (x, packed, bias)]
    arguments = (x, packed, *([bias] if bias else []), *operands, *form.epilogue.outputs)
    spec = Convolution(
        batch=problem.batch,
        blocks=problem.blocks,
        channels=channels,
        k_bytes=k_bytes,
        in_blocks=in_blocks,
        tail=tail,
        starts=starts,
        taps=(math.prod(problem.kernel), problem.kernel[1]),
        rows=rows,
        columns=columns,
        vectors=vectors,
        unroll=unroll,
        chunk=config["chunk"] if in_blocks > config["chunk"] else 0,
        groups=(1, 1),
        panel_first=config["panel_first"],
        arguments=tuple(dict.fromkeys(arguments)),
        x=x,
        weights=packed,
        bias=bias,
        memory=memory,
        epilogue=form.epilogue,
    )
    strips = (len(rows.strips), len(columns.strips))
    parts = parts_of_work(
        problem.flops, spec.panels * problem.batch, strips[0] * strips[1], kernel.threads
    )
    down = min(parts, strips[0])
    return replace(spec, groups=(down, min(-(-parts // down), strips[1])))


def pack_weights(problem: Problem, spec: Convolution, weights: Array) -> Array:
    """[panel][input block][tap][k][vectors * lanes], zeros where a group has no weight.

    weights:  f32[M, C / groups, *kernel]
    """
    lanes, groups = problem.lanes, problem.groups
    per_in, per_out = problem.in_channels // groups, problem.out_channels // groups
    flat = weights.reshape(problem.out_channels, per_in, -1).astype(np.float32)
    blocks = spec.in_blocks + bool(spec.tail)
    slabs = []
    for panel in range(spec.panels):
        first = panel * spec.vectors * lanes
        width = min(spec.vectors, spec.blocks - panel * spec.vectors) * lanes
        begin = spec.starts[panel] * lanes if spec.starts else 0
        dense = np.zeros((width, blocks * spec.channels, flat.shape[2]), np.float32)
        if groups == 1:
            rows = flat[first : first + width]
            dense[: rows.shape[0], :per_in] = rows
        else:
            for m in range(first, min(first + width, problem.out_channels)):
                at = m // per_out * per_in - begin
                dense[m - first, at : at + per_in] = flat[m]
        split = dense.reshape(width, blocks, spec.channels, -1)
        slabs.append(np.ascontiguousarray(split.transpose(1, 3, 2, 0)).reshape(-1))
    return np.concatenate(slabs)
