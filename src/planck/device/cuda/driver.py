"""Driver: the calls of the CUDA driver API that Planck makes, as an interface of few types.

`bindings.py` makes them; the tests have a fake that checks every argument. Addresses are plain
integers; what the driver calls handles (streams, events, graphs, ...) is opaque here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Handle = Any


@dataclass(frozen=True, slots=True)
class Properties:
    """What a GPU is.

    bus:           where it is, which tells it from others of its kind: "0000:1b:00"
    sm:            compute capability, 90 for 9.0
    shared_bytes:  shared memory that one block may have at the most
    """

    name: str
    bus: str
    sm: int
    multiprocessors: int
    l2_bytes: int
    shared_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class TensorMap:
    """A matrix of 16-bit floats, of which the GPU's copy engine (TMA) brings tiles on its own.

    What lies in a tile but not in the matrix is zero. Tiles lie in shared memory swizzled by 128
    bytes.

    argument:   the number of the kernel's argument that says where the matrix begins
    dtype:      "f16" or "bf16"
    rows, columns:  of the matrix
    row_bytes:  from one row to the next, a multiple of 16
    box:        rows and columns that are brought at once, 128 bytes wide; a tile may be several
    """

    argument: int
    dtype: str
    rows: int
    columns: int
    row_bytes: int
    box: tuple[int, int]

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> TensorMap:
        """A tensor map of what `dataclasses.asdict` makes of one."""
        down, across = fields["box"]
        return cls(**{**fields, "box": (down, across)})

    @property
    def bytes(self) -> int:
        """From the matrix's first element to the end of its last."""
        return (self.rows - 1) * self.row_bytes + 2 * self.columns


Encode = Callable[[TensorMap, int], bytes]  # Driver.encode

MAP_BYTES: Final = 128
MAP_LINE: Final = 128  # bytes of a box's row
_MAP_ALIGN: Final = 64


