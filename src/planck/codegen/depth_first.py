"""Convolutions run depth first: what one makes is read by the next before it leaves the cache.

A convolution widens the image (often 1x1), a depthwise one slides over it, a 1x1 convolution
narrows it again; the first or the last may be missing. A unit of work is a part of the output rows
of one image; what lies between the convolutions is in the thread's scratch:

    for steps of a few output rows:
        for panels of hidden channels:
            widen:   the input rows that this step needs and the one before did not   -> ring
            slide:   the rows of the step                                             -> slab
        narrow:      all hidden channels of the slab, epilogue, store

The ring holds the rows that the windows of one step cover: row y is at y modulo its size, so the
rows that two steps share are computed once, except where another unit begins. The convolutions are
written by the writers of the single ones: only their rows are cut otherwise. Padding is of the
widened image; its rows and columns are in no table, so nothing is stored for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planck.codegen.convolution import Convolution
from planck.codegen.convolution_tile import Unit
from planck.codegen.convolution_unit import ConvolutionWriter
from planck.codegen.llvm import function
from planck.codegen.sliding import Sliding, SlidingWriter
from planck.codegen.tables import TableBuilder
from planck.codegen.tiling import Axis, Strip, Tap, balanced
from planck.target import Target


@dataclass(frozen=True, slots=True)
class Step:
    """Output rows [begin, end), and what they need of the widened image.

    low, high:  rows of the widened image that their windows cover
    fresh:      the first of these that the step before did not cover
    """

    begin: int
    end: int
    low: int
    high: int
    fresh: int


@dataclass(frozen=True, slots=True)
class DepthFirst:
    """Two or three convolutions with everything decided.

    steps:    the output rows, cut
    groups:   parts that the steps are divided into
    widen:    None where the depthwise convolution comes first
    narrow:   None where it comes last
    scratch:  where in scratch each tensor between the convolutions begins, in bytes
    """

    batch: int
    steps: tuple[Step, ...]
    groups: int
    widen: Convolution | None
    slide: Sliding
    narrow: Convolution | None
    scratch: Mapping[str, int]
    scratch_bytes: int

    @property
    def stages(self) -> tuple[Convolution | Sliding, ...]:
        return tuple(s for s in (self.widen, self.slide, self.narrow) if s is not None)

    @property
    def arguments(self) -> tuple[str, ...]:
        names = dict.fromkeys(name for stage in self.stages for name in stage.arguments)
        return tuple(name for name in names if name not in self.scratch)

    @property
    def units(self) -> int:
        return self.batch * self.groups


def steps_of(rows: Axis, kernel: int, dilation: int, extent: int, size: int) -> tuple[Step, ...]:
    """Steps of `size` output rows of a depthwise convolution.

    rows:    its rows, in strips of one
    extent:  rows of its input
    """
    by_row = sorted(rows.strips, key=lambda s: s.at_out)
    found: list[Step] = []
    reached = 0
    for begin, length in balanced(len(by_row), size):
        first, last = by_row[begin].at_in, by_row[begin + length - 1].at_in
        high = max(reached, min(extent, last + (kernel - 1) * dilation + 1))
        low = min(max(first, 0), high)
        found.append(Step(begin, begin + length, low, high, max(low, reached)))
        reached = high
    return tuple(found)


def ring_rows(steps: Sequence[Step]) -> int:
    """Rows that a ring needs: as many as one step covers."""
    return max(1, *(step.high - step.low for step in steps))


def into_ring(rows: Axis, size: int) -> Axis:
    """Strips of one row that write to a ring."""
    strips = sorted(rows.strips, key=lambda s: s.at_out)
    return replace(rows, strips=tuple(replace(s, at_out=s.at_out % size) for s in strips))


def from_ring(rows: Axis, size: int) -> Axis:
    """Strips of one row that read from a ring: each tap knows its row's place."""
    cases: dict[tuple[Tap, ...], int] = {}
    strips = []
    for strip in sorted(rows.strips, key=lambda s: s.at_out):
        taps = tuple(
            replace(tap, shift=(strip.at_in + tap.shift) % size)
            for tap in rows.cases[1][strip.case]
        )
        strips.append(replace(strip, at_in=0, case=cases.setdefault(taps, len(cases))))
    return replace(rows, strips=tuple(strips), cases={1: tuple(cases)})


def into_slab(rows: Axis, steps: Sequence[Step]) -> Axis:
    """Strips of one row that write to the rows of their step only."""
    begins = {r: step.begin for step in steps for r in range(step.begin, step.end)}
    strips = tuple(replace(s, at_out=s.at_out - begins[s.at_out]) for s in rows.strips)
    return replace(rows, strips=strips)


