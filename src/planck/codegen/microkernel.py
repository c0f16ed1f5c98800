"""The innermost loops of convolution and matmul: a tile of accumulators that stays in registers.

Register allocation is decided here; LLVM only encodes. Two things keep it from spilling: each
k-step begins with an empty assembly statement that "writes memory", so that loads are not hoisted
over it, and every displacement is a constant, so that a tile needs three general registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planck.codegen import bfloat, half
from planck.codegen.float24 import f24, widen
from planck.codegen.llvm import Builder
from planck.dtypes import DType, f16, f32
from planck.target import Target

LINE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Vector:
    """Float32 vectors of a number of lanes; in memory they may be bfloat16, float16 or float24.

    fast:      whether the processor rounds to bfloat16 and multiplies it (bfloat.native)
    converts:  whether it converts from and to float16 (half.native)
    """

    lanes: int
    fast: bool = False
    converts: bool = False

    @classmethod
    def of(cls, target: Target) -> Vector:
        """The vectors of a target."""
        return cls(target.lanes, bfloat.native(target), half.native(target))

    @property
    def kind(self) -> str:
        return f"<{self.lanes} x float>"

    @property
    def bytes(self) -> int:
        return self.lanes * 4

    @property
    def pairs(self) -> str:
        """The type of a vector of pairs of bfloat16."""
        return f"<{self.lanes} x i32>"

    def load(self, b: Builder, pointer: str, dtype: DType = f32, count: int = 0) -> str:
        """A vector from memory; if count is not 0, its first lanes, and zeros in the others."""
        if count not in (0, self.lanes):
            return self._masked_load(b, pointer, dtype, count)
        if dtype is f24:
            return widen(b, pointer, self.lanes)
        if dtype is not f32:
            return self._widen(b, b.load(f"<{self.lanes} x i16>", pointer, 2), dtype, self.lanes)
        return b.load(self.kind, pointer, 4)

    def store(
        self, b: Builder, value: str, pointer: str, dtype: DType = f32, count: int = 0
    ) -> None:
        """Write a vector; if count is not 0, its first lanes only."""
        if dtype is not f32:
            value = self._narrow(b, value, dtype)
        kind, suffix = self._lying(dtype)
        if count in (0, self.lanes):
            b.store(kind, value, pointer, dtype.bytes)
            return
        b.call(
            "void",
            f"llvm.masked.store.v{self.lanes}{suffix}.p0",
            (kind, value),
            ("ptr", f"align {dtype.bytes} {pointer}"),
            (f"<{self.lanes} x i1>", self.mask(count)),
        )

    def broadcast(self, b: Builder, pointer: str, dtype: DType = f32) -> str:
        """One element of memory in all lanes."""
        if dtype is not f32:
            value = self._widen(b, b.load("i16", pointer, 2), dtype, 1)
        else:
            value = b.load("float", pointer, 4)
        return b.fill("float", value, self.lanes)

    def broadcast_pair(self, b: Builder, pointer: str, alone: bool) -> str:
        """Two neighbouring bfloat16 in all lanes; alone: zero instead of the second."""
        pair = b.load("i32", pointer, 2)
        if alone:
            pair = b.let(f"and i32 {pair}, 65535")
        return b.fill("i32", pair, self.lanes)

    def dot(self, b: Builder, x: str, y: str, z: str) -> str:
        """The products of pairs x and y, added to floats z."""
        return bfloat.dot(b, z, x, y, self.lanes, self.fast)

    def fma(self, b: Builder, x: str, y: str, z: str) -> str:
        """x * y + z, fused where the target fuses."""
        k = self.kind
        return b.call(k, f"llvm.fmuladd.v{self.lanes}f32", (k, x), (k, y), (k, z))

    def larger(self, b: Builder, x: str, y: str) -> str:
        """The larger in each lane; y where either is NaN, as the processors' own max does."""
        test = b.let(f"fcmp ogt {self.kind} {x}, {y}")
        return b.let(f"select <{self.lanes} x i1> {test}, {self.kind} {x}, {self.kind} {y}")

    def _masked_load(self, b: Builder, pointer: str, dtype: DType, count: int) -> str:
        kind, suffix = self._lying(dtype)
        value = b.call(
            kind,
            f"llvm.masked.load.v{self.lanes}{suffix}.p0",
            ("ptr", f"align {dtype.bytes} {pointer}"),
            (f"<{self.lanes} x i1>", self.mask(count)),
            (kind, "zeroinitializer"),
        )
        return value if dtype is f32 else self._widen(b, value, dtype, self.lanes)

    def _lying(self, dtype: DType) -> tuple[str, str]:
        """The type of a vector in memory, and how intrinsics spell it."""
        return (self.kind, "f32") if dtype is f32 else (f"<{self.lanes} x i16>", "i16")

    def _widen(self, b: Builder, value: str, dtype: DType, count: int) -> str:
        if dtype is f16:
            return half.widen(b, value, count, self.converts)
        return bfloat.widen(b, value, count)

    def _narrow(self, b: Builder, value: str, dtype: DType) -> str:
        if dtype is f16:
            return half.narrow(b, value, self.lanes, self.converts)
        return bfloat.narrow(b, value, self.lanes, self.fast)

    def mask(self, count: int) -> str:
        return "<" + ", ".join(f"i1 {int(i < count)}" for i in range(self.lanes)) + ">"


