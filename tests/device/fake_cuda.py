"""A CUDA driver without a GPU: it checks every argument, and kernels are Python functions.

Streams do nothing until somebody waits for them, as a slow GPU's would: what reads a result, or
writes again what is still to be copied, before it has waited gets wrong numbers. What breaks a rule
raises AssertionError and is kept in `violations`, which `finish` looks at, as it does for leaks.
"""

from __future__ import annotations

import ctypes
import gc
import json
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np

from planck.device.cuda.driver import MAP_BYTES, Parameters, Properties, TensorMap
from planck.dtypes import Array
from planck.errors import CudaError, DeviceMemoryError
from tests.device.fake_work import Event, Function, Graph, Launch, Op, Stream, Work

_HEAD = b"\x7fELF fake "
_FREE_OF_CONTEXT = {"count", "properties", "retain", "release", "push", "pop", "stream"}
_NEVER_FAIL = {
    "push", "pop", "release", "free", "free_host", "destroy_stream", "destroy_event",
    "unload_module", "end_capture", "destroy_graph", "destroy_executable", "stream",
}  # fmt: skip


def cubin(*names: str) -> bytes:
    """The image of a module with these functions."""
    text = json.dumps(names).encode()
    return _HEAD + len(text).to_bytes(4, "little") + text


def call(method: Any) -> Any:
    """A call of the driver: one at a time, in a context, not in one that is made to fail."""

    @wraps(method)
    def checked(self: FakeDriver, *arguments: Any, **named: Any) -> Any:
        name = method.__name__
        with self.lock:
            self.calls.append(name)
            if name not in _FREE_OF_CONTEXT:
                self.expect(bool(self.stack()), f"{name} without a context")
            if name not in _NEVER_FAIL and self.fail_in is not None:
                self.fail_in -= 1
                if self.fail_in < 0:
                    self.fail_in = None
                    self.failed += 1
                    if name == "synchronize":  # which tells of what failed before
                        method(self, *arguments)
                    raise CudaError(f"{name} failed", know="CUDA_ERROR_UNKNOWN: made to fail")
            return method(self, *arguments, **named)

    return checked


