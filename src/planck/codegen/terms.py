"""Terms -> LLVM IR: every value once, in the outermost loop that has its variables."""

from __future__ import annotations

from planck import dtypes
from planck.codegen import memory, scalar
from planck.codegen.across import Across
from planck.codegen.channel_runs import channel_run, read_run
from planck.codegen.lanes import Lanes, splat
from planck.codegen.memory import lanes_of, register
from planck.codegen.reductions import reduction
from planck.codegen.values import Values
from planck.dtypes import bool_, i64
from planck.loops.keep import KEPT
from planck.loops.terms import Term, factor_of, split

_INT32 = 1 << 31
# Functions of whole numbers that give the same in 32 bits where all values fit.
_NARROW = frozenset(("add", "sub", "mul", "floordiv", "mod", "min", "max", "select"))
_MASKABLE = {"avx512": (1, 2, 4, 8), "avx2": (4, 8)}


class Emitter(Values):
    """Writes values of terms inside the loops that are open.

    across:  loads that come from transposed tiles
    shared:  the innermost loop, if its steps share places that are computed outside of it
    """

    across: Across | None = None
    shared: str | None = None

    def value(self, term: Term) -> str:
        if term.kind == "const":
            return self._literal(term, False)
        found = self.known(term, term)
        if found is None:
            found = self.scopes[-1].known[term] = self._emit(term)
        return found

    def lanes_value(self, term: Term) -> str:
        if self.vector is None or self.is_vector(term):
            return self.value(term)
        if term.kind == "const":
            return self._literal(term, True)
        key = ("splat", self.lanes, term)
        found = self.known(key, term)
        if found is None:
            found = self.splat(self.value(term), register(term.dtype))
            self.scopes[-1].known[key] = found
        return found

    def _literal(self, term: Term, vector: bool) -> str:
        return splat(self.kind(term.dtype, vector), term.what)

    def _emit(self, term: Term) -> str:
        match term.kind:
            case "index" | "affine":
                return self.whole_lanes(term, 64) if self.is_vector(term) else self._sum(term)
            case "apply":
                return self._apply(term)
            case "cast":
                return self._cast(term)
            case "load":
                return self._load(term)
            case "select":
                return self._select(term)
        return reduction(self, term)

    # Whole numbers

    def _sum(self, term: Term) -> str:
        """Index arithmetic on scalars; outer loops' parts first, so that they leave inner loops."""
        b = self.b
        parts, constant = split(term)
        total = None if not constant else str(constant)
        depth = {name: k for k, s in enumerate(self.scopes) for name in s.variables}

        def outermost(item: tuple[Term, int]) -> int:
            return max((depth.get(name, 0) for name in item[0].free), default=0)

        for atom, factor in sorted(parts.items(), key=outermost):
            one = self.variable(atom.what) if atom.kind == "index" else self.value(atom)
            if factor != 1:
                one = b.let(f"mul nsw i64 {one}, {factor}")
            total = one if total is None else b.let(f"add nsw i64 {total}, {one}")
        return total or "0"

    def whole_lanes(self, term: Term, bits: int) -> str:
        key = ("whole", bits, term)
        found = self.known(key, term)
        if found is None:
            found = self.scopes[-1].known[key] = self._whole_lanes(term, bits)
        return found

    def _whole_lanes(self, term: Term, bits: int) -> str:
        b = self.b
        if not self.is_vector(term):
            if term.kind == "const":
                return splat(lanes_of(f"i{bits}", self.lanes), term.what)
            value = self.value(term)
            if bits == 32:
                value = b.let(f"trunc i64 {value} to i32")
            return self.splat(value, f"i{bits}")
        narrow = _fits(term) and all(_fits(a) for a in term.args if a.dtype is i64)
        width = 32 if narrow and term.kind in ("index", "affine", "apply") else 64
        kind = lanes_of(f"i{width}", self.lanes)
        v = Lanes(b, kind, self.target)
        if term.kind in ("index", "affine"):
            value = self._affine_lanes(term, v)
        elif term.kind == "apply" and width == 32 and term.what in _NARROW:
            args = [
                self.whole_lanes(a, 32) if a.dtype is i64 else self.lanes_value(a)
                for a in term.args
            ]
            value = self._small(v, term, args)
        else:
            value, width = self.value(term), 64
        if width != bits:
            name = "sext" if bits > width else "trunc"
            have, want = (lanes_of(f"i{n}", self.lanes) for n in (width, bits))
            value = b.let(f"{name} {have} {value} to {want}")
        return value

    def _affine_lanes(self, term: Term, v: Lanes) -> str:
        parts, constant = split(term)
        assert self.vector is not None
        step = 0
        base: dict[Term, int] = {}
        total: str | None = None
        for atom, factor in parts.items():
            if atom.kind == "index" and atom.what == self.vector:
                step += factor
                base[atom] = factor
            elif self.is_vector(atom):
                one = self.whole_lanes(atom, v.bits)
                one = one if factor == 1 else v.mul(one, v.c(factor))
                total = one if total is None else v.add(total, one)
            else:
                base[atom] = factor
        if base or constant:
            start = self._sum(self.pool.affine(base, constant))
            if v.bits == 32 and start.startswith("%"):
                start = self.b.let(f"trunc i64 {start} to i32")
            many = self.splat(start, v.element)
            total = many if total is None else v.add(total, many)
        if step:
            ramp = ", ".join(f"{v.element} {k * step}" for k in range(self.lanes))
            total = v.add(total or v.c(0), f"<{ramp}>")
        return total or v.c(0)

    def _small(self, v: Lanes, term: Term, args: list[str]) -> str:
        """Whole-number functions; division of what is not negative as unsigned."""
        if term.what in ("floordiv", "mod"):
            a, by = term.args
            if by.kind == "const" and by.what > 0 and a.low is not None and a.low >= 0:
                return v.let("udiv" if term.what == "floordiv" else "urem", *args)
        return scalar.emit(self.b, term.what, args, v.kind, self.target)

    # Functions

    def _apply(self, term: Term) -> str:
        vector = self.is_vector(term)
        if term.what == "div" and vector and not self.is_vector(term.args[1]):
            return self._scaled(term)
        operands = term.args[1:] if term.what == "select" else term.args
        dtype = operands[0].dtype
        if dtype is i64:
            if vector and term.dtype is i64 and term.what in _NARROW and _all_fit(term):
                return self.whole_lanes(term, 64)
            if vector and term.dtype is bool_ and _all_fit(term):
                args = [self.whole_lanes(a, 32) for a in term.args]
                kind = lanes_of("i32", self.lanes)
                return scalar.emit(self.b, term.what, args, kind, self.target)
            if not vector:
                v = Lanes(self.b, "i64", self.target)
                return self._small(v, term, [self.value(a) for a in term.args])
        args = [self.lanes_value(a) if vector else self.value(a) for a in term.args]
        unsigned = dtype.kind == "u"
        kind = self.kind(dtype, vector)
        result = scalar.emit(self.b, term.what, args, kind, self.target, unsigned)
        if dtype.is_integer and dtype.bits < 8 and term.dtype is dtype:
            return memory.cast(
                self.b, result, dtypes.i8, dtype, self.lanes if vector else 1, self.target
            )
        return result

    def _scaled(self, term: Term) -> str:
        """Lanes over one divisor: times its inverse where that is a sum, as softmax divides.

        A sum is rounded already, one more rounding is nothing to it. Any other division is exact:
        quantisation rounds its quotients to whole numbers.
        """
        x, divisor = term.args
        kind = self.kind(term.dtype, True)
        if not (term.dtype.is_float and divisor.kind == "reduce" and divisor.what[0] == "sum"):
            unsigned = term.dtype.kind == "u"
            args = [self.lanes_value(x), self.lanes_value(divisor)]
            return scalar.emit(self.b, "div", args, kind, self.target, unsigned)
        inverse = self.lanes_value(self.pool.apply("reciprocal", (divisor,), term.dtype))
        return self.b.let(f"fmul {kind} {self.value(x)}, {inverse}")

    def _cast(self, term: Term) -> str:
        (source,) = term.args
        vector = self.is_vector(term)
        count = self.lanes if vector else 1
        old = source.dtype
        if vector and old is i64 and _fits(source) and source.kind in ("index", "affine", "apply"):
            value, old = self.whole_lanes(source, 32), dtypes.i32
        elif vector and old.is_float and term.dtype is i64 and _fits(term):
            value = memory.cast(self.b, self.value(source), old, dtypes.i32, count, self.target)
            old = dtypes.i32
        else:
            value = self.value(source)
        return memory.cast(self.b, value, old, term.dtype, count, self.target)

    def _select(self, term: Term) -> str:
        condition, then, other = term.args
        if not self.is_vector(condition):
            if _cheap(then) and _cheap(other):
                return self._choose(term, self.value(condition))
            return self._branch(term)
        test = self.value(condition)
        b, mask_kind = self.b, lanes_of("i1", self.lanes)
        before = self.mask
        sides = []
        inverse = b.let(f"xor {mask_kind} {test}, {splat(mask_kind, True)}")
        for side, own in ((then, test), (other, inverse)):
            both = own if before is None else b.let(f"and {mask_kind} {own}, {before}")
            self.mask = both
            with self.scope():
                sides.append(self.lanes_value(side))
            self.mask = before
        kind = self.kind(term.dtype, True)
        return b.let(f"select {mask_kind} {test}, {kind} {sides[0]}, {kind} {sides[1]}")

    def _choose(self, term: Term, test: str) -> str:
        vector = self.is_vector(term)
        kind = self.kind(term.dtype, vector)
        get = self.lanes_value if vector else self.value
        sides = [get(side) for side in term.args[1:]]
        return self.b.let(f"select i1 {test}, {kind} {sides[0]}, {kind} {sides[1]}")

    def _branch(self, term: Term) -> str:
        """One condition for all lanes: only the chosen side runs."""
        b, (condition, then, other) = self.b, term.args
        vector = self.is_vector(term)
        labels = b.label("then"), b.label("else"), b.label("join")
        b.branch_if(self.value(condition), labels[0], labels[1])
        ends: list[tuple[str, str]] = []
        for side, label in ((then, labels[0]), (other, labels[1])):
            b.block(label)
            with self.scope():
                value = self.lanes_value(side) if vector else self.value(side)
            end = b.label("end")
            b.branch(end)
            b.block(end)
            b.branch(labels[2])
            ends.append((value, end))
        b.block(labels[2])
        rows = ", ".join(f"[ {value}, %{end} ]" for value, end in ends)
        return b.let(f"phi {self.kind(term.dtype, vector)} {rows}")

    # Loads

    def _load(self, term: Term) -> str:
        if term.what == KEPT:
            return self._kept(term)
        b, target, dtype, pointer = self.b, self.target, term.dtype, self.pointers[term.what]
        offset, clamped = term.args[0], term.args[-1]
        if not self.is_vector(term):
            return memory.read(b, pointer, self.value(clamped), dtype, 1, target)
        assert self.vector is not None
        count = self.lanes
        if self.across is not None and self.across.takes(term):
            return self.across.value(self, term)
        step = factor_of(clamped, self.vector)
        if step == 1:
            return memory.read(b, pointer, self.start(clamped), dtype, count, target)
        masked = self.mask is not None and dtype.bytes in _MASKABLE.get(target.isa, ())
        if masked and clamped is not offset and factor_of(offset, self.vector) == 1:
            start = self.start(offset)
            assert self.mask is not None
            return memory.read_masked(b, pointer, start, dtype, count, self.mask, target)
        if step is not None:
            start = self.start(clamped)
            return memory.read_strided(b, pointer, start, step, dtype, count, target)
        if dtype.bytes in _MASKABLE.get(target.isa, ()) and (run := channel_run(self, clamped)):
            return read_run(self, term, run)
        if self.shared in term.free:
            return self._read_shared(term)
        offsets = self.whole_lanes(clamped, 64)
        return memory.read_gathered(b, pointer, offsets, dtype, count, target)

    def _read_shared(self, term: Term) -> str:
        """Lanes from places that the steps of a loop share: these are apart from where each step
        begins, so that they leave the loop one by one."""
        b, dtype, clamped = self.b, term.dtype, term.args[-1]
        parts, _ = split(clamped)
        lanes = self.pool.affine({t: f for t, f in parts.items() if self.is_vector(t)}, 0)
        begin = self.pool.add(clamped, lanes, -1)
        pointer = memory.element_pointer(b, self.pointers[term.what], self.start(begin), dtype)
        places = self.whole_lanes(lanes, 64)
        return memory.read_each(b, pointer, places, dtype, self.lanes, self.target)

    def _kept(self, term: Term) -> str:
        """A row's element from scratch, or its vector where each lane has a row of its own."""
        row, dtype = self.start(term.args[0]), term.dtype
        assert self.keep is not None
        if self.keep.wide:
            row = self.b.let(f"mul nsw i64 {row}, {self.lanes}")
        return memory.read(self.b, "%scratch", row, dtype, self.lanes, self.target, constant=False)

    def start(self, offset: Term) -> str:
        if offset.kind == "const":
            return str(offset.what)
        key = ("start", offset)
        found = self.known(key, offset)
        if found is None:
            found = self.scopes[-1].known[key] = self._sum(offset)
        return found


def _fits(term: Term) -> bool:
    if term.low is None or term.high is None:
        return False
    return term.low >= -_INT32 and term.high < _INT32


def _all_fit(term: Term) -> bool:
    operands = [a for a in term.args if a.dtype is i64]
    return all(map(_fits, operands)) and (term.dtype is not i64 or _fits(term))


def _cheap(term: Term) -> bool:
    """Whether a value is as well computed as jumped over."""
    return term.kind in ("const", "index", "affine")
