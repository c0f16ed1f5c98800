"""Convolutions as direct code sees them: problems read from kernels, lowered, weights packed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from planck.codegen.convolution import Convolution
from planck.codegen.tables import Memory
from planck.codegen.tiling import Axis, forward, transposed
from planck.dtypes import Array, DType, bf16, f16, f32
from planck.ops.nn import Conv, ConvTranspose
from planck.refusal import No
from planck.tactics.cost import parts_of_work
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    blocked_memory,
    check_bias,
    check_blocked,
    check_channel_operands,
    two_dimensional,
)

FLAT_COLUMNS: Final = 56  # wider images tile well without being flattened
FLAT_TABLE: Final = 4096  # pixels of a flat image whose places in a resized operand are listed


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution, or a transposed one, as 2-D: batch, channels, images, filter."""

    form: Anchored
    transposed: bool
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
    in_rows: bool = False  # the outputs

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    @property
    def blocks(self) -> int:
        return -(-self.out_channels // self.lanes)

    @property
    def flops(self) -> int:
        inner = self.in_channels // self.groups * math.prod(self.kernel)
        pixels = math.prod(self.image if self.transposed else self.out)
        return 2 * self.batch * self.out_channels * pixels * inner

    @property
    def pairs(self) -> bool:
        """Whether neighbouring channels are multiplied in pairs of bfloat16."""
        x, w = self.form.node.inputs[:2]
        return not self.row_major and x.type.dtype is bf16 and w.type.dtype is bf16

    @property
    def packed(self) -> DType:
        """How the weights are packed: as they are if they are short and the code reads them so."""
        dtype = self.form.node.inputs[1].type.dtype
        return dtype if self.pairs or dtype is f16 else f32

    @property
    def phases(self) -> tuple[int, int]:
        """How many output pixels apart the neighbours in a tile are."""
        return self.strides if self.transposed else (1, 1)


def read_problem(
    kernel: Kernel, anchor: type[Conv] | type[ConvTranspose], rows: bool = False
) -> Problem | No:
    """A kernel as a convolution; No where it is none that direct code can run.

    rows:  whether outputs may lie in rows
    """
    plain = anchor is Conv
    form = anchored(kernel, anchor, 1, bfloat16=True, resizing=plain, parting=plain)
    if isinstance(form, No):
        return form
    node = form.node
    op = node.op
    assert isinstance(op, Conv | ConvTranspose)
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
    if not isinstance(op, ConvTranspose) and op.groups == c == m and c > 1:
        return No("one filter for each channel: multiplying by zeros would take most of the time")
    if row_major and (op.groups > 1 or c > lanes):
        return No(f"%{x.name} lies in rows and has {c} channels")
    names = (*form.epilogue.of_kind("full"), *form.resized)
    in_rows = rows and all(kernel.operands[n].type.block == 0 for n in form.written)
    if not in_rows:
        names += form.written
    if len({blocked_strides(kernel, name) for name, _ in form.parts}) > 1:
        return No("its parts lie in different ways")
    for refusal in (
        check_blocked(form, lanes, tuple(names if row_major else (x.name, *names))),
        check_channel_operands(form, m, lanes),
        _check_rows(form) if in_rows else None,
        check_bias(form, m, lanes),
    ):
        if refusal is not None:  # a No is false
            return refusal
    return Problem(
        form, isinstance(op, ConvTranspose), lanes, row_major, n, c, m, op.groups,
        two_dimensional(tuple(image), 1),
        two_dimensional(tuple(out), 1),
        two_dimensional(w.type.dims[2:], 1),
        two_dimensional(op.strides, 1),
        two_dimensional(op.dilations, 1),
        two_dimensional(op.pads[:rank], 0),
        in_rows,
    )  # fmt: skip


def _check_rows(form: Anchored) -> No | None:
    """Whether outputs in rows are some that a tile can be written to."""
    if form.parts:
        return No("its parts lie in rows")
    for name in form.written:
        operand = form.kernel.operands[name]
        if operand.type.dtype is not f32:
            return No(f"%{name} lies in rows and is {operand.type.dtype}")
        if operand.strides[-1] != 1:
            return No(f"the pixels of %{name} do not lie next to each other")
    return None


def output_memory(kernel: Kernel, name: str) -> tuple[Memory, int]:
    """Byte strides of an output, and those from one channel to the next if it lies in rows."""
    operand = kernel.operands[name]
    if operand.type.block:
        return blocked_memory(kernel, name), 0
    batch, plane, *spatial = (s * operand.type.dtype.bytes for s in operand.strides)
    row, column = spatial if len(spatial) == 2 else (0, *spatial)
    return Memory(batch, plane * kernel.target.lanes, row, column, operand.type.dtype), plane


def blocked_strides(kernel: Kernel, name: str) -> tuple[int, ...]:
    """How far blocks, rows and columns of an operand are apart."""
    return kernel.operands[name].strides[1:]


def is_flat(problem: Problem) -> bool:
    """Whether the image may be taken as one row: 1x1 filters, and rows without gaps."""
    kernel = problem.form.kernel
    if not problem.pointwise or problem.row_major or problem.out[1] >= FLAT_COLUMNS:
        return False
    if problem.form.resized and math.prod(problem.out) > FLAT_TABLE:
        return False
    names = (problem.form.node.inputs[0].name, *problem.form.epilogue.of_kind("full"))
    memories = [blocked_memory(kernel, name) for name in names]
    memories += [output_memory(kernel, name)[0] for name in problem.form.written]
    return all(m.row == problem.image[1] * m.column or problem.image[0] == 1 for m in memories)


def group_blocks(problem: Problem) -> int:
    """Output blocks that a panel may span without meeting needless groups."""
    if problem.groups == 1:
        return problem.blocks
    return max(1, problem.out_channels // problem.groups // problem.lanes)


def panel_starts(problem: Problem, vectors: int) -> tuple[tuple[int, ...], int]:
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


def input_blocks(problem: Problem) -> int:
    return 1 if problem.row_major else -(-problem.in_channels // problem.lanes)


def slab_bytes(problem: Problem, vectors: int) -> int:
    count = 1 if problem.row_major else panel_starts(problem, vectors)[1]
    channels = problem.in_channels if problem.row_major else problem.lanes
    size = problem.packed.bytes
    return count * math.prod(problem.kernel) * channels * vectors * problem.lanes * size


def _axes(problem: Problem, config: Config) -> tuple[Axis, Axis]:
    if is_flat(problem):
        pixels = math.prod(problem.out)
        return forward(1, 1, 1, 1), forward(pixels, pixels, config["columns"], 1)
    cut = transposed if problem.transposed else forward
    sizes = config["rows"], config["columns"]
    rows, columns = map(
        cut, problem.image, problem.out, sizes, problem.kernel,
        problem.strides, problem.dilations, problem.pads,
    )  # fmt: skip
    return rows, columns


def lower(problem: Problem, config: Config) -> Convolution:
    """A problem with a configuration's decisions, ready to be written."""
    form, kernel = problem.form, problem.form.kernel
    x, w = (v.name for v in form.node.inputs[:2])
    bias = form.bias
    rows, columns = _axes(problem, config)
    vectors = min(config["vectors"], problem.blocks)
    names = (*form.epilogue.of_kind("full"), *form.resized)
    memory = {name: blocked_memory(kernel, name) for name in names}
    planes = {}
    for name in form.written:
        memory[name], plane = output_memory(kernel, name)
        if plane:
            planes[name] = plane
    if form.parts:
        memory[form.epilogue.outputs[0]] = memory[form.written[0]]
    unroll = config["unroll"]
    tail, half = 0, False
    if problem.row_major:
        dtype = kernel.operands[x].type.dtype
        strides = [dtype.bytes * s for s in kernel.operands[x].strides]
        batch, plane = strides[:2]
        row, column = strides[2:] if len(strides) == 4 else (0, strides[2])
        memory[x] = Memory(batch, 0, row, column, dtype)
        starts: tuple[int, ...] = ()
        in_blocks, channels, k_bytes = 1, problem.in_channels, plane
        unroll = max(u for u in range(1, 5) if channels % u == 0)
    else:
        memory[x] = blocked_memory(kernel, x)
        starts, in_blocks = panel_starts(problem, vectors)
        tail = problem.in_channels % problem.lanes
        in_blocks -= bool(tail)
        channels, k_bytes = problem.lanes, memory[x].dtype.bytes
        if problem.pairs:
            half = bool(tail % 2)
            channels, tail, k_bytes = channels // 2, -(-tail // 2), 4
    packed = f"{w}_panels"
    operands = [name for name in form.epilogue.operands if name not in (x, packed, bias)]
    arguments = (x, packed, *([bias] if bias else []), *operands, *form.written)
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
        pairs=problem.pairs,
        half=half,
        parts=tuple((name, start // problem.lanes) for name, start in form.parts),
        nearest={name: _nearest(problem, name, memory[name]) for name in form.resized},
        planes=planes,
        last_lanes=problem.out_channels % problem.lanes,
        packed=problem.packed,
    )
    if spec.chunk:  # its tiles share a chunk of weights one after the other
        return spec
    strips = (len(rows.strips), len(columns.strips))
    parts = parts_of_work(
        problem.flops, spec.panels * problem.batch, strips[0] * strips[1], kernel.threads
    )
    down = min(parts, strips[0])
    return replace(spec, groups=(down, min(-(-parts // down), strips[1])))


def _nearest(problem: Problem, name: str, memory: Memory) -> tuple[tuple[int, ...], ...]:
    """Where an operand's elements for each row and column of the output lie, in bytes."""
    op, kernel = problem.form.resized[name], problem.form.kernel
    image = kernel.operands[name].type.dims[2:]
    taps = [op.taps(2 + i, size)[0][:, 0] for i, size in enumerate(image)]
    rows = taps[0] * memory.row if len(image) == 2 else np.zeros(1, np.int64)
    columns = taps[-1] * memory.column
    if is_flat(problem):
        return (0,), tuple((rows[:, None] + columns).reshape(-1).tolist())
    return tuple(rows.tolist()), tuple(columns.tolist())


def pack_weights(problem: Problem, spec: Convolution, weights: Array) -> Array:
    """[panel][input block][tap][k][vectors * lanes], zeros where a group has no weight.

    weights:  [M, C / groups, *kernel]; of a transposed convolution [C, M / groups, *kernel]
    gives:    f32, f16, or bf16 with the two channels of each pair innermost
    """
    lanes, groups = problem.lanes, problem.groups
    per_in, per_out = problem.in_channels // groups, problem.out_channels // groups
    if problem.transposed:
        weights = weights.reshape(groups, per_in, per_out, -1).swapaxes(1, 2)
    flat = weights.reshape(problem.out_channels, per_in, -1).astype(np.float32)
    blocks, pair = spec.in_blocks + bool(spec.tail), 2 if spec.pairs else 1
    slabs = []
    for panel in range(spec.panels):
        first = panel * spec.vectors * lanes
        width = min(spec.vectors, spec.blocks - panel * spec.vectors) * lanes
        begin = spec.starts[panel] * lanes if spec.starts else 0
        dense = np.zeros((width, blocks * spec.channels * pair, flat.shape[2]), np.float32)
        if groups == 1:
            rows = flat[first : first + width]
            dense[: rows.shape[0], :per_in] = rows
        else:
            for m in range(first, min(first + width, problem.out_channels)):
                at = m // per_out * per_in - begin
                dense[m - first, at : at + per_in] = flat[m]
        split = dense.reshape(width, blocks, spec.channels, pair, -1)
        slabs.append(np.ascontiguousarray(split.transpose(1, 4, 2, 0, 3)).reshape(-1))
    return np.concatenate(slabs).astype(problem.packed.numpy)