class FakeDriver:
    """See `planck.device.cuda.driver.Driver`.

    kernels:  by name, functions of one u8 array for each pointer, from there to the end of its
              allocation
    fail_in:  how many calls from now on succeed before one fails
    ran:      launches in the order in which they ran
    """

    def __init__(
        self,
        kernels: Mapping[str, Callable[..., None]] | None = None,
        sm: int = 90,
        gpus: int = 1,
        memory_bytes: int = 1 << 30,
    ) -> None:
        self.kernels = dict(kernels or {})
        self.sm, self.gpus, self.memory_bytes = sm, gpus, memory_bytes
        self.shared_bytes = 227 * 1024
        self.lock = threading.RLock()
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.fail_in: int | None = None
        self.failed = 0
        self.ran: list[Launch | Work] = []
        self.memory: dict[int, Array] = {}
        self.host: dict[int, Array] = {}
        self.streams: dict[int, Stream] = {0: Stream(0)}
        self.live: dict[str, set[Any]] = {
            name: set() for name in ("stream", "event", "module", "graph", "executable")
        }
        self.retained = 0
        self.now_us = 0.0
        self._next = 0x7F00_0000_0000
        self._local = threading.local()

    # What tests ask.

    def expect(self, true: bool, what: str) -> None:
        if not true:
            self.violations.append(what)
            raise AssertionError(what)

    def stack(self) -> list[Any]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        return self._local.stack  # type: ignore[no-any-return]

    def array(self, address: int, bytes_: int | None = None) -> Array:
        """Device memory from an address on, of so many bytes or to the end of its allocation."""
        for start, memory in self.memory.items():
            if start <= address < start + len(memory):
                end = len(memory) if bytes_ is None else address - start + bytes_
                self.expect(end <= len(memory), f"{address:#x} + {bytes_} runs over its end")
                return memory[address - start : end]
        self.expect(False, f"{address:#x} is in no live allocation")
        raise AssertionError

    def leaks(self) -> dict[str, int]:
        """What is not given back, by kind."""
        gc.collect()
        found = {name: len(things) for name, things in self.live.items()}
        found |= {"memory": len(self.memory), "host": len(self.host), "context": self.retained}
        return {name: count for name, count in found.items() if count}

    def finish(self) -> None:
        assert not self.leaks()
        assert not self.violations
        assert not self.stack()

    # Contexts.

    @call
    def count(self) -> int:
        return self.gpus

    @call
    def properties(self, ordinal: int) -> Properties:
        return Properties(
            "Fake H100",
            f"0000:{ordinal:02x}:00",
            self.sm,
            132,
            50 << 20,
            self.shared_bytes,
            self.memory_bytes,
        )

    @call
    def retain(self, ordinal: int) -> Any:
        self.retained += 1
        return ("context", ordinal)

    @call
    def release(self, ordinal: int) -> None:
        self.expect(self.retained > 0, "a context released too often")
        self.retained -= 1

    @call
    def push(self, context: Any) -> None:
        self.expect(context[0] == "context" and self.retained > 0, "no such context")
        self.stack().append(context)

    @call
    def pop(self) -> None:
        self.stack().pop()

    # Memory.

    @call
    def allocate(self, bytes_: int) -> int:
        self._expect_no_capture("allocate")
        self.expect(bytes_ > 0, "an allocation of no bytes")
        used = sum(map(len, self.memory.values()))
        if used + bytes_ > self.memory_bytes:
            raise DeviceMemoryError(
                "the GPU has not enough free memory",
                know=f"asked for {bytes_} bytes; {self.memory_bytes - used} are free",
            )
        address, self._next = self._next, self._next + -(-bytes_ // 4096) * 4096 + 4096
        self.memory[address] = np.full(bytes_, 0xCD, np.uint8)
        return address

    @call
    def free(self, address: int) -> None:
        for stream in list(self.streams.values()):
            if stream.captured is None:
                stream.drain()
        self.expect(address in self.memory, f"{address:#x} freed, which is no allocation")
        del self.memory[address]

    @call
    def allocate_host(self, bytes_: int) -> int:
        self._expect_no_capture("allocate_host")
        memory = np.full(bytes_, 0xCD, np.uint8)
        address = int(memory.ctypes.data)
        self.host[address] = memory
        return address

    @call
    def free_host(self, address: int) -> None:
        self.expect(address in self.host, "host memory freed, which is no allocation")
        del self.host[address]

    @call
    def ordinal(self, address: int) -> int | None:
        inside = any(start <= address < start + len(m) for start, m in self.memory.items())
        return 0 if inside else None

    @call
    def is_pinned(self, address: int) -> bool:
        return self._is_pinned(address, 1)

    @call
    def fill(self, address: int, value: int, bytes_: int, stream: Stream) -> None:
        self.array(address, bytes_)
        self._put(stream, lambda: self.array(address, bytes_).fill(value))

    @call
    def upload(self, device: int, host: int, bytes_: int, stream: Stream) -> None:
        self.array(device, bytes_)
        kept = None if self._is_pinned(host, bytes_) else ctypes.string_at(host, bytes_)

        def run() -> None:
            data = kept or ctypes.string_at(host, bytes_)
            self.array(device, bytes_)[:] = np.frombuffer(data, np.uint8)

        self._put(stream, run)

    @call
    def download(self, host: int, device: int, bytes_: int, stream: Stream) -> None:
        self.array(device, bytes_)
        self._is_pinned(host, bytes_)
        self._put(
            stream, lambda: ctypes.memmove(host, self.array(device, bytes_).tobytes(), bytes_)
        )

    @call
    def copy(self, to: int, from_: int, bytes_: int, stream: Stream) -> None:
        self.array(to, bytes_), self.array(from_, bytes_)

        def run() -> None:
            self.array(to, bytes_)[:] = self.array(from_, bytes_)

        self._put(stream, run)

    # Streams and events.

    @call
    def create_stream(self) -> Stream:
        self._next += 64
        stream = self.streams[self._next] = Stream(self._next)
        self.live["stream"].add(stream)
        return stream

    @call
    def destroy_stream(self, stream: Stream) -> None:
        stream.drain()
        self.live["stream"].remove(stream)
        del self.streams[stream.pointer]

    @call
    def stream(self, pointer: int) -> Stream:
        self.expect(pointer in self.streams, f"{pointer:#x} is no stream")
        return self.streams[pointer]

    @call
    def synchronize(self, stream: Stream) -> None:
        self.expect(stream.captured is None, "a stream waited for while it is captured")
        stream.drain()

    @call
    def wait(self, stream: Stream, event: Event) -> None:
        if event.graph is not None:
            self.expect(event.graph.origin.captured is event.graph, "a capture that has ended")
            self.expect(stream.captured in (None, event.graph), "a wait for another capture")
            stream.captured, stream.waits = event.graph, True
            stream.tail |= event.tail
            return
        op, source = event.op, event.stream

        def run() -> None:
            if op and source:
                source.drain(op)

        self._put(stream, run)

    @call
    def create_event(self, timed: bool) -> Event:
        event = Event(timed)
        self.live["event"].add(event)
        return event

    @call
    def destroy_event(self, event: Event) -> None:
        self.live["event"].remove(event)

    @call
    def record(self, event: Event, stream: Stream, in_graph: bool = False) -> None:
        self.expect(event in self.live["event"], "an event that is gone")
        self.expect(not in_graph or stream.captured is not None, "recorded in the wrong way")
        event.graph = None
        if in_graph:
            stream.captured.put(event, stream)
        elif stream.captured is not None:
            event.graph, event.tail = stream.captured, stream.tail
        else:
            event.op, event.stream = self._put(stream, lambda: self._stamp(event)), stream

    @call
    def elapsed_us(self, first: Event, last: Event) -> float:
        for event in (first, last):
            self.expect(event.timed and event.at_us is not None, "an event that has no time")
        return (last.at_us or 0.0) - (first.at_us or 0.0)

    # Modules and launches.

    @call
    def load_module(self, cubin: bytes) -> Any:
        self.expect(type(cubin) is bytes and cubin.startswith(_HEAD), "no cubin of a module")
        at = len(_HEAD)
        size = int.from_bytes(cubin[at : at + 4], "little")
        module = tuple([*json.loads(cubin[at + 4 : at + 4 + size]), object()])
        self.live["module"].add(module)
        return module

    @call
    def unload_module(self, module: Any) -> None:
        self.live["module"].remove(module)

    @call
    def function(self, module: Any, name: str) -> Function:
        if name not in module:
            raise CudaError("cuModuleGetFunction failed", know="CUDA_ERROR_NOT_FOUND")
        return Function(name, module)

    @call
    def allow_shared(self, function: Function, bytes_: int) -> None:
        self.expect(bytes_ <= self.shared_bytes, f"{bytes_} bytes of shared memory")
        function.shared_bytes = bytes_

    @call
    def encode(self, tensor: TensorMap, address: int) -> bytes:
        """As cuTensorMapEncodeTiled refuses; a map is its text, padded."""
        down, across = tensor.box
        self.expect(tensor.dtype in ("f16", "bf16"), f"a tensor map of {tensor.dtype}")
        self.expect(address % 16 == 0, "a tensor map of what is not aligned")
        self.expect(0 < tensor.row_bytes < 2**40 and tensor.row_bytes % 16 == 0, "its rows")
        self.expect(0 < tensor.rows < 2**31 and 0 < tensor.columns < 2**31, "its extents")
        self.expect(0 < down <= 256 and across * 2 == 128, "a box that cannot be swizzled")
        self.expect(tensor.bytes <= self.array(address).nbytes, "a tensor map over the end")
        return str((tensor, address)).encode().ljust(MAP_BYTES)[-MAP_BYTES:]

    @call
    def prepare(
        self,
        function: Function,
        grid: int,
        threads: int,
        shared_bytes: int,
        dependent: bool,
        parameters: Parameters,
    ) -> Launch:
        return Launch(function, grid, threads, shared_bytes, dependent, parameters)

    @call
    def launch(self, prepared: Launch, stream: Stream) -> None:
        launched = self._launched(prepared)
        if stream.captured is not None:
            behind = len(stream.tail) == 1 and not stream.waits
            self.expect(behind or not prepared.dependent, "dependent on not just one launch")
            stream.captured.put(launched, stream)
        else:
            self._put(stream, lambda: self._run(launched))

    def put(self, work: Work, stream: Stream) -> None:
        """What a library does with a stream; in a context that was pushed."""
        with self.lock:
            self.expect(bool(self.stack()), "a library called without a context")
            if stream.captured is not None:
                stream.captured.put(work, stream)
            else:
                self._put(stream, lambda: self._run(work))

    # Graphs.

    @call
    def begin_capture(self, stream: Stream) -> None:
        self.expect(stream.captured is None, "a stream captured twice")
        stream.captured = Graph(stream)

    @call
    def end_capture(self, stream: Stream) -> Any:
        self.expect(stream.captured is not None, "no capture to end")
        graph = stream.captured
        assert graph is not None
        self.expect(graph.origin is stream, "a capture ended on another stream than its own")
        if not graph.end(self.streams.values()):
            raise CudaError("cuStreamEndCapture failed", know="CUDA_ERROR_STREAM_CAPTURE_UNJOINED")
        self.live["graph"].add(graph)
        return graph

    @call
    def destroy_graph(self, graph: Any) -> None:
        self.live["graph"].remove(graph)

    @call
    def instantiate(self, graph: Any) -> Any:
        self.expect(graph in self.live["graph"], "a graph that is gone")
        executable = Graph(None, list(graph.nodes))
        self.live["executable"].add(executable)
        return executable

    @call
    def update(self, executable: Any, graph: Any) -> bool:
        self.expect(executable in self.live["executable"], "an executable that is gone")
        if [n.shape for n in executable.nodes] != [n.shape for n in graph.nodes]:
            return False
        executable.nodes = list(graph.nodes)
        return True

    @call
    def destroy_executable(self, executable: Any) -> None:
        self.live["executable"].remove(executable)

    @call
    def launch_graph(self, executable: Any, stream: Stream) -> None:
        self.expect(executable in self.live["executable"], "an executable that is gone")
        self.expect(stream.captured is None, "a graph launched while its stream is captured")
        items = executable.order()

        def run() -> None:
            for item in items:
                if isinstance(item, Event):
                    self._stamp(item)
                else:
                    self._run(item)

        self._put(stream, run)

    # What the GPU would do.

    def _put(self, stream: Stream, run: Callable[[], Any]) -> Op:
        self.expect(stream.captured is None, "only launches and events are captured")
        return stream.put(run)

    def _stamp(self, event: Event) -> None:
        event.at_us = self.now_us

    def _launched(self, prepared: Launch) -> Launch:
        """The launch with its pointers, all of it checked."""
        function = prepared.function
        self.expect(function.module in self.live["module"], f"{function.name} is unloaded")
        self.expect(0 < prepared.grid < 2**31, f"a grid of {prepared.grid}")
        self.expect(0 < prepared.threads <= 1024, f"{prepared.threads} threads")
        self.expect(0 <= prepared.shared_bytes <= function.shared_bytes, "too much shared memory")
        *pointers, global_scratch, profile_scratch = prepared.parameters.values
        self.expect(global_scratch == profile_scratch == 0, "scratch that is not null")
        self._check_table(prepared.parameters)
        for pointer in pointers:
            self.array(pointer)
        return Launch(*prepared.shape, prepared.parameters, tuple(pointers))

    def _check_table(self, parameters: Parameters) -> None:
        """As the driver reads it: an array of the addresses of the values."""
        count, maps = len(parameters.values), parameters.maps
        cells = (ctypes.c_void_p * (count + 4 * len(maps))).from_address(parameters.address)
        rest = iter(address or 0 for address in cells)
        for number, value in enumerate(parameters.values):
            address = next(rest)
            if number not in maps:
                found = ctypes.c_uint64.from_address(address).value
                self.expect(found == value, "the table is wrong")
                continue
            tensor = parameters.tensors[number]
            wanted = self.encode(tensor, value)
            self.expect(address % 64 == 0, "a tensor map that is not aligned")
            self.expect(ctypes.string_at(address, MAP_BYTES) == wanted, "another tensor map")
            extents = [ctypes.c_int32.from_address(next(rest)).value for _ in range(2)]
            self.expect(extents == [tensor.rows, tensor.columns], "extents that are not the map's")
            strides = [ctypes.c_int64.from_address(next(rest)).value for _ in range(2)]
            self.expect(strides == [tensor.row_bytes // 2, 1], "strides that are not the map's")

    def _run(self, launch: Launch | Work) -> None:
        self.ran.append(launch)
        self.now_us += 5.0
        if isinstance(launch, Work):
            launch.run()
            return
        arrays = [self.array(pointer) for pointer in launch.pointers]
        self.kernels[launch.function.name](*arrays)

    def _is_pinned(self, host: int, bytes_: int) -> bool:
        for start, memory in self.host.items():
            if start <= host < start + len(memory):
                self.expect(host + bytes_ <= start + len(memory), "a copy over the end")
                return True
        return False

    def _expect_no_capture(self, name: str) -> None:
        """A capture is relaxed, so that other threads may do what they like."""
        me = threading.get_ident()
        mine = (s.captured.thread == me for s in self.streams.values() if s.captured)
        self.expect(not any(mine), f"{name} during a capture")
