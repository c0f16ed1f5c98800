"""Convolutions of images with few channels, as products whose steps are several rows of taps.

A step gathers [BM, rows * columns * channels] elements, wherever they lie; where they are found
from one step to the next differs only by rows of the image, so that nearly all of the addresses'
arithmetic stands before the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from planck.codegen.triton.convolution import ImageLoads
from planck.codegen.triton.text import Text, both, load, times, total


@dataclass
class Gather(ImageLoads):
    """The loads of a convolution of few channels.

    together:  rows of taps of one step
    """

    together: int

    @property
    def steps(self) -> int:
        return -(-self.shape.down.taps // self.together)

    @property
    def width(self) -> int:
        """Elements of one row of taps."""
        return self.shape.across.taps * self.shape.channels

    @property
    def channels_last(self) -> bool:
        """Whether the channels of a tap stand together, in memory and in the weights."""
        return self.shape.x_place.channel == 1

    def setup(self, t: Text) -> None:
        shape, tile, place = self.shape, self.tile, self.shape.x_place
        base = self.write_places(t)
        down, across, channels = shape.down, shape.across, shape.channels
        inner = f"kk % {self.width}"
        if self.channels_last:
            t(f"tap = {inner} // {channels}", f"channel = {inner} % {channels}")
        else:
            t(f"channel = {inner} // {across.taps}", f"tap = {inner} % {across.taps}")
        t(f"down = kk // {self.width}", f"dh = down * {down.step}", f"dv = tap * {across.step}")
        far = total(
            times("dh", place.row), times("dv", place.column), times("channel", place.channel)
        )
        x = t.pointer(shape.x, shape.x_dtype, shape.x_aligned)
        w = t.pointer(shape.weights, shape.weights_dtype)
        # Offsets, not pointers: half the registers.
        t(f"x = ({base})[:, None] + ({far})[None, :]", f"first_x = {x}")
        t(f"w = {w} + row[None, :] * {self.steps * tile.bk} + kk[:, None]")
        inside = [f"{self._rows}[:, None]" if self._rows else ""]
        if across.leaves:
            t("at = v[:, None] + dv[None, :]")
            inside += ["at >= 0", f"at < {across.size}"]
        if self.together * self.width != tile.bk:
            inside.append(f"(kk < {self.together * self.width})[None, :]")
        if any(inside):
            t(f"inside = {both(*inside)}")

    def left(self, t: Text) -> None:
        shape, tile, down, across = self.shape, self.tile, self.shape.down, self.shape.across
        there = [self._rows, across.leaves, self.together * self.width != tile.bk]
        mask = "inside" if any(there) else ""
        if down.leaves:
            t(f"at = (h + step * {self.together * down.step})[:, None] + dh[None, :]")
            mask = both(mask, "at >= 0", f"at < {down.size}")
        if down.taps % self.together:
            mask = both(mask, f"(down + step * {self.together} < {down.taps})[None, :]")
        far = times("step", self.together * down.step * shape.x_place.row)
        t(f"a = {load(total('first_x', f'(x + {far})' if far else 'x'), mask)}")
        if shape.x_dtype is not shape.multiplied:
            t("a = a.to(tl.float32)")
