"""The Library that calls NVIDIA's cuDNN, by ctypes: convolutions through its backend API.

An engine of the library with values of its knobs is a way to run a convolution: an execution plan
is made of them again, in about a millisecond. An engine that compiles takes half a second, so its
plan is kept as the library writes it down, which it reads in two milliseconds.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
import zlib
from collections.abc import Sequence
from ctypes import byref, c_size_t, c_void_p
from functools import lru_cache
from typing import Any, Final

from planck.device.cuda import cudnn_graph as graph
from planck.device.cuda.cudnn_graph import Descriptors, numbers_of, operations
from planck.device.cuda.driver import Handle, Parameters
from planck.device.cuda.library import (
    Algorithm,
    Call,
    Convolution,
    Library,
    Pointers,
    Problem,
    dotted,
)
from planck.device.cuda.loading import Wanted, load, missing, open_first
from planck.errors import LibraryError

log = logging.getLogger(__name__)

OLDEST: Final = 90_000
_WANTED: Final = Wanted("cuDNN", ("libcudnn.so.9",), ("cudnn/lib",), "nvidia-cudnn-cu13")

_BEST_GUESSES: Final = 3  # cudnnBackendHeurMode_t: A
_GUESSES: Final = 24  # to look at, of which not all can be run
# cudnnBackendNumericalNote_t: sums in 16 bits, Fourier's and Winograd's transforms, and what may
# differ from run to run; of float32, tensor cores and what else rounds it, to TF32.
_INEXACT: Final = frozenset({2, 3, 4, 5, 6, 7, 8})
_ROUNDING: Final = frozenset({0, 1})
_COMPILES: Final = 0  # cudnnBackendBehaviorNote_t
_COMPILING: Final = 2  # such engines that are offered, each half a second of one core
_MOST_NOTES: Final = 32
_MOST_KNOBS: Final = 64
_UNABLE: Final = range(2000, 4000)  # cudnnStatus_t: a bad parameter, or not supported
_MESSAGE_BYTES: Final = 1024
_SAID: Final = 160  # characters of a message
_MOST_TEXT: Final = 1 << 26  # bytes of what the library writes down; of one engine some 100 kB


@lru_cache(maxsize=1)
def open_cudnn() -> Library:
    """cuDNN of the nvidia-* wheels, of CUDA_PATH, of /usr/local/cuda, or of the loader's path.

    raises: LibraryError if there is none, or only an old one
    """
    found = open_first(_WANTED, Cudnn, OLDEST)
    assert isinstance(found, Cudnn)
    _load_beside(found.cuda_version // 1000)
    return found


def _load_beside(cuda: int) -> None:
    """cuBLASLt, without which cuDNN ends the process, and NVRTC, without which no engine compiles.

    raises: LibraryError if that of this version of CUDA is not there
    """
    cublaslt = Wanted(
        "cuBLASLt, which cuDNN needs,",
        (f"libcublasLt.so.{cuda}",),
        ("cu13/lib", "cublas/lib"),
        "nvidia-cublas",
    )
    nvrtc = Wanted(
        "NVRTC", (f"libnvrtc.so.{cuda}",), ("cu13/lib", "cuda_nvrtc/lib"), "nvidia-cuda-nvrtc"
    )
    tried: list[str] = []
    if next(load(cublaslt, tried), None) is None:
        raise missing(cublaslt, tried)
    if next(load(nvrtc, tried), None) is None:
        log.info("no engines of cuDNN that compile: looked for %s", tried[-1])


class Cudnn:
    """As `Library` says; `own` is the library, loaded.

    A handle has one stream at a time, so threads take turns between setting it and running.
    """

    def __init__(self, own: Any) -> None:
        self._own, self._turn = own, threading.Lock()
        own.cudnnGetVersion.restype = own.cudnnGetCudartVersion.restype = c_size_t
        self.version = int(own.cudnnGetVersion())
        self.cuda_version = int(own.cudnnGetCudartVersion())  # 13000 of CUDA 13.0

    def create(self) -> _Open:
        own = c_void_p()
        self.call("cudnnCreate", byref(own))
        return _Open(self.call, own)

    def destroy(self, handle: _Open) -> None:
        handle.made.close()
        self.call("cudnnDestroy", handle.own)

    def algorithms(
        self, handle: _Open, product: Problem, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        """Guesses, whose workspaces only `complete` tells."""
        assert isinstance(product, Convolution), product
        found: list[bytes] = []
        compiling = 0
        for data, compiles in self._guesses(handle, product):
            compiling += compiles
            if data not in found and (not compiles or compiling <= _COMPILING):
                found.append(data)
        return [Algorithm(data, 0) for data in found[:count]]

    def complete(self, handle: _Open, product: Problem, algorithm: Algorithm) -> Algorithm:
        assert isinstance(product, Convolution), product
        plan = handle.plan(product, algorithm.data)
        return Algorithm(algorithm.data, plan.workspace_bytes, plan.image)

    def prepare(self, handle: _Open, call: Call, parameters: Parameters) -> Handle:
        assert isinstance(call.product, Convolution), call.product
        try:
            with self._turn:
                plan = handle.plan(
                    call.product, bytes.fromhex(call.algorithm), bytes.fromhex(call.image)
                )
        except _UnableError as error:
            raise _again("cuDNN cannot run a step here", f"{error.what}: {error.know}") from error
        if plan.workspace_bytes > call.workspace_bytes:
            raise _again(
                "cuDNN wants more memory for a step than was given",
                f"{plan.workspace_bytes} bytes, given {call.workspace_bytes}",
            )
        return _Prepared(handle, plan, Pointers(call, parameters))

    def release(self, prepared: _Prepared) -> None:
        """Nothing: the plan is the handle's."""

    def run(self, prepared: _Prepared, stream: Handle) -> None:
        a, b, d, c, bias, workspace = prepared.pointers.read()
        at = {graph.A: a, graph.B: b, graph.D: d, graph.C: c, graph.BIAS: bias}
        numbers, own = prepared.plan.numbers, prepared.handle.own
        made = Descriptors(self.call)
        try:
            pack = made.make(
                graph.PACK,
                (graph.PACK_NUMBERS, numbers),
                (graph.PACK_POINTERS, [at[number] for number in numbers]),
                (graph.PACK_WORKSPACE, [workspace or None]),
            )
            with self._turn:
                self.call("cudnnSetStream", own, c_void_p(int(stream)))
                self.call("cudnnBackendExecute", own, prepared.plan.own, pack)
        finally:
            made.close()

    def _guesses(self, handle: _Open, product: Convolution) -> list[tuple[bytes, bool]]:
        """What heuristics name, the best first, without what computes inexactly.

        gives: engines as `_data` has them, and whether each compiles
        """
        made = Descriptors(self.call)
        found: list[tuple[bytes, bool]] = []
        refused = _INEXACT if product.dtype != "f32" or product.tf32 else _INEXACT | _ROUNDING
        try:
            heuristic = made.make(
                graph.HEURISTIC,
                (graph.HEURISTIC_GRAPH, [handle.graph(product)]),
                (graph.HEURISTIC_MODE, [_BEST_GUESSES]),
            )
            for config in made.read(heuristic, graph.HEURISTIC_RESULTS, graph.CONFIG, _GUESSES):
                (engine,) = made.read(config, graph.CONFIG_ENGINE, graph.ENGINE, 1)
                if refused.isdisjoint(made.numbers(engine, graph.ENGINE_NOTES, _MOST_NOTES)):
                    ways = made.numbers(engine, graph.ENGINE_WAYS, _MOST_NOTES)
                    found.append((_data(made, engine, config), _COMPILES in ways))
        except _UnableError as error:
            log.debug("%s", error)
        finally:
            made.close()
        return found

    def call(self, name: str, *arguments: Any) -> None:
        status = int(getattr(self._own, name)(*arguments))
        if status:
            kind = _UnableError if status in _UNABLE else LibraryError
            said = f"status {status} {self._said()}".rstrip()
            raise kind(f"{name} failed", know=f"{said}; cuDNN is {dotted(self.version)}")

    def _said(self) -> str:
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._own.cudnnGetLastErrorString(message, c_size_t(_MESSAGE_BYTES))
        return " ".join(message.value.decode(errors="replace").split())[:_SAID]


