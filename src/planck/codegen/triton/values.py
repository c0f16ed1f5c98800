"""Terms -> Triton expressions: each value once, where it is wanted first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from planck.codegen.triton.guards import Guards, computed
from planck.codegen.triton.scalar import Functions, literal, plain
from planck.codegen.triton.tiles import Loop, Tiling
from planck.dtypes import SHORT_FLOATS, bool_, f32, i32, i64
from planck.loops.lower import Nest
from planck.loops.terms import Term, walk


@dataclass(slots=True)
class Scope:
    """What is known inside a loop: values of terms, variables of loops with the axes they vary in,
    and the positions in a group of loops with the mask that goes with them."""

    known: dict[Term, str] = field(default_factory=dict)
    variables: dict[str, tuple[str, str]] = field(default_factory=dict)
    columns: dict[tuple[Loop, ...], tuple[str, str]] = field(default_factory=dict)


class Values:
    """Writes the values of a nest's terms: blocks of [1 or rows, 1 or columns], or Python numbers.

    wide:  whether positions need 64 bits
    """

    def __init__(self, nest: Nest, tiling: Tiling, functions: Functions, wide: bool) -> None:
        self.nest, self.pool, self.tiling, self.functions = nest, nest.pool, tiling, functions
        self.integer = i64 if wide else i32
        self.lines: list[str] = []
        self.depth = self.names = 0
        self.scopes = [Scope()]
        self.masks = {"r": "", "c": ""}
        self.guards = Guards(s.value for s in nest.stores)

    def _reduce(self, term: Term) -> str:
        raise NotImplementedError

    def do(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def let(self, expression: str, hint: str = "t") -> str:
        self.names += 1
        name = f"{hint}{self.names}"
        self.do(f"{name} = {expression}")
        return name

    @contextmanager
    def loop(self, head: str) -> Iterator[Scope]:
        self.do(head)
        self.depth += 1
        self.scopes.append(Scope())
        yield self.scopes[-1]
        self.scopes.pop()
        self.depth -= 1

    def _bind(self, loops: Sequence[Loop], position: str, axes: str) -> None:
        """The variables of loops at a position in the product of their extents."""
        for k, (name, extent) in reversed(list(enumerate(loops))):
            own = position if not k else self.let(f"{position} % {extent}", "i")
            position = position if not k else self.let(f"{position} // {extent}")
            self.scopes[-1].variables[name] = (own, axes)

    def axes(self, term: Term) -> str:
        """Along which of the tile's sides a value varies: "", "r", "c", "rc"."""
        found = {self.variable(name)[1] for name in term.free}
        return "".join(side for side in "rc" if side in found)

    def variable(self, name: str) -> tuple[str, str]:
        return next(s.variables[name] for s in reversed(self.scopes) if name in s.variables)

    def _shape(self, axes: str) -> str:
        rows = self.tiling.rows if "r" in axes else 1
        return f"[{rows}, {self.tiling.columns if 'c' in axes else 1}]"

    def _mask(self, term: Term) -> str:
        return " & ".join(self.masks[side] for side in self.axes(term) if self.masks[side])

    def _block(self, term: Term) -> str:
        """A position, as a block even where it is a number."""
        return literal(term.what, i32) if term.kind == "const" else self.value(term)

    def value(self, term: Term) -> str:
        if term.kind == "const":
            return plain(term.what) if term.dtype is i64 else literal(term.what, term.dtype)
        if term.kind == "index":
            return self.variable(term.what)[0]
        for scope in reversed(self.scopes):
            if term in scope.known:
                return scope.known[term]
        made = self._reduce(term) if term.kind == "reduce" else self.let(self._expression(term))
        self.scopes[-1].known[term] = made
        return made

    def _expression(self, term: Term) -> str:
        match term.kind:
            case "affine":
                factors, constant = term.what
                parts = [
                    self.value(a) if f == 1 else f"{self.value(a)} * {f}"
                    for f, a in zip(factors, term.args, strict=True)
                ]
                return " + ".join([*parts, str(constant)] if constant else parts)
            case "apply":
                return self._apply(term)
            case "cast":
                (value,) = term.args
                if value.kind == "const":
                    return self.functions.cast(literal(value.what, value.dtype), value.dtype,
                                               term.dtype)  # fmt: skip
                return self.functions.cast(self.value(value), value.dtype, term.dtype)
            case "select":
                condition, *sides = term.args
                names = [self.value(condition), *map(self._typed, sides)]
                return self.functions.call("select", names, term.dtype)
        return self._load(term)

    def _typed(self, term: Term) -> str:
        """A value of its dtype, where a position may do with 32 bits otherwise."""
        if term.kind == "const":
            return literal(term.what, term.dtype)
        value = self.value(term)
        return f"{value}.to(tl.int64)" if term.dtype is i64 else value

    def _apply(self, term: Term) -> str:
        args, dtype = term.args, term.args[-1].dtype
        if dtype is i64:
            if term.what in ("floordiv", "mod") and _is_natural(*args):
                sign = "//" if term.what == "floordiv" else "%"
                return f"{self.value(args[0])} {sign} {args[1].what}"
            small = all(a.low is not None and a.high is not None for a in args)
            index = term.dtype is bool_ or (term.low is not None and term.high is not None)
            if not (small and index):
                return self.functions.call(term.what, [self._typed(a) for a in args], dtype)
        if term.what == "div" and (by := self._one_for_many(*args)) is not None:
            return f"({self.value(args[0])} * {self.value(by)})"
        numbers = [a.what if a.kind == "const" else None for a in args]
        names = [self._typed(a) if a.kind == "const" and dtype is not i64 else self.value(a)
                 for a in args]  # fmt: skip
        if all(a.kind == "const" for a in args):
            names = [literal(a.what, a.dtype) for a in args]
        return self.functions.call(term.what, names, dtype, numbers)

    def _one_for_many(self, value: Term, by: Term) -> Term | None:
        """The reciprocal of a row's sum, if each of the row's values is divided by it and what is
        made of them is rounded to 16 bits: a division takes ten times as long as a product."""
        short = all(store.dtype in SHORT_FLOATS for store in self.nest.stores)
        if not short or by.dtype is not f32 or not any(t.kind == "reduce" for t in walk((by,))):
            return None
        return self.pool.apply("reciprocal", (by,), f32) if by.free < value.free else None

    def _load(self, term: Term) -> str:
        offset, guard = self._guarded(term)
        place = f"{term.what} + {self._block(offset)}"
        mask = " & ".join(part for part in (self._mask(offset), guard) if part)
        text = f"tl.load({place}, mask={mask}, other=0)" if mask else f"tl.load({place})"
        return self.functions.widened(text, term.dtype)

    def _guarded(self, load: Term) -> tuple[Term, str]:
        """A load's position, clamped unless the mask that comes with it keeps it in range."""
        conditions, complete = self.guards.of(load)
        if self.nest.guard is not None:
            conditions.append((self.nest.guard, True))
        bound = {name for scope in self.scopes for name in scope.variables}
        fitting = [
            (condition, holds)
            for condition, holds in conditions
            if condition.free <= bound and set(self.axes(condition)) <= set(self.axes(load))
        ]
        names = [self.value(c) if holds else f"(~{self.value(c)})" for c, holds in fitting]
        in_range = complete and len(fitting) == len(conditions) and computed(load)
        return load.args[0 if in_range else -1], " & ".join(names)


def _is_natural(value: Term, by: Term) -> bool:
    known = value.low is not None and value.low >= 0 and value.high is not None
    return known and by.kind == "const" and by.what > 0
