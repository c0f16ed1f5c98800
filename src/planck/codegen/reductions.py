"""Reductions: lanes along the reduced elements, or each lane an output of its own.

Several accumulators hide the latency of one and keep float sums close to pairwise summation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from planck.codegen import memory, scalar
from planck.codegen.lanes import Lanes, splat
from planck.codegen.llvm import Builder
from planck.codegen.memory import lanes_of, register
from planck.codegen.values import Values
from planck.dtypes import DType, f32
from planck.loops.limits import Limited, limited
from planck.loops.lower import inner_vector
from planck.loops.terms import Term, walk
from planck.target import Target

ACCUMULATORS: Final = 4
# Functions of float32 whose steps wait for each other, and how many vectors of them fit registers.
# A processor looks ahead over so few instructions that it finds little of the next vector; what it
# then takes for each vector, over what one at a time takes (Zen 1: exp 1.67, 1.48, 1.33 ms).
_CHAINED: Final = dict.fromkeys(
    ("exp", "log", "tanh", "erf", "sigmoid", "silu", "swish", "gelu", "gelu_tanh", "mish",
     "softplus", "elu", "selu", "celu"), 4,
) | dict.fromkeys(("sin", "cos", "pow"), 2)  # fmt: skip
_CHAIN_COST: Final = {1: 1.0, 2: 0.87, 4: 0.77}
_CHAINS_PAY: Final = ("avx2", "portable")  # with AVX-512 it is not known yet
# Steps up to which lanes along a reduction gain nothing where their ends depend on the place.
WINDOW: Final = 64
_JOIN: Final = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


def reduction(e: Values, term: Term) -> str:
    """The value of a reduction, written where the emitter stands."""
    kind, over = term.what
    lanes_outside = e.is_vector(term)
    inner = None if lanes_outside else inner_vector(term)
    limits = _limits(e, term, inner)
    if inner is not None and inner[0] in limits.ends:
        inner = None
    lanes = 1
    if inner is not None:
        lanes = min(e.target.lanes, 1 << (max(inner[1], 1).bit_length() - 1))
        own = [t for t in walk(term.args) if inner[0] in t.free]
        if not term.what[0].startswith("arg") and lanes == e.target.lanes:
            lanes *= chains(own, inner[1], e.target)
        over = (*(o for o in over if o[0] != inner[0]), inner)
    make = _Best if kind.startswith("arg") else _Fold
    if lanes_outside:
        return make(e, term, over, e.lanes, limits).run()
    with e.vectorised(inner[0] if inner else None, lanes), e.scope():
        before, e.mask = e.mask, None
        result = make(e, term, over, lanes, limits).run()
        e.mask = before
    return result


def chains(terms: Sequence[Term], extent: int, target: Target) -> int:
    """How many vectors of so many elements are best written together: 1, 2 or 4.

    terms:  what is computed for each element
    """
    if target.isa not in _CHAINS_PAY:
        return 1
    slow = [t for t in terms if t.kind == "apply" and t.what in _CHAINED and t.dtype is f32]
    most = min((_CHAINED[t.what] for t in slow), default=1)

    def cost(count: int) -> float:
        return _CHAIN_COST[count] * -(-extent // (count * target.lanes)) * count

    counts = [c for c in _CHAIN_COST if c <= most and c * target.lanes <= extent]
    return min(counts, key=cost, default=1)


def _limits(e: Values, term: Term, inner: tuple[str, int] | None) -> Limited:
    """What is reduced, and over which steps; all, where lanes lie along many of them."""
    kind = term.what[0]
    kept = e.keep is not None and e.keep.reduction is term
    if kind.startswith("arg") or kept:
        return Limited(term.args[0], {})
    long = math.prod(n for _, n in term.what[1]) > WINDOW
    wide = {inner[0]} if inner is not None and long else set()

    def outside(part: Term) -> bool:
        return not e.is_vector(part) and part.free <= e.open

    return limited(e.pool, term, _neutral(kind, term.args[0].dtype), outside, wide)


@dataclass
class _Step:
    """One place of the innermost loop: its variable's value, and how many first lanes to skip."""

    at: str
    skip: int = 0


