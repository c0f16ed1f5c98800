"""ONNX tensors and types as NumPy arrays and Planck dtypes, external data included."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from planck import dtypes
from planck.dtypes import Array, DType
from planck.errors import DTypeError, FileError, ModelFormatError

DTYPE_OF: Final[dict[int, DType]] = {
    TensorProto.DOUBLE: dtypes.f64,
    TensorProto.FLOAT: dtypes.f32,
    TensorProto.FLOAT16: dtypes.f16,
    TensorProto.BFLOAT16: dtypes.bf16,
    TensorProto.FLOAT8E4M3FN: dtypes.f8e4m3,
    TensorProto.FLOAT8E5M2: dtypes.f8e5m2,
    TensorProto.FLOAT8E4M3FNUZ: dtypes.f8e4m3fnuz,
    TensorProto.FLOAT8E5M2FNUZ: dtypes.f8e5m2fnuz,
    TensorProto.INT64: dtypes.i64,
    TensorProto.INT32: dtypes.i32,
    TensorProto.INT16: dtypes.i16,
    TensorProto.INT8: dtypes.i8,
    TensorProto.INT4: dtypes.i4,
    TensorProto.UINT64: dtypes.u64,
    TensorProto.UINT32: dtypes.u32,
    TensorProto.UINT16: dtypes.u16,
    TensorProto.UINT8: dtypes.u8,
    TensorProto.UINT4: dtypes.u4,
    TensorProto.BOOL: dtypes.bool_,
    TensorProto.COMPLEX64: dtypes.c64,
    TensorProto.COMPLEX128: dtypes.c128,
    TensorProto.STRING: dtypes.string,
}
_RECENT: Final = {
    "FLOAT8E8M0": dtypes.f8e8m0,
    "FLOAT4E2M1": dtypes.f4e2m1,
    "INT2": dtypes.i2,
    "UINT2": dtypes.u2,
}
DTYPE_OF.update(  # what older releases of onnx do not name yet
    {code: _RECENT[name] for name, code in TensorProto.DataType.items() if name in _RECENT}
)
CODE_OF: Final[dict[DType, int]] = {dtype: code for code, dtype in DTYPE_OF.items()}
_PACKED: Final = (dtypes.i4, dtypes.u4)


def dtype_of(code: int) -> DType:
    """The dtype of an ONNX element type. raises: DTypeError"""
    if code not in DTYPE_OF:
        known = {v: k for k, v in TensorProto.DataType.items()}
        raise DTypeError(
            f"planck has no dtype for ONNX's {known.get(code, f'element type {code}')}"
        )
    return DTYPE_OF[code]


def array_of(proto: TensorProto, folder: Path | None) -> Array:
    """The array of a TensorProto.

    folder: where external data lies; None: the model was given as bytes, and has none
    raises: ModelFormatError, DTypeError, FileError
    """
    name = proto.name or "a tensor"
    dtype = dtype_of(proto.data_type)
    if any(extent < 0 for extent in proto.dims):
        raise ModelFormatError(f"{name} has the shape {list(proto.dims)}")
    if proto.data_location == TensorProto.EXTERNAL:
        return _external(proto, dtype, folder)
    try:
        array: Array = numpy_helper.to_array(proto)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise ModelFormatError(f"the data of {name} is damaged", know=str(error)) from error
    if dtype is dtypes.string:
        texts = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in array.flat]
        array = np.array(texts, object).reshape(array.shape)
    if array.shape != tuple(proto.dims):
        raise ModelFormatError(f"{name} has {array.size} elements for {list(proto.dims)}")
    return array


def _external(proto: TensorProto, dtype: DType, folder: Path | None) -> Array:
    """Map a tensor's bytes from the file beside the model that holds them."""
    facts = {entry.key: entry.value for entry in proto.external_data}
    name, location = proto.name or "a tensor", facts.get("location", "")
    if folder is None:
        raise FileError(
            f"{name} lies in the external file {location!r}",
            try_="read the model from its path instead of its bytes",
        )
    path = (folder / location).resolve()
    if not location or not path.is_relative_to(folder.resolve()):
        raise ModelFormatError(f"{name} names a file outside the model's folder: {location!r}")
    if not path.is_file():
        raise FileError(f"{name} lies in {location!r}, which is missing", at=str(folder))
    count = math.prod(proto.dims)
    needed = (count + 1) // 2 if dtype in _PACKED else count * dtype.bytes
    offset, length = facts.get("offset", "0"), facts.get("length", str(needed))
    if not (offset.isdecimal() and length.isdecimal()) or len(offset + length) > 36:
        raise ModelFormatError(f"{name} lies at offset {offset!r}, length {length!r}")
    available = path.stat().st_size - int(offset)
    if int(length) != needed or available < needed:
        raise ModelFormatError(
            f"the external data of {name} does not fit its shape {list(proto.dims)}",
            know=f"needs {needed} bytes; the model says {length}, the file has {available}",
        )
    if not needed:
        return np.zeros(tuple(proto.dims), dtype.numpy)
    raw = np.memmap(path, np.uint8, mode="r", offset=int(offset), shape=(needed,))
    if dtype in _PACKED:
        packed = TensorProto(data_type=proto.data_type, dims=proto.dims, raw_data=raw.tobytes())
        unpacked: Array = numpy_helper.to_array(packed)
        return unpacked
    return np.asarray(raw).view(dtype.numpy).reshape(tuple(proto.dims))


def dense_of(proto: onnx.SparseTensorProto, folder: Path | None) -> Array:
    """A sparse tensor written out (Constant's sparse_value). raises: ModelFormatError"""
    shape = tuple(proto.dims)
    values, indices = array_of(proto.values, folder), array_of(proto.indices, folder)
    if any(extent < 0 for extent in shape) or math.prod(shape) > 1 << 28:
        raise ModelFormatError(f"a sparse tensor has the shape {list(shape)}")
    if indices.ndim == 2 and indices.shape[1] == len(shape):
        valid = bool(np.all((indices >= 0) & (indices < np.array(shape, np.int64))))
        place = tuple(indices.T)
    else:
        valid = indices.ndim == 1 and bool(np.all((indices >= 0) & (indices < math.prod(shape))))
        place = np.unravel_index(indices, shape) if valid else ()
    if not valid or values.ndim != 1 or len(values) != len(indices):
        raise ModelFormatError(f"a sparse tensor's indices do not fit its shape {list(shape)}")
    dense = np.zeros(shape, values.dtype)
    dense[place] = values
    return dense
