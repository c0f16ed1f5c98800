"""The types of the IR: symbolic dims, layouts, tensor types."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from planck.dtypes import DType
from planck.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Dim:
    """A symbolic extent, known by name until a shape is bound."""

    name: str

    def __str__(self) -> str:
        return self.name


Shape = tuple[int | Dim, ...]


@dataclass(frozen=True, slots=True)
class Quant:
    """How integers stand for reals: real = (stored - zero_point) * scale, along an axis or all."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape, dtype and layout of one tensor.

    block:  0 is plain row-major; B > 0 stores axis 1 (channels) in blocks of B, innermost:
            [N, C, *S] lies as [N, ceil(C/B), *S, B]. The lanes past C hold anything, NaN
            included: no reader may let them reach a real element.
    """

    shape: Shape
    dtype: DType
    block: int = 0
    quant: Quant | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape as numbers. raises: ShapeError while a dim is symbolic"""
        for dim in self.shape:
            if isinstance(dim, Dim):
                raise ShapeError(
                    f"dimension {dim} of {self} is not known yet",
                    try_="bind it: shapes={'input name': (1, 3, 640, 640)}",
                )
        return self.shape  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """Elements of the logical tensor."""
        return math.prod(self.dims)

    @property
    def physical(self) -> tuple[int, ...]:
        """The extents as they lie in memory, outermost first."""
        if not self.block:
            return self.dims
        n, c, *spatial = self.dims
        return (n, -(-c // self.block), *spatial, self.block)

    @property
    def bytes(self) -> int:
        """Bytes in memory, padding lanes counted."""
        return math.prod(self.physical) * self.dtype.bytes

    def with_shape(self, shape: Shape) -> TensorType:
        return replace(self, shape=shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return replace(self, dtype=dtype)

    def with_block(self, block: int) -> TensorType:
        return replace(self, block=block)

    def __str__(self) -> str:
        text = f"{self.dtype}[{','.join(map(str, self.shape))}]"
        return f"{text}:c{self.block}" if self.block else text


def strides_of(extents: tuple[int, ...]) -> tuple[int, ...]:
    """Dense row-major strides in elements."""
    strides = [1] * len(extents)
    for axis in range(len(extents) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * extents[axis + 1]
    return tuple(strides)
