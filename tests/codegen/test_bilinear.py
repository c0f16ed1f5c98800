"""Bilinear algorithms: exact in fractions, as precise in float32 as their gain says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from planck.codegen.bilinear import Algorithm, Matrix, algorithm, as_array, has_points

KNOWN = [
    (side, taps, stride)
    for side in range(1, 8)
    for taps in range(1, 8)
    for stride in (1, 2, 3)
    if has_points(side, taps, stride)
]


def times(matrix: Matrix, vector: list[Fraction]) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def apply(way: Algorithm, x: list[Fraction], w: list[Fraction]) -> list[Fraction]:
    sums = [Fraction(0)] * way.sums
    for plane, a, b in zip(way.planes, times(way.read, x), times(way.weigh, w), strict=True):
        sums[plane] += a * b
    return times(way.write, sums)


@pytest.mark.parametrize(("side", "taps", "stride"), KNOWN)
def test_is_a_convolution(side: int, taps: int, stride: int) -> None:
    """On units, which is all: both sides are linear in x and in w."""
    way = algorithm(side, taps, stride)
    for i in range(way.window):
        x = [Fraction(i == n) for n in range(way.window)]
        for j in range(taps):
            w = [Fraction(j == n) for n in range(taps)]
            want = [Fraction(stride * k + j == i) for k in range(side)]
            assert apply(way, x, w) == want


@pytest.mark.parametrize(
    ("sizes", "positions", "planes"),
    [
        ((4, 3, 1), 6, 6),
        ((6, 3, 1), 8, 8),
        ((2, 3, 2), 5, 3),
        ((3, 3, 2), 7, 5),
        ((4, 3, 2), 9, 8),
        ((4, 1, 1), 4, 4),
        ((1, 5, 1), 5, 1),
        ((4, 7, 2), 13, 12),
    ],
)
def test_saves_products(sizes: tuple[int, int, int], positions: int, planes: int) -> None:
    way = algorithm(*sizes)
    assert (way.positions, way.sums) == (positions, planes)


@pytest.mark.parametrize(("side", "taps", "stride"), KNOWN)
def test_transforms_are_exact_in_float32(side: int, taps: int, stride: int) -> None:
    """The numbers that pixels are multiplied by; those of weights are rounded once."""
    way = algorithm(side, taps, stride)
    for matrix in (way.read, way.write):
        exact = as_array(matrix)
        assert (exact.astype(np.float32) == exact).all()


@pytest.mark.parametrize(
    "sizes",
    [(2, 3, 1), (4, 3, 1), (5, 3, 1), (6, 3, 1), (4, 3, 2), (5, 3, 2), (4, 5, 1), (4, 7, 1)],
)
def test_gain_foretells_the_error(sizes: tuple[int, int, int]) -> None:
    """One axis, products summed in float32 over 256 channels: within a factor of three."""
    way, channels = algorithm(*sizes), 256
    random = np.random.default_rng(0)
    x = random.standard_normal((200, channels, way.window)).astype(np.float32)
    w = random.standard_normal((channels, way.taps)).astype(np.float32)
    v = np.einsum("pi,nci->ncp", as_array(way.read), x).astype(np.float32)
    u = np.einsum("pk,ck->cp", as_array(way.weigh), w).astype(np.float32)
    total = np.zeros((200, way.positions), np.float32)
    for c in range(channels):
        total += v[:, c] * u[c]
    write = as_array(way.write)[:, list(way.planes)]
    got = total.astype(np.float64) @ write.T
    want = np.stack(
        [
            np.einsum("nck,ck->n", x[:, :, k : k + way.taps].astype(np.float64), w)
            for k in range(0, way.stride * way.side, way.stride)
        ],
        axis=1,
    )
    error = np.sqrt(((got - want) ** 2).mean(axis=0).max() / (want**2).mean())
    unit = 2.5e-8 * np.sqrt(channels)
    assert unit * way.gain / 3 < error < unit * way.gain * 3
