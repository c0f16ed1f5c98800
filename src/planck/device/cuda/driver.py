"""Driver: the calls of the CUDA driver API that Planck makes, as an interface of few types.

`bindings.py` makes them; the tests have a fake that checks every argument. Addresses are plain
integers; what the driver calls handles (streams, events, graphs, ...) is opaque here.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol

Handle = Any


@dataclass(frozen=True, slots=True)
class Properties:
    """What a GPU is.

    sm:            compute capability, 90 for 9.0
    shared_bytes:  shared memory that one block may have at the most
    """

    name: str
    sm: int
    multiprocessors: int
    l2_bytes: int
    shared_bytes: int
    memory_bytes: int


class Parameters:
    """A kernel's parameters: pointers, which may change between launches, as the driver reads them.

    Triton's kernels take two more after their own, for scratch memory that ours do not use: null.
    """

    HIDDEN = 2

    def __init__(self, addresses: list[int]) -> None:
        count = len(addresses) + self.HIDDEN
        self.values = (ctypes.c_uint64 * count)(*addresses, *[0] * self.HIDDEN)
        first = ctypes.addressof(self.values)
        self._table = (ctypes.c_void_p * count)(*(first + 8 * i for i in range(count)))
        self.address = ctypes.addressof(self._table)


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