class Parameters:
    """A kernel's parameters, as the driver reads them: pointers, which may change between launches.

    An argument that a tensor map stands for becomes five parameters, as Triton has them: the map
    itself, two extents and two strides. Triton's kernels take two more after their own, for scratch
    memory that ours do not use: null.

    values:   the pointers, then the nulls
    tensors:  by argument
    maps:     where each of their maps lies, as it was encoded
    """

    HIDDEN = 2

    def __init__(
        self,
        addresses: Sequence[int],
        tensors: Sequence[TensorMap] = (),
        encode: Encode | None = None,
    ) -> None:
        self.values = (ctypes.c_uint64 * (len(addresses) + self.HIDDEN))()
        self.tensors = {tensor.argument: tensor for tensor in tensors}
        self._encode = encode
        self._kept: list[Any] = []  # what the table points to
        self.maps: dict[int, int] = {}
        first = ctypes.addressof(self.values)
        cells: list[int] = []
        for number in range(len(self.values)):
            tensor = self.tensors.get(number)
            cells += [first + 8 * number] if tensor is None else self._cells(number, tensor)
        self._table = (ctypes.c_void_p * len(cells))(*cells)
        self.address = ctypes.addressof(self._table)
        for number, address in enumerate(addresses):
            self.point(number, address)

    def point(self, argument: int, address: int) -> None:
        """Let later launches find an argument at another address; 0 if that is not known yet."""
        self.values[argument] = address
        if address and argument in self.maps:
            assert self._encode is not None
            encoded = self._encode(self.tensors[argument], address)
            ctypes.memmove(self.maps[argument], encoded, MAP_BYTES)

    def _cells(self, number: int, tensor: TensorMap) -> list[int]:
        room = (ctypes.c_uint8 * (MAP_BYTES + _MAP_ALIGN))()
        extents = (ctypes.c_int32 * 2)(tensor.rows, tensor.columns)
        strides = (ctypes.c_int64 * 2)(tensor.row_bytes // 2, 1)
        self._kept += [room, extents, strides]
        start = ctypes.addressof(room)
        self.maps[number] = start + -start % _MAP_ALIGN
        down, across = ctypes.addressof(extents), ctypes.addressof(strides)
        return [self.maps[number], down, down + 4, across, across + 8]


class Driver(Protocol):
    """The driver API. All but the first five calls need a context that was pushed.

    raises: of any call DeviceError or one of its kinds, with the call's name and the error's
    """

    def count(self) -> int:
        """How many GPUs there are."""
        ...

    def properties(self, ordinal: int) -> Properties: ...

    def retain(self, ordinal: int) -> Handle:
        """The GPU's primary context, which PyTorch and others use too."""
        ...

    def release(self, ordinal: int) -> None: ...

    def push(self, context: Handle) -> None:
        """Make a context the calling thread's own until `pop`."""
        ...

    def pop(self) -> None: ...

    def allocate(self, bytes_: int) -> int: ...

    def free(self, address: int) -> None:
        """Give memory back, once what runs on the GPU has ended."""
        ...

    def allocate_host(self, bytes_: int) -> int:
        """Pinned memory of the host, which copies run at full speed from and to."""
        ...

    def free_host(self, address: int) -> None: ...

    def ordinal(self, address: int) -> int | None:
        """Which GPU memory belongs to; None: to none."""
        ...

    def is_pinned(self, address: int) -> bool:
        """Whether memory of the host is pinned, by whomever."""
        ...

    def fill(self, address: int, value: int, bytes_: int, stream: Handle) -> None: ...

    def upload(self, device: int, host: int, bytes_: int, stream: Handle) -> None: ...

    def download(self, host: int, device: int, bytes_: int, stream: Handle) -> None: ...

    def copy(self, to: int, from_: int, bytes_: int, stream: Handle) -> None: ...

    def create_stream(self) -> Handle:
        """A stream that does not wait for the default one."""
        ...

    def destroy_stream(self, stream: Handle) -> None: ...

    def stream(self, pointer: int) -> Handle:
        """The handle of a stream that another library has made."""
        ...

    def synchronize(self, stream: Handle) -> None:
        """Wait for all that was put in a stream; the interpreter lock is released."""
        ...

    def wait(self, stream: Handle, event: Handle) -> None:
        """Let what comes after in the stream wait for the event."""
        ...

    def create_event(self, timed: bool) -> Handle: ...

    def destroy_event(self, event: Handle) -> None: ...

    def record(self, event: Handle, stream: Handle, in_graph: bool = False) -> None:
        """Record an event.

        in_graph:  the stream is being captured: record it each time that the graph runs
        """
        ...

    def elapsed_us(self, first: Handle, last: Handle) -> float: ...

    def load_module(self, cubin: bytes) -> Handle: ...

    def unload_module(self, module: Handle) -> None: ...

    def function(self, module: Handle, name: str) -> Handle: ...

    def allow_shared(self, function: Handle, bytes_: int) -> None:
        """Let a function have so much dynamic shared memory."""
        ...

    def encode(self, tensor: TensorMap, address: int) -> bytes:
        """A tensor map as kernels take it, of MAP_BYTES, of the matrix at an address."""
        ...

    def prepare(
        self,
        function: Handle,
        grid: int,
        threads: int,
        shared_bytes: int,
        dependent: bool,
        parameters: Parameters,
    ) -> Handle:
        """A launch with all but its stream.

        dependent:   it may start before the one in front of it in the stream has ended
        parameters:  read at each launch, and when it is captured
        """
        ...

    def launch(self, prepared: Handle, stream: Handle) -> None: ...

    def begin_capture(self, stream: Handle) -> None:
        """From here to `end_capture`, what is put in the stream becomes a graph instead."""
        ...

    def end_capture(self, stream: Handle) -> Handle:
        """The graph; None if it was spoilt by a call that failed."""
        ...

    def destroy_graph(self, graph: Handle) -> None: ...

    def instantiate(self, graph: Handle) -> Handle: ...

    def update(self, executable: Handle, graph: Handle) -> bool:
        """Give an executable graph another graph's parameters; False if their shapes differ."""
        ...

    def destroy_executable(self, executable: Handle) -> None: ...

    def launch_graph(self, executable: Handle, stream: Handle) -> None: ...
