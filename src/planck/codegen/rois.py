"""RoiAlign: the mean of bilinear samples is a sum of a bin's pixels, each times a weight by its row
and a weight by its column.

A unit of work is one region and a part of the channels. It first lists the pixels of each bin along
both axes with their weights, then goes through them, a vector of channels at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.cells import Cells, unravel
from planck.codegen.llvm import Builder, float_literal, function
from planck.codegen.microkernel import Vector
from planck.target import Target

MOST_SAMPLES: Final = 4096  # of a bin along an axis
ENTRY: Final = 16  # bytes: where a pixel lies, in elements; its weight in float32
_HALF: Final = float_literal(0.5, "double")


@dataclass(frozen=True, slots=True)
class RoiAlign:
    """A kernel with everything decided.

    arguments:  x, regions f32[R, 4], the image of each i64[R], out f32[R, C, *bins]
    size:       channels, height and width of x
    lanes:      channels that are taken at a time
    blocked:    whether x lies in blocks of so many channels, and not in rows
    strides:    of x (images, blocks or channels, rows, columns), of the regions, of the images and
                of out, in elements
    bins:       along each axis
    parts:      of the channels, each a unit of work
    """

    arguments: tuple[str, str, str, str]
    images: int
    size: tuple[int, int, int]
    lanes: int
    blocked: bool
    strides: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    regions: int
    bins: tuple[int, int]
    sampling: int
    scale: float
    offset: float
    parts: int

    @property
    def units(self) -> int:
        return self.regions * self.parts

    @property
    def blocks(self) -> int:
        return -(-self.size[0] // self.lanes)

    def listed(self, axis: int) -> int:
        """Pixels of a bin at most: two a sample; of many samples, those that a line has."""
        return 2 * self.sampling or self.size[1 + axis] + 2

    @property
    def scratch_bytes(self) -> int:
        """The lists of both axes' bins, how long they are, one vector."""
        lists = sum(bins * self.listed(axis) for axis, bins in enumerate(self.bins))
        return ENTRY * lists + 8 * sum(self.bins) + 4 * self.lanes


