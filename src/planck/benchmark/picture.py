"""A roofline as a picture: SVG, both axes logarithmic, a dot for each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import product
from typing import Final

from planck.benchmark.roofline import Roofline, StepRoof

WIDTH: Final = 960
HEIGHT: Final = 620
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 56, 60  # margins; the legend stands in the right one
FONT: Final = 12
CHARACTER: Final = 0.66  # widths of a character, in font sizes, of bold ones
# Okabe and Ito's colours, which most colour-blind people can tell apart.
COLOURS: Final = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999",
)  # fmt: skip
LARGEST: Final = 22.0  # radius of a dot that is all of the time


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the picture."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def inside(self, other: Box) -> bool:
        return (
            other.x <= self.x
            and other.y <= self.y
            and self.x + self.width <= other.x + other.width
            and self.y + self.height <= other.y + other.height
        )


PLOT: Final = Box(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)


@dataclass(frozen=True, slots=True)
class Axis:
    """Powers of ten from `low` to `high` laid on pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten, with their doubles and fives where there are few."""
        steps = (1, 2, 5) if self.high - self.low < 3 else (1,)
        powers = range(math.floor(self.low), math.floor(self.high) + 1)
        return [
            n * 10.0**power
            for power, n in product(powers, steps)
            if self.low <= math.log10(n * 10.0**power) <= self.high
        ]


@dataclass(frozen=True, slots=True)
class Leader:
    """The line from a dot to its label."""

    x1: float
    y1: float
    x2: float
    y2: float

    def meets(self, box: Box) -> bool:
        """Whether it runs over the box, seen at points of which one falls into any line of text."""
        count = max(round(math.hypot(self.x2 - self.x1, self.y2 - self.y1) / 4), 2)
        parts = (n / count for n in range(count))  # its end may touch its own label
        return any(
            Box(self.x1 + p * (self.x2 - self.x1), self.y1 + p * (self.y2 - self.y1), 0, 0).meets(
                box
            )
            for p in parts
        )


@dataclass
class _Drawing:
    """What is drawn, and what no label may cover: dots, other labels, their leaders."""

    parts: list[str] = field(default_factory=list)
    dots: list[Box] = field(default_factory=list)
    labels: list[Box] = field(default_factory=list)
    leaders: list[Leader] = field(default_factory=list)

    def covered(self, box: Box, leader: Leader) -> int:
        """How much a label there would cover: a dot counts one, text and leaders far more."""
        text = sum(box.meets(other) or leader.meets(other) for other in self.labels)
        lines = sum(other.meets(box) for other in self.leaders)
        return sum(box.meets(dot) for dot in self.dots) + 1000 * (text + lines)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'
        )

    def text(self, x: float, y: float, text: str, style: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>')


def draw(roofline: Roofline) -> str:
    """The SVG text of a roofline.

    Dots are steps: their area is their share of the time, their colour the tactic. The three steps
    that would gain most have labels. Steps without arithmetic or bytes have no place on the axes.
    """
    steps = [step for step in roofline.steps if step.flops and step.bytes and step.us]
    x, y = _axes(roofline, steps)
    drawing = _Drawing()
    _grid(drawing, x, y)
    _roofs(drawing, roofline, x, y)
    colours: dict[str, str] = {}
    for step in steps:
        colours.setdefault(step.tactic, COLOURS[len(colours) % len(COLOURS)])
    for step in sorted(steps, key=lambda step: -step.share):
        cx, cy, r = _dot(step, x, y)
        drawing.parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{r:.1f}" fill="{colours[step.tactic]}"'
            f' fill-opacity="0.65" stroke="white"><title>{escape(_label(step))}</title></circle>'
        )
    drawing.dots += [
        Box(cx - r, cy - r, 2 * r, 2 * r) for cx, cy, r in (_dot(s, x, y) for s in steps)
    ]
    for step in (step for step in roofline.worst() if step in steps):
        _annotate(drawing, step, _dot(step, x, y))
    _legend(drawing, colours)
    threads = f"{roofline.limits.threads} thread{'s' if roofline.limits.threads > 1 else ''}"
    drawing.text(
        LEFT, 24, f"{roofline.name}, {threads}: {roofline.total_us / 1e3:.2f} ms, "
        f"{roofline.times_limit:.2f} x the sum of the limits", 'font-size="15"',
    )  # fmt: skip
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
            f' viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="{FONT}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *drawing.parts,
            "</svg>\n",
        ]
    )


def _axes(roofline: Roofline, steps: Sequence[StepRoof]) -> tuple[Axis, Axis]:
    """Axes that show all dots, and the corner of every roof."""
    limits = roofline.limits
    corners = [limits.peak_gflops / level.gbytes_per_s for level in limits.levels]
    corners += [_highest(roofline) / level.gbytes_per_s for level in limits.levels]
    xs = [*corners, *(step.flops / step.bytes for step in steps)]
    ys = [limits.peak_gflops, _highest(roofline), *(step.gflops_per_s for step in steps)]
    # A roof is told by its slope: some of it stands left of the first corner.
    x_low, x_high = math.log10(min(*xs, min(corners) / 8)) - 0.15, math.log10(max(xs)) + 0.4
    y_low, y_high = math.log10(min(ys)) - 0.2, math.log10(max(ys)) + 0.25
    y_low = min(y_low, y_high - 2)
    return (
        Axis(x_low, x_high, PLOT.x, PLOT.x + PLOT.width),
        Axis(y_low, y_high, PLOT.y + PLOT.height, PLOT.y),
    )


def _highest(roofline: Roofline) -> float:
    """The peak rate of those that steps are compared with."""
    pairs = any(step.pairs for step in roofline.steps)
    return max(roofline.limits.peak_gflops, roofline.limits.pairs_gflops if pairs else 0.0)


def _grid(drawing: _Drawing, x: Axis, y: Axis) -> None:
    pale = 'stroke="#e4e4e4"'
    for value in x.ticks():
        drawing.line(x.at(value), PLOT.y, x.at(value), PLOT.y + PLOT.height, pale)
        drawing.text(x.at(value), PLOT.y + PLOT.height + 18, f"{value:g}", 'text-anchor="middle"')
    for value in y.ticks():
        drawing.line(PLOT.x, y.at(value), PLOT.x + PLOT.width, y.at(value), pale)
        drawing.text(PLOT.x - 8, y.at(value) + 4, f"{value:g}", 'text-anchor="end"')
    drawing.parts.append(
        f'<rect x="{PLOT.x}" y="{PLOT.y}" width="{PLOT.width}" height="{PLOT.height}" fill="none"'
        ' stroke="#888"/>'
    )
    middle = PLOT.x + PLOT.width / 2
    drawing.text(middle, HEIGHT - 18, "operations for each byte", 'text-anchor="middle"')
    drawing.text(PLOT.x - 46, PLOT.y - 10, "GFLOP/s")


def _roofs(drawing: _Drawing, roofline: Roofline, x: Axis, y: Axis) -> None:
    """The peaks, and a slope for each level with its name along it, one further than the last."""
    dark, peak = 'stroke="#444" stroke-width="1.5"', _highest(roofline)
    levels = roofline.limits.levels
    fastest = max(level.gbytes_per_s for level in levels)
    peaks = {"arithmetic": roofline.limits.peak_gflops}
    if peak > roofline.limits.peak_gflops:
        peaks["arithmetic of bfloat16"] = peak
    for name, rate in peaks.items():
        drawing.line(x.at(rate / fastest), y.at(rate), PLOT.x + PLOT.width, y.at(rate), dark)
        label = f"{name} {rate:.0f} GFLOP/s"
        end, top = PLOT.x + PLOT.width - 6, y.at(rate) - 6
        drawing.text(end, top, label, 'text-anchor="end" fill="#444"')
        drawing.labels.append(Box(end - _wide(label), top - FONT, _wide(label), FONT + 8))
    run, rise = x.at(10) - x.at(1), y.at(1) - y.at(10)
    angle, diagonal = math.atan2(rise, run), math.hypot(run, rise)
    for number, level in enumerate(levels):
        first = max(10**x.low, 10**y.low / level.gbytes_per_s)
        x1, y1 = x.at(first), y.at(first * level.gbytes_per_s)
        x2, y2 = x.at(peak / level.gbytes_per_s), y.at(peak)
        drawing.line(x1, y1, x2, y2, dark)
        label = f"{level.name} {level.gbytes_per_s:.0f} GB/s"
        room = math.hypot(x2 - x1, y2 - y1) - _wide(label)
        along = max(min(12.0 + number * 34, room), 0.0)
        tx, ty = x1 + along * run / diagonal, y1 - along * rise / diagonal
        drawing.parts.append(
            f'<text transform="translate({tx:.1f} {ty:.1f}) rotate({-math.degrees(angle):.1f})"'
            f' dy="-5" fill="#444" {HALO}>{escape(label)}</text>'
        )
        across, up = _wide(label) * math.cos(angle), _wide(label) * math.sin(angle)
        drawing.labels.append(Box(tx - FONT, ty - up - FONT, across + FONT, up + FONT))


HALO: Final = 'paint-order="stroke" stroke="white" stroke-width="3"'


def _wide(text: str) -> float:
    return len(text) * FONT * CHARACTER


def _dot(step: StepRoof, x: Axis, y: Axis) -> tuple[float, float, float]:
    radius = max(LARGEST * math.sqrt(step.share), 2.0)
    return x.at(step.flops / step.bytes), y.at(step.gflops_per_s), radius


def _label(step: StepRoof) -> str:
    name = step.name if len(step.name) <= 20 else f"...{step.name[-17:]}"
    return f"{step.number} {name} ({step.tactic}): {step.times_limit:.2f} x, {step.limited_by}"


def _annotate(drawing: _Drawing, step: StepRoof, dot: tuple[float, float, float]) -> None:
    """The step's label where it covers the least, with a line to its dot."""
    text = _label(step)
    places = [(box, _leader(dot, box)) for box in _places(dot[0], dot[1], (_wide(text), FONT + 6))]
    box, leader = min(places, key=lambda place: drawing.covered(*place))  # the first of equals
    drawing.labels.append(box)
    drawing.leaders.append(leader)
    drawing.line(leader.x1, leader.y1, leader.x2, leader.y2, 'stroke="#000"')
    # The box is as wide as the text may be: it ends where its leader does.
    right = leader.x1 > box.x + box.width / 2
    anchor = ' text-anchor="end"' if right else ""
    x = box.x + box.width * right
    drawing.text(x, box.y + FONT, text, f'{HALO} font-weight="bold"{anchor}')