class _UnableError(LibraryError):
    """What an engine, or the whole library, cannot take."""


def _again(what: str, know: str) -> LibraryError:
    return LibraryError(
        what, know=know, try_="build the plan again, on this machine or with tactic_sources=()"
    )


def _data(made: Descriptors, engine: Any, config: Any) -> bytes:
    """An engine's number, then each of its knobs and that one's value."""
    row = made.numbers(engine, graph.ENGINE_INDEX)
    for choice in made.read(config, graph.CONFIG_CHOICES, graph.CHOICE, _MOST_KNOBS):
        row += made.numbers(choice, graph.CHOICE_KNOB) + made.numbers(choice, graph.CHOICE_VALUE)
    return struct.pack(f"<{len(row)}q", *row)


class _Plan:
    """An execution plan. image: empty unless its engine compiles; numbers: of its tensors"""

    def __init__(self, made: Descriptors, own: Any, image: bytes, product: Convolution) -> None:
        self.own, self.image, self.numbers = own, image, numbers_of(product)
        (self.workspace_bytes,) = made.numbers(own, graph.PLAN_WORKSPACE)


class _Open:
    """A handle, and what was made with it."""

    def __init__(self, call: Any, own: Any) -> None:
        self.own, self.made = own, Descriptors(call)
        self._graphs: dict[Convolution, Any] = {}
        self._plans: dict[tuple[Convolution, bytes], _Plan] = {}

    def graph(self, product: Convolution) -> Any:
        if product not in self._graphs:
            self._graphs[product] = operations(self.made, self.own, product)
        return self._graphs[product]

    def plan(self, product: Convolution, data: bytes, image: bytes = b"") -> _Plan:
        """Of an engine and its knobs, as `_data` has them; read from its image if that can be."""
        if (product, data) not in self._plans:
            plan = self._read(product, image) if image else None
            self._plans[product, data] = plan or self._make(product, data)
        return self._plans[product, data]

    def _make(self, product: Convolution, data: bytes) -> _Plan:
        made = self.made
        index, *knobs = struct.unpack(f"<{len(data) // 8}q", data)
        engine = made.make(
            graph.ENGINE,
            (graph.ENGINE_GRAPH, [self.graph(product)]),
            (graph.ENGINE_INDEX, [index]),
        )
        choices = [
            made.make(graph.CHOICE, (graph.CHOICE_KNOB, [kind]), (graph.CHOICE_VALUE, [value]))
            for kind, value in zip(knobs[::2], knobs[1::2], strict=True)
        ]
        config = made.make(
            graph.CONFIG, (graph.CONFIG_ENGINE, [engine]), (graph.CONFIG_CHOICES, choices)
        )
        plan = made.make(graph.PLAN, (graph.PLAN_HANDLE, [self.own]), (graph.PLAN_CONFIG, [config]))
        image = b""
        if _COMPILES in made.numbers(engine, graph.ENGINE_WAYS, _MOST_NOTES):
            image = zlib.compress(made.text(plan, graph.PLAN_TEXT), zlib.Z_BEST_COMPRESSION)
        return _Plan(made, plan, image, product)

    def _read(self, product: Convolution, image: bytes) -> _Plan | None:
        """None where it was written on another GPU, or is damaged: it has to be compiled again."""
        try:
            text = zlib.decompressobj().decompress(image, _MOST_TEXT)
            plan = self.made.make(
                graph.PLAN, (graph.PLAN_HANDLE, [self.own]), (graph.PLAN_TEXT, text)
            )
        except (zlib.error, LibraryError) as error:
            log.info("an execution plan of cuDNN's is made again: %s", error)
            return None
        return _Plan(self.made, plan, image, product)


class _Prepared:
    """A call with all but its stream."""

    def __init__(self, handle: _Open, plan: _Plan, pointers: Pointers) -> None:
        self.handle, self.plan, self.pointers = handle, plan, pointers
