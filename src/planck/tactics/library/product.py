"""Kernels read as one product of a library: bias, a tensor beside it, and an activation at the end.

A matrix product is one, and so is a 1x1 convolution without strides of an image whose channels lie
together: its pixels are rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from planck.codegen.triton.convolution import Place, Sweep
from planck.device.cuda.library import Activation, Product, Side
from planck.dtypes import Array, DType, f32
from planck.ir.graph import Value
from planck.ops.nn import Conv, MatMul
from planck.refusal import No
from planck.tactics import matmul
from planck.tactics.kernel import Kernel
from planck.tactics.pattern import Anchored, first_node
from planck.tactics.triton import images
from planck.tactics.triton.matmul import read_problem
from planck.tactics.triton.operands import channel_stride, multiplied, values_of

LANES: Final = 8  # a packed row is a multiple of so many elements, so that it begins at 16 bytes


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done to the sums: alpha * sum + beside + bias, then the activation.

    bias, beside:  operands, "" where there is none
    """

    alpha: float = 1.0
    bias: str = ""
    beside: str = ""
    activation: Activation = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A kernel as a product.

    a, b, d:  operands; b is packed where it is a constant
    """

    form: Anchored
    product: Product
    ending: Ending
    a: str
    b: Value
    d: str
    packed: bool


def read(kernel: Kernel) -> Reading | No:
    """A kernel as a product; No where a library could not compute just that."""
    if any(isinstance(node.op, MatMul) for node in kernel.graph.nodes):
        problem = read_problem(kernel)
        return problem if isinstance(problem, No) else _of_matrices(problem)
    image = images.read_problem(kernel)
    return image if isinstance(image, No) else _of_pixels(image)


def ending_of(form: Anchored, bias: str = "") -> Ending | No:
    """An epilogue as a library has it. bias: what the anchor itself adds"""
    epilogue, current = form.epilogue, form.epilogue.source
    alpha, beside = 1.0, ""
    activation: Activation = ""
    for step in epilogue.steps:
        others = [name for name in step.args if name != current]
        other = others[0] if len(others) == 1 else ""
        kind, number = epilogue.operands.get(other, ""), epilogue.constants.get(other)
        if activation or len(others) == len(step.args):
            return No(f"its epilogue goes on after {activation or current} with {step.fn}")
        if step.fn in ("relu", "gelu_tanh"):
            activation = "relu" if step.fn == "relu" else "gelu_tanh"
        elif step.fn == "add" and kind == "channel" and not bias:
            bias = other
        elif step.fn == "add" and kind == "full" and not beside:
            beside = other
        elif step.fn == "mul" and number is not None and not bias + beside:
            alpha *= number
        else:
            return No(f"its epilogue has {step.fn}, which no library's has so")
        current = step.result
    made = [epilogue.rounded.get(name, name) for name in epilogue.outputs]
    if made != [current]:
        return No("it writes something else than its last result")
    return Ending(alpha, bias, beside, activation)


def _of_matrices(problem: matmul.Problem) -> Reading | No:
    form, memory = problem.form, problem.memory
    ending = ending_of(form)
    if isinstance(ending, No):
        return ending
    axes = [axis for axis, n in enumerate(problem.batch) if n > 1]
    for own in memory.values():
        for outer, inner in pairwise(axes):
            if own.batch[outer] != own.batch[inner] * problem.batch[inner]:
                return No("a batch in two axes, whose matrices do not lie in even distances")
    d = form.written[0]
    sides: dict[str, Side | No] = {}
    for name, own in memory.items():
        extents = (problem.m, problem.n)
        if name in (problem.a.name, problem.b.name):
            extents = (problem.m, problem.k) if name == problem.a.name else (problem.k, problem.n)
        size = own.dtype.bytes
        batch = own.batch[axes[-1]] // size if axes else 0
        sides[name] = _side(name, own.row // size, own.column // size, extents, batch)
    if problem.b_constant:
        sides[problem.b.name] = packed_side(problem.k)
    batch = math.prod(problem.batch)
    return _reading(form, ending, problem.a, problem.b, d, sides, problem.b_constant, Sizes(
        problem.m, problem.n, problem.k, batch
    ))  # fmt: skip


def _of_pixels(problem: images.Problem) -> Reading | No:
    form, shape = problem.form, problem.shape
    op, inputs = form.node.op, form.node.inputs
    if not isinstance(op, Conv) or problem.transposed:
        return No("a transposed convolution")
    if op.groups > 1:
        return No("a convolution in groups")
    if not _is_plain(shape.down) or not _is_plain(shape.across):
        return No("more than a product of each pixel: taps, strides or padding")
    if form.parts or form.resized:
        return No("it writes parts, or reads what is resized")
    ending = ending_of(form, inputs[2].name if len(inputs) > 2 else "")
    if isinstance(ending, No):
        return ending
    d = form.written[0]
    rows, columns = shape.down.out, shape.across.out
    sides: dict[str, Side | No] = {inputs[1].name: packed_side(shape.channels)}
    for name, place in {shape.x: shape.x_place, **shape.places}.items():
        sides[name] = _pixels(name, place, (shape.batch, rows, columns))
    return _reading(form, ending, inputs[0], inputs[1], d, sides, True, Sizes(
        shape.batch * rows * columns, shape.columns, shape.channels, 1
    ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a product."""

    rows: int
    columns: int
    depth: int
    batch: int


