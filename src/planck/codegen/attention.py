"""Attention in one kernel: scores of a few queries at a time, never a matrix of all against all.

A unit of work is one head and a range of its queries. Inside it:

    keys transposed into scratch                       KT[D, keys]
    for every few queries:
        scores = q KT                                  [rows, keys], in scratch that stays in L1
        scale, mask, softmax                           unnormalised; 1 / sum is kept
        out = scores v, times 1 / sum                  [rows, width]

In bfloat16 both products run over pairs, of depth and of keys: the values are interleaved in
scratch too, and exponentials are rounded to be multiplied. Scores and softmax stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planck.codegen import bfloat, scalar
from planck.codegen.llvm import Builder, float_literal, function
from planck.codegen.microkernel import Carried, Steps, Vector, accumulate
from planck.codegen.transpose import transpose
from planck.dtypes import DType, bf16, f32
from planck.target import Target

LOWEST = float_literal(float("-inf"))


@dataclass(frozen=True, slots=True)
class Rows:
    """Byte strides of a [..., rows, columns] operand; 0 where it is broadcast."""

    lead: tuple[int, ...]
    row: int
    column: int = 4
    dtype: DType = f32


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """An attention with everything decided.

    lead:   extents of the leading axes: batch, heads
    chunk:  queries of one unit, a multiple of `rows` unless it holds them all
    rows:   queries whose scores are computed together
    pairs:  queries, keys and values are bfloat16 and multiplied in pairs; the depth is even
    """

    lead: tuple[int, ...]
    queries: int
    keys: int
    depth: int
    width: int
    scale: float
    causal: bool
    chunk: int
    rows: int
    vectors: int
    q: Rows
    k: Rows
    v: Rows
    out: Rows
    mask: Rows | None = None
    pairs: bool = False

    @property
    def steps(self) -> int:
        """k-steps of a score."""
        return self.depth // 2 if self.pairs else self.depth

    @property
    def parts(self) -> int:
        return -(-self.queries // self.chunk)

    @property
    def units(self) -> int:
        heads = 1
        for extent in self.lead:
            heads *= extent
        return heads * self.parts

    def padded(self, lanes: int) -> int:
        """Keys, rounded up to whole vectors."""
        return -(-self.keys // lanes) * lanes

    def scratch_bytes(self, lanes: int) -> int:
        shared = 4 * (self.steps + self.rows) * self.padded(lanes) + 64 * lanes
        if not self.pairs:
            return shared
        values = 4 * -(-self.keys // 2) * -(-self.width // lanes) * lanes
        return shared + 2 * self.rows * self.padded(lanes) + values


def write(target: Target, symbol: str, spec: AttentionSpec) -> str:
    """LLVM IR; the pointer table is q, k, v, mask if there is one, out."""
    return _Writer(target, spec).write(symbol)


class _Writer:
    def __init__(self, target: Target, spec: AttentionSpec) -> None:
        self.target, self.spec = target, spec
        self.b = Builder()
        self.vector = Vector.of(target)
        self.lanes = target.lanes
        self.padded = spec.padded(target.lanes)
        self.scores = self.weights = self.values = ""

    def write(self, symbol: str) -> str:
        b, spec = self.b, self.spec
        operands = [spec.q, spec.k, spec.v, *([spec.mask] if spec.mask else []), spec.out]
        bases = [b.load("ptr", b.offset("%args", 8 * i), 8) for i in range(len(operands))]
        with b.loop("%begin", "%end", hint="unit") as unit:
            head = b.let(f"udiv i64 {unit}, {spec.parts}")
            part = b.let(f"urem i64 {unit}, {spec.parts}")
            heads = self._head_pointers(bases, operands, head)
            self.scores = b.offset("%scratch", 4 * spec.steps * self.padded)
            self._transpose_keys(heads[1])
            if spec.pairs:
                self.weights = b.offset(self.scores, 4 * spec.rows * self.padded)
                self.values = b.offset(self.weights, 2 * spec.rows * self.padded)
                self._interleave_values(heads[2])
            self._queries(heads, part)
        b.do("ret void")
        return function(self.target, symbol, b)

    def _head_pointers(
        self, bases: Sequence[str], operands: Sequence[Rows], head: str
    ) -> list[str]:
        """Each operand at this unit's leading indices."""
        b = self.b
        indices: list[str] = []
        rest = head
        for extent in reversed(self.spec.lead):
            indices.insert(0, b.let(f"urem i64 {rest}, {extent}"))
            rest = b.let(f"udiv i64 {rest}, {extent}")
        result = []
        for base, operand in zip(bases, operands, strict=True):
            for index, stride in zip(indices, operand.lead, strict=True):
                if stride:
                    base = b.offset(base, b.let(f"mul i64 {index}, {stride}"))
            result.append(base)
        return result

    # Keys

    def _transpose_keys(self, keys: str) -> None:
        """KT[d, n] = k[n, d], a square of vectors at a time; columns past the keys are zero."""
        whole = self.spec.keys // self.lanes
        with self.b.loop(0, whole, hint="block") as block:
            first = self.b.let(f"mul i64 {block}, {self.lanes}")
            self._transpose_block(keys, first, self.lanes)
        if self.spec.keys % self.lanes:
            self._transpose_block(keys, str(whole * self.lanes), self.spec.keys % self.lanes)

    def _transpose_block(self, keys: str, first: str, count: int) -> None:
        b, spec = self.b, self.spec
        source = b.offset(keys, b.let(f"mul i64 {first}, {spec.k.row}"))
        target = b.offset("%scratch", b.let(f"mul i64 {first}, 4"))
        whole, rest = divmod(spec.steps, self.lanes)
        with b.loop(0, whole, hint="d") as step:
            d = b.let(f"mul i64 {step}, {self.lanes}")
            self._square(source, target, d, count, self.lanes)
        if rest:
            self._square(source, target, str(whole * self.lanes), count, rest)

    def _square(self, source: str, target: str, d: str, count: int, depth: int) -> None:
        b = self.b
        dtype = f32 if self.spec.pairs else self.spec.k.dtype  # a pair moves like a float32
        place = b.offset(source, b.let(f"mul i64 {d}, {dtype.bytes}"))
        rows = []
        for n in range(self.lanes):
            pointer = b.offset(place, n * self.spec.k.row)
            if n >= count:
                rows.append("zeroinitializer")
            else:
                rows.append(self.vector.load(b, pointer, dtype, depth))
        rows = transpose(b, rows, self.vector.kind)
        out = b.offset(target, b.let(f"mul i64 {d}, {4 * self.padded}"))
        for i in range(depth):
            self.vector.store(b, rows[i], b.offset(out, i * 4 * self.padded))

    # Values

    def _interleave_values(self, v: str) -> None:
        """values[n / 2, column] = the pair v[n, column], v[n + 1, column]; zero past the keys."""
        b, spec = self.b, self.spec
        with b.loop(0, spec.keys // 2, hint="pair") as pair:
            self._interleave(v, pair, 2)
        if spec.keys % 2:
            self._interleave(v, str(spec.keys // 2), 1)

    def _interleave(self, v: str, pair: str, rows: int) -> None:
        b, spec, lanes = self.b, self.spec, self.lanes
        dtype, vectors = spec.v.dtype, -(-spec.width // self.lanes)
        source = b.offset(v, b.let(f"mul i64 {pair}, {2 * spec.v.row}"))
        place = b.offset(self.values, b.let(f"mul i64 {pair}, {4 * vectors * lanes}"))
        for n in range(vectors):
            count = min(lanes, spec.width - n * lanes)
            found = [""] * 2
            for row in range(rows):
                at = b.offset(source, row * spec.v.row + n * lanes * dtype.bytes)
                found[row] = self.vector.load(b, at, dtype, count)
            both = bfloat.pair(b, found[0], found[1], lanes)
            b.store(self.vector.pairs, both, b.offset(place, 4 * n * lanes), 4)

    # Queries

    def _queries(self, heads: Sequence[str], part: str) -> None:
        b, spec = self.b, self.spec
        begin = b.let(f"mul i64 {part}, {spec.chunk}")
        end = b.let(f"add i64 {begin}, {spec.chunk}")
        whole = spec.queries // spec.rows * spec.rows
        limit = b.call("i64", "llvm.smin.i64", ("i64", end), ("i64", str(whole)))
        with b.loop(begin, limit, spec.rows, hint="query") as query:
            self._rows(heads, query, spec.rows)
        rest = spec.queries - whole
        if rest:
            last = b.let(f"icmp eq i64 {part}, {spec.parts - 1}")
            some, done = b.label("rest"), b.label("done")
            b.branch_if(last, some, done)
            b.block(some)
            self._rows(heads, str(whole), rest)
            b.branch(done)
            b.block(done)

    def _rows(self, heads: Sequence[str], query: str, rows: int) -> None:
        """Outputs of `rows` queries from number `query` on."""
        b, spec = self.b, self.spec
        q = b.offset(heads[0], b.let(f"mul i64 {query}, {spec.q.row}"))
        out = b.offset(heads[-1], b.let(f"mul i64 {query}, {spec.out.row}"))
        self._score(q, rows)
        inverse = []
        for r in range(rows):
            mask = ""
            if spec.mask:
                mask = heads[3]
                if spec.mask.row:
                    number = b.let(f"add i64 {query}, {r}")
                    mask = b.offset(mask, b.let(f"mul i64 {number}, {spec.mask.row}"))
            scores = b.offset(self.scores, 4 * r * self.padded)
            weights = b.offset(self.weights, 2 * r * self.padded) if spec.pairs else ""
            inverse.append(self._softmax(scores, weights, mask, query, r))
        for first in range(0, spec.width, spec.vectors * self.lanes):
            self._weigh(heads[2], out, first, rows, inverse)

    def _score(self, q: str, rows: int) -> None:
        """scores[row, n] = q[row] . KT[:, n]"""
        b, panel = self.b, self.spec.vectors * self.lanes
        whole = self.padded // panel
        with b.loop(0, whole, hint="panel") as number:
            n = b.let(f"mul i64 {number}, {4 * panel}")
            self._score_panel(q, n, rows, self.spec.vectors)
        rest = (self.padded - whole * panel) // self.lanes
        if rest:
            self._score_panel(q, str(4 * whole * panel), rows, rest)

    def _score_panel(self, q: str, n: str, rows: int, vectors: int) -> None:
        b, spec, depth = self.b, self.spec, self.spec.steps
        unroll = next(u for u in (4, 2, 1) if depth % u == 0)
        x = spec.q.dtype
        step = 4 if spec.pairs else x.bytes
        steps = Steps(self.vector, vectors, step, 4 * self.padded, unroll, x=x, pairs=spec.pairs)
        acc = ["zeroinitializer"] * (rows * vectors)
        lines = [(r, q, r * spec.q.row) for r in range(rows)]
        acc = accumulate(b, steps, acc, lines, b.offset("%scratch", n), depth)
        target = b.offset(self.scores, n)
        for r in range(rows):
            for i in range(vectors):
                place = b.offset(target, 4 * r * self.padded + i * self.vector.bytes)
                self.vector.store(b, acc[r * vectors + i], place)

    def _softmax(self, scores: str, weights: str, mask: str, query: str, r: int) -> str:
        """Scores of one query -> exp(score - max); gives 1 / their sum in all lanes.

        weights:  where they go as bfloat16; "" for in place
        """
        b, kind = self.b, self.vector.kind
        whole = self.spec.keys // self.lanes * self.lanes
        with Carried(b, 0, whole, [kind], [f"splat (float {LOWEST})"], self.lanes) as loop:
            value = self._shaped(scores, mask, loop.counter, query, r, self.lanes)
            loop.values = [self._most(loop.values[0], value)]
        top = loop.values[0]
        if whole < self.spec.keys:
            value = self._shaped(scores, mask, str(whole), query, r, self.spec.keys - whole)
            top = self._most(top, value)
        most = b.call("float", f"llvm.vector.reduce.fmax.v{self.lanes}f32", (kind, top))
        top = b.fill("float", most, self.lanes)
        with Carried(b, 0, self.padded, [kind], ["zeroinitializer"], self.lanes) as loop:
            place = b.offset(scores, b.let(f"mul i64 {loop.counter}, 4"))
            value = b.let(f"fsub {kind} {self.vector.load(b, place)}, {top}")
            value = scalar.emit(b, "exp", [value], kind, self.target)
            if weights:
                place = b.offset(weights, b.let(f"mul i64 {loop.counter}, 2"))
            self.vector.store(b, value, place, bf16 if weights else f32)
            loop.values = [b.let(f"fadd {kind} {loop.values[0]}, {value}")]
        total = b.call(
            "float", f"llvm.vector.reduce.fadd.v{self.lanes}f32",
            ("float", float_literal(0.0)), (kind, loop.values[0]), flags="reassoc",
        )  # fmt: skip
        return b.fill("float", b.let(f"fdiv float {float_literal(1.0)}, {total}"), self.lanes)

    def _most(self, a: str, b: str) -> str:
        kind = self.vector.kind
        return self.b.call(kind, f"llvm.maxnum.v{self.lanes}f32", (kind, a), (kind, b))

    def _shaped(self, scores: str, mask: str, n: str, query: str, r: int, count: int) -> str:
        """Scale and mask one vector of scores, and write it back; lanes past count get -inf."""
        b, kind, spec = self.b, self.vector.kind, self.spec
        place = b.offset(scores, b.let(f"mul i64 {n}, 4"))
        scale = f"splat (float {float_literal(spec.scale)})"
        value = b.let(f"fmul {kind} {self.vector.load(b, place)}, {scale}")
        if mask:
            value = b.let(f"fadd {kind} {value}, {self._mask(mask, n, count)}")
        lowest = f"splat (float {LOWEST})"
        if spec.causal:
            seen = f"<{self.lanes} x i1> {self._seen(n, query, r)}"
            value = b.let(f"select {seen}, {kind} {value}, {kind} {lowest}")
        if count < self.lanes:
            lanes = self.vector.mask(count)
            value = b.let(f"select <{self.lanes} x i1> {lanes}, {kind} {value}, {kind} {lowest}")
        self.vector.store(b, value, place)
        return value

    def _mask(self, mask: str, n: str, count: int) -> str:
        assert self.spec.mask
        dtype = self.spec.mask.dtype
        if not self.spec.mask.column:
            return self.vector.broadcast(self.b, mask, dtype)
        place = self.b.offset(mask, self.b.let(f"mul i64 {n}, {dtype.bytes}"))
        return self.vector.load(self.b, place, dtype, count)

    def _seen(self, n: str, query: str, r: int) -> str:
        """Lanes whose key is not behind query + r."""
        b, kind = self.b, f"<{self.lanes} x i64>"
        steps = "<" + ", ".join(f"i64 {i}" for i in range(self.lanes)) + ">"
        ahead = b.let(f"sub i64 {query}, {n}")
        ahead = b.let(f"add i64 {ahead}, {r}")
        return b.let(f"icmp sle {kind} {steps}, {b.fill('i64', ahead, self.lanes)}")

    def _weigh(self, v: str, out: str, first: int, rows: int, inverse: Sequence[str]) -> None:
        """out[row, first:] = scores[row] . v[:, first:] / sum"""
        b, spec = self.b, self.spec
        columns = min(spec.vectors * self.lanes, spec.width - first)
        vectors = -(-columns // self.lanes)
        masked = columns % self.lanes
        acc = ["zeroinitializer"] * (rows * vectors)
        total, x, far, row = spec.keys, self.scores, 4 * self.padded, spec.v.row
        source = b.offset(v, spec.v.dtype.bytes * first)
        steps = Steps(self.vector, vectors, 4, row, 4, masked, weights=spec.v.dtype)
        if spec.pairs:
            total, x, far = -(-spec.keys // 2), self.weights, 2 * self.padded
            row = 4 * -(-spec.width // self.lanes) * self.lanes
            source = b.offset(self.values, 4 * first)
            steps = Steps(self.vector, vectors, 4, row, 4, pairs=True)
        out_dtype = spec.out.dtype
        done = 0
        for unroll in (4, 1):
            count = (total - done) // unroll * unroll
            if count:
                start = b.offset(x, 4 * done)
                lines = [(r, start, far * r) for r in range(rows)]
                shape = replace(steps, unroll=unroll)
                acc = accumulate(b, shape, acc, lines, b.offset(source, done * row), count)
            done += count
        for r in range(rows):
            for i in range(vectors):
                value = b.let(f"fmul {self.vector.kind} {acc[r * vectors + i]}, {inverse[r]}")
                along = out_dtype.bytes * (first + i * self.lanes)
                place = b.offset(out, r * spec.out.row + along)
                count = masked if i == vectors - 1 else 0
                self.vector.store(b, value, place, out_dtype, count)
