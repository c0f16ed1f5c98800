"""Running sums and products along an axis: a unit of work is a line, or several side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planck.codegen import memory
from planck.codegen.cells import Cells, unravel
from planck.codegen.lanes import Lanes, splat
from planck.codegen.llvm import Builder, function
from planck.codegen.memory import lanes_of
from planck.dtypes import DType, f64
from planck.target import Target


@dataclass(frozen=True, slots=True)
class Running:
    """A kernel with everything decided.

    arguments:  x, out
    count:      elements of a line
    lines:      extents of the other axes
    strides:    along these axes and along a line, of x and of out, in elements
    width:      lines that lie side by side along the last of the other axes, taken at once
    """

    arguments: tuple[str, str]
    dtype: DType
    kind: str
    exclusive: bool
    reverse: bool
    count: int
    lines: tuple[int, ...]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    width: int

    @property
    def chunks(self) -> tuple[int, ...]:
        """Units along each of the other axes."""
        if self.width == 1:
            return self.lines
        return (*self.lines[:-1], -(-self.lines[-1] // self.width))

    @property
    def units(self) -> int:
        return math.prod(self.chunks)


def write(target: Target, symbol: str, spec: Running) -> str:
    """The module of one kernel. Floats are summed in float64, whatever they are stored in."""
    b = Builder()
    wide = f64 if spec.dtype.is_float else spec.dtype
    kind = lanes_of(memory.register(wide), spec.width)
    cells, lanes = Cells(b, {"so_far": kind}), Lanes(b, kind, target)
    x, out = b.arguments(spec.arguments).values()
    with b.loop("%begin", "%end") as unit:
        line = unravel(b, unit, spec.chunks)
        if spec.width > 1:  # the last ones once more, where they do not fill a vector
            start = cells.times(line[-1], spec.width)
            line[-1] = b.smaller(start, spec.lines[-1] - spec.width)
        cells["so_far"] = splat(kind, 0 if spec.kind == "sum" else 1)
        with b.loop(0, spec.count) as i:
            at = b.let(f"sub i64 {spec.count - 1}, {i}") if spec.reverse else i
            place, to = (cells.offset([*line, at], strides) for strides in spec.strides)
            value = memory.read(b, x, place, spec.dtype, spec.width, target, constant=False)
            value = memory.cast(b, value, spec.dtype, wide, spec.width, target)
            before = cells["so_far"]
            after = lanes.add(before, value) if spec.kind == "sum" else lanes.mul(before, value)
            cells["so_far"] = after
            result = before if spec.exclusive else after
            result = memory.cast(b, result, wide, spec.dtype, spec.width, target)
            memory.write(b, result, out, to, spec.dtype, spec.width, target)
    b.do("ret void")
    return function(target, symbol, b)
