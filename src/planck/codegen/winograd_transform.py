"""A constant matrix times vectors, in few instructions.

Interpolation points come in pairs +-a, and what belongs to a pair is the sum and the difference of
two halves. So two columns that are equal but for signs meet the sum and the difference of their
vectors, and two rows that are equal but for signs are one of what they share plus or minus one of
what they do not: most of the saving over plain matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from planck.codegen.bilinear import Matrix
from planck.codegen.llvm import Builder
from planck.codegen.microkernel import Vector
from planck.codegen.scalar import splat

Row = Sequence[Fraction]
Pairs = list[tuple[int, int]]


class Transform:
    """Writes products of one matrix with vectors."""

    def __init__(self, b: Builder, vector: Vector, matrix: Matrix) -> None:
        self.b, self.vector = b, vector
        self.columns, self.rows, self.pairs = _plan(matrix)

    def apply(self, values: Sequence[str]) -> list[str]:
        """A vector for each row of the matrix."""
        values = list(values)
        for i, j in self.columns:
            x, y = values[i], values[j]
            values[i] = self.combine([(1.0, x), (1.0, y)])
            values[j] = self.combine([(1.0, x), (-1.0, y)])
        result = [""] * len(self.rows)
        for i, j in self.pairs:
            shared, other = _halves(self.rows[i], self.rows[j])
            even = self.row(shared, values)
            # Scaled so that one of its numbers is 1: that saves a multiplication.
            scale = next(abs(n) for n in reversed(other) if n)
            odd = self.row([n / scale for n in other], values)
            result[i] = self.combine([(1.0, even), (float(scale), odd)])
            result[j] = self.combine([(1.0, even), (-float(scale), odd)])
        for i, row in enumerate(self.rows):
            if not result[i]:
                result[i] = self.row(row, values)
        return result

    def row(self, numbers: Row, values: Sequence[str]) -> str:
        return self.combine([(float(n), v) for n, v in zip(numbers, values, strict=True) if n])

    def combine(self, terms: Sequence[tuple[float, str]]) -> str:
        """The sum of numbers times vectors; one instruction a term, one less if a number is 1."""
        b, kind = self.b, self.vector.kind
        (number, value), *rest = sorted(terms, key=lambda term: term[0] != 1.0)
        if number != 1.0:
            value = b.let(f"fmul {kind} {value}, {splat(kind, number)}")
        for number, other in rest:
            if number in (1.0, -1.0):
                value = b.let(f"{'fadd' if number > 0 else 'fsub'} {kind} {value}, {other}")
            else:
                value = self.vector.fma(b, other, splat(kind, number), value)
        return value


def _halves(x: Row, y: Row) -> tuple[list[Fraction], list[Fraction]]:
    """(x + y) / 2 and (x - y) / 2."""
    return (
        [(a + b) / 2 for a, b in zip(x, y, strict=True)],
        [(a - b) / 2 for a, b in zip(x, y, strict=True)],
    )


def _alike(x: Row, y: Row) -> bool:
    """Whether two rows are equal but for some of their signs."""
    even, odd = _halves(x, y)
    return any(even) and any(odd) and all(abs(a) == abs(b) for a, b in zip(x, y, strict=True))


def _pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Rows to be taken together, each once."""
    found: list[tuple[int, int]] = []
    used: set[int] = set()
    for i, j in combinations(range(len(rows)), 2):
        if not used & {i, j} and _alike(rows[i], rows[j]) and sum(map(bool, rows[i])) > 1:
            found.append((i, j))
            used |= {i, j}
    return found


def _fold_columns(matrix: Matrix) -> tuple[list[tuple[int, int]], list[list[Fraction]]]:
    """Pairs of columns, and the matrix that meets their sums and differences instead."""
    columns: list[Row] = list(zip(*matrix, strict=True))
    pairs = _pairs(columns)
    for i, j in pairs:
        columns[i], columns[j] = _halves(columns[i], columns[j])
    return pairs, [list(row) for row in zip(*columns, strict=True)]


def _plan(matrix: Matrix) -> tuple[Pairs, Sequence[Row], Pairs]:
    """Columns to fold, the rows that are left, and which of these to pair: what is cheaper."""
    columns, folded = _fold_columns(matrix)
    ways = [(columns, folded, _pairs(folded)), ([], matrix, _pairs(matrix))]
    return min(ways, key=lambda way: _cost(*way))


def _cost(columns: Pairs, rows: Sequence[Row], pairs: Pairs) -> int:
    """About how many instructions it takes."""
    paired = {j for _, j in pairs}
    terms = sum(sum(map(bool, row)) for i, row in enumerate(rows) if i not in paired)
    return terms + 2 * len(pairs) + 2 * len(columns)


def instructions(matrix: Matrix) -> int:
    """About how many instructions the product of a matrix and vectors takes."""
    return _cost(*_plan(matrix))
