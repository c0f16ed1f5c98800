"""Depthwise convolutions: pixels by channels, one filter each, without tensor cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.convolution import (
    Shape,
    results,
    write_columns,
    write_pixels,
    write_starts,
)
from planck.codegen.triton.epilogue import Placing, Tail
from planck.codegen.triton.text import Text, both, load, times, total

UNROLLED: Final = 25  # taps that are written out


@dataclass(frozen=True, slots=True)
class Depthwise:
    """One kernel.

    shape:  as if all channels were one group's
    held:   whether the filters are loaded before the wait, if their taps are written out
    """

    symbol: str
    shape: Shape
    tail: Tail
    pixels: int
    channels: int
    warps: int
    trigger: int
    held: bool
    dependent: bool


def write(own: Depthwise) -> TritonCode:
    """Channels past the last are read like others where that is cheaper, and never written."""
    shape, place = own.shape, own.shape.x_place
    down, across = shape.down, shape.across
    t = Text(own.dependent)
    acrosses, downs = -(-shape.columns // own.channels), -(-shape.rows // own.pixels)
    t("block = tl.program_id(0)")
    t(f"m = block // {acrosses} * {own.pixels} + tl.arange(0, {own.pixels})")
    t(f"n = block % {acrosses} * {own.channels} + tl.arange(0, {own.channels})")
    rows = write_pixels(t, shape, own.pixels)
    columns = write_columns(t, shape, own.channels)
    write_starts(t, shape)
    x = t.pointer(shape.x, shape.x_dtype, shape.x_aligned)
    w = t.pointer(shape.weights, shape.weights_dtype)
    row = place.row if down.size > 1 else 0
    base = total(
        times("img", place.batch if shape.batch > 1 else 0),
        times("h", row), times("v", place.column),
    )  # fmt: skip
    t(f"x = {x} + ({base})[:, None] + ({times('n', place.channel)})[None, :]")
    readable = f"(n < {shape.lanes})[None, :]" if shape.lanes % own.channels else ""
    t(f"acc = tl.zeros(({own.pixels}, {own.channels}), tl.float32)")
    count, padded = down.taps * across.taps, acrosses * own.channels
    placing: Placing | None = None
    loaded: dict[str, str] = {}
    held = own.held and count <= UNROLLED
    if held:
        placing = results(t, shape, rows, columns)
        loaded = own.tail.load_constants(t, placing, "n")
        for tap in range(count):
            t(f"w{tap} = tl.load({w} + n + {tap * padded})")
    t.wait()
    if own.trigger == 2:
        t.trigger()
    if count <= UNROLLED:
        for tap in range(count):
            dh, dv = tap // across.taps * down.step, tap % across.taps * across.step
            _tap(t, shape, (str(dh), str(dv)), (rows, readable), dh * row + dv * place.column)
            number = f"w{tap}" if held else f"tl.load({w} + n + {tap * padded})"
            t(f"acc += a * {number}[None, :].to(tl.float32)")
    else:
        t(f"for tap in range({count}):")
        t.indent += 1
        t(f"dh = tap // {across.taps} * {down.step}", f"dv = tap % {across.taps} * {across.step}")
        far = total(times("dh", row), times("dv", place.column))
        _tap(t, shape, ("dh", "dv"), (rows, readable), far)
        t(f"acc += a * tl.load({w} + n + tap * {padded})[None, :].to(tl.float32)")
        t.indent -= 1
    if own.trigger == 3:
        t.trigger()
    placing = placing or results(t, shape, rows, columns)
    own.tail.write(t, "acc", placing, "n", loaded=loaded)
    return t.finish(own.symbol, acrosses * downs, own.warps, 2)


def _tap(
    t: Text, shape: Shape, by: tuple[str, str], masks: tuple[str, str], far: int | str
) -> None:
    """Load what one tap reads; (rows, lanes) that are there."""
    inside = [masks[0]]
    for sweep, name, shift in ((shape.down, "h", by[0]), (shape.across, "v", by[1])):
        if sweep.leaves:
            inside += [f"{name} + {shift} >= 0", f"{name} + {shift} < {sweep.size}"]
    mask = f"({both(*inside)})[:, None]" if any(inside) else ""
    t(f"a = {load(f'x + ({far})', both(mask, masks[1]))}.to(tl.float32)")
