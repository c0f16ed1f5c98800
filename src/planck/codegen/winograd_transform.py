"""Winograd's minimal filtering F(m, 3): points, the weight transform, and vector transforms.

Points are 0, pairs +-a, and infinity. With N(x) the product of (x - p) over the finite points, a
tile d of m + 2 inputs meets a filter g of 3 as

    y = A^T [(G g) * (B^T d)]        G[p, k] = p^k / N'(p)      A^T[k, p] = p^k
                                     B^T[p, :] = coefficients of N(x) / (x - p)

and at infinity the leading coefficients. All of N is even but for one x, so that the rows of a pair
are the sum and the difference of an even and an odd half: most of the saving over plain matrices.
In two dimensions each transform runs along both axes.

source: A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", 2015; the points by
search, see the notebook in `tactics/winograd.py`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from planck.codegen.llvm import Builder
from planck.codegen.microkernel import Vector
from planck.codegen.scalar import splat
from planck.dtypes import Array

TAPS: Final = 3

# The pairs of each output tile's side: those of least error whose powers are exact in float32.
PAIRS: Final[dict[int, tuple[float, ...]]] = {
    2: (1.0,),
    4: (0.6875, 1.5),
    6: (0.5, 1.0, 2.0),
}

Terms = Sequence[tuple[float, str]]


def points(side: int) -> list[float]:
    """The finite points, in the order of the transformed rows."""
    return [0.0, *(sign * a for a in PAIRS[side] for sign in (1.0, -1.0))]


def weight_matrix(side: int) -> Array:
    """G, f64[side + 2, 3]."""
    finite = points(side)
    rows = [
        [p**k / float(np.prod([p - q for q in finite if q != p])) for k in range(TAPS)]
        for p in finite
    ]
    return np.array([*rows, [0.0, 0.0, 1.0]])


def transform_weights(side: int, weights: Array) -> Array:
    """G w G^T of each filter, in float64.

    weights:  [M, C, 3, 3]
    gives:    f64[(side + 2)^2, C, M]
    """
    g = weight_matrix(side)
    rows = np.tensordot(weights.astype(np.float64), g, axes=(2, 1))  # [M, C, 3, side + 2]
    both = np.tensordot(rows, g, axes=(2, 1))  # [M, C, side + 2, side + 2]
    return np.ascontiguousarray(both.transpose(2, 3, 1, 0)).reshape(
        len(g) ** 2, weights.shape[1], weights.shape[0]
    )


class Transform:
    """Writes the transforms of one axis on vectors."""

    def __init__(self, b: Builder, vector: Vector, side: int) -> None:
        self.b, self.vector, self.side = b, vector, side
        self.pairs = PAIRS[side]

    def forward(self, d: Sequence[str]) -> list[str]:
        """B^T d: side + 2 vectors to as many."""
        whole = _even_product(self.pairs)
        result = [self.combine([(c, d[2 * i]) for i, c in enumerate(whole)])]
        for number, a in enumerate(self.pairs):
            half = _even_product(self.pairs[:number] + self.pairs[number + 1 :])
            even = self.combine([(c, d[2 * i + 2]) for i, c in enumerate(half)])
            odd = self.combine([(c, d[2 * i + 1]) for i, c in enumerate(half)])
            result += [self.combine([(1.0, even), (sign * a, odd)]) for sign in (1.0, -1.0)]
        result.append(self.combine([(c, d[2 * i + 1]) for i, c in enumerate(whole)]))
        return result

    def inverse(self, m: Sequence[str]) -> list[str]:
        """A^T m: side + 2 vectors to side."""
        sums, differences = [], []
        for number in range(len(self.pairs)):
            plus, minus = m[1 + 2 * number], m[2 + 2 * number]
            sums.append(self.combine([(1.0, plus), (1.0, minus)]))
            differences.append(self.combine([(1.0, plus), (-1.0, minus)]))
        result = []
        for k in range(self.side):
            halves = differences if k % 2 else sums
            terms = [(a**k, half) for a, half in zip(self.pairs, halves, strict=True)]
            if k == 0:
                terms.append((1.0, m[0]))
            if k == self.side - 1:
                terms.append((1.0, m[-1]))
            result.append(self.combine(terms))
        return result

    def combine(self, terms: Terms) -> str:
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


def _even_product(pairs: Sequence[float]) -> list[float]:
    """Coefficients of the product of (x^2 - a^2), by powers of x^2, the constant first."""
    result = [1.0]
    for a in pairs:
        result = [
            high - a * a * low for high, low in zip([0.0, *result], [*result, 0.0], strict=True)
        ]
    return result