class Carried:
    """A counted loop that carries vectors in registers; zero trips are allowed.

    with Carried(b, 0, n, kind, values) as loop:
        loop.values = [... made of loop.counter and loop.values ...]
    use(loop.values)
    """

    def __init__(
        self,
        b: Builder,
        begin: str | int,
        end: str | int,
        kinds: Sequence[str],
        values: Sequence[str],
        step: int = 1,
    ) -> None:
        self.b, self.begin, self.end, self.step = b, str(begin), str(end), step
        self.kinds, self._before = list(kinds), list(values)
        self.counter = b.fresh("i")

    def __enter__(self) -> Carried:
        b = self.b
        self._pre, self._head, self._body = b.label("pre"), b.label("head"), b.label("body")
        self._latch, self._done = b.label("latch"), b.label("done")
        b.branch(self._pre)
        b.block(self._pre)
        b.branch(self._head)
        b.block(self._head)
        self._hole = len(b.lines)  # the phis go here once their other ends are known
        self._phis = [b.fresh("c") for _ in self._before]
        self.values = list(self._phis)
        test = b.let(f"icmp slt i64 {self.counter}, {self.end}")
        b.branch_if(test, self._body, self._done)
        b.block(self._body)
        return self

    def __exit__(self, *_: object) -> None:
        b = self.b
        b.branch(self._latch)
        b.block(self._latch)
        after = b.let(f"add nsw i64 {self.counter}, {self.step}")
        b.branch(self._head)
        rows = zip(
            [self.counter, *self._phis],
            ["i64", *self.kinds],
            [self.begin, *self._before],
            [after, *self.values],
            strict=True,
        )
        b.lines[self._hole : self._hole] = [
            f"  {name} = phi {kind} [ {first}, %{self._pre} ], [ {next_}, %{self._latch} ]"
            for name, kind, first, next_ in rows
        ]
        b.block(self._done)
        self.values = self._phis


@dataclass(frozen=True, slots=True)
class Steps:
    """Shape of the k-loop of one tile.

    vectors:       output vectors beside each other
    k_bytes:       from one k to the next in the broadcast operand
    weight_bytes:  from one k to the next in the vector operand
    unroll:        k-steps in one trip
    masked:        lanes of the last output vector that may be read; 0 for all
    x, weights:    how the operands lie in memory
    pairs:         a step is two k, and both operands lie as pairs of bfloat16
    half:          the second k of a pair does not exist: what stands there is not read
    """

    vector: Vector
    vectors: int
    k_bytes: int
    weight_bytes: int
    unroll: int
    masked: int = 0
    x: DType = f32
    weights: DType = f32
    pairs: bool = False
    half: bool = False

    def column(self, b: Builder, pointer: str, count: int) -> str:
        """One vector of weights; its first count lanes if count is not 0."""
        if self.pairs:
            return b.load(self.vector.pairs, pointer, 4)
        return self.vector.load(b, pointer, self.weights, count)

    def broadcast(self, b: Builder, pointer: str) -> str:
        if self.pairs:
            return self.vector.broadcast_pair(b, pointer, self.half)
        return self.vector.broadcast(b, pointer, self.x)

    def multiply(self, b: Builder, x: str, weights: str, acc: str) -> str:
        return (self.vector.dot if self.pairs else self.vector.fma)(b, x, weights, acc)


@dataclass(frozen=True, slots=True)
class Ahead:
    """Memory to bring to L2 beside a k-loop, spread over its steps.

    lines:  cache lines from the pointer on for each trip
    """

    pointer: str
    lines: int


