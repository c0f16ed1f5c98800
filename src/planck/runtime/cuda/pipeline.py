"""Pipeline: a row of inferences whose copies overlap with the computing of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from planck.errors import InputError
from planck.runtime.cuda.context import CudaContext
from planck.runtime.cuda.engine import CudaEngine


class Pipeline:
    """Runs many inputs of the host's memory, some of them on their way at a time.

        with Pipeline(engine) as pipeline:
            for outputs in pipeline.run({"images": x} for x in pictures):
                ...

    Each is in a context of its own, with pinned memory, device memory and a stream: while one is
    computed, the next is copied to the GPU, and the outputs of the one before come back. Outputs
    come in the order of the inputs, as new NumPy arrays. For one thread at a time.

    Inputs are copied to pinned memory first, by this thread, and then may be changed. Those that
    are in such memory, `engine.empty_inputs()`, are not: they must stay as they are until their
    outputs come. Take new ones for each inference; the memory of old ones is used again.

    depth:   inferences on their way at the same time; 3: one that comes, one that runs, one that
             goes
    raises:  InputError for depth < 1; DeviceError
    """

    def __init__(self, engine: CudaEngine, depth: int = 3) -> None:
        if depth < 1:
            raise InputError(f"a pipeline of {depth} inferences runs none")
        self.depth = depth
        self._idle: deque[CudaContext] = deque()
        self._busy: deque[CudaContext] = deque()
        self._done: deque[dict[str, Any]] = deque()
        try:
            for _ in range(depth):
                self._idle.append(engine.create_execution_context())
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The outputs for each of the inputs, which are as in CudaContext.execute.

        raises: as it; InputError if outputs of inputs before have not been taken
        """
        if self._busy or self._done:
            raise InputError(
                "outputs of inputs before have not been taken",
                know=f"there are {len(self._busy) + len(self._done)}",
                try_="list(pipeline.drain()) before",
            )
        for one in inputs:
            if (found := self.push(one)) is not None:
                yield found
        yield from self.drain()

    def push(self, inputs: Any) -> dict[str, Any] | None:
        """Begin an inference. Gives the outputs of the oldest one if there were `depth`.

        raises: as run; then the next call gives those outputs
        """
        if not self._idle:
            self._done.append(self._oldest())
        context = self._idle.popleft()
        try:
            context.begin(inputs)
        except BaseException:
            self._idle.append(context)
            raise
        self._busy.append(context)
        return self._done.popleft() if self._done else None

    def drain(self) -> Iterator[dict[str, Any]]:
        """The outputs of what is still on its way, the oldest first."""
        while self._done:
            yield self._done.popleft()
        while self._busy:
            yield self._oldest()

    def close(self) -> None:
        """Give the memory back. A second call does nothing."""
        for context in (*self._busy, *self._idle):
            context.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _oldest(self) -> dict[str, Any]:
        context = self._busy.popleft()
        self._idle.append(context)
        return context.finish()
