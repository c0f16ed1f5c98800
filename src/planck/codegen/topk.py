"""The largest k elements of a line, in their order: a unit of work is one line.

An element and its position make one unsigned number, so that of equal elements the first is the
larger and no two numbers are alike. A list keeps the best k so far in order, and behind them what
was met since and is larger than the last of these. When it is full, what is new is sorted and
merged with the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from planck.codegen.cells import Cells, unravel
from planck.codegen.lanes import Lanes
from planck.codegen.llvm import Builder, function
from planck.codegen.memory import lanes_of
from planck.codegen.transpose import transpose
from planck.dtypes import DType, bf16, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64
from planck.target import Target

RUN: Final = 8  # elements that a network sorts
POSITION_BITS: Final = 32
DTYPES: Final = (f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8)
_INFINITY: Final = {f16: 0x7C00, bf16: 0x7F80, f32: 0x7F80 << 16, f64: 0x7FF0 << 48}
# Of 19 comparisons; source: Knuth, The Art of Computer Programming, volume 3, 5.3.4
_NETWORK: Final = (
    (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7), (0, 1), (2, 3),
    (4, 5), (6, 7), (2, 4), (3, 5), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TopK:
    """A kernel with everything decided.

    arguments:  x, values, positions i64
    count:      elements of a line
    lines:      extents of the other axes
    strides:    along these axes and along a line, of x, the values and the positions, in elements
    """

    arguments: tuple[str, str, str]
    dtype: DType
    count: int
    k: int
    largest: bool
    lines: tuple[int, ...]
    strides: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def units(self) -> int:
        return math.prod(self.lines)

    @property
    def key_bits(self) -> int:
        return max(self.dtype.bits, 32)

    @property
    def keys_bytes(self) -> int:
        """Of the keys of a line whose elements do not lie one behind the other."""
        return 0 if self.strides[0][-1] == 1 else self.count * self.key_bits // 8


class _Writer:
    def __init__(self, b: Builder, target: Target, spec: TopK) -> None:
        self.b, self.target, self.spec = b, target, spec
        pointers = ["list", "spare", "from", "to", "one", "two", "out"]
        pointers += ["one_end", "two_end", "out_end"]
        numbers = ("kept", "filled", "whole", "width", "start", "hits", "trips")
        kinds = {**dict.fromkeys(pointers, "ptr"), **dict.fromkeys(numbers, "i64")}
        self.cells = Cells(b, {**kinds, "limit": f"i{spec.key_bits}"})
        self.memory = f"i{spec.dtype.bits}"  # how x is read
        self.element = f"i{2 * spec.key_bits}"
        self.bytes = spec.key_bits // 4
        self.lanes = target.vector_bytes * 8 // spec.key_bits
        self.columns = 1 if spec.key_bits > 32 else RUN  # that a network sorts at once
        self.full = spec.k + max(spec.k, 2 * self.lanes)
        self.list_bytes = (self.full + RUN * self.columns) * self.bytes

    def run(self) -> None:
        b, spec = self.b, self.spec
        base = b.arguments(spec.arguments).values()
        sizes = (spec.dtype.bytes, spec.dtype.bytes, 8)
        with b.loop("%begin", "%end") as unit:
            line = unravel(b, unit, spec.lines)
            x, values, positions = (
                b.offset(pointer, self.cells.offset(line, [size * s for s in strides[:-1]]))
                for pointer, size, strides in zip(base, sizes, spec.strides, strict=True)
            )
            self.cells["list"] = "%scratch"
            self.cells["spare"] = b.offset("%scratch", self.list_bytes)
            self.select(x if spec.strides[0][-1] == 1 else self.keys_of(x))
            self.emit(x, values, positions)
        b.do("ret void")

    def keys_of(self, x: str) -> str:
        """Where the keys of a line lie one behind the other."""
        b, spec = self.b, self.spec
        keys = b.offset("%scratch", 2 * self.list_bytes)
        with b.loop(0, spec.count) as i:
            at = self.cells.at(x, self.cells.times(i, spec.strides[0][-1]), self.memory)
            key = self.key(b.load(self.memory, at, spec.dtype.bytes), self.memory)
            kind = f"i{spec.key_bits}"
            b.store(kind, key, self.cells.at(keys, i, kind), spec.key_bits // 8)
        return keys

    def key(self, value: str, kind: str) -> str:
        """A signed integer, larger where the element comes before, and the same for equals."""
        dtype, bits = self.spec.dtype, self.spec.dtype.bits
        v = Lanes(self.b, kind, self.target)
        if dtype.is_float:
            most = v.c(2 ** (bits - 1) - 1)
            size = v.let("and", value, most)
            number = v.compare("le", size, v.c(_INFINITY[dtype]))
            value = v.select(v.compare("eq", size, v.c(0)), v.c(0), value)
            sign = v.let("ashr", value, v.c(bits - 1))
            value = v.let("xor", value, v.let("and", sign, most))
            value = v.select(number, value, most)
        elif dtype.kind == "u" and bits == self.spec.key_bits:
            value = v.let("xor", value, v.c(-(2 ** (bits - 1))))
        if bits < self.spec.key_bits:
            way = "zext" if dtype.kind == "u" else "sext"
            value = v.convert(way, value, f"i{self.spec.key_bits}")
            v = v.to(f"i{self.spec.key_bits}")
        return value if self.spec.largest else v.let("xor", value, v.c(-1))

    def read(self, x: str, at: str, lanes: int = 1) -> str:
        """Keys of the elements at a place."""
        if self.spec.strides[0][-1] != 1:  # keys already
            kind = lanes_of(f"i{self.spec.key_bits}", lanes)
            pointer = self.cells.at(x, at, f"i{self.spec.key_bits}")
            return self.b.load(kind, pointer, self.spec.key_bits // 8)
        kind = lanes_of(self.memory, lanes)
        pointer = self.cells.at(x, at, self.memory)
        return self.key(self.b.load(kind, pointer, self.spec.dtype.bytes), kind)

    def append(self, x: str, at: str) -> None:
        b, bits, element = self.b, self.spec.key_bits, self.element
        key = b.let(f"xor i{bits} {self.read(x, at)}, {-(2 ** (bits - 1))}")
        high = b.let(f"shl {element} {b.let(f'zext i{bits} {key} to {element}')}, {POSITION_BITS}")
        before = b.let(f"sub i64 {2**POSITION_BITS - 1}, {at}")
        low = b.let(f"zext i64 {before} to {element}") if bits > 32 else before
        place = self.cells.at(self.cells["list"], self.cells["filled"], element)
        b.store(element, b.let(f"or {element} {high}, {low}"), place, self.bytes)
        self.cells.step("filled")

    def select(self, x: str) -> None:
        """The best k of a line, in order, into the list."""
        b, c, spec, lanes = self.b, self.cells, self.spec, self.lanes
        first = min(spec.count, self.full)
        first -= (first - spec.count) % lanes  # what is left is whole vectors
        c["kept"] = c["filled"] = "0"
        with b.loop(0, first) as at:
            self.append(x, at)
        self.settle()
        with b.loop(first, spec.count, lanes) as at:
            keys, mask = self.read(x, at, lanes), lanes_of("i1", lanes)
            v = Lanes(b, lanes_of(f"i{spec.key_bits}", lanes), self.target)
            limit = b.fill(v.element, c["limit"], lanes)
            over = v.compare("gt", keys, limit)
            bits = b.let(f"bitcast {mask} {over} to i{lanes}")
            c["hits"] = b.let(f"zext i{lanes} {bits} to i64")
            with c.during(lambda: b.let(f"icmp ne i64 {c['hits']}, 0")):
                lane = b.call("i64", "llvm.cttz.i64", ("i64", c["hits"]), ("i1", "true"))
                below = b.let(f"sub i64 {c['hits']}, 1")
                c["hits"] = b.let(f"and i64 {c['hits']}, {below}")
                self.append(x, b.let(f"add nsw i64 {at}, {lane}"))
            last = b.let(f"icmp eq i64 {at}, {spec.count - lanes}")
            most = b.let(f"select i1 {last}, i64 {spec.k}, i64 {self.full - lanes}")
            with c.when(b.let(f"icmp sgt i64 {c['filled']}, {most}")):
                self.settle()

    def settle(self) -> None:
        """Sort what is new and merge it with what is in order; of both the best k stay."""
        b, c, k = self.b, self.cells, self.spec.k
        row = lanes_of(self.element, self.columns)
        end = c.at(c["list"], c["filled"], self.element)
        for i in range(RUN):  # the last runs are filled up with less than everything
            place = b.offset(end, i * self.columns * self.bytes)
            b.store(row, "zeroinitializer" if self.columns > 1 else "0", place, self.bytes)
        new = b.let(f"sub i64 {c['filled']}, {c['kept']}")
        c["whole"] = b.let(f"and i64 {b.let(f'add i64 {new}, {RUN - 1}')}, {-RUN}")
        c["from"] = c.at(c["list"], c["kept"], self.element)
        c["to"] = c.at(c["spare"], c["kept"], self.element)
        self._runs(new)
        c["width"] = str(RUN)
        with c.during(lambda: b.let(f"icmp slt i64 {c['width']}, {c['whole']}")):
            c["start"] = "0"
            with c.during(lambda: b.let(f"icmp slt i64 {c['start']}, {c['whole']}")):
                self._join(c["start"])
            c["from"], c["to"] = c["to"], c["from"]
            c["width"] = b.let(f"shl i64 {c['width']}, 1")
        kept = c.at(c["list"], c["kept"], self.element)
        new_end = c.at(c["from"], new, self.element)
        self._merge(c["list"], kept, c["from"], new_end, c["spare"], str(k))
        c["list"], c["spare"] = c["spare"], c["list"]
        c["kept"] = c["filled"] = str(k)
        last = b.load(self.element, c.at(c["list"], str(k - 1), self.element), self.bytes)
        bits = self.spec.key_bits
        key = b.let(f"trunc {self.element} {self._high(last)} to i{bits}")
        c["limit"] = b.let(f"xor i{bits} {key}, {-(2 ** (bits - 1))}")

    def _high(self, element: str) -> str:
        return self.b.let(f"lshr {self.element} {element}, {POSITION_BITS}")

    def _less(self, x: str, y: str) -> str:
        return self.b.let(f"sub i64 {x}, {y}")

    def _runs(self, new: str) -> None:
        """Put runs in order, as many as a vector has lanes at once."""
        b, c, columns = self.b, self.cells, self.columns
        row = lanes_of(self.element, columns)
        suffix = f"v{columns}{self.element}" if columns > 1 else self.element
        with b.loop(0, new, RUN * columns) as at:
            first = c.at(c["from"], at, self.element)
            places = [b.offset(first, i * columns * self.bytes) for i in range(RUN)]
            rows = [b.load(row, place, self.bytes) for place in places]
            if columns > 1:
                rows = transpose(b, rows, row)
            for i, j in _NETWORK:
                pair = (row, rows[i]), (row, rows[j])
                rows[i], rows[j] = (
                    b.call(row, f"llvm.{way}.{suffix}", *pair) for way in ("umax", "umin")
                )
            if columns > 1:
                rows = transpose(b, rows, row)
            for one, place in zip(rows, places, strict=True):
                b.store(row, one, place, self.bytes)

    def _join(self, start: str) -> None:
        """Merge two runs of `width` elements, the last of which may be shorter or not be there."""
        b, c = self.b, self.cells
        middle = self.b.smaller(b.let(f"add i64 {start}, {c['width']}"), c["whole"])
        end = self.b.smaller(b.let(f"add i64 {middle}, {c['width']}"), c["whole"])
        one, two, last = (c.at(c["from"], at, self.element) for at in (start, middle, end))
        out = c.at(c["to"], start, self.element)
        c["start"] = end
        alike, other, done = (b.label(n) for n in ("alike", "other", "joined"))
        size = self._less(end, middle)
        b.branch_if(b.let(f"icmp eq i64 {size}, {c['width']}"), alike, other)
        b.block(alike)
        self._merge_alike(one, two, size, out)
        b.branch(done)
        b.block(other)
        self._merge(one, two, two, last, out, self._less(end, start))
        b.branch(done)
        b.block(done)

    def _merge_alike(self, one: str, two: str, size: str, out: str) -> None:
        """Two runs of one size, from both ends at once: neither can go beyond the other's half."""
        b, c, element = self.b, self.cells, self.element
        c["one"], c["two"], c["out"] = one, two, out
        last = self._less(size, "1")
        c["one_end"], c["two_end"] = c.at(one, last, element), c.at(two, last, element)
        c["out_end"] = c.at(c.at(out, size, element), last, element)
        with b.loop(0, size):
            self._take("ugt", "one", "two", "out", 1)
            self._take("ult", "one_end", "two_end", "out_end", -1)

    def _take(self, test: str, one: str, two: str, out: str, step: int) -> None:
        """The element of two that passes the test goes out."""
        b, c, element = self.b, self.cells, self.element
        x, y = (b.load(element, c[name], self.bytes) for name in (one, two))
        first = b.let(f"icmp {test} {element} {x}, {y}")
        best = b.let(f"select i1 {first}, {element} {x}, {element} {y}")
        b.store(element, best, c[out], self.bytes)
        c[one] = c.at(c[one], b.let(f"select i1 {first}, i64 {step}, i64 0"), element)
        c[two] = c.at(c[two], b.let(f"select i1 {first}, i64 0, i64 {step}"), element)
        c[out] = c.at(c[out], str(step), element)

    def _merge(self, one: str, one_end: str, two: str, two_end: str, out: str, count: str) -> None:
        """The largest `count` elements of two runs that have as many."""
        b, c, element = self.b, self.cells, self.element
        ends = [b.let(f"ptrtoint ptr {end} to i64") for end in (one_end, two_end)]
        c["one"], c["two"], c["out"] = one, two, out
        out_end = b.let(f"ptrtoint ptr {c.at(out, count, element)} to i64")

        def left(name: str, end: str) -> str:
            bytes_ = self._less(end, b.let(f"ptrtoint ptr {c[name]} to i64"))
            return b.let(f"ashr exact i64 {bytes_}, {self.bytes.bit_length() - 1}")

        def more() -> str:
            """Whether some elements can be taken without a look at the ends: `trips`."""
            trips = self.b.smaller(left("one", ends[0]), left("two", ends[1]))
            c["trips"] = self.b.smaller(trips, left("out", out_end))
            return b.let(f"icmp sgt i64 {c['trips']}, 0")

        with c.during(more), b.loop(0, c["trips"]):
            self._take("ugt", "one", "two", "out", 1)
        some = b.let(f"icmp sgt i64 {left('one', ends[0])}, 0")
        rest = b.let(f"select i1 {some}, ptr {c['one']}, ptr {c['two']}")
        to, count = c["out"], left("out", out_end)
        with b.loop(0, count) as i:
            b.store(
                element,
                b.load(element, c.at(rest, i, element), self.bytes),
                c.at(to, i, element),
                self.bytes,
            )

    def emit(self, x: str, values: str, positions: str) -> None:
        b, c, spec = self.b, self.cells, self.spec
        of_x, of_values, of_positions = (strides[-1] for strides in spec.strides)
        with b.loop(0, spec.k) as i:
            best = b.load(self.element, c.at(c["list"], i, self.element), self.bytes)
            before = b.let(f"trunc {self.element} {best} to i{POSITION_BITS}")
            place = b.let(
                f"zext i{POSITION_BITS} {b.let(f'xor i{POSITION_BITS} {before}, -1')} to i64"
            )
            b.store("i64", place, c.at(positions, c.times(i, of_positions), "i64"), 8)
            value = b.load(
                self.memory, c.at(x, c.times(place, of_x), self.memory), spec.dtype.bytes
            )
            to = c.at(values, c.times(i, of_values), self.memory)
            b.store(self.memory, value, to, spec.dtype.bytes)


def write(target: Target, symbol: str, spec: TopK) -> tuple[str, int]:
    """The module of one kernel, and the bytes of scratch that it wants."""
    b = Builder()
    writer = _Writer(b, target, spec)
    writer.run()
    return function(target, symbol, b), 2 * writer.list_bytes + spec.keys_bytes
