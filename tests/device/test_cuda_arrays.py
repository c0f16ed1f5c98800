"""Arrays of a GPU as other libraries see them, and theirs as we do."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.device.cuda import arrays
from planck.device.cuda.arrays import DeviceArray, view_of
from planck.device.cuda.device import Device
from tests.device.fake_cuda import FakeDriver


class Foreign:
    """Something with a CUDA array interface."""

    def __init__(self, **interface: Any) -> None:
        base = {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 3}
        self.__cuda_array_interface__ = {**base, **interface}


def array(shape: tuple[int, ...], dtype: dtypes.DType) -> DeviceArray:
    return DeviceArray(0x1000, shape, dtype, Device(FakeDriver()), None)


class Capsuled:
    """Passes a DeviceArray on, so that it is read by its capsule."""

    def __init__(self, inner: DeviceArray) -> None:
        self.__dlpack__ = inner.__dlpack__
        self.__dlpack_device__ = inner.__dlpack_device__


@pytest.mark.parametrize(
    "dtype", [dtypes.f32, dtypes.f16, dtypes.bf16, dtypes.i64, dtypes.u8, dtypes.bool_, dtypes.c64]
)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 3)])
def test_capsules_say_what_arrays_are(shape: tuple[int, ...], dtype: dtypes.DType) -> None:
    view = view_of(Capsuled(array(shape, dtype)), 7)
    assert view is not None
    assert (view.address, view.shape, view.dtype) == (0x1000, shape, dtype.numpy)
    assert view.dense
    assert len(arrays._given) == 1
    del view
    gc.collect()
    assert not arrays._given  # a capsule that nobody took lets the array go


def test_capsules_are_of_the_array_itself() -> None:
    own = array((4,), dtypes.f32)
    own.__dlpack__(stream=-1, dl_device=(2, 0), copy=False)
    for wrong in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError, match="not copied"):
            own.__dlpack__(**wrong)


def test_who_takes_a_capsule_lets_the_array_go_later() -> None:
    """As PyTorch does: it renames the capsule, and calls the tensor's deleter at the end."""
    capsule = array((4,), dtypes.f32).__dlpack__(stream=1, max_version=(1, 1))
    pointer = arrays._pointer(capsule, b"dltensor")
    name = ctypes.create_string_buffer(b"used_dltensor")
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = (ctypes.py_object, ctypes.c_char_p)
    rename(capsule, ctypes.cast(name, ctypes.c_char_p))
    del capsule
    gc.collect()
    assert list(arrays._given) == [pointer]
    managed = arrays._Managed.from_address(pointer)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(managed.deleter)(pointer)
    assert not arrays._given


def test_what_dlpack_has_no_name_for_is_refused() -> None:
    for dtype in (dtypes.f8e4m3, dtypes.i4, dtypes.f4e2m1):
        with pytest.raises(BufferError, match=dtype.name):
            array((4,), dtype).__dlpack__()
    assert not arrays._given


@pytest.mark.parametrize(
    ("interface", "dense"),
    [
        ({}, True),
        ({"strides": None}, True),
        ({"strides": (12, 4)}, True),
        ({"strides": (4, 8)}, False),
        ({"strides": (16, 4)}, False),
        ({"shape": (1, 3), "strides": (400, 4)}, True),
        ({"shape": (0, 3), "strides": (1, 1)}, True),
        ({"strides": (12, 2)}, False),
        ({"mask": object()}, False),
    ],
)
def test_strides_of_an_interface(interface: dict[str, Any], dense: bool) -> None:
    view = view_of(Foreign(**interface), 7)
    assert view is not None
    assert view.dense == dense


def test_what_is_not_on_a_gpu_is_no_view() -> None:
    for other in (np.zeros(3), [1.0], None, "x"):
        assert view_of(other, 7) is None
    short = view_of(Foreign(typestr="<V2", stream=5), 7)
    assert short is not None
    assert (short.dtype, short.stream) == (dtypes.bf16.numpy, 5)
