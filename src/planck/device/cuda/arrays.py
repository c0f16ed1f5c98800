"""Arrays in a GPU's memory: ours, and those of other libraries, told by DLPack or CUDA's interface.

source: DLPack's dlpack.h (DLManagedTensor); Numba's CUDA array interface, version 3
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from planck import dtypes
from planck.device import system
from planck.device.cuda.device import Device
from planck.device.cuda.driver import Handle
from planck.dtypes import Array, DType

_CUDA, _MANAGED = 2, 13  # kDLCUDA, kDLCUDAManaged
_CODES: Final = {"i": 0, "u": 1, "f": 2, "b": 6, "c": 5}
_BFLOAT: Final = (4, 16)
_NAME: Final = b"dltensor"


def _code(dtype: DType) -> tuple[int, int] | None:
    """DLPack's code and bits; None for short types that it spells in newer versions only."""
    if dtype is dtypes.bf16:
        return _BFLOAT
    return (_CODES[dtype.kind], dtype.bits) if dtype.kind in _CODES and dtype.bits >= 8 else None


_TYPES: Final = {
    code: d for d in dtypes.DTYPES if not d.name.startswith("f8") and (code := _code(d))
}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
# The same for a capsule that is being destroyed, which must not be counted as in use again.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_dying_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_given: dict[int, tuple[Any, ...]] = {}  # what consumers hold, by the tensor's address


def _delete(managed: int) -> None:
    _given.pop(managed, None)


def _destroy(capsule: int) -> None:
    if _is_valid(capsule, _NAME):  # nobody has taken it: who does, renames it
        _given.pop(_dying_pointer(capsule, _NAME), None)


_called = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_deleter, _destructor = _called(_delete), _called(_destroy)


class Owner(Protocol):
    """Whose memory an array lies in. Both raise InputError once it was given back."""

    def order(self, stream: Handle) -> None:
        """Let a stream wait for what may still write the array."""
        ...

    def pending(self) -> int | None:
        """A stream that ends behind what may still write the array; None if all has ended."""
        ...


class DeviceArray:
    """A dense array in a GPU's memory, that other libraries read by DLPack without a copy.

    Whoever is given it reads it behind what still writes it.

    address:  of its first element
    owner:    keeps the memory; None: somebody else does, and nothing writes it any more
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: DType,
        device: Device,
        owner: Owner | None,
    ) -> None:
        self.address, self.shape, self.device = address, shape, device
        self.dtype = dtype.numpy
        self._type, self._owner = dtype, owner

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def numpy(self) -> Array:
        """A copy in the host's memory. raises: InputError if its context is closed"""
        host: Array = np.empty(self.shape, self.dtype)
        self.order(0)
        if self.nbytes:
            driver = self.device.driver
            with self.device:
                stream = driver.stream(0)
                driver.download(system.address(host), self.address, self.nbytes, stream)
                driver.synchronize(stream)
        return host

    def order(self, stream: int) -> None:
        """Let another stream wait for what writes the array; 0 and 1: CUDA's default stream.

        raises: InputError if the array's context is closed
        """
        if self._owner is not None:
            self._owner.order(self.device.driver.stream(stream))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": self._owner.pending() if self._owner is not None else None,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CUDA, self.device.ordinal)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
        **_: Any,
    ) -> Any:
        """A capsule, "dltensor", of the array itself.

        stream:  waits for what writes the array; None: CUDA's default one, -1: none does
        raises:  BufferError for a copy, another device, or a dtype that DLPack has no name for;
                 InputError if the array's context is closed
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("an array of the GPU is given where it lies, and not copied")
        code = _code(self._type)
        if code is None or _TYPES.get(code) is not self._type:
            raise BufferError(f"DLPack has no name for {self._type}")
        if stream != -1:
            self.order(stream or 0)
        shape = (ctypes.c_int64 * len(self.shape))(*self.shape)
        tensor = _Tensor(self.address, _CUDA, self.device.ordinal, len(self.shape), *code, 1, shape)
        managed = _Managed(tensor, None, ctypes.cast(_deleter, ctypes.c_void_p))
        address = ctypes.addressof(managed)
        _given[address] = (managed, shape, self)
        return _new(address, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))

    def __repr__(self) -> str:
        return f"DeviceArray({self._type}{list(self.shape)}, cuda:{self.device.ordinal})"


@dataclass(frozen=True, slots=True)
class View:
    """What another library says of its array.

    dtype:     of an element type that Planck has no name for, a void one
    dense:     it lies row-major without gaps
    stream:    to wait for before the array is used; None: for none
    keep:      keeps the memory
    writable:  false for one that its library says is read-only
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dense: bool
    stream: int | None
    keep: object
    writable: bool = True


def view_of(array: Any, stream: int) -> View | None:
    """An array on a GPU; None for what is none, or lies elsewhere.

    stream:  on which it will be used: DLPack's producers make it wait for what writes the array
    raises:  whatever the array's own library raises
    """
    if isinstance(array, DeviceArray):
        array.order(stream)
        return View(array.address, array.shape, array.dtype, True, None, array)
    if hasattr(array, "__dlpack_device__") and hasattr(array, "__dlpack__"):
        if array.__dlpack_device__()[0] not in (_CUDA, _MANAGED):
            return None
        return _from_capsule(array.__dlpack__(stream=stream))
    interface = getattr(array, "__cuda_array_interface__", None)
    return None if interface is None else _from_interface(interface, array)


def _from_capsule(capsule: Any) -> View:
    """The capsule is not taken over: it is kept, and frees the tensor as it goes."""
    tensor = _Managed.from_address(_pointer(capsule, _NAME)).tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    found = _TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    bytes_ = max(tensor.bits * tensor.lanes // 8, 1)
    address = (tensor.data or 0) + tensor.byte_offset
    dtype: np.dtype[Any] = found.numpy if found else np.dtype(f"V{bytes_}")
    return View(address, shape, dtype, _is_dense(shape, strides), None, capsule)


def _from_interface(interface: dict[str, Any], array: Any) -> View:
    shape = tuple(interface["shape"])
    dtype = np.dtype(interface["typestr"])
    if dtype == np.dtype("V2"):  # how NumPy spells what it has no name for
        dtype = dtypes.bf16.numpy
    strides = interface.get("strides")
    if strides is not None:
        strides = tuple(stride / dtype.itemsize for stride in strides)
    return View(
        interface["data"][0],
        shape,
        dtype,
        _is_dense(shape, strides) and interface.get("mask") is None,
        interface.get("stream"),
        array,
        not interface["data"][1],
    )


def _is_dense(shape: tuple[int, ...], strides: tuple[float, ...] | None) -> bool:
    if strides is None or 0 in shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
