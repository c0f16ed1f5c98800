"""Convolutions whose results are reshaped, transposed and cut on their way to memory.

    %c = Conv(%x, %w, %b)      f32[N,255,H,W]       the element in row m, column n of the product
    %r = Reshape(%c)           f32[N,3,85,H,W]      [m // HW, n // 85, n % 85, m // W % H, m % W]
    %t = Transpose(%r)         f32[N,3,H,W,85]      [m // HW, n // 85, m // W % H, m % W, n % 85]
    %s = Slice(%t)             f32[N,3,H,W,2]       the same, where n % 85 < 2
    %y = Pointwise(%s, %a)     f32[N,3,H,W,2]       %a, of any shape that broadcasts, lies likewise

Each result goes straight to where it belongs. What several slices do alike is done once, and all
of them are stored at once.

Notebook (one H200, YOLOv5s' heads in float16 to the whole output in float32; us of one head alone)

- Batch 18, 128 channels at 80x80: 92 (tiles of 64 x 64, 4 warps) where a convolution to memory (69)
  and three loop kernels (34, 29, 94) took 226; 256 at 40x40 32, not 72; 512 at 20x20 11, not 38.
  Memory would let the first be done in about 35.
- Batch 1: 8.2, 4.8 and 3.8, not 11.4, 6.6 and 5.4 (these by the tuner on an H100).
- A store for each slice instead of one that selects: 119, 36 and 14 at batch 18. Tiles of 64
  results for each thread (128 x 64): 140, 43 and 14, as registers spill.
- Threads along the rows, as Triton 3.6 has it where nothing is known to be contiguous: 457.
- Of the 92 reading the two columns of the grid takes 27, with most lanes masked; an exact sigmoid
  would take 12 more. A branch around what only some tiles need: 87 to 111.
- One loop kernel for all three slices behind a convolution to memory would take 52 + 63, in float16
  between them 42 + 67, and err by 3.5e-5 more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.codegen.epilogue import Apply, Epilogue
from planck.codegen.triton.views import View, columns_of, view
from planck.dtypes import f32
from planck.ir.graph import Node, Value
from planck.loops.expr import Expr, Index, sub
from planck.loops.lower import term_of
from planck.loops.terms import Pool, Term
from planck.ops.movement import Reshape, Slice, Transpose
from planck.ops.movement.shape import reindex
from planck.ops.nn import Conv
from planck.ops.pointwise import Pointwise
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.tactics.pattern import without_casts
from planck.tactics.triton.operands import Moved, memory_strides

MOVES: Final = (Reshape, Slice, Transpose)


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands where of a value that is made of the anchor's result.

    source:  the step's value, or the result, that it shows
    index:   along each axis, of rows "m" and columns "n"
    inside:  (a place, an extent): elements lie where each is within its extent
    """

    source: str
    index: tuple[Expr, ...]
    inside: tuple[tuple[Expr, int], ...] = ()


def read_moved(kernel: Kernel) -> Moved | No:
    """A convolution with moves and pointwise steps behind it."""
    plain = without_casts(kernel.graph)
    if isinstance(plain, No):
        return plain
    if not plain.nodes or not isinstance(plain.nodes[0].op, Conv):
        return No("the first node is no Conv")
    node, *steps = plain.nodes
    if any(v.type.dtype is not f32 for v in node.inputs[2:]):
        return No("the bias is not f32")
    reading = _Reading(kernel, node.outputs[0])
    for step in steps:
        answer = reading.take(step)
        if isinstance(answer, No):
            return answer
    ends = {v.name: plain.rounded.get(v.name, v.name) for v in kernel.graph.outputs}
    if not set(ends.values()) <= reading.seen.keys():
        return No("an output comes from outside the epilogue")
    outputs = {v.name: (v, reading.seen[ends[v.name]]) for v in kernel.graph.outputs}
    views: dict[str, View] = {}
    taken = np.zeros(reading.sizes["n"], int)
    for name, (value, seen) in (reading.beside | outputs).items():
        inside = reading.inside(seen)
        found = reading.view(value, seen, inside)
        if isinstance(found, No):
            return found
        views[name] = found
        taken += columns_of(inside, taken.size) if name in outputs else 0
    if taken.max() > 1:
        return No("outputs share columns of the product")
    scalars = dict.fromkeys(reading.scalars, "scalar")
    epilogue = Epilogue(
        source=node.outputs[0].name,
        steps=tuple(reading.applied),
        operands={**dict.fromkeys(reading.beside, "moved"), **scalars},
        constants=reading.constants,
        outputs=tuple(outputs),
        rounded={name: seen.source for name, (_, seen) in outputs.items()},
        dtypes={
            **{name: value.type.dtype for name, (value, _) in (reading.beside | outputs).items()},
            **{name: value.type.dtype for name, value in reading.scalars.items()},
        },
    )
    return Moved(kernel, node, node.outputs[0], epilogue, views=views)


