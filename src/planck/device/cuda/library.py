"""Library: the calls of NVIDIA's cuBLASLt and cuDNN that Planck makes, as one interface.

`cublaslt.py` and `cudnn.py` make them; the tests have a fake that checks every argument. Planck's
tensors lie row by row: how that becomes the library's own is the business of who implements this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, get_args

from planck.device.cuda.driver import Handle, Parameters, TensorMap
from planck.dtypes import BY_NAME

CUBLASLT: Final = "cublaslt"
CUDNN: Final = "cudnn"
LIBRARIES: Final = (CUBLASLT, CUDNN)  # what `tactic_sources` may name
ALIGN: Final = 16  # bytes, at a multiple of which every matrix and image begins
ALGORITHM_BYTES: Final = 64  # of cuBLASLt's

Activation = Literal["", "relu", "gelu_tanh"]
Step = Literal["bias", "beside", "relu", "silu", "sigmoid", "gelu", "gelu_tanh", "tanh"]
STEPS: Final = get_args(Step)


@dataclass(frozen=True, slots=True)
class Side:
    """One matrix: elements from a row to the next, and from one matrix of the batch to the next.

    transposed:  its rows lie as columns
    """

    stride: int
    batch: int = 0
    transposed: bool = False

    def span(self, rows: int, columns: int, batch: int) -> int:
        """Elements from the first of all its matrices to behind the last."""
        lines, length = (columns, rows) if self.transposed else (rows, columns)
        return (batch - 1) * self.batch + (lines - 1) * self.stride + length


@dataclass(frozen=True, slots=True)
class Product:
    """D = activation(alpha A B + C + bias): A is [rows, depth], B [depth, columns], for each of a
    batch.

    dtype:   "f16", "bf16" or "f32", of A and B; sums are float32
    result:  that of C, D and the bias, which is one number for each column
    tf32:    whether float32 operands may be rounded to TF32
    """

    rows: int
    columns: int
    depth: int
    dtype: str
    result: str
    a: Side
    b: Side
    d: Side
    c: Side | None = None
    batch: int = 1
    alpha: float = 1.0
    bias: bool = False
    activation: Activation = ""
    tf32: bool = False

    @property
    def spans(self) -> tuple[int, ...]:
        """Bytes from the first to behind the last of A, B, D, and of C and the bias if any."""
        size, wide = BY_NAME[self.dtype].bytes, BY_NAME[self.result].bytes
        sides = [
            size * self.a.span(self.rows, self.depth, self.batch),
            size * self.b.span(self.depth, self.columns, self.batch),
            wide * self.d.span(self.rows, self.columns, self.batch),
        ]
        if self.c is not None:
            sides.append(wide * self.c.span(self.rows, self.columns, self.batch))
        return (*sides, wide * self.columns) if self.bias else tuple(sides)


@dataclass(frozen=True, slots=True)
class Image:
    """How an image lies: elements from one image of the batch, channel, row, column to the next."""

    batch: int
    channel: int
    row: int
    column: int

    @property
    def strides(self) -> tuple[int, int, int, int]:
        return self.batch, self.channel, self.row, self.column


Pair = tuple[int, int]  # of rows, of columns


@dataclass(frozen=True, slots=True)
class Convolution:
    """D = steps(A convolved with B): the steps add the bias, add C, or apply an activation.

    channels:  that A has; columns: that D has
    before, after: zeros that A is padded with
    a, d, c:   how images lie; B lies densely as [columns, taps down, taps across, channels of a
               group]
    dtype:     "f16", "bf16" or "f32", of A and B; sums and steps are float32
    result:    that of C, D and the bias, which is one number for each column
    tf32:      whether float32 operands may be rounded to TF32
    """

    batch: int
    channels: int
    columns: int
    groups: int
    size: Pair
    out: Pair
    taps: Pair
    strides: Pair
    dilations: Pair
    before: Pair
    after: Pair
    dtype: str
    result: str
    a: Image
    d: Image
    c: Image | None = None
    steps: tuple[Step, ...] = ()
    tf32: bool = False

    @property
    def bias(self) -> bool:
        return "bias" in self.steps

    @property
    def reaches(self) -> bool:
        """Whether its sizes are those of one convolution."""
        rows = zip(
            self.size, self.out, self.taps, self.strides, self.dilations, self.before, self.after,
            strict=True,
        )  # fmt: skip
        return all(
            (size + before + after - (taps - 1) * step - 1) // stride + 1 == out
            for size, out, taps, stride, step, before, after in rows
        )

    @property
    def a_dims(self) -> tuple[int, ...]:
        return self.batch, self.channels, *self.size

    @property
    def b_dims(self) -> tuple[int, ...]:
        return self.columns, self.channels // self.groups, *self.taps

    @property
    def d_dims(self) -> tuple[int, ...]:
        return self.batch, self.columns, *self.out

    @property
    def spans(self) -> tuple[int, ...]:
        """Bytes from the first to behind the last of A, B, D, and of C and the bias if any."""
        size, wide = BY_NAME[self.dtype].bytes, BY_NAME[self.result].bytes
        spans = [
            size * _span(self.a_dims, self.a),
            size * math.prod(self.b_dims),
            wide * _span(self.d_dims, self.d),
        ]
        if self.c is not None:
            spans.append(wide * _span(self.d_dims, self.c))
        return (*spans, wide * self.columns) if self.bias else tuple(spans)


def _span(dims: Sequence[int], image: Image) -> int:
    return 1 + sum((n - 1) * stride for n, stride in zip(dims, image.strides, strict=True))


Problem = Product | Convolution


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to compute a product, in the library's own words, which that version understands.

    image:  what the library has compiled for it, if it has, so that it need not do so again
    """

    data: bytes
    workspace_bytes: int
    image: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """How a library of NVIDIA's runs a step.

    version:    of the library that gave the algorithm: no other knows what it says
    algorithm:  its bytes in hexadecimal digits
    image:      those of what the library has compiled for it, "" if it need not
    arguments:  of the step, how many: A, B, D, then C, the bias, the workspace where there are any
    """

    library: str
    version: int
    product: Problem
    algorithm: str
    workspace_bytes: int
    image: str = ""

    tensors: ClassVar[tuple[TensorMap, ...]] = ()  # as a launch may have

    @property
    def arguments(self) -> int:
        return len(self.spans)

    @property
    def spans(self) -> tuple[int, ...]:
        """Bytes that each of the arguments points to."""
        workspace = (self.workspace_bytes,) if self.workspace_bytes else ()
        return (*self.product.spans, *workspace)