class _Loops:
    """The loops of a reduction; subclasses say what happens in each step."""

    parallel = ACCUMULATORS

    def __init__(
        self, e: Values, term: Term, over: Sequence[tuple[str, int]], lanes: int, limits: Limited
    ) -> None:
        self.e, self.term, self.over, self.lanes = e, term, list(over), lanes
        self.reduced, self.ends = limits.value, limits.ends
        self.inside = e.vector is not None and e.vector == over[-1][0]  # lanes along the reduction
        self.kind: str = term.what[0]
        self.dtype: DType = term.args[0].dtype
        self.scalar = register(self.dtype)
        self.type = lanes_of(self.scalar, lanes)
        self.used = 1

    def update(self, slot: int, step: _Step) -> None:
        raise NotImplementedError

    def walk(self) -> None:
        """All steps, through loops with as many accumulators as pay."""
        e, b = self.e, self.e.b
        extent = self.over[-1][1]
        width = self.lanes if self.inside else 1
        steps = extent // width
        wide = self.lanes > e.target.lanes  # several registers make a vector: enough at once
        name = self.over[-1][0]
        self.used = 1 if wide or name in self.ends else max(1, min(self.parallel, steps))
        main = steps // self.used * self.used
        e.hoist([self.reduced])
        with ExitStack() as stack:
            for outer, n in self.over[:-1]:
                at = stack.enter_context(b.loop(*self._ends(outer, n)))
                stack.enter_context(e.scope(**{outer: at}))
                e.hoist([self.reduced])
            if name in self.ends:
                with b.loop(*self._ends(name, extent)) as i:
                    self.update(0, _Step(i))
                return
            if main == self.used:
                self._steps(0, main, width)
            elif main:
                with b.loop(0, main * width, self.used * width) as i:
                    for slot in range(self.used):
                        at = b.let(f"add nsw i64 {i}, {slot * width}") if slot else i
                        self.update(slot, _Step(at))
            self._steps(main, steps, width)
            if extent % width:
                self.update(0, _Step(str(extent - width), width - extent % width))

    def _ends(self, name: str, extent: int) -> tuple[str, str]:
        """Where one of the loops begins and ends."""
        if name not in self.ends:
            return "0", str(extent)
        low, high = self.ends[name]
        return self.e.value(low), self.e.value(high)

    def _steps(self, begin: int, end: int, width: int) -> None:
        for k in range(begin, end):
            self.update(k - begin, _Step(str(k * width)))

    def _value(self, term: Term) -> str:
        return self.e.lanes_value(term) if self.lanes > 1 else self.e.value(term)

    def valid(self, step: _Step) -> str:
        """i1 lanes: those of a step that were not counted before."""
        lanes = ", ".join(f"i1 {str(k >= step.skip).lower()}" for k in range(self.lanes))
        return f"<{lanes}>"


