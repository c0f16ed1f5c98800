"""The Driver that drives real GPUs, by `cuda.bindings.driver` (NVIDIA's cuda-python)."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any, Final

from planck.device.cuda.driver import MAP_BYTES, Driver, Handle, Parameters, Properties, TensorMap
from planck.errors import (
    CudaError,
    DeviceMemoryError,
    DriverTooOldError,
    MissingExtraError,
    NoDeviceError,
    PlanTargetError,
)

OLDEST_DRIVER: Final = 12_030  # CUDA 12.3: dependent launches inside captured graphs
_HOST: Final = 1  # CU_MEMORYTYPE_HOST
_OUT_OF_MEMORY: Final = 2
_GRAPH_UPDATE_FAILURE: Final = 910
_RELAXED: Final = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: a finalizer may free memory meanwhile
_EXTERNAL: Final = 1  # CU_EVENT_RECORD_EXTERNAL: the graph records it
_UNTIMED: Final = 2  # CU_EVENT_DISABLE_TIMING
_APART: Final = 1  # CU_STREAM_NON_BLOCKING


@lru_cache(maxsize=1)
def open_driver() -> Driver:
    """The driver of this machine.

    raises: MissingExtraError, NoDeviceError, DriverTooOldError
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise MissingExtraError(
            "plans for GPUs need cuda-bindings, which is not installed",
            know=str(error),
            try_="pip install 'planckrt[cuda]'",
        ) from error
    try:
        result = int(driver.cuInit(0)[0])
    except RuntimeError as error:  # the library libcuda.so.1 is not there
        raise _no_driver(str(error)) from error
    names = driver.CUresult
    if result == names.CUDA_ERROR_NO_DEVICE:
        raise NoDeviceError("there is no NVIDIA GPU that this process may use")
    if result in (names.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, names.CUDA_ERROR_STUB_LIBRARY):
        raise _no_driver(names(result).name)
    if result:
        raise CudaError("cuInit failed", know=names(result).name)
    version = driver.cuDriverGetVersion()[1]
    if version < OLDEST_DRIVER:
        raise DriverTooOldError(
            "the NVIDIA driver is too old",
            know=f"it is for CUDA {_dotted(version)}; planck needs {_dotted(OLDEST_DRIVER)}",
            try_="install a newer driver",
        )
    return BoundDriver(driver)


def _no_driver(known: str) -> NoDeviceError:
    return NoDeviceError(
        "there is no NVIDIA driver here that works", know=known, try_="install the NVIDIA driver"
    )


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


class _Prepared:
    """A launch's configuration, and what it points to."""

    __slots__ = ("address", "config", "function", "parameters")

    def __init__(self, config: Any, function: Handle, parameters: Parameters) -> None:
        self.config, self.function, self.parameters = config, function, parameters
        self.address = parameters.address