def from_slab(steps: Sequence[Step], height: int) -> Axis:
    """Rows of a 1x1 convolution, in strips of at most `height` that lie within steps."""
    strips = [
        Strip(size, at, step.begin + at, 0)
        for step in steps
        for at, size in balanced(step.end - step.begin, height)
    ]
    sizes = {strip.size for strip in strips}
    cases: dict[int, tuple[tuple[Tap, ...], ...]] = {
        size: ((Tap(0, 0, tuple(range(size))),),) for size in sizes
    }
    ranked = sorted(strips, key=lambda s: (-s.size, s.at_out))
    return Axis(1, 1, tuple(ranked), cases)


def write(target: Target, symbol: str, spec: DepthFirst) -> str:
    """The module of one kernel."""
    b = TableBuilder()
    _Writer(target, spec, b).kernel()
    return function(target, symbol, b)


class _Stage(ConvolutionWriter):
    """A convolution of which each step takes some strips of rows."""

    ranges: dict[int, tuple[str, str]]

    def row_range(self, unit: Unit, height: int) -> tuple[str, str]:
        return self.ranges[height]

    def lines_ahead(self, vectors: int) -> int:
        return 0  # all panels meet each step: they stay in L2


class _Writer:
    def __init__(self, target: Target, spec: DepthFirst, b: TableBuilder) -> None:
        self.spec, self.b = spec, b
        self.slide = SlidingWriter(target, spec.slide, b)
        self.widen = _Stage(target, spec.widen, b) if spec.widen else None
        self.narrow = _Stage(target, spec.narrow, b) if spec.narrow else None

    def kernel(self) -> None:
        b, spec = self.b, self.spec
        base = b.arguments(spec.arguments)
        base |= {name: b.offset("%scratch", at) for name, at in spec.scratch.items()}
        self.base = {name: base[name] for name in spec.slide.arguments}
        for stage in (self.widen, self.narrow):
            if stage:
                stage.base = {name: base[name] for name in stage.spec.arguments}
        with b.loop("%begin", "%end", hint="unit") as unit:
            image = b.let(f"udiv i64 {unit}, {spec.groups}")
            group = b.let(f"urem i64 {unit}, {spec.groups}")
            begin, end = b.share(len(spec.steps), group, spec.groups)
            with b.loop(begin, end, hint="step") as step:
                first = b.let(f"icmp eq i64 {step}, {begin}")
                self.step(image, step, first)
        b.do("ret void")

    def step(self, image: str, step: str, first: str) -> None:
        """A few rows of the output, through all convolutions."""
        b, spec = self.b, self.spec
        at = {
            field: b.entry([getattr(s, field) for s in spec.steps], step)
            for field in ("begin", "end", "low", "high", "fresh")
        }
        if self.widen:
            start = b.let(f"select i1 {first}, i64 {at['low']}, i64 {at['fresh']}")
            self.widen.ranges = {1: (start, at["high"])}
        rows = (at["begin"], at["end"])
        vectors = spec.widen.vectors if spec.widen else 1
        whole, left = divmod(spec.slide.blocks, vectors)
        with b.loop(0, whole, hint="panel") as panel:
            self.hidden(image, panel, b.times(panel, vectors), vectors, rows)
        if left:
            self.hidden(image, str(whole), str(whole * vectors), left, rows)
        if self.narrow:
            self.narrow_all(self.narrow, image, step)

    def hidden(
        self, image: str, panel: str, block: str, vectors: int, rows: tuple[str, str]
    ) -> None:
        """A panel of hidden channels: widened, and slid over."""
        b = self.b
        if self.widen:
            self.widen.panel(vectors, panel, image, ("0", "0"))
        with b.loop(0, vectors, hint="block") as n:
            here = self.slide.block(self.base, image, b.plus(block, n))
            self.slide.rows(here, *rows)

    def narrow_all(self, stage: _Stage, image: str, step: str) -> None:
        """All panels of the last convolution."""
        b, spec = self.b, stage.spec
        stage.ranges = {
            height: self.strips_of(step, spec.rows.of_size(height)) for height in spec.rows.sizes
        }
        whole, left = divmod(spec.blocks, spec.vectors)
        with b.loop(0, whole, hint="panel") as panel:
            stage.panel(spec.vectors, panel, image, ("0", "0"))
        if left:
            stage.panel(left, str(whole), image, ("0", "0"))

    def strips_of(self, step: str, strips: Sequence[Strip]) -> tuple[str, str]:
        """The numbers, among strips of one height, of those that lie in a step."""
        steps = self.spec.steps
        begins = [sum(s.at_out < step.begin for s in strips) for step in steps]
        ends = [sum(s.at_out < step.end for s in strips) for step in steps]
        return self.b.entry(begins, step), self.b.entry(ends, step)
