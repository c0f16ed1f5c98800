"""Convolutions of one axis in few products, by Cook and Toom's interpolation, in exact fractions.

An algorithm computes a row of outputs y from a row of inputs x and a filter w as

    y = write [(weigh w) * (read x)]

with a product for each position. At stride 1 it is Winograd's F(m, r): with N(x) the product of
(x - p) over the finite points,

    weigh[p, k] = p^k / N'(p)    write[k, p] = p^k    read[p, :] = coefficients of N(x) / (x - p)

and at infinity the leading coefficients: m + r - 1 products for m outputs of r taps. At stride s
the inputs and the taps fall into s phases, each a convolution at stride 1 whose outputs add up:
y[i] = sum over phases f and taps j of x[s (i + j) + f] w[s j + f]. With 3 taps at stride 2 the even
phase has 2 taps and the odd one has 1: 2m + 1 products for 3m. Positions whose columns of `write`
are equal are summed before they are written: they share a plane.

In two dimensions algorithms are nested: each transform runs along both axes.

source: A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", 2015; the points by
search, see the notebook in `tactics/winograd.py`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod
from typing import Final

import numpy as np

from planck.dtypes import Array

Matrix = tuple[tuple[Fraction, ...], ...]

# The finite points, by their number; infinity comes on top. Of those whose powers are exact in
# float32 and that are cheap to transform by, those of least gain (see `Algorithm.gain`).
POINTS: Final[dict[int, tuple[str, ...]]] = {
    1: ("0",),
    2: ("0", "-1"),
    3: ("0", "1", "-1"),
    4: ("1/2", "-1/2", "5/4", "-5/4"),
    5: ("0", "11/16", "-11/16", "3/2", "-3/2"),
    6: ("1/4", "-1/4", "7/8", "-7/8", "7/4", "-7/4"),
    7: ("0", "1/2", "-1/2", "1", "-1", "2", "-2"),
    8: ("1/4", "-1/4", "5/8", "-5/8", "5/4", "-5/4", "2", "-2"),
    9: ("0", "3/8", "-3/8", "7/8", "-7/8", "5/4", "-5/4", "2", "-2"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Algorithm:
    """How one axis is computed; `algorithm` makes one object of each.

    side:    outputs
    taps:    of the filter
    stride:  inputs from one output to the next
    read:    [positions][window]
    weigh:   [positions][taps]
    write:   [side][planes]
    planes:  the column of write for each position
    """

    side: int
    taps: int
    stride: int
    read: Matrix
    weigh: Matrix
    write: Matrix
    planes: tuple[int, ...]

    @property
    def window(self) -> int:
        """Inputs that a row of outputs reads."""
        return self.stride * (self.side - 1) + self.taps

    @property
    def positions(self) -> int:
        return len(self.read)

    @property
    def sums(self) -> int:
        """Planes."""
        return len(self.write[0])

    @property
    def gain(self) -> float:
        """How much larger rounding errors are than those of plain sums, at the worst output.

        A rounding error of a product is as large as the product, and it meets the outputs through
        `write`: with independent inputs and weights of one size, the root of
        sum over p of write[k, p]^2 |weigh[p]|^2 |read[p]|^2 / taps. Gains of nested axes multiply.
        """
        return _gain(self)


@cache
def _gain(way: Algorithm) -> float:
    read, weigh, write = (as_array(matrix) for matrix in (way.read, way.weigh, way.write))
    sizes = (read**2).sum(axis=1) * (weigh**2).sum(axis=1)
    outputs = (write[:, list(way.planes)] ** 2) @ sizes / way.taps
    return float(np.sqrt(outputs.max()))


@cache
def algorithm(side: int, taps: int, stride: int) -> Algorithm:
    """The algorithm for some outputs of some taps at a stride; there are points for few only."""
    window = stride * (side - 1) + taps
    read: list[list[Fraction]] = []
    weigh: list[list[Fraction]] = []
    columns: list[tuple[Fraction, ...]] = []
    for phase in range(min(stride, taps)):
        own = cook_toom(side, len(range(phase, taps, stride)))
        read += [_scatter(row, window, phase, stride) for row in own[0]]
        weigh += [_scatter(row, taps, phase, stride) for row in own[1]]
        columns += zip(*own[2], strict=True)
    unique = list(dict.fromkeys(columns))
    return Algorithm(
        side,
        taps,
        stride,
        read=tuple(map(tuple, read)),
        weigh=tuple(map(tuple, weigh)),
        write=tuple(zip(*unique, strict=True)),
        planes=tuple(unique.index(column) for column in columns),
    )


def has_points(side: int, taps: int, stride: int) -> bool:
    """Whether `algorithm` knows points for all phases."""
    longest = -(-taps // stride)
    return min(side, longest) == 1 or side + longest - 2 in POINTS


def cook_toom(side: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """read, weigh and write of F(side, taps)."""
    one = Fraction(1)
    if 1 in (side, taps):
        unit = tuple(
            tuple(Fraction(i == j) for j in range(side * taps)) for i in range(side * taps)
        )
        ones = ((one,),) * side if taps == 1 else unit
        return unit, ones, unit if taps == 1 else ((one,) * taps,)
    points = [Fraction(p) for p in POINTS[side + taps - 2]]
    read, weigh = [], []
    for p in points:
        others = [q for q in points if q != p]
        scale = prod((p - q for q in others), start=one)
        read.append((*_from_roots(others), Fraction(0)))
        weigh.append(tuple(p**k / scale for k in range(taps)))
    read.append(tuple(_from_roots(points)))
    weigh.append(tuple(Fraction(k == taps - 1) for k in range(taps)))
    write = tuple((*(p**k for p in points), Fraction(k == side - 1)) for k in range(side))
    return tuple(read), tuple(weigh), write


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), the constant first."""
    result = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *result]
        result = [a - root * b for a, b in zip(shifted, [*result, Fraction(0)], strict=True)]
    return result


def _scatter(row: Sequence[Fraction], size: int, first: int, step: int) -> list[Fraction]:
    """A row's numbers some steps apart in zeros."""
    result = [Fraction(0)] * size
    for i, number in enumerate(row):
        result[first + i * step] = number
    return result


def as_array(matrix: Matrix) -> Array:
    """float64 numbers of a matrix."""
    return np.array(matrix, dtype=np.float64)


def transform_weights(rows: Algorithm, columns: Algorithm, weights: Array) -> Array:
    """Both axes of each filter, in float64.

    weights:  [M, C, taps, taps]
    gives:    f64[positions of the rows * positions of the columns, C, M]
    """
    down, along = as_array(rows.weigh), as_array(columns.weigh)
    half = np.tensordot(weights.astype(np.float64), down, axes=(2, 1))  # [M, C, taps, positions]
    both = np.tensordot(half, along, axes=(2, 1))  # [M, C, positions, positions]
    return np.ascontiguousarray(both.transpose(2, 3, 1, 0)).reshape(
        len(down) * len(along), weights.shape[1], weights.shape[0]
    )