def _leader(dot: tuple[float, float, float], box: Box) -> Leader:
    """From the dot's edge to the nearest point of the box."""
    cx, cy, radius = dot
    x = min(max(cx, box.x), box.x + box.width)
    y = min(max(cy, box.y), box.y + box.height)
    away = math.hypot(x - cx, y - cy) or 1.0
    return Leader(cx + (x - cx) * radius / away, cy + (y - cy) * radius / away, x, y)


def _places(cx: float, cy: float, size: tuple[float, float]) -> Iterator[Box]:
    """Boxes inside the plot around a point of it, the near ones first; there is always one."""
    width, height = size
    shifts = [n * 12.0 for n in range(-42, 43) if abs(n) > 1]
    near = [12.0 - part / 8 * (width + 24) for part in range(9)]
    far = [away for n in range(1, 5) for away in (near[0] + 60.0 * n, near[-1] - 60.0 * n)]

    def far_off(place: tuple[float, float]) -> float:
        down, side = place
        return abs(down) + max(side, -side - width, 0.0)

    for down, side in sorted(product(shifts, near + far), key=far_off):
        box = Box(cx + side, cy + down - height / 2, width, height)
        if box.inside(PLOT):
            yield box


def _legend(drawing: _Drawing, colours: dict[str, str]) -> None:
    x, y = WIDTH - RIGHT + 24, TOP + 10
    for tactic, colour in colours.items():
        drawing.parts.append(
            f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}" fill-opacity="0.65"/>'
        )
        drawing.text(x + 14, y + 4, tactic)
        y += 22
    y += 14
    drawing.text(x - 6, y, "share of the time", 'fill="#444"')
    y += 16
    for share in (0.01, 0.1, 0.3):
        radius = LARGEST * math.sqrt(share)
        y += round(radius) + 4
        drawing.parts.append(
            f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="none" stroke="#444"/>'
        )
        drawing.text(x + 22, y + 4, f"{share:.0%}")
        y += round(radius) + 4
