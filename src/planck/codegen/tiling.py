"""How a spatial axis is cut into strips, and which taps of a filter each strip's pixels may read.

Both axes of an image are cut alike and apart; a tile is a strip of rows by a strip of columns, and
a tap of a tile is a tap of its rows by one of its columns. Padding is never read: near a border a
tap carries the pixels for which it falls inside the image, and is left out if there are none.
A transposed convolution is the same with one phase for each residue of its stride.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Tap:
    """One filter position along an axis.

    index:   position in the filter
    shift:   input position, from that of the strip's first pixel
    pixels:  those of the strip for which the input position exists
    """

    index: int
    shift: int
    pixels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """size pixels next to each other; case is a number within Axis.cases[size]."""

    size: int
    at_in: int
    at_out: int
    case: int


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis, cut.

    in_step, out_step:  positions from one pixel of a strip to the next
    strips:             by size, the largest first
    cases:              by size: the distinct lists of taps
    """

    in_step: int
    out_step: int
    strips: tuple[Strip, ...]
    cases: dict[int, tuple[tuple[Tap, ...], ...]]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(strip.size for strip in self.strips))

    def of_size(self, size: int) -> tuple[Strip, ...]:
        return tuple(strip for strip in self.strips if strip.size == size)


def balanced(extent: int, size: int) -> list[tuple[int, int]]:
    """(start, length) of the fewest pieces of at most size, lengths differing by one at most.

    >>> balanced(49, 14)
    [(0, 13), (13, 12), (25, 12), (37, 12)]
    """
    count = -(-extent // size)
    small, larger = divmod(extent, count)
    pieces, start = [], 0
    for i in range(count):
        length = small + (i < larger)
        pieces.append((start, length))
        start += length
    return pieces


def forward(
    extent: int, out: int, size: int, kernel: int, stride: int = 1, dilation: int = 1, pad: int = 0
) -> Axis:
    """The axis of a convolution or a pooling: extent positions in, out positions out."""
    places = [(start, length, start * stride - pad) for start, length in balanced(out, size)]
    shifts = [(k, k * dilation) for k in range(kernel)]
    cut = _Cut(extent, stride)
    for start, length, at_in in places:
        cut.add(length, at_in, start, shifts)
    return cut.axis(1)


def transposed(
    extent: int, out: int, size: int, kernel: int, stride: int = 1, dilation: int = 1, pad: int = 0
) -> Axis:
    """The axis of a transposed convolution: output o takes tap k from input (o + pad - k d) / s."""
    cut = _Cut(extent, 1)
    for phase in range(min(stride, out)):
        count = -(-(out - phase) // stride)
        shifts = [
            (k, (phase + pad - k * dilation) // stride)
            for k in range(kernel)
            if (phase + pad - k * dilation) % stride == 0
        ]
        for start, length in balanced(count, size):
            cut.add(length, start, phase + stride * start, shifts)
    return cut.axis(stride)


class _Cut:
    """Collects strips and numbers their distinct cases."""

    def __init__(self, extent: int, in_step: int) -> None:
        self.extent, self.in_step = extent, in_step
        self.strips: list[Strip] = []
        self.cases: dict[int, dict[tuple[Tap, ...], int]] = {}

    def add(self, size: int, at_in: int, at_out: int, shifts: list[tuple[int, int]]) -> None:
        taps = []
        for index, shift in shifts:
            first = at_in + shift
            pixels = tuple(j for j in range(size) if 0 <= first + j * self.in_step < self.extent)
            if pixels:
                taps.append(Tap(index, shift, pixels))
        known = self.cases.setdefault(size, {})
        case = known.setdefault(tuple(taps), len(known))
        self.strips.append(Strip(size, at_in, at_out, case))

    def axis(self, out_step: int) -> Axis:
        strips = tuple(sorted(self.strips, key=lambda s: (-s.size, s.at_out)))
        cases = {size: tuple(known) for size, known in self.cases.items()}
        return Axis(self.in_step, out_step, strips, cases)
