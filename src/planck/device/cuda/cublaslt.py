"""The Library that calls NVIDIA's cuBLASLt, by ctypes.

It counts columns where Planck counts rows: D [rows, columns] row by row is its D' [columns, rows]
column by column. So it multiplies B' by A', and its bias, along its rows, is along our columns.

source: NVIDIA's cublasLt.h (CUDA 12 and 13) for the numbers of enumerations
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from typing import Any, Final

from planck.device.cuda.driver import Handle, Parameters
from planck.device.cuda.library import (
    ALGORITHM_BYTES,
    ALIGN,
    Algorithm,
    Call,
    Library,
    Pointers,
    Problem,
    Product,
    Side,
    dotted,
)
from planck.device.cuda.loading import Wanted, open_first
from planck.errors import LibraryError

OLDEST: Final = 120_000  # CUDA 12.0, the first with kernels for compute capability 9.0
_WANTED: Final = Wanted(
    "cuBLASLt",
    ("libcublasLt.so.13", "libcublasLt.so.12"),
    ("cu13/lib", "cublas/lib"),  # since CUDA 13 and before
    "nvidia-cublas",
)

_TYPES: Final = {"f32": 0, "f16": 2, "bf16": 14}  # cudaDataType
_F32: Final = 68  # cublasComputeType_t
_TF32: Final = 77
_TRANSPOSED: Final = 1  # cublasOperation_t
_EPILOGUES: Final = {"": 0, "relu": 2, "gelu_tanh": 32}  # cublasLtEpilogue_t, without a bias
_WITH_BIAS: Final = 4
_PLAIN: Final = 1
# Attributes of a description, of a layout and of a preference.
_TRANSPOSE_A, _TRANSPOSE_B, _EPILOGUE, _BIAS, _BIAS_TYPE = 3, 4, 7, 8, 26
_BATCH, _BATCH_STRIDE = 5, 6
_MOST_WORKSPACE, _REDUCTIONS, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_FLOAT32_SUMS: Final = 2  # of parts of a sum: others add them up as 16 bits
_SOMEWHERE: Final = 256  # a bias' address while there is none yet
_STATUS: Final = {
    1: "NOT_INITIALIZED", 3: "ALLOC_FAILED", 7: "INVALID_VALUE", 8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR", 13: "EXECUTION_FAILED", 14: "INTERNAL_ERROR", 15: "NOT_SUPPORTED",
    16: "LICENSE_ERROR",
}  # fmt: skip
_UNABLE: Final = (7, 15)  # of heuristics: no algorithm takes the product


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t"""

    _fields_ = (
        ("algorithm", ctypes.c_ubyte * ALGORITHM_BYTES),
        ("workspace_bytes", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


@lru_cache(maxsize=1)
def open_cublaslt() -> Library:
    """cuBLASLt of the nvidia-* wheels, of CUDA_PATH, of /usr/local/cuda, or of the loader's path.

    raises: LibraryError if there is none, or only an old one
    """
    return open_first(_WANTED, CublasLt, OLDEST)


class CublasLt:
    """As `Library` says; `own` is the library, loaded."""

    def __init__(self, own: Any) -> None:
        self._own = own
        own.cublasLtGetVersion.restype = c_size_t
        self.version = int(own.cublasLtGetVersion())

    def create(self) -> Handle:
        return self._made("cublasLtCreate")

    def destroy(self, handle: Handle) -> None:
        self._call("cublasLtDestroy", handle)

    def algorithms(
        self, handle: Handle, product: Problem, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        assert isinstance(product, Product), product
        described = _Described(self, product)
        preference = self._made("cublasLtMatmulPreferenceCreate")
        try:
            set_ = "cublasLtMatmulPreferenceSetAttribute"
            self.set(set_, preference, _MOST_WORKSPACE, c_uint64(workspace_bytes))
            self.set(set_, preference, _REDUCTIONS, c_uint32(_FLOAT32_SUMS))
            for attribute in _ALIGNMENTS:
                self.set(set_, preference, attribute, c_uint32(ALIGN))
            found, returned = (_Heuristic * count)(), c_int()
            status = int(self._own.cublasLtMatmulAlgoGetHeuristic(
                handle, described.operation, *described.layouts, preference, c_int(count), found,
                byref(returned),
            ))  # fmt: skip
            if status in _UNABLE:
                return ()
            self._check(status, "cublasLtMatmulAlgoGetHeuristic")
        finally:
            self._call("cublasLtMatmulPreferenceDestroy", preference)
            described.release()
        return tuple(
            Algorithm(bytes(row.algorithm), int(row.workspace_bytes))
            for row in found[: returned.value]
            if not row.state
        )

    def complete(self, handle: Handle, product: Problem, algorithm: Algorithm) -> Algorithm:
        return algorithm

    def prepare(self, handle: Handle, call: Call, parameters: Parameters) -> Handle:
        return _Prepared(self, handle, call, parameters)

    def release(self, prepared: _Prepared) -> None:
        prepared.described.release()

    def run(self, prepared: _Prepared, stream: Handle) -> None:
        a, b, d, c, bias, workspace = prepared.pointers.read()
        described = prepared.described
        if bias:
            described.point_bias(bias)
        left, right, beside, result = described.layouts
        status = int(self._own.cublasLtMatmul(
            prepared.handle, described.operation, byref(prepared.alpha), c_void_p(b), left,
            c_void_p(a), right, byref(prepared.beta), c_void_p(c), beside, c_void_p(d), result,
            prepared.algorithm, c_void_p(workspace), c_size_t(prepared.workspace_bytes),
            c_void_p(int(stream)),
        ))  # fmt: skip
        self._check(status, "cublasLtMatmul")

    def set(self, call: str, what: Any, attribute: int, value: Any) -> None:
        """Set one attribute of a description, a layout or a preference."""
        self._call(call, what, c_int(attribute), byref(value), c_size_t(ctypes.sizeof(value)))

    def operation(self, tf32: bool) -> Any:
        compute = _TF32 if tf32 else _F32
        return self._made("cublasLtMatmulDescCreate", c_int(compute), c_int(_TYPES["f32"]))

    def layout(self, dtype: str, extents: tuple[int, int], stride: int) -> Any:
        return self._made(
            "cublasLtMatrixLayoutCreate", c_int(_TYPES[dtype]), *map(c_uint64, extents),
            c_int64(stride),
        )  # fmt: skip

    def drop(self, call: str, what: Any) -> None:
        self._call(call, what)

    def _made(self, name: str, *arguments: Any) -> Any:
        made = c_void_p()
        self._call(name, byref(made), *arguments)
        return made

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(int(getattr(self._own, name)(*arguments)), name)

    def _check(self, status: int, call: str) -> None:
        if status:
            raise LibraryError(
                f"{call} failed",
                know=f"CUBLAS_STATUS_{_STATUS.get(status, status)}; cuBLASLt is"
                f" {dotted(self.version)}",
            )


class _Described:
    """A product in the library's objects: the operation, and the layouts of B, A, C and D."""

    def __init__(self, library: CublasLt, product: Product) -> None:
        self._library = library
        self.operation = library.operation(product.tf32)
        self.layouts: list[Any] = []
        set_ = "cublasLtMatmulDescSetAttribute"
        sides = ((product.b, _TRANSPOSE_A), (product.a, _TRANSPOSE_B))
        for side, attribute in sides:
            if side.transposed:
                library.set(set_, self.operation, attribute, c_int32(_TRANSPOSED))
        epilogue = _EPILOGUES[product.activation] + _WITH_BIAS * product.bias
        library.set(set_, self.operation, _EPILOGUE, c_uint32(epilogue or _PLAIN))
        if product.bias:
            library.set(set_, self.operation, _BIAS_TYPE, c_int32(_TYPES[product.result]))
            self.point_bias(_SOMEWHERE)
        m, n, k = product.rows, product.columns, product.depth
        of = (
            (product.b, product.dtype, (n, k)),
            (product.a, product.dtype, (k, m)),
            (product.c or product.d, product.result, (n, m)),
            (product.d, product.result, (n, m)),
        )
        for side, dtype, extents in of:
            self.layouts.append(self._layout(side, dtype, extents, product.batch))

    def _layout(self, side: Side, dtype: str, extents: tuple[int, int], batch: int) -> Any:
        extents = extents[::-1] if side.transposed else extents
        made = self._library.layout(dtype, extents, side.stride)
        if batch > 1:
            set_ = "cublasLtMatrixLayoutSetAttribute"
            self._library.set(set_, made, _BATCH, c_int32(batch))
            self._library.set(set_, made, _BATCH_STRIDE, c_int64(side.batch))
        return made

    def point_bias(self, address: int) -> None:
        self._library.set(
            "cublasLtMatmulDescSetAttribute", self.operation, _BIAS, c_uint64(address)
        )

    def release(self) -> None:
        while self.layouts:
            self._library.drop("cublasLtMatrixLayoutDestroy", self.layouts.pop())
        self._library.drop("cublasLtMatmulDescDestroy", self.operation)


class _Prepared:
    """A call's objects, and what they point to."""

    def __init__(
        self, library: CublasLt, handle: Handle, call: Call, parameters: Parameters
    ) -> None:
        product = call.product
        assert isinstance(product, Product), product
        self.handle, self.workspace_bytes = handle, call.workspace_bytes
        self.described = _Described(library, product)
        self.pointers = Pointers(call, parameters)
        self.alpha = c_float(product.alpha)
        self.beta = c_float(0.0 if product.c is None else 1.0)
        self.algorithm = (ctypes.c_ubyte * ALGORITHM_BYTES).from_buffer_copy(
            bytes.fromhex(call.algorithm)
        )
