"""Operators that rename or repeat elements as a whole: reshape, transpose, broadcast, tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops.expr import Expr, Tensor, flatten, integer, mod, unflatten
from planck.ops.shapes import count


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements, row-major, in another shape; shape: all extents, none of them -1."""

    shape: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Reshape", inputs, 1)
        (x,) = inputs
        if any(extent < 0 for extent in self.shape) or math.prod(self.shape) != x.size:
            raise ShapeError(
                f"Reshape of {list(x.shape)} to {list(self.shape)}",
                know=f"that is {x.size} elements and {math.prod(self.shape)}",
            )
        return (TensorType(self.shape, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (inputs[0].reshape(self.shape),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        return inputs[0](*reindex(index, self.shape, inputs[0].shape))


def reindex(
    index: tuple[Expr, ...], shape: tuple[int, ...], other: tuple[int, ...]
) -> tuple[Expr, ...]:
    """An index of one shape as the index of the same element of another.

    Both shapes are cut into the shortest groups of axes of equal size, so that axes which a reshape
    leaves alone need no division.
    """
    result: list[Expr] = []
    a = b = 0
    while a < len(shape) or b < len(other):
        start_a, start_b = a, b
        left, right = 1, 1
        while True:
            if left == right and (a > start_a and b > start_b):
                break
            if left <= right and a < len(shape):
                left, a = left * shape[a], a + 1
            elif b < len(other):
                right, b = right * other[b], b + 1
            elif a < len(shape):
                left, a = left * shape[a], a + 1
            else:
                break
        if shape[start_a:a] == other[start_b:b]:
            result.extend(index[start_a:a])
        else:
            position = flatten(index[start_a:a], shape[start_a:a])
            result.extend(unflatten(position, other[start_b:b]))
    return tuple(result)


@dataclass(frozen=True)
class Transpose(Op):
    """The axes in another order: axis k of the output is axis perm[k] of the input."""

    perm: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Transpose", inputs, 1)
        (x,) = inputs
        if sorted(self.perm) != list(range(x.rank)):
            raise ShapeError(f"Transpose by {list(self.perm)} of a tensor of rank {x.rank}")
        return (TensorType(tuple(x.dims[axis] for axis in self.perm), x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.ascontiguousarray(inputs[0].transpose(self.perm)).reshape(self._shape(inputs)),)

    def _shape(self, inputs: tuple[Array, ...]) -> tuple[int, ...]:
        return tuple(inputs[0].shape[axis] for axis in self.perm)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        place = {axis: k for k, axis in enumerate(self.perm)}
        return inputs[0](*(index[place[axis]] for axis in range(len(index))))


@dataclass(frozen=True)
class Broadcast(Op):
    """Repeated along axes of extent 1 and along new leading axes, as NumPy's broadcast_to."""

    shape: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Broadcast", inputs, 1)
        (x,) = inputs
        missing = len(self.shape) - x.rank
        fits = missing >= 0 and all(
            own in (1, wanted) for own, wanted in zip(x.dims, self.shape[missing:], strict=True)
        )
        if not fits:
            raise ShapeError(f"{list(x.shape)} does not broadcast to {list(self.shape)}")
        return (TensorType(self.shape, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.broadcast_to(inputs[0], self.shape).copy(),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        return inputs[0].broadcast(index)


@dataclass(frozen=True)
class Tile(Op):
    """The whole tensor side by side, repeats[k] times along axis k."""

    repeats: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Tile", inputs, 1)
        (x,) = inputs
        if len(self.repeats) != x.rank or any(n < 0 for n in self.repeats):
            raise ShapeError(f"Tile by {list(self.repeats)} of a tensor of rank {x.rank}")
        shape = tuple(n * times for n, times in zip(x.dims, self.repeats, strict=True))
        return (TensorType(shape, x.dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.tile(inputs[0], self.repeats),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        own = []
        for i, extent, times in zip(index, inputs[0].shape, self.repeats, strict=True):
            own.append(i if times == 1 else mod(i, extent) if extent else integer(0))
        return inputs[0](*own)