class _Writer:
    def __init__(self, b: Builder, spec: RoiAlign) -> None:
        self.b, self.spec = b, spec
        self.vector = Vector(spec.lanes)
        self.cells = Cells(b, {"total": self.vector.kind, "row": self.vector.kind, "listed": "i64"})
        self.base = list(b.arguments(spec.arguments).values())
        rows, columns = (ENTRY * bins * spec.listed(axis) for axis, bins in enumerate(spec.bins))
        self.lists = ("%scratch", b.offset("%scratch", rows))
        counts = b.offset("%scratch", rows + columns)
        self.counts = (counts, b.offset(counts, 8 * spec.bins[0]))
        self.place = b.offset(counts, 8 * sum(spec.bins))

    def run(self) -> None:
        b, spec, c = self.b, self.spec, self.cells
        x, _, images, out = self.base
        with b.loop("%begin", "%end") as unit:
            region, part = unravel(b, unit, (spec.regions, spec.parts))
            for axis in range(2):
                self.find_pixels(region, axis)
            image = b.load("i64", c.at(images, c.times(region, spec.strides[2][0]), "i64"), 8)
            image = b.smaller(b.larger(image, 0), spec.images - 1)
            plane = c.at(x, c.times(image, spec.strides[0][0]))
            to = c.at(out, c.times(region, spec.strides[3][0]))
            ends = [c.times(at, spec.blocks) for at in (part, b.let(f"add i64 {part}, 1"))]
            low, high = (b.let(f"udiv i64 {end}, {spec.parts}") for end in ends)
            with b.loop(low, high) as block:
                planes = self._planes(plane, block)
                with b.loop(0, spec.bins[0]) as i, b.loop(0, spec.bins[1]) as j:
                    self.pool(planes, i, j)
                    self.emit(to, block, i, j)
        b.do("ret void")

    def find_pixels(self, region: str, axis: int) -> None:
        """The pixels along an axis of each bin, in float64 as the reference."""
        b, c, spec = self.b, self.cells, self.spec
        bins, extent = spec.bins[axis], spec.size[1 + axis]
        corner = c.times(region, spec.strides[1][0])
        first, last = (self._corner(corner, k * spec.strides[1][1]) for k in (1 - axis, 3 - axis))
        whole = b.let(f"fsub double {last}, {first}")
        if not spec.offset:
            whole = b.call("double", "llvm.maxnum.f64", ("double", whole), ("double", _number(1)))
        size = b.let(f"fdiv double {whole}, {_number(bins)}")
        samples = str(spec.sampling) if spec.sampling else self._samples(size)
        count = b.let(f"sitofp i64 {samples} to double")
        share = b.let(f"fdiv double {_number(1)}, {count}")
        with b.loop(0, bins) as bin_:
            start = b.let(f"fmul double {b.let(f'sitofp i64 {bin_} to double')}, {size}")
            start = b.let(f"fadd double {start}, {first}")
            own = b.offset(self.lists[axis], c.times(bin_, ENTRY * spec.listed(axis)))
            c["listed"] = "0"
            with b.loop(0, samples) as sample:
                at = self._position(start, size, count, sample)
                below, above, rest = self._pixels(at, extent)
                inside = b.let(
                    f"and i1 {b.let(f'fcmp oge double {at}, {_number(-1)}')},"
                    f" {b.let(f'fcmp ole double {at}, {_number(extent)}')}"
                )
                weight = b.let(f"select i1 {inside}, double {share}, double {_number(0)}")
                upper = b.let(f"fmul double {weight}, {rest}")
                stride = spec.strides[0][2 + axis]
                self._add(own, c.times(below, stride), b.let(f"fsub double {weight}, {upper}"))
                self._add(own, c.times(above, stride), upper)
            b.store("i64", c["listed"], c.at(self.counts[axis], bin_, "i64"), 8)

    def _corner(self, corner: str, step: int) -> str:
        """A coordinate of the region, in pixels of x."""
        b, spec = self.b, self.spec
        at = self.cells.at(self.base[1], b.let(f"add i64 {corner}, {step}"))
        value = b.let(f"fpext float {b.load('float', at, 4)} to double")
        scaled = b.let(f"fmul double {value}, {float_literal(spec.scale, 'double')}")
        return b.let(f"fsub double {scaled}, {float_literal(spec.offset, 'double')}")

    def _samples(self, size: str) -> str:
        """As many as a bin has pixels, rounded up."""
        up = self.b.call("double", "llvm.ceil.f64", ("double", size))
        number = self.b.call("i64", "llvm.fptosi.sat.i64.f64", ("double", up))
        return self.b.smaller(self.b.larger(number, 1), MOST_SAMPLES)

    def _position(self, start: str, size: str, count: str, sample: str) -> str:
        """start + (sample + 0.5) * size / count"""
        b = self.b
        middle = b.let(f"fadd double {b.let(f'sitofp i64 {sample} to double')}, {_HALF}")
        own = b.let(f"fdiv double {b.let(f'fmul double {middle}, {size}')}, {count}")
        return b.let(f"fadd double {start}, {own}")

    def _pixels(self, at: str, extent: int) -> tuple[str, str, str]:
        """The pixels on both sides of a position, and how far it is from the first."""
        b, last = self.b, _number(extent - 1)
        at = b.call("double", "llvm.maxnum.f64", ("double", at), ("double", _number(0)))
        at = b.call("double", "llvm.minnum.f64", ("double", at), ("double", last))
        below = b.let(f"fptosi double {at} to i64")
        above = self.b.smaller(b.let(f"add i64 {below}, 1"), extent - 1)
        rest = b.let(f"fsub double {at}, {b.let(f'sitofp i64 {below} to double')}")
        return below, above, rest

    def _add(self, entries: str, place: str, weight: str) -> None:
        """One more pixel, or more of the weight of one of the last two."""
        b, c = self.b, self.cells
        weight = b.let(f"fptrunc double {weight} to float")
        with c.when(b.let(f"fcmp une float {weight}, 0.0")):
            count, entry = c["listed"], b.offset(entries, c.times(c["listed"], ENTRY))
            known = "false"
            found = entry
            for back in (1, 2):
                before = b.offset(entry, -back * ENTRY)
                there = b.let(f"icmp sge i64 {count}, {back}")
                one = b.let(f"select i1 {there}, ptr {before}, ptr {entry}")
                same = b.let(f"icmp eq i64 {b.load('i64', one, 8)}, {place}")
                same = b.let(f"and i1 {there}, {same}")
                found = b.let(f"select i1 {same}, ptr {one}, ptr {found}")
                known = b.let(f"or i1 {known}, {same}")
            old = b.load("float", b.offset(found, 8), 4)
            old = b.let(f"select i1 {known}, float {old}, float 0.0")
            b.store("i64", place, found, 8)
            b.store("float", b.let(f"fadd float {old}, {weight}"), b.offset(found, 8), 4)
            c.step("listed", b.let(f"zext i1 {b.let(f'xor i1 {known}, true')} to i64"))

    def _entries(self, axis: int, bin_: str) -> tuple[str, str]:
        """Where the pixels of a bin are listed, and how many they are."""
        entries = self.cells.times(bin_, ENTRY * self.spec.listed(axis))
        count = self.b.load("i64", self.cells.at(self.counts[axis], bin_, "i64"), 8)
        return self.b.offset(self.lists[axis], entries), count

    def _planes(self, plane: str, block: str) -> list[str]:
        """Where the channels of a block lie; those behind the last are the last once more."""
        c, spec = self.cells, self.spec
        step = spec.strides[0][1]
        if spec.blocked:
            return [c.at(plane, c.times(block, step))]
        channels = (c.times(block, spec.lanes, str(lane)) for lane in range(spec.lanes))
        return [
            c.at(plane, c.times(self.b.smaller(channel, spec.size[0] - 1), step))
            for channel in channels
        ]

    def pool(self, planes: list[str], i: str, j: str) -> None:
        """The mean of a bin, into `total`."""
        b, c = self.b, self.cells
        (rows, row_count), (columns, column_count) = self._entries(0, i), self._entries(1, j)
        c["total"] = "zeroinitializer"
        with b.loop(0, row_count) as y:
            row, by_row = self._entry(rows, y)
            c["row"] = "zeroinitializer"
            with b.loop(0, column_count) as x:
                column, by_column = self._entry(columns, x)
                place = b.let(f"add nsw i64 {row}, {column}")
                self._gather("row", self._pixel(planes, place), by_column)
            self._gather("total", c["row"], by_row)

    def _entry(self, entries: str, k: str) -> tuple[str, str]:
        """Where a listed pixel lies, and its weight."""
        entry = self.b.offset(entries, self.cells.times(k, ENTRY))
        return self.b.load("i64", entry, 8), self.b.load("float", self.b.offset(entry, 8), 4)

    def _pixel(self, planes: list[str], place: str) -> str:
        """All channels of a pixel."""
        b, c = self.b, self.cells
        if self.spec.blocked:
            return b.load(self.vector.kind, c.at(planes[0], place), 4)
        value = "poison"
        for lane, plane in enumerate(planes):
            one = b.load("float", c.at(plane, place), 4)
            value = b.let(f"insertelement {self.vector.kind} {value}, float {one}, i64 {lane}")
        return value

    def _gather(self, name: str, value: str, weight: str) -> None:
        """A variable and value * weight."""
        weight = self.b.fill("float", weight, self.spec.lanes)
        self.cells[name] = self.vector.fma(self.b, value, weight, self.cells[name])

    def emit(self, to: str, block: str, i: str, j: str) -> None:
        """`total` into the bin of each of its channels."""
        b, c, spec = self.b, self.cells, self.spec
        _, of_channel, of_row, of_column = spec.strides[3]
        to = c.at(to, c.times(i, of_row, c.times(j, of_column)))
        first = c.times(block, spec.lanes)
        to = c.at(to, c.times(first, of_channel))
        self.vector.store(b, c["total"], self.place)
        left = b.let(f"sub i64 {spec.size[0]}, {first}")
        with b.loop(0, self.b.smaller(left, spec.lanes)) as lane:
            value = b.load("float", c.at(self.place, lane), 4)
            b.store("float", value, c.at(to, c.times(lane, of_channel)), 4)


def _number(value: float) -> str:
    return float_literal(value, "double")


def write(target: Target, symbol: str, spec: RoiAlign) -> str:
    """The module of one kernel."""
    b = Builder()
    _Writer(b, spec).run()
    return function(target, symbol, b)
