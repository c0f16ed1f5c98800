"""Non-maximum suppression: a unit of work is one image and class, round after round.

A unit lists the boxes whose score is above the lowest. Each round takes the best that is left, and
out of the list what overlaps it. Who finishes the last unit puts the rows of all of them one behind
the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.cells import Cells
from planck.codegen.llvm import Builder, float_literal, function
from planck.plan.model import COUNTERS, WORKSPACE
from planck.target import Target

COUNTER_BYTES: Final = 64
_OUT: Final = float_literal(float("-inf"))  # the score of a box that is out
_LISTS: Final = ("left", "which", "y_low", "x_low", "y_high", "x_high", "area")


@dataclass(frozen=True, slots=True)
class NonMaxSuppression:
    """A kernel with everything decided.

    arguments:  boxes f32[N, B, 4], scores f32[N, C, B], rows i64[R, 3], the count i64[]
    strides:    of the boxes' three axes, and of the scores', in elements
    most:       boxes of an image and class, no more than there are
    """

    arguments: tuple[str, str, str, str]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    images: int
    classes: int
    boxes: int
    most: int
    overlap: float
    lowest: float
    centred: bool

    @property
    def units(self) -> int:
        return self.images * self.classes

    @property
    def scratch_bytes(self) -> int:
        return len(_LISTS) * self.list_bytes

    @property
    def list_bytes(self) -> int:
        return -(-self.boxes * 4 // 64) * 64

    @property
    def workspace_bytes(self) -> int:
        """The boxes that stay of each unit, then how many they are; 32 bits each."""
        return 4 * self.units * (self.most + 1)


class _Writer:
    def __init__(self, b: Builder, spec: NonMaxSuppression, base: Mapping[str, str]) -> None:
        self.b, self.spec, self.base = b, spec, base
        numbers = ("listed", "number", "place", "row")
        self.cells = Cells(b, {**dict.fromkeys(numbers, "i64"), "top": "float"})
        self.at, self.times = self.cells.at, self.cells.times
        self.lists = {
            name: b.offset("%scratch", k * spec.list_bytes) for k, name in enumerate(_LISTS)
        }

    def item(self, name: str, index: str) -> str:
        """The address in one of the lists."""
        return self.at(self.lists[name], index)

    def larger(self, x: str, y: str) -> str:
        over = self.b.let(f"fcmp ogt float {x}, {y}")
        return self.b.let(f"select i1 {over}, float {x}, float {y}")

    def smaller(self, x: str, y: str) -> str:
        under = self.b.let(f"fcmp olt float {x}, {y}")
        return self.b.let(f"select i1 {under}, float {x}, float {y}")

    def list(self, unit: str) -> None:
        """The scores above the lowest, their boxes, corners and areas; `listed` is their number."""
        b, spec = self.b, self.spec
        boxes, scores = (self.base[name] for name in spec.arguments[:2])
        (each_image, each_box, each), (of_image, of_class, of_box) = spec.strides
        image = b.let(f"udiv i64 {unit}, {spec.classes}")
        kind = b.let(f"urem i64 {unit}, {spec.classes}")
        own = self.at(scores, self.times(kind, of_class, self.times(image, of_image)))
        self.cells["listed"] = "0"
        with b.loop(0, spec.boxes) as box:
            score = b.load("float", self.at(own, self.times(box, of_box)), 4)
            place = self.cells["listed"]
            b.store("float", score, self.item("left", place), 4)
            b.store("i32", b.let(f"trunc i64 {box} to i32"), self.item("which", place), 4)
            good = b.let(f"fcmp ogt float {score}, {float_literal(spec.lowest)}")
            self.cells.step("listed", b.let(f"zext i1 {good} to i64"))
        first = self.at(boxes, self.times(image, each_image))
        with b.loop(0, self.cells["listed"]) as place:
            box = b.let(f"sext i32 {b.load('i32', self.item('which', place), 4)} to i64")
            corners = self.at(first, self.times(box, each_box))
            sides = []
            for k, axis in enumerate("yx"):
                one, two = (b.load("float", b.offset(corners, 4 * each * j), 4) for j in (k, k + 2))
                if spec.centred:
                    half = b.let(f"fmul float {two}, 0.5")
                    one, two = (b.let(f"{way} float {one}, {half}") for way in ("fsub", "fadd"))
                low, high = self.smaller(one, two), self.larger(one, two)
                b.store("float", low, self.item(f"{axis}_low", place), 4)
                b.store("float", high, self.item(f"{axis}_high", place), 4)
                sides.append(b.let(f"fsub float {high}, {low}"))
            area = b.let(f"fmul float {sides[0]}, {sides[1]}")
            b.store("float", area, self.item("area", place), 4)

    def rounds(self, unit: str) -> None:
        """The boxes that stay, into the workspace; `number` is how many they are."""
        b, spec = self.b, self.spec
        self.cells["number"] = "0"
        again, found, out, done = (b.label(n) for n in ("again", "found", "out", "done"))
        b.branch(again)
        b.block(again)
        self.cells["top"] = _OUT
        with b.loop(0, self.cells["listed"]) as place:
            score = b.load("float", self.item("left", place), 4)
            # No score is NaN, which lets LLVM take many at once.
            top = b.call("float", "llvm.maxnum.f32", ("float", self.cells["top"]), ("float", score),
                         flags="nnan nsz")  # fmt: skip
            self.cells["top"] = top
        b.branch_if(b.let(f"fcmp ogt float {self.cells['top']}, {_OUT}"), found, done)
        b.block(found)
        self._find()
        place = self.cells["place"]
        box = b.load("i32", self.item("which", place), 4)
        kept = self.times(unit, spec.most, self.cells["number"])
        b.store("i32", box, self.at(self.base[WORKSPACE], kept, "i32"), 4)
        self.cells.step("number")
        b.branch_if(b.let(f"icmp slt i64 {self.cells['number']}, {spec.most}"), out, done)
        b.block(out)
        b.store("float", _OUT, self.item("left", place), 4)
        self._take_out(place)
        b.branch(again)
        b.block(done)

    def _find(self) -> None:
        """The first place that has the best score."""
        b = self.b

        def another() -> str:
            score = b.load("float", self.item("left", self.cells["place"]), 4)
            return b.let(f"fcmp une float {score}, {self.cells['top']}")

        self.cells["place"] = "0"
        with self.cells.during(another):
            self.cells.step("place")

    def _take_out(self, best: str) -> None:
        """What overlaps the box at a place is out."""
        b = self.b
        own = {name: b.load("float", self.item(name, best), 4) for name in _LISTS[2:]}
        with b.loop(0, self.cells["listed"]) as place:
            its = {name: b.load("float", self.item(name, place), 4) for name in _LISTS[2:]}
            sides = []
            for axis in "yx":
                low = self.larger(own[f"{axis}_low"], its[f"{axis}_low"])
                high = self.smaller(own[f"{axis}_high"], its[f"{axis}_high"])
                sides.append(self.larger(b.let(f"fsub float {high}, {low}"), "0.0"))
            shared = b.let(f"fmul float {sides[0]}, {sides[1]}")
            union = b.let(f"fadd float {own['area']}, {its['area']}")
            union = b.let(f"fsub float {union}, {shared}")
            share = b.let(f"fdiv float {shared}, {union}")
            over = b.let(f"fcmp ogt float {share}, {float_literal(self.spec.overlap)}")
            score = b.load("float", self.item("left", place), 4)
            b.store("float", b.let(f"select i1 {over}, float {_OUT}, float {score}"),
                    self.item("left", place), 4)  # fmt: skip

    def gather(self) -> None:
        """The rows of all units, -1 behind them, and how many there are."""
        b, spec = self.b, self.spec
        rows, count = (self.base[name] for name in spec.arguments[2:])
        kept, counts = self.base[WORKSPACE], self._counts()
        self.cells["row"] = "0"
        with b.loop(0, spec.units) as unit:
            number = b.load("i32", self.at(counts, unit, "i32"), 4)
            image, kind = (b.let(f"{way} i64 {unit}, {spec.classes}") for way in ("udiv", "urem"))
            with b.loop(0, b.let(f"sext i32 {number} to i64")) as k:
                box = b.load("i32", self.at(kept, self.times(unit, spec.most, k), "i32"), 4)
                box = b.let(f"sext i32 {box} to i64")
                for column, value in enumerate((image, kind, box)):
                    at = self.times(self.cells["row"], 3, str(column))
                    b.store("i64", value, self.at(rows, at, "i64"), 8)
                self.cells.step("row")
        b.store("i64", self.cells["row"], count, 8)
        with b.loop(self.times(self.cells["row"], 3), 3 * spec.units * spec.most) as at:
            b.store("i64", "-1", self.at(rows, at, "i64"), 8)

    def _counts(self) -> str:
        return self.b.offset(self.base[WORKSPACE], 4 * self.spec.units * self.spec.most)

    def run(self) -> None:
        b, spec = self.b, self.spec
        with b.loop("%begin", "%end") as unit:
            self.list(unit)
            self.rounds(unit)
            number = b.let(f"trunc i64 {self.cells['number']} to i32")
            b.store("i32", number, self.at(self._counts(), unit, "i32"), 4)
        counter = self.base[COUNTERS]
        own = b.let("trunc i64 " + b.let("sub i64 %end, %begin") + " to i32")
        before = b.let(f"atomicrmw add ptr {counter}, i32 {own} acq_rel, align 4")
        last = b.let(f"icmp eq i32 {b.let(f'add i32 {before}, {own}')}, {spec.units}")
        with self.cells.when(last):
            self.gather()
            b.do(f"store atomic i32 0, ptr {counter} monotonic, align 4")
        b.do("ret void")


def write(target: Target, symbol: str, spec: NonMaxSuppression) -> str:
    """The module of one kernel."""
    b = Builder()
    _Writer(b, spec, b.arguments((*spec.arguments, WORKSPACE, COUNTERS))).run()
    return function(target, symbol, b)
