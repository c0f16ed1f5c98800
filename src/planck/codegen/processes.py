"""Compiles kernels in parallel processes: llvmlite and Triton each hold a lock around their calls.

Workers are plain Python processes that run `planck.codegen.worker` and speak length-prefixed bytes,
so that a build may start from any script, with or without a `__main__` guard, in any folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Final, Self

from planck.codegen.llvm import compile_object
from planck.errors import BuildError, CompilerProcessError, PlanckError
from planck.knobs import knobs
from planck.target import Target

log = logging.getLogger(__name__)

_ROOT: Final = str(Path(__file__).resolve().parents[2])
TRIES: Final = 2
PATIENCE_S: Final = 5.0  # for a process that has closed its pipes
# Signals by which a compiler ends that runs into its own defect; no system has to have all.
_CRASHES: Final = ("SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV")
CRASHES: Final = frozenset(getattr(signal, n) for n in _CRASHES if hasattr(signal, n))
ALONE: Final = "set PLANCK_JOBS=1 to compile in this process and see why, or to take less memory"


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
        self._lock, self._closing = threading.Lock(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if kind is not None:  # nobody waits for what they compile
            with self._lock:
                for worker in self._all:
                    worker.kill()
        self._threads.shutdown(wait=True)
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
        """What a worker makes of a source. Where it dies, another one is asked once more.

        raises: BuildError with the worker's message, or if it crashed twice;
                CompilerProcessError if it was killed or cannot work
        """
        for _ in range(TRIES):
            worker = self._worker()
            try:
                status, body = self._answer(worker, source, header)
            except (OSError, EOFError, struct.error):
                code = _ended(worker)
                if self._closing:
                    break
                log.warning("a compiler process ended with exit status %s", code)
                continue
            self._idle.put(worker)
            if status == b"ok":
                return body
            said = body.decode(errors="replace")
            if status == b"failed":
                raise BuildError("generated code does not compile", know=said)
            raise CompilerProcessError("a compiler process cannot work", know=said, try_=ALONE)
        if -code in CRASHES:
            raise BuildError("the compiler crashed", know=f"signal {-code}, {TRIES} times")
        raise CompilerProcessError(
            "compiler processes ended unexpectedly",
            know=f"exit status {code}" + (": killed; memory may be short" if code == -9 else ""),
            try_=ALONE,
        )

    def _answer(
        self, worker: subprocess.Popen[bytes], source: str, header: Mapping[str, object]
    ) -> tuple[bytes, bytes]:
        assert worker.stdin
        assert worker.stdout
        write(worker.stdin, json.dumps({"target": _as_dict(self.target), **header}).encode())
        write(worker.stdin, source.encode())
        return read(worker.stdout), read(worker.stdout)

    def _worker(self) -> subprocess.Popen[bytes]:
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        # Planck and its packages are found where they were here, though the path that led there
        # may be relative, and behind all that Python brings: nothing in the user's folder.
        found = [_ROOT, *(os.path.abspath(own) for own in sys.path if own)]
        start = (
            f"sys.path += [p for p in {found!r} if p not in sys.path];"
            f" runpy.run_module({self.module!r}, run_name='__main__')"
        )
        worker = subprocess.Popen(
            [sys.executable, "-P", "-c", f"import runpy, sys; {start}"],
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends this
    source_pipe, result_pipe = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            header = json.loads(read(source_pipe))
            source = read(source_pipe).decode()
        except EOFError:
            return
        fields = header["target"]
        target = Target(fields["isa"], fields["arch"], tuple(fields["extras"]))
        try:
            body, status = make(target, source, header), b"ok"
        except BuildError as error:
            body, status = str(error).encode(), b"failed"
        except (PlanckError, ImportError, MemoryError) as error:
            body, status = str(error).encode(), b"broken"
        except Exception as error:  # a compiler's own defect: of this source alone, perhaps
            body, status = f"{type(error).__name__}: {error}".encode(), b"failed"
        write(result_pipe, status)
        write(result_pipe, body)


def _ended(worker: subprocess.Popen[bytes]) -> int:
    """The exit status of a process that closed its pipes; less than zero: the signal's number."""
    try:
        return worker.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


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
