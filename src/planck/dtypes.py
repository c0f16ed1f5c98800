"""The element types of tensors: one table of names, sizes and their NumPy and LLVM spellings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type. Compare with `is`; print gives the short name (`f32`)."""

    name: str
    bits: int
    kind: str  # "f" float, "i" signed, "u" unsigned, "b" bool, "c" complex, "s" string
    numpy: np.dtype[Any]
    llvm: str  # how the element lies in memory

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    @property
    def bytes(self) -> int:
        """Bytes of one element in memory (sub-byte types take one byte each in arrays)."""
        return (self.bits + 7) // 8

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"


def _make(name: str, bits: int, kind: str, numpy: Any, llvm: str) -> DType:
    return DType(name, bits, kind, np.dtype(numpy), llvm)


f64: Final = _make("f64", 64, "f", np.float64, "double")
f32: Final = _make("f32", 32, "f", np.float32, "float")
f16: Final = _make("f16", 16, "f", np.float16, "half")
bf16: Final = _make("bf16", 16, "f", ml_dtypes.bfloat16, "bfloat")
f8e4m3: Final = _make("f8e4m3", 8, "f", ml_dtypes.float8_e4m3fn, "i8")
f8e5m2: Final = _make("f8e5m2", 8, "f", ml_dtypes.float8_e5m2, "i8")
f8e4m3fnuz: Final = _make("f8e4m3fnuz", 8, "f", ml_dtypes.float8_e4m3fnuz, "i8")
f8e5m2fnuz: Final = _make("f8e5m2fnuz", 8, "f", ml_dtypes.float8_e5m2fnuz, "i8")
f8e8m0: Final = _make("f8e8m0", 8, "f", ml_dtypes.float8_e8m0fnu, "i8")
f4e2m1: Final = _make("f4e2m1", 4, "f", ml_dtypes.float4_e2m1fn, "i8")
i64: Final = _make("i64", 64, "i", np.int64, "i64")
i32: Final = _make("i32", 32, "i", np.int32, "i32")
i16: Final = _make("i16", 16, "i", np.int16, "i16")
i8: Final = _make("i8", 8, "i", np.int8, "i8")
i4: Final = _make("i4", 4, "i", ml_dtypes.int4, "i8")
i2: Final = _make("i2", 2, "i", ml_dtypes.int2, "i8")
u64: Final = _make("u64", 64, "u", np.uint64, "i64")
u32: Final = _make("u32", 32, "u", np.uint32, "i32")
u16: Final = _make("u16", 16, "u", np.uint16, "i16")
u8: Final = _make("u8", 8, "u", np.uint8, "i8")
u4: Final = _make("u4", 4, "u", ml_dtypes.uint4, "i8")
u2: Final = _make("u2", 2, "u", ml_dtypes.uint2, "i8")
bool_: Final = _make("bool", 8, "b", np.bool_, "i8")
c64: Final = _make("c64", 64, "c", np.complex64, "{float, float}")
c128: Final = _make("c128", 128, "c", np.complex128, "{double, double}")
string: Final = _make("string", 64, "s", object, "ptr")

DTYPES: Final[tuple[DType, ...]] = (
    f64, f32, f16, bf16, f8e4m3, f8e5m2, f8e4m3fnuz, f8e5m2fnuz, f8e8m0, f4e2m1,
    i64, i32, i16, i8, i4, i2, u64, u32, u16, u8, u4, u2, bool_, c64, c128, string,
)  # fmt: skip

# What float32 may be rounded to in memory, while it is what kernels compute in.
SHORT_FLOATS: Final = (bf16, f16)

BY_NAME: Final = {dtype.name: dtype for dtype in DTYPES}
_BY_NUMPY: Final = {dtype.numpy: dtype for dtype in DTYPES}


def from_numpy(dtype: Any) -> DType:
    """The DType of a NumPy dtype; raises KeyError for one that Planck has no name for."""
    found = np.dtype(dtype)
    if found.kind in "US":
        return string
    return _BY_NUMPY[found]
