"""Compiles kernels in parallel processes: llvmlite and Triton each hold a lock around their calls.

Workers are plain Python processes that run `planck.codegen.worker` and speak length-prefixed bytes,
so that a build may start from any script, with or without a `__main__` guard, in any folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Final, Self

from planck.codegen.llvm import compile_object
from planck.errors import BuildError, PlanckError
from planck.knobs import knobs
from planck.target import Target

log = logging.getLogger(__name__)

_ROOT: Final = str(Path(__file__).resolve().parents[2])


class Workers:
    """Threads that each have a worker process to ask. Use as a context manager.

    module:  of the worker, run as a script; its main calls `serve`
    """

    module = ""

    def __init__(self, target: Target, jobs: int = 0) -> None:
        self.target = target
        self.jobs = jobs or knobs().jobs or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self.jobs, "planck-compile")
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            for pipe in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):
                    if pipe:
                        pipe.close()
            worker.kill()
            worker.wait()

    @property
    def alone(self) -> bool:
        """Whether to compile in this process: what more of them would share is one core."""
        return self.jobs == 1 or not sys.executable

    def ask(self, source: str, **header: object) -> bytes:
        """What a worker makes of a source.

        raises: BuildError with the worker's message
        """
        worker = self._worker()
        try:
            assert worker.stdin
            assert worker.stdout
            write(worker.stdin, json.dumps({"target": _as_dict(self.target), **header}).encode())
            write(worker.stdin, source.encode())
            status = read(worker.stdout)
            body = read(worker.stdout)
        except (OSError, EOFError, struct.error) as error:
            raise BuildError(
                "a compiler process ended unexpectedly",
                know=f"exit status {worker.poll()}: {error}",
                try_="set PLANCK_JOBS=1 to compile in this process and see why",
            ) from error
        self._idle.put(worker)
        if status != b"ok":
            raise BuildError("generated code does not compile", know=body.decode(errors="replace"))
        return body

    def _worker(self) -> subprocess.Popen[bytes]:
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        # Planck is found where it was here, though the path that led there may be relative.
        start = (
            f"sys.path.append({_ROOT!r}); runpy.run_module({self.module!r}, run_name='__main__')"
        )
        worker = subprocess.Popen(
            [sys.executable, "-c", f"import runpy, sys; {start}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with self._lock:
            self._all.append(worker)
        return worker


class CompilePool(Workers):
    """`submit` an LLVM module's text, get a future of its object file."""

    module = "planck.codegen.worker"

    def submit(self, source: str, level: int = 3) -> Future[bytes]:
        return self._threads.submit(self._compile, source, level)

    def map(self, sources: Iterable[tuple[str, int]]) -> Iterator[bytes]:
        """Objects in the order of the sources."""
        for future in [self.submit(source, level) for source, level in sources]:
            yield future.result()

    def _compile(self, source: str, level: int) -> bytes:
        if self.alone:
            return compile_object(self.target, source, level)
        return self.ask(source, level=level)


def serve(make: Callable[[Target, str, dict[str, Any]], bytes]) -> None:
    """A worker's life: answer what stands on standard input until that ends.

    make:  (target, source, header) -> what is asked for
    """
    source_pipe, result_pipe = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            header = json.loads(read(source_pipe))
            source = read(source_pipe).decode()
        except (EOFError, KeyboardInterrupt):
            return
        fields = header["target"]
        target = Target(fields["isa"], fields["arch"], tuple(fields["extras"]))
        try:
            body, status = make(target, source, header), b"ok"
        except PlanckError as error:
            body, status = str(error).encode(), b"failed"
        write(result_pipe, status)
        write(result_pipe, body)


def _as_dict(target: Target) -> dict[str, object]:
    return {"isa": target.isa, "arch": target.arch, "extras": list(target.extras)}


def write(pipe: IO[bytes], body: bytes) -> None:
    pipe.write(struct.pack("<Q", len(body)))
    pipe.write(body)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError("the other side closed the pipe")
    (size,) = struct.unpack("<Q", head)
    body: bytes = pipe.read(size)
    if len(body) < size:
        raise EOFError("the other side closed the pipe")
    return body
