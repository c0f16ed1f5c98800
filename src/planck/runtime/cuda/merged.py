"""Merged: the inferences of several contexts as one CUDA graph, side by side on the GPU."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from planck.device.cuda.device import Resources
from planck.errors import InputError
from planck.runtime.cuda.context import CudaContext, entered, stream_pointer
from planck.runtime.cuda.launches import captured


class Merged:
    """One launch that runs several contexts, of one engine or of several, at the same time.

        for context, x in zip(contexts, images):
            context.bind({"images": x})
        with Merged(contexts) as merged:
            merged.execute_async()                       # one graph launch, returns at once
            merged.synchronize()

    Each context is a branch of the graph, and reads and writes what it had bound when this was
    made. Closing one of the contexts closes this too.

    raises: InputError for no contexts, the same twice, or one that has nothing bound;
            ContextInUseError, DeviceError
    """

    def __init__(self, contexts: Sequence[CudaContext]) -> None:
        if not contexts or len({id(context) for context in contexts}) < len(contexts):
            raise InputError(
                "contexts are merged that are none, or the same twice",
                try_="engine.create_execution_context() for each",
            )
        self.contexts = tuple(contexts)
        self._device, self._driver = contexts[0]._device, contexts[0]._driver
        self._lock = threading.Lock()
        self._kept = [context._kept for context in contexts]  # arrays that the graph points to
        self._copied = [context._copied for context in contexts]
        self._resources = Resources(self._device, *(c._resources for c in contexts))
        weakref.finalize(self, self._resources.close)
        with ExitStack() as stack:
            puts = [stack.enter_context(context.putting()) for context in contexts]
            with self._resources.filling():
                self._stream = self._resources.stream()
                self._executable = self._instantiated(puts)

    def execute_async(self, stream: Any | None = None) -> None:
        """Begin a run of all contexts, and return at once. They must not run otherwise meanwhile.

        stream:  as in CudaContext.execute_async
        raises:  InputError if what one has bound was overwritten; ContextInUseError, DeviceError
        """
        handle = self._stream if stream is None else self._driver.stream(stream_pointer(stream))
        with self._entered():
            for context, copied in zip(self.contexts, self._copied, strict=True):
                context._check_copies(copied)
            self._driver.launch_graph(self._executable, handle)
            for context in self.contexts:
                context._began(handle)

    def synchronize(self) -> None:
        """Wait for the own stream. raises: DeviceError if what ran there failed"""
        with self._entered():
            self._driver.synchronize(self._stream)

    def close(self) -> None:
        """Give the graph back; the contexts stay. A second call does nothing."""
        with self._lock:
            self._kept.clear()
            self._resources.close()

    def __enter__(self) -> Merged:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """This and its contexts are the thread's: no other closes one meanwhile."""
        with entered(self._lock, self._resources), ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context._entered())
            yield

    def _instantiated(self, puts: Sequence[Callable[[Any], None]]) -> Any:
        """The executable graph of all branches, which fork from one stream and join it again."""
        driver, once = self._driver, Resources(self._device, self._resources)
        streams = [once.stream() for _ in puts]
        begin, *ends = [once.event() for _ in range(len(puts) + 1)]

        def branch() -> None:
            driver.record(begin, self._stream)
            for put, stream, end in zip(puts, streams, ends, strict=True):
                driver.wait(stream, begin)
                put(stream)
                driver.record(end, stream)
            for end in ends:
                driver.wait(self._stream, end)

        graph = captured(driver, self._stream, branch)
        try:
            executable = driver.instantiate(graph)
            return self._resources.undo(executable, driver.destroy_executable)
        finally:
            driver.destroy_graph(graph)
            once.close()
