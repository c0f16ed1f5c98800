"""The bound driver without a GPU: right arguments for `cuda.bindings`, clear errors from it."""

from __future__ import annotations

import ctypes
import inspect
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from planck.device.cuda import bindings
from planck.device.cuda.bindings import BoundDriver, open_driver
from planck.device.cuda.driver import MAP_BYTES, Driver, Parameters, TensorMap
from planck.errors import (
    CudaError,
    DeviceMemoryError,
    DriverTooOldError,
    MissingExtraError,
    NoDeviceError,
    PlanTargetError,
)
from tests.device.fake_cuda import FakeDriver

cuda = pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings")
RESULT = cuda.CUresult
OK = RESULT.CUDA_SUCCESS


def library(**calls: Any) -> Any:
    """`cuda.bindings.driver` with some calls replaced: by what they give, or by a function."""
    names = {name: getattr(cuda, name) for name in dir(cuda) if not name.startswith("cu")}
    given = {
        name: value if callable(value) else (lambda *_, value=value: value)
        for name, value in calls.items()
    }
    given.setdefault("cuGetErrorString", lambda error: (OK, b"what it means"))
    return SimpleNamespace(**names, **given)


def test_all_calls_exist() -> None:
    source = inspect.getsource(bindings)
    names = set(re.findall(r"\bcu[A-Z]\w+", source))
    assert len(names) > 35
    assert not [name for name in names if not hasattr(cuda, name)]


@pytest.mark.parametrize("kind", [BoundDriver, FakeDriver])
def test_all_of_the_interface_is_there(kind: type) -> None:
    for name, wanted in inspect.getmembers(Driver, inspect.isfunction):
        if not name.startswith("_"):
            own = inspect.signature(getattr(kind, name))
            # The fake's are wrapped; both take the same.
            assert list(own.parameters) == list(inspect.signature(wanted).parameters), name


def test_constants_are_the_librarys() -> None:
    assert cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED == bindings._RELAXED
    assert cuda.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL == bindings._EXTERNAL
    assert cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING == bindings._UNTIMED
    assert cuda.CUstream_flags.CU_STREAM_NON_BLOCKING == bindings._APART
    assert RESULT.CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE == bindings._GRAPH_UPDATE_FAILURE
    assert RESULT.CUDA_ERROR_OUT_OF_MEMORY == bindings._OUT_OF_MEMORY


def test_parameters_are_as_the_driver_reads_them() -> None:
    parameters = Parameters([0x1000, 0x2000])
    parameters.values[1] = 0x3000
    table = (ctypes.c_void_p * 4).from_address(parameters.address)
    values = [ctypes.c_uint64.from_address(address).value for address in table]
    assert values == [0x1000, 0x3000, 0, 0]  # two for Triton's scratch


def test_an_argument_with_a_tensor_map_is_five_parameters() -> None:
    tensor = TensorMap(1, "f16", rows=7, columns=64, row_bytes=256, box=(64, 64))
    made: list[int] = []

    def encode(given: TensorMap, address: int) -> bytes:
        assert given is tensor
        made.append(address)
        return bytes([len(made)]) * MAP_BYTES

    parameters = Parameters([0x1000, 0, 0x2000], [tensor], encode)
    assert not made  # nobody knows yet where the matrix lies
    for number, address in enumerate((0x4000, 0x5000), 1):
        parameters.point(1, address)
        cells = (ctypes.c_void_p * 9).from_address(parameters.address)
        first, described, *extents, third, _, _ = (address or 0 for address in cells)
        assert described % 64 == 0
        assert ctypes.string_at(described, MAP_BYTES) == bytes([number]) * MAP_BYTES
        assert [ctypes.c_int32.from_address(at).value for at in extents[:2]] == [7, 64]
        assert [ctypes.c_int64.from_address(at).value for at in extents[2:]] == [128, 1]
        assert [ctypes.c_uint64.from_address(at).value for at in (first, third)] == [0x1000, 0x2000]
    assert made == [0x4000, 0x5000]


def test_tensor_maps_are_encoded_innermost_first() -> None:
    seen: list[Any] = []

    def encode(*arguments: Any) -> Any:
        seen.extend(arguments)
        made = cuda.CUtensorMap()
        made.opaque = [cuda.cuuint64_t(k) for k in range(16)]
        return OK, made

    driver = BoundDriver(library(
        cuTensorMapEncodeTiled=encode, cuuint64_t=cuda.cuuint64_t, cuuint32_t=cuda.cuuint32_t,
    ))  # fmt: skip
    made = driver.encode(TensorMap(0, "bf16", 7, 100, 256, (128, 64)), 0x1000)
    assert made == b"".join(k.to_bytes(8, "little") for k in range(16))
    kind, rank, address, *sizes, interleave, swizzle, _, fill = seen
    assert (kind.name, rank, address) == ("CU_TENSOR_MAP_DATA_TYPE_BFLOAT16", 2, 0x1000)
    assert [[int(n) for n in own] for own in sizes] == [[100, 7], [256], [64, 128], [1, 1]]
    assert (interleave, swizzle.name, fill) == (0, "CU_TENSOR_MAP_SWIZZLE_128B", 0)


