"""Reduction of each channel over its whole image: blocked input, blocked or row-major output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.epilogue import Epilogue
from planck.codegen.llvm import float_literal, function
from planck.codegen.microkernel import Carried, Vector
from planck.codegen.tables import Memory, TableBuilder
from planck.target import Target

CHAINS: Final = 8  # accumulators: more than an addition's latency


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """A reduction with everything decided.

    kind:       "sum", "mean" or "max"
    masked:     row-major output: channels in the last block, 0 if it is whole
    arguments:  names in the order of the pointer table; the first is the input
    """

    kind: str
    batch: int
    blocks: int
    image: tuple[int, int]
    masked: int
    arguments: tuple[str, ...]
    memory: Mapping[str, Memory]
    epilogue: Epilogue

    @property
    def units(self) -> int:
        return self.batch * self.blocks


def write(target: Target, symbol: str, spec: GlobalPool) -> str:
    """The module of one kernel: a unit of work is one block of channels of one image."""
    b = TableBuilder()
    vector = Vector.of(target)
    base = b.arguments(spec.arguments)
    with b.loop("%begin", "%end") as unit:
        block = b.let(f"urem i64 {unit}, {spec.blocks}")
        image = b.let(f"udiv i64 {unit}, {spec.blocks}")
        at = {}
        for name, pointer in base.items():
            if name in spec.memory:
                memory = spec.memory[name]
                pointer = b.offset(pointer, b.times(image, memory.batch))
                pointer = b.offset(pointer, b.times(block, memory.block))
            elif spec.epilogue.operands.get(name) == "channel":
                along = vector.lanes * spec.epilogue.dtype(name).bytes
                pointer = b.offset(pointer, b.times(block, along))
            at[name] = pointer
        value = _reduced(b, vector, spec, at[spec.arguments[0]])
        if not spec.masked:
            spec.epilogue.write(b, target, vector, value, at.__getitem__)
        else:
            whole, last, done = b.label("whole"), b.label("last"), b.label("unitdone")
            test = b.let(f"icmp slt i64 {block}, {spec.blocks - 1}")
            b.branch_if(test, whole, last)
            for label, count in ((whole, 0), (last, spec.masked)):
                b.block(label)
                spec.epilogue.write(b, target, vector, value, at.__getitem__, count)
                b.branch(done)
            b.block(done)
    b.do("ret void")
    return function(target, symbol, b)


def _reduced(b: TableBuilder, vector: Vector, spec: GlobalPool, x: str) -> str:
    """One vector for the image at x."""
    height, width = spec.image
    memory = spec.memory[spec.arguments[0]]
    if memory.row == width * memory.column:
        height, width = 1, height * width
    start = "zeroinitializer"
    if spec.kind == "max":
        start = f"splat (float {float_literal(float('-inf'))})"
    chains = [start] * min(CHAINS, width)
    whole = width // len(chains) * len(chains)

    def read(row: str, column: int) -> str:
        return vector.load(b, b.offset(row, column * memory.column), memory.dtype)

    with Carried(b, 0, height, [vector.kind] * len(chains), chains) as rows:
        row = b.offset(x, b.times(rows.counter, memory.row))
        kinds = [vector.kind] * len(chains)
        with Carried(b, 0, whole, kinds, rows.values, len(chains)) as columns:
            here = b.offset(row, b.times(columns.counter, memory.column))
            columns.values = [
                _join(b, vector, spec.kind, own, read(here, i))
                for i, own in enumerate(columns.values)
            ]
        values = list(columns.values)
        for i in range(width - whole):
            values[i] = _join(b, vector, spec.kind, values[i], read(row, whole + i))
        rows.values = values
    values = rows.values
    while len(values) > 1:
        half = len(values) // 2
        joined = [_join(b, vector, spec.kind, values[i], values[half + i]) for i in range(half)]
        values = joined + values[2 * half :]
    if spec.kind != "mean":
        return values[0]
    scale = float_literal(1.0 / (spec.image[0] * spec.image[1]))
    return b.let(f"fmul {vector.kind} {values[0]}, splat (float {scale})")


def _join(b: TableBuilder, vector: Vector, kind: str, x: str, y: str) -> str:
    if kind == "max":
        return vector.larger(b, x, y)
    return b.let(f"fadd {vector.kind} {x}, {y}")
