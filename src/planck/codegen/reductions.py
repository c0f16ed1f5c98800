"""Reductions: lanes along the reduced elements, or each lane an output of its own.

Several accumulators hide the latency of one and keep float sums close to pairwise summation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from planck.codegen import scalar
from planck.codegen.lanes import Lanes, splat
from planck.codegen.memory import lanes_of, register
from planck.codegen.terms import Emitter
from planck.dtypes import DType
from planck.loops.lower import inner_vector
from planck.loops.terms import Term

ACCUMULATORS: Final = 4
_JOIN: Final = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


def reduction(e: Emitter, term: Term) -> str:
    """The value of a reduction, written where the emitter stands."""
    kind, over = term.what
    lanes_outside = e.is_vector(term)
    inner = None if lanes_outside else inner_vector(term)
    lanes = 1
    if inner is not None:
        lanes = min(e.target.lanes, 1 << (inner[1].bit_length() - 1))
        over = (*(o for o in over if o[0] != inner[0]), inner)
    make = _Best if kind.startswith("arg") else _Fold
    if lanes_outside:
        return make(e, term, over, e.lanes).run()
    with e.vectorised(inner[0] if inner else None, lanes), e.scope():
        before, e.mask = e.mask, None
        result = make(e, term, over, lanes).run()
        e.mask = before
    return result


@dataclass
class _Step:
    """One place of the innermost loop: its variable's value, and how many first lanes to skip."""

    at: str
    skip: int = 0


class _Loops:
    """The loops of a reduction; subclasses say what happens in each step."""

    parallel = ACCUMULATORS

    def __init__(self, e: Emitter, term: Term, over: Sequence[tuple[str, int]], lanes: int) -> None:
        self.e, self.term, self.over, self.lanes = e, term, list(over), lanes
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
        self.used = max(1, min(self.parallel, steps))
        main = steps // self.used * self.used
        e.hoist(self.term.args)
        with ExitStack() as stack:
            for outer, n in self.over[:-1]:
                at = stack.enter_context(b.loop(0, n))
                stack.enter_context(e.scope(**{outer: at}))
                e.hoist(self.term.args)
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

    def _steps(self, begin: int, end: int, width: int) -> None:
        for k in range(begin, end):
            self.update(k - begin, _Step(str(k * width)))

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
        (value_term,) = self.term.args
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

    def _value(self, term: Term) -> str:
        return self.e.lanes_value(term) if self.lanes > 1 else self.e.value(term)

    def _join(self, x: str, y: str, kind: str) -> str:
        unsigned = self.dtype.kind == "u"
        return scalar.emit(self.e.b, _JOIN[self.kind], [x, y], kind, self.e.target, unsigned)

    def _fold(self, value: str) -> str:
        """Lanes into one, halving."""
        return fold(
            self.e, value, self.scalar, self.lanes, lambda x, y, kind: self._join(x, y, kind)
        )


def fold(
    e: Emitter, value: str, scalar_kind: str, count: int, join: Callable[[str, str, str], str]
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


class _Best(_Loops):
    """argmax and argmin: the extreme and where it stands, NaN being the most extreme of all."""

    parallel = 1

    def run(self) -> str:
        e, b = self.e, self.e.b
        largest, self.last = "max" in self.kind, self.kind.endswith("last")
        self.extreme = "max" if largest else "min"
        self.at_type = lanes_of("i64", self.lanes)
        self.best, self.place = _slot(e, self.type), _slot(e, self.at_type)
        worst = splat(self.type, _neutral(self.extreme, self.dtype))
        b.store(self.type, worst, self.best, 4)
        ramp = ", ".join(f"i64 {k}" for k in range(self.lanes))
        start = f"<{ramp}>" if self.inside and self.lanes > 1 else splat(self.at_type, 0)
        b.store(self.at_type, start, self.place, 8)
        self.walk()
        best, place = b.load(self.type, self.best, 4), b.load(self.at_type, self.place, 8)
        return self._fold(best, place) if self.inside and self.lanes > 1 else place

    def update(self, slot: int, step: _Step) -> None:
        e, b = self.e, self.e.b
        name = self.over[-1][0]
        with e.scope(**{name: step.at}):
            value = (
                self.e.lanes_value(self.term.args[0])
                if self.lanes > 1
                else e.value(self.term.args[0])
            )
            position = self._position()
            old, place = b.load(self.type, self.best, 4), b.load(self.at_type, self.place, 8)
            better = self._better(value, old, self.type)
            if step.skip:
                better = b.let(f"and {lanes_of('i1', self.lanes)} {better}, {self.valid(step)}")
            new = self._pick(better, value, old, self.type)
            b.store(self.type, new, self.best, 4)
            b.store(self.at_type, self._pick(better, position, place, self.at_type), self.place, 8)

    def _position(self) -> str:
        pool, total = self.e.pool, self.e.pool.integer(0)
        order: Sequence[tuple[str, int]] = self.term.what[1]
        for name, extent in order:
            total = pool.add(pool.scale(total, extent), pool.index(name, extent))
        return self.e.lanes_value(total) if self.lanes > 1 else self.e.value(total)

    def _pick(self, test: str, x: str, y: str, kind: str) -> str:
        mask = "i1" if not kind.startswith("<") else lanes_of("i1", self.lanes)
        return self.e.b.let(f"select {mask} {test}, {kind} {x}, {kind} {y}")

    def _better(self, x: str, y: str, kind: str) -> str:
        """Where x, which comes later, takes y's place."""
        v = Lanes(self.e.b, kind, self.e.target, self.dtype.kind == "u")
        test = (
            ("gt" if self.extreme == "max" else "lt")
            if not self.last
            else ("ge" if self.extreme == "max" else "le")
        )
        if not v.is_float:
            return v.compare(test, x, y)
        beats = v.compare(test, x, y)
        nan, known = v.is_nan(x), v.compare("eq", y, y)
        if self.last:
            return v.either(beats, nan)
        return v.either(beats, v.both(nan, known))

    def _fold(self, best: str, place: str) -> str:
        """The best of the lanes; of equals the first (last) position."""
        e, b = self.e, self.e.b
        lanes = self.lanes
        found = [
            (b.let(f"extractelement {self.type} {best}, i64 {k}"),
             b.let(f"extractelement {self.at_type} {place}, i64 {k}"))
            for k in range(lanes)
        ]  # fmt: skip
        v = Lanes(b, self.scalar, e.target, self.dtype.kind == "u")
        at = Lanes(b, "i64", e.target)
        (x, p), rest = found[0], found[1:]
        for y, q in rest:
            beats = v.compare("gt" if self.extreme == "max" else "lt", y, x)
            same = v.compare("eq", y, x)
            if v.is_float:
                nans = v.both(v.is_nan(x), v.is_nan(y))
                beats = v.either(beats, v.both(v.is_nan(y), v.compare("eq", x, x)))
                same = v.either(same, nans)
            sooner = at.compare("gt" if self.last else "lt", q, p)
            beats = v.either(beats, v.both(same, sooner))
            x = v.select(beats, y, x)
            p = at.select(beats, q, p)
        return p


def _slot(e: Emitter, kind: str) -> str:
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