class Pointers:
    """A call's pointers, which may change between runs: the cells of `Parameters`."""

    def __init__(self, call: Call, parameters: Parameters) -> None:
        self._call, self._values = call, parameters.values

    def read(self) -> tuple[int, int, int, int, int, int]:
        """A, B, D, C (D where there is none), the bias and the workspace (0)."""
        product = self._call.product
        a, b, d, *rest = self._values[: self._call.arguments]
        c = rest.pop(0) if product.c is not None else d
        bias = rest.pop(0) if product.bias else 0
        return a, b, d, c, bias, rest.pop(0) if self._call.workspace_bytes else 0


class Library(Protocol):
    """cuBLASLt or cuDNN. All calls but `version` need a context of the GPU that was pushed.

    raises: of any call LibraryError, with the call's name and the status's
    """

    @property
    def version(self) -> int:
        """Of the library: 130100 for 13.1.0."""
        ...

    def create(self) -> Handle: ...

    def destroy(self, handle: Handle) -> None: ...

    def algorithms(
        self, handle: Handle, product: Problem, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        """Ways to compute a product, the library's best guess first; none if it cannot.

        product:          a Product for cuBLASLt, a Convolution for cuDNN
        workspace_bytes:  what they may use at the most
        """
        ...

    def complete(self, handle: Handle, product: Problem, algorithm: Algorithm) -> Algorithm:
        """An algorithm with the size of its workspace and its image, which may have to be made."""
        ...

    def prepare(self, handle: Handle, call: Call, parameters: Parameters) -> Handle:
        """A call with all but its stream.

        parameters:  the pointers, in the order of Call, read at each run and when it is captured
        """
        ...

    def release(self, prepared: Handle) -> None: ...

    def run(self, prepared: Handle, stream: Handle) -> None: ...


Open = Callable[[str], Library]
"""A library by its name. raises: LibraryError if it is not there"""


def dotted(version: int) -> str:
    """130100 -> 13.1.0"""
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}"
