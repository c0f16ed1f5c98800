"""Convolutions of images whose channels lie together, as products: pixels by output channels.

    results  [batch * rows * columns, output channels]
    sum      over taps and channels; a step is one tap's BK channels
    weights  [phase, group, output channel, tap, channel], zeros up to whole tiles

A transposed convolution is one plain convolution for each phase of its strides: the phase's own
taps go backwards over the image. What lies outside the image, or in lanes past the channels, is
masked where it is loaded: it may hold NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from planck.codegen.triton.epilogue import Placing
from planck.codegen.triton.product import Tile
from planck.codegen.triton.text import Text, both, load, times, total
from planck.dtypes import DType


@dataclass(frozen=True, slots=True)
class Place:
    """How an image lies, in elements from its first.

    first:   of the whole result's first channel, where this is a part of it
    nearest: (rows, columns) of an image whose nearest neighbours are read
    """

    batch: int
    channel: int
    row: int
    column: int
    first: int = 0
    nearest: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One axis: output phase + phases * i reads start(phase) + i * stride + tap * step."""

    size: int  # of the image
    out: int
    taps: int
    stride: int
    step: int
    starts: tuple[int, ...]  # by phase

    @property
    def phases(self) -> int:
        return len(self.starts)

    @property
    def count(self) -> int:
        """Results of one phase, at the most."""
        return -(-self.out // self.phases)

    @property
    def leaves(self) -> bool:
        """Whether some tap of some result lies outside the image."""
        reach = (self.taps - 1) * self.step
        low = min(self.starts) + min(0, reach)
        return (
            low < 0
            or max(self.starts) + (self.count - 1) * self.stride + max(0, reach) >= self.size
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A convolution in two axes, ready to be cut.

    channels, columns:  of one group, read and made
    x, weights:         operands; `multiplied` is the dtype that both have when they meet
    lanes:              channels that may be read at once, at least `channels`
    places:             of outputs and of what the epilogue reads beside them
    channel_strides:    of operands along the channels
    """

    batch: int
    groups: int
    channels: int
    columns: int
    down: Sweep
    across: Sweep
    x: str
    x_dtype: DType
    x_place: Place
    x_aligned: bool
    lanes: int
    weights: str
    weights_dtype: DType
    multiplied: DType
    places: Mapping[str, Place]
    channel_strides: Mapping[str, int]

    @property
    def rows(self) -> int:
        return self.batch * self.down.count * self.across.count

    @property
    def outer(self) -> int:
        return self.down.phases * self.across.phases * self.groups

    def widened(self, beside: int) -> Shape:
        """The same with pixels that are several results beside each other, one more column each.

        Their taps are mostly the same, so that less is loaded for more products.

        beside:  a divisor of a row's results; there is one group and one phase
        """
        across = replace(
            self.across,
            out=self.across.out // beside,
            taps=self.across.taps + (beside - 1) * self.across.stride // self.across.step,
            stride=self.across.stride * beside,
        )
        places = {n: replace(p, column=p.column * beside) for n, p in self.places.items()}
        return replace(self, across=across, columns=self.columns * beside, places=places)

    def is_flat(self, place: Place, rows: int, columns: int) -> bool:
        """Whether pixels lie one behind the other, all equally far apart."""
        return (rows == 1 or place.row == columns * place.column) and (
            self.batch == 1 or place.batch == rows * columns * place.column
        )


@dataclass(frozen=True, slots=True)
class Results:
    """Where a tile of results lies: a Placing.

    beside:  results of one pixel of the shape; which one is `beside`, and `n` its channel
    """

    shape: Shape
    mask: str
    columns: str
    beside: int = 1

    def offset(self, name: str) -> str:
        shape, place = self.shape, self.shape.places[name]
        channel = times("n", place.channel) or "n * 0"
        shift = f" - {place.first * place.channel}" if place.first else ""
        if self.beside > 1:
            shift += f" + beside * {place.column // self.beside}"
        return f"({pixels(shape, place)})[:, None] + ({channel}{shift})[None, :]"

    def along(self, name: str) -> str:
        return times("n", self.shape.channel_strides.get(name, 1)) or "n * 0"


def pixels(shape: Shape, place: Place) -> str:
    """How far results' pixels lie from an operand's first one."""
    down, across = shape.down, shape.across
    if place.nearest:
        rows, columns = place.nearest
        p = f"(p * {rows} // {down.out})" if rows != down.out else "p"
        q = f"(q * {columns} // {across.out})" if columns != across.out else "q"
        return total(times("img", place.batch), times(p, place.row), times(q, place.column))
    if down.phases == across.phases == 1 and shape.is_flat(place, down.out, across.out):
        return times("m", place.column) or "m * 0"
    terms = [times("p", place.row) if down.out > 1 else ""]
    terms.append(times("q", place.column) if across.out > 1 else "")
    terms.append(times("img", place.batch) if shape.batch > 1 else "")
    return total(*terms) if any(terms) else "m * 0"


def write_pixels(t: Text, shape: Shape, bm: int) -> str:
    """The pixels of a tile, `img, i, j` in their phase and `p, q` in the result; gives the mask.

    What is not used costs nothing: the compiler leaves it out.
    """
    down, across = shape.down, shape.across
    each = down.count * across.count
    t(f"img = m // {each}", f"i = m // {across.count} % {down.count}", f"j = m % {across.count}")
    phase = f"outer // {shape.groups}" if shape.groups > 1 else "outer"
    if down.phases * across.phases > 1:
        t(f"phase = {phase}")
    mask = f"m < {shape.rows}" if shape.rows % bm else ""
    for own, inner, axis in ((down, "i", "p"), (across, "j", "q")):
        if own.phases == 1:
            t(f"{axis} = {inner}")
            continue
        at = f"phase // {across.phases}" if own is down else f"phase % {across.phases}"
        t(f"phase_{axis} = {at}", f"{axis} = {inner} * {own.phases} + phase_{axis}")
        if own.out % own.phases:
            mask = both(mask, f"{axis} < {own.out}")
    if mask:
        t(f"rows = {mask}")
    return "rows" if mask else ""


def write_starts(t: Text, shape: Shape) -> None:
    """Where the results' first taps lie in the image: h, v."""
    for own, inner, axis, name in (
        (shape.down, "i", "p", "h"), (shape.across, "j", "q", "v"),
    ):  # fmt: skip
        start = own.starts[0]
        far = times(inner, own.stride)
        if own.phases == 1:
            t(f"{name} = {far}" + (f" + {start}" if start else ""))
            continue
        bumps = [k for k in range(1, own.phases) if own.starts[k] != own.starts[k - 1]]
        t(f"start_{axis} = {start}" + "".join(
            f" + tl.where(phase_{axis} >= {k}, {own.starts[k] - own.starts[k - 1]}, 0)"
            for k in bumps
        ))  # fmt: skip
        t(f"{name} = {far} + start_{axis}")


def write_columns(t: Text, shape: Shape, bn: int) -> str:
    """The output channels `n` of a tile; gives their mask."""
    if shape.groups > 1:
        t(f"group = outer % {shape.groups}", "own = n", f"n = group * {shape.columns} + own")
    if shape.columns % bn == 0:
        return ""
    t(f"columns = {'own' if shape.groups > 1 else 'n'} < {shape.columns}")
    return "columns"


def results(t: Text, shape: Shape, rows: str, columns: str, beside: int = 1) -> Placing:
    masks = [f"{rows}[:, None]" if rows else "", f"{columns}[None, :]" if columns else ""]
    mask = both(*masks)
    if mask:
        t(f"there = {mask}")
    if beside > 1:
        each = shape.columns // beside
        t(f"beside = n // {each}", f"n = n % {each}")
    return Results(shape, "there" if mask else "", columns, beside)


@dataclass
class ImageLoads:
    """What the loads of all convolutions have in common: pixels by output channels.

    Who loads writes `w`, the pointers to the weights of the first step.
    """

    shape: Shape
    tile: Tile
    _rows: str = field(default="", init=False)
    _columns: str = field(default="", init=False)

    @property
    def outer(self) -> int:
        return self.shape.outer

    @property
    def rows(self) -> int:
        return self.shape.rows

    @property
    def columns(self) -> int:
        return self.shape.columns

    def write_places(self, t: Text) -> str:
        """The tile's pixels and columns; gives how far pixels' first taps lie from the image's."""
        shape, place = self.shape, self.shape.x_place
        self._rows = write_pixels(t, shape, self.tile.bm)
        t("row = n")
        self._columns = write_columns(t, shape, self.tile.bn)
        write_starts(t, shape)
        return total(
            times("img", place.batch if shape.batch > 1 else 0),
            times("h", place.row),
            times("v", place.column),
        )

    def fetch(self, t: Text) -> None:
        """Nothing: of few channels, the weights are few."""

    def right(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        t(f"b = tl.load(w + step * {tile.bk})")
        if shape.weights_dtype is not shape.multiplied:
            t("b = b.to(tl.float32)")

    def placing(self, t: Text) -> Placing:
        return results(t, self.shape, self._rows, self._columns)


@dataclass
class Taps(ImageLoads):
    """The loads of a convolution, one tap and BK channels a step."""

    @property
    def chunks(self) -> int:
        return -(-self.shape.channels // self.tile.bk)

    @property
    def steps(self) -> int:
        return self.shape.down.taps * self.shape.across.taps * self.chunks

    @property
    def pointwise(self) -> bool:
        """Whether there is one tap, and it lies where the result does."""
        down, across = self.shape.down, self.shape.across
        return all(s.taps == s.stride == s.phases == 1 and s.starts == (0,) for s in (down, across))

    def setup(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        place = shape.x_place
        self._rows = write_pixels(t, shape, tile.bm)
        first = total(
            times(f"outer * {-(-shape.columns // tile.bn) * tile.bn}", 1) if self.outer > 1 else "",
            "n",
        )
        t(f"row = {first}")
        self._columns = write_columns(t, shape, tile.bn)
        down, across = shape.down, shape.across
        same = (down.size, across.size) == (down.out, across.out)
        if self.pointwise and same and shape.is_flat(place, down.size, across.size):
            base = times("m", place.column) or "m * 0"
        else:
            write_starts(t, shape)
            base = total(
                times("img", place.batch if shape.batch > 1 else 0),
                times("h", place.row if down.size > 1 else 0),
                times("v", place.column if across.size > 1 else 0),
            )
            base = base if base != "0" else "m * 0"
        group = times("group", shape.channels * place.channel) if shape.groups > 1 else ""
        x = t.pointer(shape.x, shape.x_dtype, shape.x_aligned)
        w = t.pointer(shape.weights, shape.weights_dtype)
        start = f"{x} + {group}" if group else x
        t(f"x = {start} + ({base})[:, None] + ({times('kk', place.channel)})[None, :]")
        t(f"w = {w} + row[None, :] * {self.steps * tile.bk} + kk[:, None]")

    def fetch(self, t: Text) -> None:
        """A line is 128 bytes."""
        shape, tile = self.shape, self.tile
        line = 128 // shape.weights_dtype.bytes
        w = t.pointer(shape.weights, shape.weights_dtype)
        t(f"lines = {w} + row * {self.steps * tile.bk}", f"for step in {t.share}:")
        for at in range(0, tile.bk, line):
            t(f"    fetch(lines + (step * {tile.bk}" + (f" + {at}))" if at else "))"))

    def left(self, t: Text) -> None:
        shape, tile = self.shape, self.tile
        down, across, place = shape.down, shape.across, shape.x_place
        chunks = self.chunks
        taps = down.taps * across.taps
        tap = "step" if chunks == 1 else f"step // {chunks}"
        chunk = "" if chunks == 1 else ("step" if taps == 1 else f"step % {chunks}")
        terms, inside = [], [self._rows]
        if taps > 1:
            t(f"tap = {tap}")
            for own, name, stride, text in (
                (down, "h", place.row, f"tap // {across.taps}" if across.taps > 1 else "tap"),
                (across, "v", place.column, f"tap % {across.taps}" if down.taps > 1 else "tap"),
            ):
                if own.taps > 1:
                    t(f"d{name} = {times(f'({text})', own.step)}")
                    terms.append(times(f"d{name}", stride if own.size > 1 else 0))
        for own, name in ((down, "h"), (across, "v")):
            if own.leaves:
                at = f"{name} + d{name}" if own.taps > 1 else name
                inside += [f"{at} >= 0", f"{at} < {own.size}"]
        if chunk:
            terms.append(times(f"({chunk})", tile.bk * place.channel))
        mask = f"({both(*inside)})[:, None]" if any(inside) else ""
        channel = f"({chunk}) * {tile.bk} + kk" if chunk else "kk"
        if shape.lanes % tile.bk:
            mask = both(mask, f"({channel} < {shape.lanes})[None, :]")
        far = total(*terms)
        t(f"a = {load('x' if far == '0' else f'x + ({far})', mask)}")
        if shape.lanes != shape.channels:  # what was read past the channels may be NaN
            t(f"a = tl.where(({channel} < {shape.channels})[None, :], a, 0.0)")
        if shape.x_dtype is not shape.multiplied:
            t("a = a.to(tl.float32)")
