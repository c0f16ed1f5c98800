"""Runs a TritonCode on a GPU, on copies of the buffers that the interpreter would get."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.device.cuda.bindings import BoundDriver
from planck.device.cuda.driver import Parameters
from planck.target import Target


@cache
def device() -> tuple[Any, Target] | str:
    """The driver's module and the first GPU as a target; or why there is none."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return "cuda-bindings is not installed"
    try:
        status = driver.cuInit(0)[0]
    except Exception as error:
        return f"no CUDA driver: {error}"
    if status != driver.CUresult.CUDA_SUCCESS:
        return f"no GPU: {status.name}"
    gpu = _ok(driver, driver.cuDeviceGet(0))
    context = _ok(driver, driver.cuDevicePrimaryCtxRetain(gpu))
    _ok(driver, driver.cuCtxSetCurrent(context))
    attribute = driver.CUdevice_attribute
    major, minor = (
        _ok(driver, driver.cuDeviceGetAttribute(which, gpu))
        for which in (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    return driver, Target(f"sm_{major}{minor}", "cuda")


def launch(code: TritonCode, memory: Mapping[str, Any], seed: int = 0) -> None:
    """Compile and run a kernel; the buffers come back as it leaves them."""
    found = device()
    assert not isinstance(found, str), found
    driver, target = found
    cubin = compile_cubin(code, target)
    module = _ok(driver, driver.cuModuleLoadData(cubin.image))
    function = _ok(driver, driver.cuModuleGetFunction(module, code.symbol.encode()))
    if cubin.shared_bytes > 48 * 1024:
        most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _ok(driver, driver.cuFuncSetAttribute(function, most, cubin.shared_bytes))
    copies = {}
    for name, place in memory.items():
        copies[name] = _ok(driver, driver.cuMemAlloc(place.raw.nbytes))
        _ok(driver, driver.cuMemcpyHtoD(copies[name], place.raw.ctypes.data, place.raw.nbytes))
    addresses = [int(copies[n]) + memory[n].begin for n in code.arguments]
    parameters = Parameters(addresses, code.tensors, BoundDriver(driver).encode)
    grid = (code.grid, 1, 1, cubin.threads, 1, 1, cubin.shared_bytes, 0)
    _ok(driver, driver.cuLaunchKernel(function, *grid, parameters.address, 0))
    _ok(driver, driver.cuCtxSynchronize())
    for name, place in memory.items():
        _ok(driver, driver.cuMemcpyDtoH(place.raw.ctypes.data, copies[name], place.raw.nbytes))
        _ok(driver, driver.cuMemFree(copies[name]))
    _ok(driver, driver.cuModuleUnload(module))


def _ok(driver: Any, result: tuple[Any, ...]) -> Any:
    status, *values = result
    assert status == driver.CUresult.CUDA_SUCCESS, status
    return values[0] if values else None