def _reading(
    form: Anchored, ending: Ending, a: Value, b: Value, d: str, sides: dict[str, Side | No],
    packed: bool, sizes: Sizes,
) -> Reading | No:  # fmt: skip
    kernel, dtype = form.kernel, a.type.dtype
    result = form.epilogue.dtype(d)
    if multiplied(dtype, b.type.dtype) is not dtype:
        return No(f"{dtype} meets {b.type.dtype}")
    if result is not dtype and result is not f32:
        return No(f"a result in {result} of products in {dtype}")
    used = [a.name, b.name, d, *([ending.beside] if ending.beside else [])]
    for name in used:
        refusal = sides[name]
        if isinstance(refusal, No):
            return refusal
        if name in kernel.operands and not (kernel.operands[name].aligned or name == b.name):
            return No(f"%{name} does not begin at a multiple of 16 bytes")
    if (refused := check_beside(form, ending.beside, result)) is not None:
        return refused
    if (refused := check_bias(form, ending.bias, result)) is not None:
        return refused
    own = {name: side for name, side in sides.items() if isinstance(side, Side)}
    product = Product(
        rows=sizes.rows, columns=sizes.columns, depth=sizes.depth,
        dtype=dtype.name, result=result.name,
        a=own[a.name], b=own[b.name], d=own[d],
        c=own[ending.beside] if ending.beside else None,
        batch=sizes.batch, alpha=ending.alpha, bias=bool(ending.bias),
        activation=ending.activation,
        tf32=dtype is f32 and "tf32" in kernel.target.extras,
    )  # fmt: skip
    return Reading(form, product, ending, a.name, b, d, packed)


def check_beside(form: Anchored, name: str, result: DType) -> No | None:
    """Whether a tensor can be added as it lies."""
    if name and (form.is_constant(name) or form.epilogue.dtype(name) is not result):
        return No(f"%{name}, which is added, is a constant or no {result}")
    return None


def check_bias(form: Anchored, name: str, result: DType) -> No | None:
    """Whether a bias can be read: a constant is packed as it should be."""
    if not name or form.is_constant(name):
        return None
    value, rank = values_of(form.kernel)[name], form.result.type.rank
    axis = 1 if isinstance(first_node(form.kernel).op, Conv) else -1
    dense = channel_stride(form.kernel, value, rank, axis) == 1
    if value.type.dtype is not result or not dense or not form.kernel.operands[name].aligned:
        return No(f"%{name}, the bias, does not lie as a library reads it")
    return None


def _side(name: str, row: int, column: int, extents: tuple[int, int], batch: int) -> Side | No:
    """A matrix with these strides, in elements, of its rows and columns."""
    rows, columns = extents
    if column == 1 or columns == 1:
        stride, least = (row, columns) if rows > 1 else (max(row, columns), columns)
        return Side(stride, batch) if stride >= least else No(f"the rows of %{name} overlap")
    if row == 1 or rows == 1:
        stride = column if columns > 1 else max(column, rows)
        side = Side(stride, batch, transposed=True)
        return side if stride >= rows else No(f"the columns of %{name} overlap")
    return No(f"%{name} is contiguous along neither axis")


def _pixels(name: str, place: Place, extents: tuple[int, int, int]) -> Side | No:
    """An image as a matrix of its pixels."""
    batch, rows, columns = extents
    if place.channel != 1:
        return No(f"the channels of %{name} do not lie together")
    pixel = place.column if columns > 1 else place.row if rows > 1 else place.batch
    dense = (
        rows == 1 or columns == 1 or place.row == columns * pixel,
        batch == 1 or rows * columns == 1 or place.batch == rows * columns * pixel,
    )
    if not all(dense):
        return No(f"the pixels of %{name} do not follow each other")
    return Side(pixel)


def _is_plain(sweep: Sweep) -> bool:
    return (sweep.taps, sweep.stride, sweep.starts) == (1, 1, (0,)) and sweep.size == sweep.out


def packed_side(depth: int) -> Side:
    """How a constant right side is packed: a row for each column, each a multiple of 16 bytes."""
    return Side(-(-depth // LANES) * LANES, 0, transposed=True)


def pack_right(reading: Reading, right: Array) -> Array:
    """[columns, depth, rounded up]"""
    product, op = reading.product, reading.form.node.op
    matrix = (
        right.reshape(right.shape[0], -1)
        if isinstance(op, Conv)
        else right.reshape(right.shape[-2:])
    )
    if isinstance(op, MatMul) and not op.transpose_b:
        matrix = matrix.T
    whole = np.zeros((product.columns, product.b.stride), matrix.dtype)
    whole[:, : product.depth] = matrix
    return whole
