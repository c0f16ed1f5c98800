"""Arrays in pinned memory: lent, given back when nobody has them, and longer there than lenders."""

from __future__ import annotations

import numpy as np
import pytest

from planck.device.cuda.device import Device
from planck.device.cuda.lending import Lender
from planck.errors import CudaError, DeviceMemoryError
from tests.device.fake_cuda import FakeDriver


def test_memory_is_lent_again_once_nobody_has_it() -> None:
    driver = FakeDriver()
    device = Device(driver)
    lender = Lender(device, (3, 5), np.float32, most=2)
    one, two = lender.lend(), lender.lend()
    assert one is not None
    assert two is not None
    assert (one.shape, one.dtype, one.flags.c_contiguous) == ((3, 5), np.float32, True)
    assert not np.may_share_memory(one, two)
    assert lender.lend() is None
    one[...], two[...] = 1, 2
    part, at = one[1:, 2], one.ctypes.data
    del one
    assert lender.lend() is None  # a part of it is still in use
    np.testing.assert_array_equal(part, [1, 1])
    del part
    again = lender.lend()
    assert again is not None
    assert again.ctypes.data == at
    assert driver.calls.count("allocate_host") == 2
    del again, two
    lender.close(), device.close()
    driver.finish()


def test_arrays_outlive_the_lender_and_the_gpu() -> None:
    driver = FakeDriver()
    device = Device(driver)
    lender = Lender(device, (7,), np.float64)
    arrays = [lender.lend() for _ in range(3)]
    del arrays[1]
    lender.close(), lender.close(), device.close()
    assert driver.leaks() == {"host": 2, "context": 1}
    first, last = arrays
    del arrays
    assert first is not None
    assert last is not None
    first[:], last[:] = 5, 6
    del last
    assert driver.leaks() == {"host": 1, "context": 1}
    np.testing.assert_array_equal(first, [5] * 7)
    del first
    driver.finish()


def test_empty_arrays_and_lenders_that_lent_nothing() -> None:
    driver = FakeDriver()
    device = Device(driver)
    lender, unused = Lender(device, (2, 0, 3), np.int8), Lender(device, (2,), np.int8)
    array = lender.lend()
    assert array is not None
    assert array.shape == (2, 0, 3)
    del array
    lender.close(), unused.close(), device.close()
    driver.finish()


def test_a_host_without_memory_lends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Full(FakeDriver):
        def allocate_host(self, bytes_: int) -> int:
            raise DeviceMemoryError("cuMemHostAlloc failed")

    driver = Full()
    device = Device(driver)
    lender = Lender(device, (2,), np.int8)
    assert lender.lend() is None
    lender.close(), device.close()
    driver.finish()

    class Stuck(FakeDriver):
        def free_host(self, address: int) -> None:
            super().free_host(address)
            raise CudaError("cuMemFreeHost failed")

    driver = Stuck()
    device = Device(driver)
    lender = Lender(device, (2,), np.int8)
    array = lender.lend()
    assert array is not None
    lender.close(), device.close()
    del array  # nothing is raised where arrays are collected
    assert "was not given back" in caplog.text
    driver.finish()