class _Fold(_Loops):
    """sum, prod, max, min, any, all."""

    def run(self) -> str:
        e, b = self.e, self.e.b
        self.slots = [_slot(e, self.type) for _ in range(self.parallel)]
        self.neutral = splat(self.type, _neutral(self.kind, self.dtype))
        for slot in self.slots:
            b.store(self.type, self.neutral, slot, 4)
        self.walk()
        values = [b.load(self.type, slot, 4) for slot in self.slots[: self.used]]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            odd = values[-1:] if len(values) % 2 else []
            values = [self._join(x, y, self.type) for x, y in pairs] + odd
        return self._fold(values[0]) if self.inside and self.lanes > 1 else values[0]

    def update(self, slot: int, step: _Step) -> None:
        e, b = self.e, self.e.b
        value_term = self.reduced
        name = self.over[-1][0]
        with e.scope(**{name: step.at}):
            old = b.load(self.type, self.slots[slot], 4)
            product = value_term.kind == "apply" and value_term.what == "mul"
            if self.kind == "sum" and product and self.dtype.is_float and not step.skip:
                v = Lanes(b, self.type, e.target)
                x, y = map(self._value, value_term.args)
                new = v.fma(x, y, old)
            else:
                value = self._value(value_term)
                if step.skip:
                    keep = self.valid(step)
                    value = b.let(
                        f"select {lanes_of('i1', self.lanes)} {keep}, {self.type} {value},"
                        f" {self.type} {self.neutral}"
                    )
                new = self._join(old, value, self.type)
            b.store(self.type, new, self.slots[slot], 4)
            if e.keep is not None and e.keep.reduction is self.term:
                self._keep(e.keep.value, step)

    def _keep(self, term: Term, step: _Step) -> None:
        e, dtype = self.e, term.dtype
        at = step.at
        if not self.inside and self.lanes > 1:
            at = e.b.let(f"mul nsw i64 {at}, {self.lanes}")
        memory.write(e.b, self._value(term), "%scratch", at, dtype, self.lanes, e.target)

    def _join(self, x: str, y: str, kind: str) -> str:
        window = bool(self.ends) or len(self.over) > 1
        if window and self.kind in ("max", "min") and self.dtype.is_float:
            return extreme(self.e.b, f"{self.kind}imum", x, y, kind)
        unsigned = self.dtype.kind == "u"
        return scalar.emit(self.e.b, _JOIN[self.kind], [x, y], kind, self.e.target, unsigned)

    def _fold(self, value: str) -> str:
        """Lanes into one, halving."""
        return fold(
            self.e, value, self.scalar, self.lanes, lambda x, y, kind: self._join(x, y, kind)
        )


def fold(
    e: Values, value: str, scalar_kind: str, count: int, join: Callable[[str, str, str], str]
) -> str:
    """The join of all lanes."""
    b = e.b
    while count > 1:
        have, half = lanes_of(scalar_kind, count), count // 2
        sides = []
        for first in (0, half):
            if half == 1:
                sides.append(b.let(f"extractelement {have} {value}, i64 {first}"))
                continue
            order = ", ".join(f"i32 {first + k}" for k in range(half))
            sides.append(
                b.let(f"shufflevector {have} {value}, {have} poison, <{half} x i32> <{order}>")
            )
        value = join(sides[0], sides[1], lanes_of(scalar_kind, half))
        count = half
    return value


def extreme(b: Builder, name: str, x: str, y: str, kind: str) -> str:
    """The maximum or minimum, NaN where either is; of zeros any. Three instructions: LLVM makes
    four of a comparison and two selects, and waits longer for them."""
    count, _, scalar_kind = kind.strip("<>").rpartition(" x ")
    suffix = (f"v{count}" if count else "") + {"float": "f32", "double": "f64"}[scalar_kind]
    function = f"@llvm.{name}.{suffix}"
    b.declarations.add(f"declare {kind} {function}({kind}, {kind})")
    return b.let(f"call nsz {kind} {function}({kind} {x}, {kind} {y})")


