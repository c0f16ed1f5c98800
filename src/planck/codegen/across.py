"""Loads that stride over the vector's variable, as tiles that are transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence

from planck.codegen import memory
from planck.codegen.memory import lanes_of, register
from planck.codegen.transpose import transpose
from planck.codegen.values import Values
from planck.loops.terms import Term, factor_of


class Across:
    """Loads that stride over the vector's variable but walk another one contiguously.

    Vectors are loaded along that one and transposed in registers; `step` says which of the rows
    the unrolled loop is at.
    """

    def __init__(self, name: str, vector: str, count: int) -> None:
        self.name, self.vector, self.count, self.step = name, vector, count, 0
        self._rows: dict[Term, list[str]] = {}

    def takes(self, term: Term) -> bool:
        strided = factor_of(term.args[0], self.vector) not in (None, 0, 1, -1)
        return strided and factor_of(term.args[-1], self.name) == 1

    def start(self, emitter: Values, loads: Sequence[Term]) -> None:
        """Load and transpose a tile of each operand, with the first element of both loops open."""
        self._rows = {load: self._tile(emitter, load) for load in loads}

    def _tile(self, e: Values, term: Term) -> list[str]:
        dtype, pointer = term.dtype, e.pointers[term.what]
        vector = e.vector
        assert vector is not None
        rows = []
        first = e.variable(vector)
        with e.vectorised(None, 1):
            for k in range(self.count):
                at = first if k == 0 else e.b.let(f"add nsw i64 {first}, {k}")
                with e.scope(**{vector: at}):
                    start = e.value(term.args[-1])
                    rows.append(memory.read(e.b, pointer, start, dtype, self.count, e.target))
        return transpose(e.b, rows, lanes_of(register(dtype), self.count))

    def value(self, e: Values, term: Term) -> str:
        return self._rows[term][self.step]