@pytest.mark.parametrize("dependent", [False, True])
def test_launches_say_all_that_was_prepared(dependent: bool) -> None:
    seen: list[Any] = []

    def launch(config: Any, function: Any, parameters: int, extra: int) -> tuple[Any]:
        seen.append((config, function, parameters, extra))
        return (OK,)

    driver = BoundDriver(library(cuLaunchKernelEx=launch))
    parameters = Parameters([0x1000])
    driver.launch(driver.prepare("f", 7, 128, 2048, dependent, parameters), cuda.CUstream(64))
    ((config, function, table, extra),) = seen
    assert (config.gridDimX, config.gridDimY, config.gridDimZ) == (7, 1, 1)
    assert (config.blockDimX, config.blockDimY, config.blockDimZ) == (128, 1, 1)
    assert (config.sharedMemBytes, int(config.hStream), config.numAttrs) == (2048, 64, dependent)
    assert (function, table, extra) == ("f", parameters.address, 0)
    ids = cuda.CUlaunchAttributeID
    assert [(a.id, a.value.programmaticStreamSerializationAllowed) for a in config.attrs] == (
        [(ids.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, 1)] if dependent else []
    )


def test_errors_have_the_call_and_the_name() -> None:
    driver = BoundDriver(library(cuMemFree=(RESULT.CUDA_ERROR_ILLEGAL_ADDRESS,)))
    with pytest.raises(CudaError, match="cuMemFree failed") as caught:
        driver.free(5)
    assert caught.value.know == "CUDA_ERROR_ILLEGAL_ADDRESS: what it means"


def test_memory_that_is_used_up_says_how_much() -> None:
    calls = {
        "cuMemAlloc": (RESULT.CUDA_ERROR_OUT_OF_MEMORY, None),
        "cuMemGetInfo": (OK, 5_000_000, 80_000_000),
    }
    with pytest.raises(DeviceMemoryError) as caught:
        BoundDriver(library(**calls)).allocate(7_000_000)
    assert caught.value.know == "asked for 7.0 MB; 5.0 MB of 80.0 MB are free"


def test_memory_that_is_used_up_elsewhere_has_the_same_kind() -> None:
    driver = BoundDriver(library(cuGraphInstantiate=(RESULT.CUDA_ERROR_OUT_OF_MEMORY, None)))
    with pytest.raises(DeviceMemoryError, match="cuGraphInstantiate failed"):
        driver.instantiate(5)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RESULT.CUDA_ERROR_NO_BINARY_FOR_GPU, PlanTargetError),
        (RESULT.CUDA_ERROR_UNSUPPORTED_PTX_VERSION, DriverTooOldError),
        (RESULT.CUDA_ERROR_NOT_INITIALIZED, CudaError),
    ],
)
def test_code_that_does_not_load(error: Any, kind: Any) -> None:
    calls = {"cuModuleLoadData": (error, None), "cuDriverGetVersion": (OK, 12030)}
    with pytest.raises(kind) as caught:
        BoundDriver(library(**calls)).load_module(b"")
    assert error.name in caught.value.know


def test_small_answers() -> None:
    attributes, kinds = cuda.CUpointer_attribute, cuda.CUmemorytype
    pinned = {
        attributes.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: 3,
        attributes.CU_POINTER_ATTRIBUTE_MEMORY_TYPE: kinds.CU_MEMORYTYPE_HOST,
    }
    own = {**pinned, attributes.CU_POINTER_ATTRIBUTE_MEMORY_TYPE: kinds.CU_MEMORYTYPE_DEVICE}
    plain = {
        attributes.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: -2,
        attributes.CU_POINTER_ATTRIBUTE_MEMORY_TYPE: 0,
    }
    memory = {0: plain, 64: pinned, 128: own}
    calls = {
        "cuPointerGetAttributes": lambda n, asked, at: (OK, [memory[at][a] for a in asked[:n]]),
        "cuGraphExecUpdate": lambda _, good: (OK if good else RESULT(910), None),
        "cuStreamEndCapture": (OK, cuda.CUgraph(0)),
        "cuEventElapsedTime": (OK, 0.25),
    }
    driver = BoundDriver(library(**calls))
    assert [driver.ordinal(at) for at in memory] == [None, 3, 3]
    assert [driver.is_pinned(at) for at in memory] == [False, True, False]
    assert (driver.update(1, True), driver.update(1, False)) == (True, False)
    assert driver.end_capture(cuda.CUstream(1)) is None
    assert driver.elapsed_us(1, 2) == 250.0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the driver of a library whose calls are given."""

    def open_(**calls: Any) -> Driver:
        for name, value in calls.items():
            monkeypatch.setattr(cuda, name, value if callable(value) else lambda value=value: value)
        return open_driver.__wrapped__()

    return open_


def test_drivers_that_do_not_work_are_named(opened: Any) -> None:
    def missing(_: int) -> Any:
        raise RuntimeError("libcuda.so.1 is not there")

    with pytest.raises(NoDeviceError, match="NVIDIA driver") as caught:
        opened(cuInit=missing)
    assert "install" in caught.value.try_
    for name in ("NO_DEVICE", "STUB_LIBRARY", "SYSTEM_DRIVER_MISMATCH"):
        error = getattr(RESULT, f"CUDA_ERROR_{name}")
        with pytest.raises(NoDeviceError):
            opened(cuInit=lambda _, error=error: (error,))
    with pytest.raises(CudaError):
        opened(cuInit=lambda _: (RESULT.CUDA_ERROR_INVALID_DEVICE,))
    with pytest.raises(DriverTooOldError) as old:
        opened(cuInit=lambda _: (OK,), cuDriverGetVersion=(OK, 11080))
    assert old.value.know == "it is for CUDA 11.8; planck needs 12.3"
    assert isinstance(opened(cuInit=lambda _: (OK,), cuDriverGetVersion=(OK, 13000)), BoundDriver)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError) as caught:
        open_driver.__wrapped__()
    assert "planckrt[cuda]" in caught.value.try_


def test_nothing_is_imported_before_a_device_is_used() -> None:
    code = (
        "import sys, planck.runtime, planck.runtime.cuda.engine, planck.target\n"
        "planck.target.resolve('cuda:sm_90')\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('cuda', 'triton', 'torch')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