class _Best(_Loops):
    """argmax and argmin: the extreme and where it stands, NaN being the most extreme of all."""

    parallel = 1

    def run(self) -> str:
        e, b = self.e, self.e.b
        self.last = self.kind.endswith("last")
        self.extreme = "max" if "max" in self.kind else "min"
        # Positions as i32: elements that one reduction runs over are never that many.
        self.at_type = lanes_of("i32", self.lanes)
        self.best, self.place = _slot(e, self.type), _slot(e, self.at_type)
        worst = splat(self.type, _neutral(self.extreme, self.dtype))
        b.store(self.type, worst, self.best, 4)
        ramp = ", ".join(f"i32 {k}" for k in range(self.lanes))
        start = f"<{ramp}>" if self.inside and self.lanes > 1 else splat(self.at_type, 0)
        b.store(self.at_type, start, self.place, 4)
        self.walk()
        best, place = b.load(self.type, self.best, 4), b.load(self.at_type, self.place, 4)
        if self.inside and self.lanes > 1:
            return b.let(f"sext i32 {self._fold(best, place)} to i64")
        return b.let(f"sext {self.at_type} {place} to {lanes_of('i64', self.lanes)}")

    def update(self, slot: int, step: _Step) -> None:
        e, b = self.e, self.e.b
        with e.scope(**{self.over[-1][0]: step.at}):
            value = self._value(self.reduced)
            position = self._position()
            old, place = b.load(self.type, self.best, 4), b.load(self.at_type, self.place, 4)
            better = self._better(value, old)
            if step.skip:
                better = b.let(f"and {lanes_of('i1', self.lanes)} {better}, {self.valid(step)}")
            v, at = self._on(self.type), self._on(self.at_type)
            b.store(self.type, v.select(better, value, old), self.best, 4)
            b.store(self.at_type, at.select(better, position, place), self.place, 4)

    def _on(self, kind: str) -> Lanes:
        return Lanes(self.e.b, kind, self.e.target, self.dtype.kind == "u")

    def _position(self) -> str:
        pool, total = self.e.pool, self.e.pool.integer(0)
        order: Sequence[tuple[str, int]] = self.term.what[1]
        for name, extent in order:
            total = pool.add(pool.scale(total, extent), pool.index(name, extent))
        if self.lanes > 1:
            return self.e.whole_lanes(total, 32)
        value = self.e.value(total)
        return self.e.b.let(f"trunc i64 {value} to i32")

    def _better(self, x: str, y: str) -> str:
        """Where x, which comes later, takes y's place."""
        v = self._on(self.type)
        test = ("g" if self.extreme == "max" else "l") + ("e" if self.last else "t")
        beats = v.compare(test, x, y)
        if not v.is_float:
            return beats
        nan = v.is_nan(x)
        return v.either(beats, nan if self.last else v.both(nan, v.compare("eq", y, y)))

    def _fold(self, best: str, place: str) -> str:
        """The position of the best of the lanes; of equals the first (last)."""
        e, unsigned = self.e, self.dtype.kind == "u"

        def join(x: str, y: str, kind: str) -> str:
            return scalar.emit(e.b, self.extreme, [x, y], kind, e.target, unsigned)

        top = e.splat(fold(e, best, self.scalar, self.lanes, join), self.scalar)
        v, at = self._on(self.type), Lanes(e.b, self.at_type, e.target)
        if v.is_float:  # where the best is NaN, the lanes that are NaN
            same, nan = v.compare("eq", best, top), v.is_nan(best)
            is_best = v.either(same, nan)
        else:
            is_best = v.compare("eq", best, top)
        never = at.c(-1 if self.last else 2**31 - 1)
        places = at.select(is_best, place, never)

        def sooner(x: str, y: str, kind: str) -> str:
            return scalar.emit(e.b, "max" if self.last else "min", [x, y], kind, e.target)

        return fold(e, places, "i32", self.lanes, sooner)


def _slot(e: Values, kind: str) -> str:
    """A stack slot, which LLVM turns into a register."""
    name = e.b.fresh("acc")
    e.b.lines.insert(0, f"  {name} = alloca {kind}, align 64")
    return name


def _neutral(kind: str, dtype: DType) -> float | int | bool:
    if kind in ("any", "all"):
        return kind == "all"
    if kind in ("sum", "prod"):
        return 1 if kind == "prod" else 0
    if dtype.is_float:
        return -math.inf if kind == "max" else math.inf
    bits = 8 * dtype.bytes
    if dtype.kind == "u":
        return 0 if kind == "max" else -1
    return -(1 << (bits - 1)) if kind == "max" else (1 << (bits - 1)) - 1