class _Reading:
    """The steps behind a result so far."""

    def __init__(self, kernel: Kernel, result: Value) -> None:
        n, c, *spatial = result.type.dims
        self.pool = Pool()
        self.kernel, self.sizes = kernel, {"m": result.type.size // c, "n": c}
        row = Index("m", self.sizes["m"])
        at = reindex((row,), (self.sizes["m"],), (n, *spatial))
        place = (at[0], Index("n", c), *at[1:])
        self.seen = {result.name: Seen(result.name, place)}
        self.beside: dict[str, tuple[Value, Seen]] = {}
        self.scalars: dict[str, Value] = {}
        self.constants: dict[str, float] = {}
        self.applied: list[Apply] = []
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}

    def take(self, step: Node) -> No | None:
        """One more step."""
        made, op = step.outputs[0], step.op
        if isinstance(op, MOVES):
            source = self.seen.get(step.inputs[0].name)
            if source is None:
                return No("what is moved is not made of the result")
            moved = _moved(source, op, step.inputs[0].type.dims)
            if isinstance(moved, No):
                return moved
            self.seen[made.name] = moved
            return None
        if not isinstance(op, Pointwise):
            return No(f"a {type(op).__name__} follows the Conv")
        own = [self.seen[v.name] for v in step.inputs if v.name in self.seen]
        if len({(seen.index, seen.inside) for seen in own}) != 1:
            return No("parts of the result meet each other")
        if any(v.name in self.seen and v.type.dims != made.type.dims for v in step.inputs):
            return No("the epilogue changes the shape")
        for value in step.inputs:
            refusal = None if value.name in self.seen else self._operand(value, own[0])
            if refusal is not None:
                return refusal
        names = tuple(self.seen[v.name].source if v.name in self.seen else v.name
                      for v in step.inputs)  # fmt: skip
        source_name = self._known.setdefault((op.fn, names), made.name)
        if source_name == made.name:
            self.applied.append(Apply(op.fn, names, made.name))
        self.seen[made.name] = Seen(source_name, own[0].index, own[0].inside)
        return None

    def _operand(self, value: Value, like: Seen) -> No | None:
        weight = self.kernel.graph.weights.get(value.name)
        if weight is not None and weight.size == 1:
            self.constants[value.name] = float(weight.reshape(()))
        elif value.type.size == 1:
            self.scalars[value.name] = value
        elif self.beside.setdefault(value.name, (value, like))[1] != like:
            return No(f"%{value.name} is read in two ways")
        return None

    def view(self, value: Value, seen: Seen, inside: Sequence[tuple[Term, int]]) -> View | No:
        """Where a value lies whose elements are at these places; along axes of one it stays."""
        dims, block = value.type.dims, value.type.block
        if block and dims[1] > block and value.name not in self.kernel.constants:
            return No(f"the channels of %{value.name} lie in blocks of {block}")
        offset = self.pool.integer(0)
        strides = memory_strides(self.kernel, value)
        places = seen.index[len(seen.index) - len(dims) :]
        for extent, stride, at in zip(dims, strides, places, strict=True):
            if extent > 1:
                offset = self.pool.add(offset, self.pool.scale(self._term(at), stride))
        return view(offset, inside)

    def inside(self, seen: Seen) -> Sequence[tuple[Term, int]]:
        return [(self._term(at), extent) for at, extent in seen.inside]

    def _term(self, at: Expr) -> Term:
        bound = {name: self.pool.index(name, size) for name, size in self.sizes.items()}
        return term_of(at, self.pool, bound)


def _moved(seen: Seen, op: Reshape | Slice | Transpose, dims: tuple[int, ...]) -> Seen | No:
    """What a move makes of a value of this shape."""
    if isinstance(op, Transpose):
        return Seen(seen.source, tuple(seen.index[axis] for axis in op.perm), seen.inside)
    if isinstance(op, Reshape):
        return Seen(seen.source, reindex(seen.index, dims, op.shape), seen.inside)
    if set(op.steps) != {1}:
        return No("a slice takes steps")
    index, inside = list(seen.index), list(seen.inside)
    for axis, (start, size) in enumerate(zip(op.starts, op.sizes, strict=True)):
        if start:
            index[axis] = sub(index[axis], start)
        if size != dims[axis]:
            inside.append((index[axis], size))
    return Seen(seen.source, tuple(index), tuple(inside))
