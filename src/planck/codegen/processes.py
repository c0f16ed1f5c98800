"""Compiles LLVM modules in parallel processes: llvmlite holds one lock around every call.

Workers are plain `python -m planck.codegen.worker` processes that speak length-prefixed bytes, so
that a build may start from any script, with or without a `__main__` guard.
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
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import IO

from planck.codegen.llvm import compile_object
from planck.errors import BuildError
from planck.knobs import knobs
from planck.target import Target

log = logging.getLogger(__name__)


class CompilePool:
    """`submit` a module's text, get a future of its object file. Use as a context manager."""

    def __init__(self, target: Target, jobs: int = 0) -> None:
        self.target = target
        self.jobs = jobs or knobs().jobs or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self.jobs, "planck-compile")
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> CompilePool:
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

    def submit(self, source: str, level: int = 3) -> Future[bytes]:
        return self._threads.submit(self._compile, source, level)

    def map(self, sources: Iterable[tuple[str, int]]) -> Iterator[bytes]:
        """Objects in the order of the sources."""
        for future in [self.submit(source, level) for source, level in sources]:
            yield future.result()

    def _compile(self, source: str, level: int) -> bytes:
        if self.jobs == 1 or not sys.executable:
            return compile_object(self.target, source, level)
        worker = self._worker()
        try:
            header = json.dumps({"target": _as_dict(self.target), "level": level}).encode()
            assert worker.stdin
            assert worker.stdout
            write(worker.stdin, header)
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
        worker = subprocess.Popen(
            [sys.executable, "-m", "planck.codegen.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with self._lock:
            self._all.append(worker)
        return worker


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
