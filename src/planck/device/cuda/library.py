"""Library: the calls of NVIDIA's cuBLASLt that Planck makes, as an interface of few types.

`cublaslt.py` makes them; the tests have a fake that checks every argument. Planck's tensors lie
row by row: how that becomes the library's columns is the business of who implements this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from planck.device.cuda.driver import Handle, Parameters, TensorMap
from planck.dtypes import BY_NAME

CUBLASLT: Final = "cublaslt"
LIBRARIES: Final = (CUBLASLT,)  # what `tactic_sources` may name
ALIGN: Final = 16  # bytes, at a multiple of which every matrix begins
ALGORITHM_BYTES: Final = 64

Activation = Literal["", "relu", "gelu_tanh"]


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


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to compute a product, in the library's own words, which that version understands."""

    data: bytes
    workspace_bytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """How a library of NVIDIA's runs a step.

    version:    of the library that gave the algorithm: no other knows what it says
    algorithm:  its bytes in hexadecimal digits
    arguments:  of the step, how many: A, B, D, then C, the bias, the workspace where there are any
    """

    library: str
    version: int
    product: Product
    algorithm: str
    workspace_bytes: int

    tensors: ClassVar[tuple[TensorMap, ...]] = ()  # as a launch may have

    @property
    def arguments(self) -> int:
        return 3 + (self.product.c is not None) + self.product.bias + bool(self.workspace_bytes)

    @property
    def spans(self) -> tuple[int, ...]:
        """Bytes that each of the arguments points to."""
        own = self.product
        size, wide = BY_NAME[own.dtype].bytes, BY_NAME[own.result].bytes
        sides = [
            size * own.a.span(own.rows, own.depth, own.batch),
            size * own.b.span(own.depth, own.columns, own.batch),
            wide * own.d.span(own.rows, own.columns, own.batch),
        ]
        if own.c is not None:
            sides.append(wide * own.c.span(own.rows, own.columns, own.batch))
        bias = [wide * own.columns] if own.bias else []
        return (*sides, *bias, *([self.workspace_bytes] if self.workspace_bytes else []))


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
    """cuBLASLt. All calls but `version` need a context of the GPU that was pushed.

    raises: of any call LibraryError, with the call's name and the status's
    """

    @property
    def version(self) -> int:
        """Of the library: 130100 for 13.1.0."""
        ...

    def create(self) -> Handle: ...

    def destroy(self, handle: Handle) -> None: ...

    def algorithms(
        self, handle: Handle, product: Product, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        """Ways to compute a product, the library's best guess first; none if it cannot.

        workspace_bytes:  what they may use at the most
        """
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