def accumulate(
    b: Builder,
    steps: Steps,
    acc: list[str],
    rows: Sequence[tuple[int, str, int]],
    weights: str,
    count: int | str,
    ahead: Ahead | None = None,
    minus: str = "",
) -> list[str]:
    """acc[row, n] += x[row, k] * w[k, n] over count values of k (a multiple of steps.unroll).

    acc:   values of all the tile's accumulators, row-major [row, vector]
    rows:  (number of the row, pointer, constant byte displacement) of the rows to take part
    minus: where lies, as the weights do, what is taken off them first; whole vectors of float32.
           It costs no more than its loads, as subtractions have time beside a tile's products
    gives: acc, with the rows that take part replaced
    """
    vector, width = steps.vector, steps.vectors
    kinds = [vector.kind] * (len(rows) * width)
    picked = [acc[row * width + n] for row, _, _ in rows for n in range(width)]
    if count == steps.unroll:
        picked = _trip(b, steps, picked, rows, weights, None, ahead, minus)
    else:
        with Carried(b, 0, count, kinds, picked, steps.unroll) as loop:
            loop.values = _trip(b, steps, loop.values, rows, weights, loop.counter, ahead, minus)
        picked = loop.values
    result = list(acc)
    for i, (row, _, _) in enumerate(rows):
        result[row * width : (row + 1) * width] = picked[i * width : (i + 1) * width]
    return result


def _trip(
    b: Builder,
    steps: Steps,
    acc: list[str],
    rows: Sequence[tuple[int, str, int]],
    weights: str,
    k: str | None,
    ahead: Ahead | None,
    minus: str,
) -> list[str]:
    """One unrolled trip; pointers move by k."""
    width, vector = steps.vectors, steps.vector
    size = vector.lanes * (4 if steps.pairs else steps.weights.bytes)
    moved: dict[str, str] = {}
    if k is not None:
        down = b.let(f"mul nsw i64 {k}, {steps.weight_bytes}")
        weights = b.offset(weights, down)
        minus = b.offset(minus, down) if minus else ""
        step = b.let(f"mul nsw i64 {k}, {steps.k_bytes}")
    for _, pointer, _ in rows:
        if pointer not in moved:
            moved[pointer] = b.offset(pointer, step) if k is not None else pointer
    fetched = ahead.pointer if ahead else ""
    if ahead and k is not None:
        trip = b.let(f"udiv exact i64 {k}, {steps.unroll}")
        fetched = b.offset(fetched, b.let(f"mul nsw i64 {trip}, {ahead.lines * LINE_BYTES}"))
    acc = list(acc)
    for u in range(steps.unroll):
        step_apart(b)
        lines = range(ahead.lines) if ahead else ()
        for line in (line for line in lines if line * steps.unroll // len(lines) == u):
            prefetch(b, b.offset(fetched, line * LINE_BYTES))
        base = u * steps.weight_bytes
        column = [
            steps.column(
                b, b.offset(weights, base + n * size), steps.masked if n == width - 1 else 0
            )
            for n in range(width)
        ]
        if minus:
            less = [vector.load(b, b.offset(minus, base + n * size)) for n in range(width)]
            pairs = zip(column, less, strict=True)
            column = [b.let(f"fsub {vector.kind} {x}, {y}") for x, y in pairs]
        for i, (_, pointer, shift) in enumerate(rows):
            x = steps.broadcast(b, b.offset(moved[pointer], shift + u * steps.k_bytes))
            for n in range(width):
                acc[i * width + n] = steps.multiply(b, x, column[n], acc[i * width + n])
    return acc


def prefetch(b: Builder, pointer: str, level: int = 2) -> None:
    """Bring a cache line to L2, or to L1."""
    read, locality, data = ("i32", "0"), ("i32", str(4 - level)), ("i32", "1")
    b.call("void", "llvm.prefetch.p0", ("ptr", pointer), read, locality, data)


def budget(target: Target) -> int:
    """Accumulators that fit beside the operands of one k-step."""
    return {"avx512": 28, "neon": 24, "avx2": 12, "portable": 8}[target.isa]


def tallest(target: Target, vectors: int, others: int = 0) -> int:
    """Rows of the tallest tile that leaves registers for a row of weights and a broadcast.

    others:  registers that are needed besides
    """
    if vectors == 1 and target.registers < 32:
        # All sums share one register of weights: the allocator is tight.
        return budget(target) - 2 - others
    return min(budget(target), target.registers - vectors - 1 - others) // vectors


def step_apart(b: Builder) -> None:
    """What comes before and what comes after share no loads, and none move across."""
    b.do('call void asm sideeffect "", "~{memory}"()')
