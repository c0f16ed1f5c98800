"""The Library that calls NVIDIA's cuDNN, by ctypes: convolutions through its backend API.

An engine of the library with values of its knobs is a way to run a convolution, and all that an
algorithm says: an execution plan is made of them again. Runtime-compiled engines compile then, so
a handle keeps the plans that were made with it.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
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
from planck.device.cuda.places import places
from planck.errors import LibraryError

log = logging.getLogger(__name__)

OLDEST: Final = 90_000
_NAMES: Final = ("libcudnn.so.9",)
_WHEELS: Final = ("cudnn/lib",)  # in the package `nvidia`

_BEST_GUESSES: Final = 3  # cudnnBackendHeurMode_t: A
_GUESSES: Final = 24  # to look at, of which not all can be run
# cudnnBackendNumericalNote_t: sums in 16 bits, Fourier's and Winograd's transforms, and what may
# differ from run to run; and rounding of operands in float32 to TF32.
_INEXACT: Final = frozenset({2, 3, 4, 5, 6, 7, 8})
_ROUNDS: Final = 1
_MOST_NOTES: Final = 32
_MOST_KNOBS: Final = 64
_UNABLE: Final = range(2000, 4000)  # cudnnStatus_t: a bad parameter, or not supported
_MESSAGE_BYTES: Final = 1024
_SAID: Final = 160  # characters of a message


@lru_cache(maxsize=1)
def open_cudnn() -> Library:
    """cuDNN of the nvidia-* wheels, of CUDA_PATH, of /usr/local/cuda, or of the loader's path.

    raises: LibraryError if there is none, or only an old one
    """
    tried = []
    for place in places(_NAMES, _WHEELS):
        try:
            found = Cudnn(ctypes.CDLL(place))
        except OSError as error:
            tried.append(str(error).split(":")[0])
            continue
        if found.version < OLDEST:
            raise LibraryError(
                "cuDNN is too old",
                know=f"{place} is {dotted(found.version)}; planck needs {dotted(OLDEST)}",
                try_="pip install nvidia-cudnn-cu13, or build with tactic_sources=()",
            )
        log.info("cuDNN %s: %s", dotted(found.version), place)
        return found
    raise LibraryError(
        "cuDNN is not on this machine",
        know=f"looked for {', '.join(dict.fromkeys(tried))}",
        try_="pip install nvidia-cudnn-cu13, or set CUDA_PATH to where CUDA is",
    )


class Cudnn:
    """As `Library` says; `own` is the library, loaded.

    A handle has one stream at a time, so threads take turns between setting it and running.
    """

    def __init__(self, own: Any) -> None:
        self._own, self._turn = own, threading.Lock()
        own.cudnnGetVersion.restype = c_size_t
        self.version = int(own.cudnnGetVersion())

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
        assert isinstance(product, Convolution), product
        found: dict[bytes, Algorithm] = {}
        for data in self.guesses(handle, product):
            if len(found) == count:
                break
            try:
                plan = handle.plan(product, data)
            except _UnableError as error:
                log.debug("%s", error)
                continue
            if plan.workspace_bytes <= workspace_bytes:
                found[data] = Algorithm(data, plan.workspace_bytes)
        return tuple(found.values())

    def prepare(self, handle: _Open, call: Call, parameters: Parameters) -> Handle:
        assert isinstance(call.product, Convolution), call.product
        try:
            with self._turn:
                plan = handle.plan(call.product, bytes.fromhex(call.algorithm))
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

    def guesses(self, handle: _Open, product: Convolution) -> list[bytes]:
        """What heuristics name, the best first, without what computes inexactly."""
        made, data = Descriptors(self.call), []
        try:
            heuristic = made.make(
                graph.HEURISTIC,
                (graph.HEURISTIC_GRAPH, [handle.graph(product)]),
                (graph.HEURISTIC_MODE, [_BEST_GUESSES]),
            )
            for config in made.read(heuristic, graph.HEURISTIC_RESULTS, graph.CONFIG, _GUESSES):
                (engine,) = made.read(config, graph.CONFIG_ENGINE, graph.ENGINE, 1)
                notes = set(made.numbers(engine, graph.ENGINE_NOTES, _MOST_NOTES))
                if not notes & _INEXACT and (product.tf32 or _ROUNDS not in notes):
                    data.append(_data(made, engine, config))
        except _UnableError as error:
            log.debug("%s", error)
        finally:
            made.close()
        return data

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
    """An execution plan. numbers: of the tensors that it wants"""

    def __init__(self, own: Any, workspace_bytes: int, product: Convolution) -> None:
        self.own, self.workspace_bytes = own, workspace_bytes
        self.numbers = numbers_of(product)


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

    def plan(self, product: Convolution, data: bytes) -> _Plan:
        """Of an engine and its knobs, as `_data` has them."""
        if (product, data) not in self._plans:
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
            plan = made.make(
                graph.PLAN, (graph.PLAN_HANDLE, [self.own]), (graph.PLAN_CONFIG, [config])
            )
            (workspace,) = made.numbers(plan, graph.PLAN_WORKSPACE)
            self._plans[product, data] = _Plan(plan, workspace, product)
        return self._plans[product, data]


class _Prepared:
    """A call with all but its stream."""

    def __init__(self, handle: _Open, plan: _Plan, pointers: Pointers) -> None:
        self.handle, self.plan, self.pointers = handle, plan, pointers
