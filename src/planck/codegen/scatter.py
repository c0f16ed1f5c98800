"""Updates written into a copy of a tensor, in their order, where indices say.

A unit of work is a range of one axis of the result: it copies what lies there and goes through the
updates that may meet it, so that threads never meet. An update that lies outside of the tensor is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from planck.codegen.cells import Cells
from planck.codegen.lanes import Lanes
from planck.codegen.llvm import Builder, function
from planck.dtypes import DType
from planck.target import Target

Range = int | tuple[str, str]  # of a loop: from 0 on, or from one value to another


@dataclass(frozen=True, slots=True)
class Tensor:
    """An operand.

    strides:  in elements
    """

    name: str
    dtype: DType
    dims: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scatter:
    """A kernel with everything decided.

    along:  the axis along which each index counts; None: the indices' last axis holds tuples
    split:  the axis of the result that is cut into ranges
    units:  ranges
    """

    x: Tensor
    indices: Tensor
    updates: Tensor
    out: Tensor
    along: int | None
    reduction: str
    split: int
    units: int

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.x, self.indices, self.updates, self.out


class _Writer:
    def __init__(self, b: Builder, target: Target, spec: Scatter) -> None:
        self.b, self.spec = b, spec
        self.cells = Cells(b, {})
        dtype = spec.x.dtype
        self.kind = f"i{dtype.bytes * 8}" if spec.reduction == "none" else dtype.llvm
        self.lanes = Lanes(b, self.kind, target, dtype.kind == "u")
        self.base = b.arguments([tensor.name for tensor in spec.tensors])

    def run(self) -> None:
        b, spec = self.b, self.spec
        extent = spec.out.dims[spec.split]
        with b.loop("%begin", "%end") as unit:
            ends = [self.cells.times(at, extent) for at in (unit, b.let(f"add i64 {unit}, 1"))]
            low, high = (b.let(f"udiv i64 {end}, {spec.units}") for end in ends)
            self.copy(low, high)
            if spec.along is None:
                self.write_tuples(low, high)
            else:
                self.write_elements(spec.along, low, high)
        b.do("ret void")

    @contextmanager
    def each(self, extents: Sequence[Range]) -> Iterator[list[str]]:
        """Loops around each other, from 0 or in a range."""
        with ExitStack() as stack:
            ranges = [("0", str(n)) if isinstance(n, int) else n for n in extents]
            yield [stack.enter_context(self.b.loop(*one)) for one in ranges]

    def element(self, tensor: Tensor, index: Sequence[str], strides: Sequence[int] = ()) -> str:
        """The address of an element."""
        at = self.cells.offset(index, strides or tensor.strides)
        return self.cells.at(self.base[tensor.name], at, f"i{8 * tensor.dtype.bytes}")

    def copy(self, low: str, high: str) -> None:
        """What lies in the unit's range, in as few loops as there are gaps in it."""
        x, out = self.spec.x, self.spec.out
        rows: list[tuple[Range, int, int]] = []
        for axis, (count, of_x, of_out) in enumerate(
            zip(x.dims, x.strides, out.strides, strict=True)
        ):
            if axis == self.spec.split and self.spec.units > 1:
                rows.append(((low, high), of_x, of_out))
                continue
            outer, *steps = rows[-1] if rows else ((low, high), 0, 0)
            if isinstance(outer, int) and steps == [count * of_x, count * of_out]:
                rows.pop()
                count *= outer
            rows.append((count, of_x, of_out))
        with self.each([extent for extent, _, _ in rows]) as at:
            source = self.element(x, at, [of_x for _, of_x, _ in rows])
            to = self.element(out, at, [of_out for _, _, of_out in rows])
            value = self.b.load(self.kind, source, x.dtype.bytes)
            self.b.store(self.kind, value, to, x.dtype.bytes)

    def index(self, at: Sequence[str], extent: int) -> str:
        """An index in i64; what counts from the end, from the beginning."""
        b, indices = self.b, self.spec.indices
        place = self.element(indices, at)
        found = b.load(indices.dtype.llvm, place, indices.dtype.bytes)
        if indices.dtype.bits < 64:
            found = b.let(f"sext {indices.dtype.llvm} {found} to i64")
        below = b.let(f"icmp slt i64 {found}, 0")
        return self.cells.times(b.let(f"zext i1 {below} to i64"), extent, found)

    def within(self, index: str, axis: int, low: str, high: str) -> str:
        """Whether an index of the result lies in the unit's range, or in the tensor at all."""
        b = self.b
        if axis != self.spec.split:
            return b.let(f"icmp ult i64 {index}, {self.spec.out.dims[axis]}")
        above = b.let(f"icmp sge i64 {index}, {low}")
        return b.let(f"and i1 {above}, {b.let(f'icmp slt i64 {index}, {high}')}")

    def write_elements(self, axis: int, low: str, high: str) -> None:
        spec, b = self.spec, self.b
        extents: list[Range] = list(spec.indices.dims)
        if axis != spec.split:
            ends = [b.smaller(end, spec.indices.dims[spec.split]) for end in (low, high)]
            extents[spec.split] = (ends[0], ends[1])
        with self.each(extents) as at:
            found = self.index(at, spec.out.dims[axis])
            with self.cells.when(self.within(found, axis, low, high)):
                self.update([*at[:axis], found, *at[axis + 1 :]], at)

    def write_tuples(self, low: str, high: str) -> None:
        spec, b, count = self.spec, self.b, self.spec.indices.dims[-1]
        slices: list[Range] = list(spec.out.dims)
        slices[spec.split] = (low, high)
        with self.each(spec.indices.dims[:-1]) as at:
            found = [self.index([*at, str(k)], spec.out.dims[k]) for k in range(count)]
            good = "true"
            for axis, index in enumerate(found):
                good = b.let(f"and i1 {good}, {self.within(index, axis, low, high)}")
            with self.cells.when(good), self.each(slices[count:]) as rest:
                self.update([*found, *rest], [*at, *rest])

    def update(self, index: Sequence[str], at: Sequence[str]) -> None:
        """Write one update, or combine it with what is there."""
        out, updates = self.spec.out, self.spec.updates
        to, size = self.element(out, index), out.dtype.bytes
        value = self.b.load(self.kind, self.element(updates, at), size)
        if self.spec.reduction != "none":
            value = self.combined(self.b.load(self.kind, to, size), value)
        self.b.store(self.kind, value, to, size)

    def combined(self, own: str, value: str) -> str:
        v, how = self.lanes, self.spec.reduction
        if how in ("add", "mul"):
            return v.add(own, value) if how == "add" else v.mul(own, value)
        if v.is_float:
            return v.call({"max": "maximum", "min": "minimum"}[how], own, value)
        return v.select(v.compare({"max": "gt", "min": "lt"}[how], own, value), own, value)


def write(target: Target, symbol: str, spec: Scatter) -> str:
    """The module of one kernel."""
    b = Builder()
    _Writer(b, target, spec).run()
    return function(target, symbol, b)
