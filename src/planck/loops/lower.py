"""From expressions to a loop nest: physical loops, linear addresses, and which loop the lanes take.

Each output is walked in the order in which it lies in memory. Loops that address arithmetic divides
are split, loops that every operand walks without a gap are merged, loops that a reduction depends
on go outside, and one loop becomes the vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planck.dtypes import DType, bool_, i64
from planck.loops.build import axis
from planck.loops.expr import Apply, Cast, Const, Expr, Index, Load, Reduce, Select
from planck.loops.terms import Pool, Term, factor_of, split, walk
from planck.refusal import No

# Pointwise functions that take much longer than the access to an operand.
EXPENSIVE = frozenset(
    [
        "exp", "log", "tanh", "erf", "sigmoid", "silu", "swish", "gelu", "gelu_tanh", "mish", "pow",
        "softplus", "elu", "selu", "celu", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh", "asinh", "acosh", "atanh", "fmod", "mod", "sqrt", "rsqrt", "div", "reciprocal",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Buffer:
    """How an operand lies in memory.

    dims:     logical extents
    block:    0, or the length of channel blocks: physical extents are [N, C/block, *S, block]
    strides:  in elements, one for each physical extent
    """

    dims: tuple[int, ...]
    dtype: DType
    block: int
    strides: tuple[int, ...]

    @property
    def physical(self) -> tuple[int, ...]:
        if not self.block:
            return self.dims
        n, c, *spatial = self.dims
        return (n, -(-c // self.block), *spatial, self.block)


@dataclass(frozen=True, slots=True)
class Store:
    """One output: `value` goes to the element at `offset`."""

    operand: str
    offset: Term
    value: Term
    dtype: DType


@dataclass(frozen=True, slots=True)
class Keep:
    """A row that a reduction leaves in scratch: `value`, at each step of its only loop.

    steps:  of that loop; wide: each step leaves a vector, as each lane is a reduction of its own
    """

    reduction: Term
    value: Term
    steps: int
    wide: bool


@dataclass(frozen=True, slots=True)
class Nest:
    """Loops around stores.

    loops:   (variable, extent), outermost first
    guard:   a condition outside which nothing need be right (padding lanes), or None;
             partial: outside which nothing may be stored
    vector:  the loop whose steps are lanes; across: the loop along which operands are contiguous
             that `vector` strides over, so that tiles are transposed in registers
    shared:  the innermost loop, if its steps read at places that they share
    """

    pool: Pool
    loops: tuple[tuple[str, int], ...]
    stores: tuple[Store, ...]
    guard: Term | None = None
    vector: str | None = None
    across: str | None = None
    keep: Keep | None = None
    partial: bool = False
    shared: str | None = None

    @property
    def roots(self) -> list[Term]:
        guard = [self.guard] if self.guard is not None else []
        return [t for s in self.stores for t in (s.value, s.offset)] + guard

    def extent(self, name: str) -> int:
        return dict(self.loops)[name]


def lower(outputs: Mapping[str, Expr], buffers: Mapping[str, Buffer], lanes: int) -> list[Nest]:
    """Loop nests for expressions over Index(axis(k)): one for all outputs of equal layout.

    lanes:  of a vector: what is worth being one
    """
    groups: dict[object, list[str]] = {}
    for name in outputs:
        buffer = buffers[name]
        groups.setdefault((buffer.dims, buffer.block), []).append(name)
    return [
        _schedule(_lowered({n: outputs[n] for n in names}, buffers), lanes)
        for names in groups.values()
    ]


def _lowered(outputs: Mapping[str, Expr], buffers: Mapping[str, Buffer]) -> Nest:
    pool = Pool()
    like = buffers[next(iter(outputs))]
    block = like.block or _uneven(like, buffers)
    walked = replace(like, block=block)
    loops = tuple((f"d{k}", n) for k, n in enumerate(walked.physical))
    variables = [pool.index(name, n) for name, n in loops]
    index = list(variables)
    guard = None
    if block:
        channel = pool.add(pool.scale(variables[1], block), variables[-1])
        index = [variables[0], channel, *variables[2:-1]]
        guard = pool.apply("less", (channel, pool.integer(like.dims[1])), bool_)
        guard = None if guard.kind == "const" else guard
    lowering = _Lowering(pool, buffers, {axis(k): t for k, t in enumerate(index)})
    stores = []
    for name, expr in outputs.items():
        buffer = buffers[name]
        place = variables if buffer.block else index
        offset = lowering.linear(place, buffer.strides)
        stores.append(Store(name, offset, lowering.term(expr), buffer.dtype))
    used = tuple((name, n) for name, n in loops if n != 1)
    return Nest(pool, used, tuple(stores), guard, partial=guard is not None and not like.block)


def _uneven(output: Buffer, buffers: Mapping[str, Buffer]) -> int:
    """The block to walk a row-major output in, where its channels fill the blocks of an operand
    in part: the last block then has fewer steps, and no address needs a division."""
    if len(output.dims) < 3 or math.prod(output.dims[2:]) < 2:
        return 0
    for buffer in buffers.values():
        if buffer.block and buffer.dims == output.dims and output.dims[1] % buffer.block:
            return buffer.block
    return 0


class _Lowering:
    """Expr -> Term; loads get linear offsets."""

    def __init__(self, pool: Pool, buffers: Mapping[str, Buffer], bind: Mapping[str, Term]) -> None:
        self.pool, self.buffers, self.bind = pool, buffers, bind
        self.known: dict[int, tuple[Expr, Term]] = {}

    def term(self, expr: Expr) -> Term:
        found = self.known.get(id(expr))
        if found is None:
            found = (expr, self._make(expr))
            self.known[id(expr)] = found
        return found[1]

    def _make(self, expr: Expr) -> Term:
        pool = self.pool
        match expr:
            case Const(value, dtype):
                return pool.const(value, dtype)
            case Index(name, extent):
                return self.bind.get(name) or pool.index(f"{name}.{extent}", extent)
            case Apply(fn, args, dtype):
                return pool.apply(fn, tuple(map(self.term, args)), dtype)
            case Cast(value, dtype):
                return pool.cast(self.term(value), dtype)
            case Select(condition, then, other):
                return pool.select(self.term(condition), self.term(then), self.term(other))
            case Reduce(kind, over, value, dtype):
                names = tuple((f"{v.name}.{v.extent}", v.extent) for v in over if v.extent != 1)
                if names:
                    return pool.reduce(kind, names, self.term(value), dtype)
                return pool.integer(0) if kind.startswith("arg") else self.term(value)
            case Load(operand, index, dtype):
                return self._load(operand, [self.term(i) for i in index], dtype)

    def _load(self, operand: str, index: list[Term], dtype: DType) -> Term:
        buffer = self.buffers[operand]
        clamped = [self._clamped(buffer, k, i) for k, i in enumerate(index)]
        offset = self._offset(buffer, index)
        safe = offset if clamped == index else self._offset(buffer, clamped)
        return self.pool.load(operand, offset, safe, dtype)

    def _clamped(self, buffer: Buffer, k: int, index: Term) -> Term:
        """The index kept in what the operand has, which includes the padding of its blocks."""
        extent = buffer.dims[k]
        if buffer.block and k == 1:
            extent = -(-extent // buffer.block) * buffer.block
        index = self.pool.cast(index, i64)
        index = self.pool.apply("max", (index, self.pool.integer(0)), i64)
        return self.pool.apply("min", (index, self.pool.integer(extent - 1)), i64)

    def _offset(self, buffer: Buffer, index: Sequence[Term]) -> Term:
        pool = self.pool
        index = [pool.cast(i, i64) for i in index]
        if buffer.block:
            outer = pool.floordiv(index[1], buffer.block)
            inner = pool.mod(index[1], buffer.block)
            index = [index[0], outer, *index[2:], inner]
        return self.linear(index, buffer.strides)

    def linear(self, index: Sequence[Term], strides: Sequence[int]) -> Term:
        total = self.pool.integer(0)
        for i, stride in zip(index, strides, strict=True):
            total = self.pool.add(total, self.pool.scale(i, stride))
        return total


def term_of(expr: Expr, pool: Pool, bind: Mapping[str, Term]) -> Term:
    """Index arithmetic as a term; bind: what variables stand for."""
    return _Lowering(pool, {}, bind).term(expr)


# Scheduling


def _schedule(nest: Nest, lanes: int) -> Nest:
    nest = _merge(_split(nest))
    nest = _order(nest)
    return _vectorise(nest, lanes)


def rebound(
    nest: Nest,
    bind: Mapping[str, Term],
    loops: Iterable[tuple[str, int]],
) -> Nest:
    """The nest with other loops, and terms of their variables in the place of some."""
    memo: dict[Term, Term] = {}
    pool = nest.pool
    stores = tuple(
        replace(
            s, offset=pool.replace(s.offset, bind, memo), value=pool.replace(s.value, bind, memo)
        )
        for s in nest.stores
    )
    guard = None if nest.guard is None else pool.replace(nest.guard, bind, memo)
    return replace(nest, stores=stores, guard=guard, loops=tuple(loops))


def _split(nest: Nest) -> Nest:
    """i // 4 and i % 4 become two loops where 4 divides i's extent."""
    for _ in range(16):
        found = _divided(nest)
        if found is None:
            return nest
        name, extent, by = found
        outer, inner = f"{name}o", f"{name}i"
        pool = nest.pool
        sum_ = pool.add(pool.scale(pool.index(outer, extent // by), by), pool.index(inner, by))
        loops: list[tuple[str, int]] = []
        for own, n in nest.loops:
            loops.extend([(outer, n // by), (inner, by)] if own == name else [(own, n)])
        nest = rebound(nest, {name: sum_}, loops)
    return nest


def _divided(nest: Nest) -> tuple[str, int, int] | None:
    for term in walk(nest.roots):
        if term.kind != "apply" or term.what not in ("floordiv", "mod"):
            continue
        value, by = term.args
        if value.kind == "index" and by.kind == "const" and value.high is not None:
            extent = value.high + 1
            if 1 < by.what < extent and extent % by.what == 0:
                return value.what, extent, by.what
    return None


def _merge(nest: Nest) -> Nest:
    """Two loops become one where every address moves by whole rows of the inner one."""
    while True:
        sites = _sites(nest)
        pair = _mergeable(nest, sites)
        if pair is None:
            return nest
        (outer, n), (inner, m) = pair
        name = f"{outer}_{inner}"
        bind = {outer: nest.pool.integer(0), inner: nest.pool.index(name, n * m)}
        loops = [
            (name, n * m) if own == inner else (own, extent)
            for own, extent in nest.loops
            if own != outer
        ]
        nest = rebound(nest, bind, loops)


def _sites(nest: Nest) -> list[dict[str, int]]:
    """The factors of the variables wherever a sum of them is used."""
    sums = {t for t in nest.roots if t.kind in ("affine", "index")}
    for term in walk(nest.roots):
        if term.kind != "affine":
            sums.update(a for a in term.args if a.kind in ("affine", "index"))
    return [{a.what: f for a, f in split(t)[0].items() if a.kind == "index"} for t in sums]


def _mergeable(
    nest: Nest, sites: list[dict[str, int]]
) -> tuple[tuple[str, int], tuple[str, int]] | None:
    groups: list[tuple[tuple[str, int], ...]] = [nest.loops]
    bound: list[set[str]] = []
    for term in walk(nest.roots):
        if term.kind == "reduce":
            groups.append(term.what[1])
            bound.append({name for name, _ in term.what[1]})
    for group in groups:
        for k, outer in enumerate(group):
            for inner in group[k + 1 :]:
                if group is not nest.loops and inner is not group[group.index(outer) + 1]:
                    continue  # a reduction's order of elements is kept
                together = all((outer[0] in b) == (inner[0] in b) for b in bound)
                if together and all(
                    s.get(outer[0], 0) == inner[1] * s.get(inner[0], 0) for s in sites
                ):
                    return outer, inner
    return None


def _order(nest: Nest) -> Nest:
    """Loops that reductions depend on go outside: each then runs once for each of its values."""
    reductions = [t for t in walk([s.value for s in nest.stores]) if t.kind == "reduce"]
    uses = {name: sum(name in t.free for t in reductions) for name, _ in nest.loops}
    return replace(nest, loops=tuple(sorted(nest.loops, key=lambda loop: -uses[loop[0]])))


def _vectorise(nest: Nest, lanes: int) -> Nest:
    candidates = [
        name for name, _ in nest.loops
        if all(factor_of(s.offset, name) == 1 for s in nest.stores)
    ]  # fmt: skip
    if not candidates:
        return nest
    vector = candidates[0]
    reductions = [t for t in walk([s.value for s in nest.stores]) if t.kind == "reduce"]
    for term in reductions:
        if vector in term.free and prefers_inner(term, vector, nest.extent(vector), lanes):
            return nest
    nest = replace(nest, vector=vector)
    if not any(vector in t.free for t in reductions):
        nest = replace(nest, across=_across(nest, vector))
    if nest.across:
        last = (nest.across, vector)
        rest = [loop for loop in nest.loops if loop[0] not in last]
        ends = [(name, nest.extent(name)) for name in last]
        nest = replace(nest, loops=(*rest, *ends))
    return nest


def _across(nest: Nest, vector: str) -> str | None:
    """The loop along which loads are contiguous that stride over the vector's loop."""
    reductions = [t for t in walk([s.value for s in nest.stores]) if t.kind == "reduce"]
    inside = {t for r in reductions for t in walk(r.args)}
    for term in walk([s.value for s in nest.stores]):
        if term.kind != "load" or term in inside:
            continue
        stride = factor_of(term.args[0], vector)
        if stride is None or stride in (0, 1, -1):
            continue
        for name, extent in nest.loops:
            contiguous = name != vector and factor_of(term.args[-1], name) == 1
            if contiguous and extent >= 4 and not any(name in r.free for r in reductions):
                return name
    return None


def prefers_inner(term: Term, outer: str, extent: int, lanes: int) -> bool:
    """Whether a reduction's lanes are better taken along what it reduces than along `outer`."""
    inner = inner_vector(term)
    if inner is None:
        return False
    return _cost(term, *inner, lanes) < _cost(term, outer, extent, lanes)


def inner_vector(term: Term) -> tuple[str, int] | None:
    """The reduced loop that most loads walk contiguously."""
    found: list[tuple[int, tuple[str, int]]] = []
    for name, extent in term.what[1]:
        if extent < 2:
            continue
        score = sum(factor_of(t.args[0], name) == 1 for t in walk(term.args) if t.kind == "load")
        strided = sum(
            factor_of(t.args[0], name) not in (0, 1) for t in walk(term.args) if t.kind == "load"
        )
        if score > strided:
            found.append((score, (name, extent)))
    return max(found, key=lambda item: item[0])[1] if found else None


def _cost(term: Term, name: str, extent: int, lanes: int) -> float:
    """Loads for one value of the reduced expression, were `name` the vector."""
    used = min(lanes, 1 << (max(extent, 1).bit_length() - 1))
    total = 0.0
    for load in walk(term.args):
        if load.kind == "load" and name in load.free:
            step = factor_of(load.args[0], name)
            reads = 1 if step in (0, 1, -1) else 2 if step == 2 else used
            total += min(reads, used)
        elif load.kind == "load":
            total += 0.5
    return total / used


def frugal(nest: Nest) -> bool | No:
    """True if nothing is computed over and over; else No with what is."""
    extents = dict(nest.loops)
    order = [name for name, _ in nest.loops]
    problem = _waste([s.value for s in nest.stores], order, extents, set())
    return No(problem) if problem else True


def _waste(
    roots: Sequence[Term], order: list[str], extents: dict[str, int], seen: set[Term]
) -> str:
    """What is executed more often than it has values, in loops `order` (outermost first)."""
    for term in walk_outside_reductions(roots):
        if term in seen or term.kind not in ("reduce", "apply"):
            continue
        if term.kind == "apply" and (term.what not in EXPENSIVE or term.dtype is i64):
            continue  # whole numbers of i64 are index arithmetic: cheap, or hoisted with its loop
        seen.add(term)
        used = [k for k, name in enumerate(order) if name in term.free]
        runs = math.prod(extents[name] for name in order[: max(used, default=-1) + 1])
        values = math.prod(extents[name] for name in order if name in term.free)
        if runs > 4 * values or (term.kind == "reduce" and runs > values):
            what = f"reduction {term.what[0]}" if term.kind == "reduce" else str(term.what)
            return f"{what} would be computed {runs // values} times for each of its values"
        if term.kind == "reduce":
            over = dict(term.what[1])
            inner = [*order[: max(used, default=-1) + 1], *over]
            problem = _waste(term.args, inner, extents | over, seen)
            if problem:
                return problem
    return ""


def walk_outside_reductions(roots: Sequence[Term]) -> list[Term]:
    """Terms below the roots, reductions included, what they reduce left out."""
    found: dict[Term, None] = {}
    stack = list(roots)
    while stack:
        term = stack.pop()
        if term not in found:
            found[term] = None
            if term.kind != "reduce":
                stack.extend(term.args)
    return list(found)
