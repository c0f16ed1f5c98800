"""Convolutions of few channels, as products of rows of taps that are one piece of memory.

    results  [batch * rows * columns / beside, beside * output channels]
    sum      over rows of taps and the strips that lie there, [(taps + beside - 1) * channels]
    weights  [which of those beside each other, output channel, row of taps, strip], zeros where a
             result does not see a pixel of the strip, and up to whole steps

A step is a piece of the sum of any length: it may end within a strip, or hold several. What is
moved to shared memory sets the time of a product of few columns, so that a row of it may make
several results beside each other, whose taps are mostly the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from planck.codegen.triton.convolution import ImageLoads, results
from planck.codegen.triton.epilogue import Placing
from planck.codegen.triton.text import Text, both, load, times, total


@dataclass
class Strips(ImageLoads):
    """The loads of such a convolution.

    beside:  results of one pixel of the shape, which was `widened` so
    """

    beside: int

    @property
    def width(self) -> int:
        """Elements of one strip."""
        return self.shape.across.taps * self.shape.channels

    @property
    def sums(self) -> int:
        return self.shape.down.taps * self.width

    @property
    def steps(self) -> int:
        return -(-self.sums // self.tile.bk)

    def setup(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        base = self.write_places(t)
        x = t.pointer(shape.x, shape.x_dtype, shape.x_aligned)
        w = t.pointer(shape.weights, shape.weights_dtype)
        t(f"x = {x} + ({base})[:, None]")
        t(f"w = {w} + row[None, :] * {self.steps * tile.bk} + kk[:, None]")

    def left(self, t: Text) -> None:
        shape, tile, place = self.shape, self.tile, self.shape.x_place
        down, across, channels = shape.down, shape.across, shape.channels
        t(f"k = step * {tile.bk} + kk", f"down = k // {self.width}")
        # Of the same value for all channels of a tap, as Triton must see to load them at once.
        tap = f"k // {channels} % {across.taps}"
        column = across.step * place.column
        inner = f"k % {self.width}"
        if column != channels:
            inner = f"({tap}) * {column} + k % {channels}"
        t(f"far = {total(times('down', down.step * place.row), inner)}")
        inside = [f"{self._rows}[:, None]" if self._rows else ""]
        if self.sums % tile.bk:
            inside.append(f"(k < {self.sums})[None, :]")
        for own, start, far in (
            (down, "h", times("down", down.step)),
            (across, "v", times(f"({tap})", across.step)),
        ):
            if own.leaves:
                t(f"at_{start} = {start}[:, None] + ({far})[None, :]")
                inside += [f"at_{start} >= 0", f"at_{start} < {own.size}"]
        t(f"a = {load('x + far[None, :]', both(*inside))}")

    def placing(self, t: Text) -> Placing:
        return results(t, self.shape, self._rows, self._columns, self.beside)
