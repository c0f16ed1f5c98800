"""Tensors as kernels of single operators read and write them: any strides, one number a place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planck import dtypes
from planck.codegen.triton.scalar import register
from planck.codegen.triton.text import Text, total
from planck.dtypes import DType


@dataclass(frozen=True, slots=True)
class Tensor:
    """One operand. strides: in elements."""

    name: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType
    aligned: bool

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    def at(self, t: Text, place: Sequence[str]) -> str:
        """The address of an element, by an expression for each axis."""
        own = zip(place, self.strides, strict=True)
        offset = total(*(f"({at}) * {s}" for at, s in own if at != "0"))
        return f"{t.pointer(self.name, self.dtype, self.aligned)} + {offset}"

    def load(self, t: Text, place: Sequence[str], mask: str) -> str:
        """Elements as they are computed with, zero where they are masked."""
        return t.functions.widened(
            f"tl.load({self.at(t, place)}, mask={mask}, other=0)", self.dtype
        )

    def store(self, t: Text, place: Sequence[str], value: str, mask: str) -> None:
        made = t.functions.narrowed(value, self.dtype)
        t(f"tl.store({self.at(t, place)}, {made}, mask={mask})")

    @property
    def register(self) -> str:
        return register(self.dtype)


def unravel(t: Text, index: str, dims: Sequence[int], name: str) -> list[str]:
    """An expression for each axis of an element's number in row order."""
    if dims and all(n == 1 for n in dims):
        return [*("0" for _ in dims[1:]), index]
    found: list[str] = []
    for k, extent in reversed(list(enumerate(dims))):
        if extent == 1:
            found.append("0")
        elif not any(n > 1 for n in dims[:k]):
            found.append(index)
        else:
            t(f"{name}{k} = {index} % {extent}", f"{name}r{k} = {index} // {extent}")
            found.append(f"{name}{k}")
            index = f"{name}r{k}"
    return found[::-1]


def lanes(t: Text, count: int, block: int) -> int:
    """Write `at`, a block of elements, and `there`, which of them exist. Gives the grid."""
    t(f"at = tl.program_id(0) * {block} + tl.arange(0, {block})", f"there = at < {count}")
    return -(-count // block)


def wide(dtype: DType) -> DType:
    """What sums of a dtype are made in."""
    return dtypes.f32 if dtype.is_float and dtype.bits < 32 else dtype
