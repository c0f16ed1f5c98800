"""What is known of terms while loops are written: open variables, lanes, and values by scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from planck.codegen.llvm import Builder
from planck.codegen.memory import lanes_of, register
from planck.dtypes import DType
from planck.loops.lower import Keep
from planck.loops.terms import Pool, Term
from planck.target import Target


@dataclass(slots=True)
class Scope:
    """What is known inside one loop or branch."""

    variables: Mapping[str, str]
    known: dict[object, str] = field(default_factory=dict)


class Values:
    """The loops that are open, and the values that are known inside them.

    `terms.Emitter` writes them; what writes others with their help, as reductions do, knows this.

    vector, lanes:  the open variable that stands for several elements at once, and how many
    mask:           i1 lanes that matter; others must not touch memory out of range
    keep:           the row that a reduction writes to scratch on its way
    """

    def __init__(self, b: Builder, pool: Pool, pointers: Mapping[str, str], target: Target) -> None:
        self.b, self.pool, self.pointers, self.target = b, pool, pointers, target
        self.scopes = [Scope({})]
        self.vector: str | None = None
        self.lanes = 1
        self.mask: str | None = None
        self.keep: Keep | None = None

    # Scopes

    @contextmanager
    def scope(self, **variables: str) -> Iterator[None]:
        """Loop variables (with their first lane's value) and what depends on them."""
        self.scopes.append(Scope(variables))
        yield
        self.scopes.pop()

    @contextmanager
    def vectorised(self, name: str | None, lanes: int) -> Iterator[None]:
        before = self.vector, self.lanes
        self.vector, self.lanes = (name, lanes) if lanes > 1 else (None, 1)
        yield
        self.vector, self.lanes = before

    def variable(self, name: str) -> str:
        return next(s.variables[name] for s in reversed(self.scopes) if name in s.variables)

    @property
    def open(self) -> set[str]:
        return {name for s in self.scopes for name in s.variables}

    def known(self, key: object, term: Term) -> str | None:
        """What is known of a term by a key; None if that is to be written here."""
        for scope in reversed(self.scopes):
            if key in scope.known:
                return scope.known[key]
            if any(name in scope.variables for name in term.free):
                return None
        return None

    # Values

    def is_vector(self, term: Term) -> bool:
        return self.vector is not None and self.vector in term.free

    def kind(self, dtype: DType, vector: bool) -> str:
        return lanes_of(register(dtype), self.lanes if vector else 1)

    def value(self, term: Term) -> str:
        """A term's value: lanes if it depends on the vector's variable, else one scalar."""
        raise NotImplementedError

    def lanes_value(self, term: Term) -> str:
        """A term's value in every lane of the current vector."""
        raise NotImplementedError

    def whole_lanes(self, term: Term, bits: int) -> str:
        """i64 lanes, or i32 lanes for who can use them."""
        raise NotImplementedError

    def start(self, offset: Term) -> str:
        """The first lane's value of a sum in which only the vector's variable has lanes."""
        raise NotImplementedError

    def splat(self, value: str, scalar_kind: str) -> str:
        """A scalar in all lanes."""
        return self.b.fill(scalar_kind, value, self.lanes)

    def hoist(self, roots: Sequence[Term]) -> None:
        """Write what needs only the open loops, before another one opens."""
        ready = self.open
        seen: set[Term] = set()

        def visit(term: Term) -> None:
            if term in seen or term.kind == "const":
                return
            seen.add(term)
            if term.free <= ready and term.kind not in ("index", "affine"):
                self.value(term)
                return
            for arg in term.args:
                visit(arg)

        for root in roots:
            visit(root)