class BoundDriver:
    """As `Driver` says; `cuda` is the module `cuda.bindings.driver`."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._modes = cuda.CUstreamCaptureMode(_RELAXED)
        self._shared = cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        asked = cuda.CUpointer_attribute
        self._about = (
            asked.CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
            asked.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        )
        attribute = cuda.CUlaunchAttribute()
        value = cuda.CUlaunchAttributeValue()
        value.programmaticStreamSerializationAllowed = 1
        ids = cuda.CUlaunchAttributeID
        attribute.id = ids.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        attribute.value = value
        self._dependent = attribute

    def count(self) -> int:
        return int(self._call("cuDeviceGetCount"))

    def properties(self, ordinal: int) -> Properties:
        device = self._call("cuDeviceGet", ordinal)

        def attribute(name: str) -> int:
            which = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(self._call("cuDeviceGetAttribute", which, device))

        major, minor = (attribute(f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
        domain, bus, slot = (attribute(f"PCI_{part}_ID") for part in ("DOMAIN", "BUS", "DEVICE"))
        return Properties(
            name=self._call("cuDeviceGetName", 256, device).split(b"\0")[0].decode(),
            bus=f"{domain:04x}:{bus:02x}:{slot:02x}",
            sm=10 * major + minor,
            multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            l2_bytes=attribute("L2_CACHE_SIZE"),
            shared_bytes=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
            memory_bytes=int(self._call("cuDeviceTotalMem", device)),
        )

    def retain(self, ordinal: int) -> Handle:
        return self._call("cuDevicePrimaryCtxRetain", self._call("cuDeviceGet", ordinal))

    def release(self, ordinal: int) -> None:
        self._call("cuDevicePrimaryCtxRelease", self._call("cuDeviceGet", ordinal))

    def push(self, context: Handle) -> None:
        self._check(self._cuda.cuCtxPushCurrent(context), "cuCtxPushCurrent")

    def pop(self) -> None:
        self._check(self._cuda.cuCtxPopCurrent(), "cuCtxPopCurrent")

    def allocate(self, bytes_: int) -> int:
        result = self._cuda.cuMemAlloc(bytes_)
        if int(result[0]) == _OUT_OF_MEMORY:
            free, total = self._call("cuMemGetInfo")
            raise DeviceMemoryError(
                "the GPU has not enough free memory",
                know=f"asked for {bytes_ / 1e6:.1f} MB; "
                f"{free / 1e6:.1f} MB of {total / 1e6:.1f} MB are free",
                try_="close other contexts and processes on this GPU, or build for a smaller batch",
            )
        return int(self._check(result, "cuMemAlloc"))

    def free(self, address: int) -> None:
        self._call("cuMemFree", address)

    def allocate_host(self, bytes_: int) -> int:
        return int(self._call("cuMemHostAlloc", bytes_, 0))

    def free_host(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def ordinal(self, address: int) -> int | None:
        kind, ordinal = self._memory(address)
        return ordinal if kind else None

    def is_pinned(self, address: int) -> bool:
        return self._memory(address)[0] == _HOST

    def fill(self, address: int, value: int, bytes_: int, stream: Handle) -> None:
        self._call("cuMemsetD8Async", address, value, bytes_, stream)

    def upload(self, device: int, host: int, bytes_: int, stream: Handle) -> None:
        self._call("cuMemcpyHtoDAsync", device, host, bytes_, stream)

    def download(self, host: int, device: int, bytes_: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoHAsync", host, device, bytes_, stream)

    def copy(self, to: int, from_: int, bytes_: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoDAsync", to, from_, bytes_, stream)

    def create_stream(self) -> Handle:
        return self._call("cuStreamCreate", _APART)

    def destroy_stream(self, stream: Handle) -> None:
        self._call("cuStreamDestroy", stream)

    def stream(self, pointer: int) -> Handle:
        return self._cuda.CUstream(pointer)

    def synchronize(self, stream: Handle) -> None:
        self._call("cuStreamSynchronize", stream)

    def wait(self, stream: Handle, event: Handle) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def create_event(self, timed: bool) -> Handle:
        return self._call("cuEventCreate", 0 if timed else _UNTIMED)

    def destroy_event(self, event: Handle) -> None:
        self._call("cuEventDestroy", event)

    def record(self, event: Handle, stream: Handle, in_graph: bool = False) -> None:
        self._call("cuEventRecordWithFlags", event, stream, _EXTERNAL if in_graph else 0)

    def elapsed_us(self, first: Handle, last: Handle) -> float:
        return 1e3 * float(self._call("cuEventElapsedTime", first, last))

    def load_module(self, cubin: bytes) -> Handle:
        result = self._cuda.cuModuleLoadData(cubin)
        error, names = int(result[0]), self._cuda.CUresult
        if error == names.CUDA_ERROR_NO_BINARY_FOR_GPU:
            raise PlanTargetError(
                "the plan's code is for another GPU than this one",
                know=names(error).name,
                try_="build the plan from its model on this machine",
            )
        if error in (
            names.CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
            names.CUDA_ERROR_INVALID_IMAGE,
        ):
            version = self._call("cuDriverGetVersion")
            raise DriverTooOldError(
                "the NVIDIA driver cannot load the plan's code",
                know=f"{names(error).name}; the driver is for CUDA {_dotted(version)}",
                try_="install a newer driver, or build the plan with an older Triton",
            )
        return self._check(result, "cuModuleLoadData")

    def unload_module(self, module: Handle) -> None:
        self._call("cuModuleUnload", module)

    def function(self, module: Handle, name: str) -> Handle:
        return self._call("cuModuleGetFunction", module, name.encode())

    def allow_shared(self, function: Handle, bytes_: int) -> None:
        self._call("cuFuncSetAttribute", function, self._shared, bytes_)

    def encode(self, tensor: TensorMap, address: int) -> bytes:
        cuda, number = self._cuda, self._cuda.cuuint64_t
        name = {"f16": "FLOAT16", "bf16": "BFLOAT16"}[tensor.dtype]
        made = self._call(
            "cuTensorMapEncodeTiled",
            getattr(cuda.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{name}"),
            2,
            address,
            [number(tensor.columns), number(tensor.rows)],  # the innermost first
            [number(tensor.row_bytes)],
            [cuda.cuuint32_t(size) for size in reversed(tensor.box)],
            [cuda.cuuint32_t(1)] * 2,
            cuda.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            cuda.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
            cuda.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            cuda.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
        return ctypes.string_at(int(made.getPtr()), MAP_BYTES)

    def prepare(
        self,
        function: Handle,
        grid: int,
        threads: int,
        shared_bytes: int,
        dependent: bool,
        parameters: Parameters,
    ) -> Handle:
        config = self._cuda.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = grid, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
        config.sharedMemBytes = shared_bytes
        if dependent:
            config.attrs = [self._dependent]
        config.numAttrs = int(dependent)
        return _Prepared(config, function, parameters)

    def launch(self, prepared: Handle, stream: Handle) -> None:
        prepared.config.hStream = stream
        result = self._cuda.cuLaunchKernelEx(
            prepared.config, prepared.function, prepared.address, 0
        )
        if int(result[0]):
            self._check(result, "cuLaunchKernelEx")

    def begin_capture(self, stream: Handle) -> None:
        self._call("cuStreamBeginCapture", stream, self._modes)

    def end_capture(self, stream: Handle) -> Handle:
        graph = self._call("cuStreamEndCapture", stream)
        return graph if int(graph) else None

    def destroy_graph(self, graph: Handle) -> None:
        self._call("cuGraphDestroy", graph)

    def instantiate(self, graph: Handle) -> Handle:
        return self._call("cuGraphInstantiate", graph, 0)

    def update(self, executable: Handle, graph: Handle) -> bool:
        result = self._cuda.cuGraphExecUpdate(executable, graph)
        if int(result[0]) == _GRAPH_UPDATE_FAILURE:
            return False
        self._check(result, "cuGraphExecUpdate")
        return True

    def destroy_executable(self, executable: Handle) -> None:
        self._call("cuGraphExecDestroy", executable)

    def launch_graph(self, executable: Handle, stream: Handle) -> None:
        result = self._cuda.cuGraphLaunch(executable, stream)
        if int(result[0]):
            self._check(result, "cuGraphLaunch")

    def _memory(self, address: int) -> tuple[int, int]:
        """Of what kind memory is, 0 for plain memory of the host, and of which GPU.

        The call for one attribute says so of plain memory by an error, which debuggers report.
        """
        kind, ordinal = self._call("cuPointerGetAttributes", len(self._about), self._about, address)
        return int(kind), int(ordinal)

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._check(getattr(self._cuda, name)(*arguments), name)

    def _check(self, result: tuple[Any, ...], call: str) -> Any:
        """What a call gives besides its error. raises: CudaError or DeviceMemoryError"""
        error = int(result[0])
        if error:
            name = self._cuda.CUresult(error).name
            text = self._cuda.cuGetErrorString(self._cuda.CUresult(error))[1]
            raise (DeviceMemoryError if error == _OUT_OF_MEMORY else CudaError)(
                f"{call} failed",
                know=f"{name}: {text.decode() if isinstance(text, bytes) else text}",
            )
        return result[1] if len(result) == 2 else result[1:]
