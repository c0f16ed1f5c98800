"""All that is of one operating system: memory, executable code, sleeping threads, affinity.

Everything else in Planck is the same everywhere. Linux has all of it. Other POSIX systems run
contexts of one thread, as they have no futex; elsewhere a plan can be built and read, not run.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from planck.dtypes import Array
from planck.errors import InputError, PlanTargetError

ALIGN: Final = 64  # a cache line, and the widest vector
_HUGE: Final = 2 << 20
_READ, _WRITE, _EXECUTE = 1, 2, 4  # PROT_*, the same on every POSIX system
_READAHEAD: Final = 64  # bytes a vector load may touch past the end


def allocate(bytes_: int) -> Array:
    """Zeroed memory, u8[bytes_], at a multiple of 64, with 64 readable bytes after its end.

    Large blocks ask for huge pages, which save the page walks of big tensors.
    """
    huge = bytes_ >= _HUGE
    align = _HUGE if huge else ALIGN
    pages = _pages(bytes_ + _READAHEAD + align)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(pages, np.uint8)
    start = -int(memory.ctypes.data) % align
    return memory[start : start + bytes_]


def is_allocated(memory: Any) -> bool:
    """Whether an array is what `allocate` gave."""
    whole = memory.base if isinstance(memory, np.ndarray) else None
    pages = whole.base if isinstance(whole, np.ndarray) else None
    return isinstance(getattr(pages, "obj", pages), mmap.mmap)


def _pages(bytes_: int) -> mmap.mmap:
    """Anonymous memory of this process alone: shared memory rarely gets huge pages."""
    if os.name == "posix":
        return mmap.mmap(-1, bytes_, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, bytes_)


def address(memory: Any) -> int:
    """Where an array, or another buffer, lies."""
    try:  # a quarter of the time that NumPy takes to say it, but only for what can be written
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))
    except (TypeError, ValueError, BufferError):
        pass
    if isinstance(memory, np.ndarray):
        return int(memory.__array_interface__["data"][0])
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


class CodeImage:
    """Machine code in memory that can be run and not written; freed with this object.

    raises: PlanTargetError where the system cannot hold generated code
    """

    def __init__(self, code: bytes) -> None:
        if os.name != "posix":
            raise PlanTargetError(
                f"planck cannot run generated code on {sys.platform}",
                know="it runs on Linux, and with one thread on other POSIX systems",
            )
        pages = _pages(max(len(code), 1))
        pages[: len(code)] = code
        self.base = address(pages)
        if _libc().mprotect(self.base, len(pages), _READ | _EXECUTE):
            raise PlanTargetError(
                "the system does not let planck run generated code",
                know=os.strerror(ctypes.get_errno()),
                try_="allow executable memory for this process (SELinux: execmem)",
            )
        self._pages = pages

    def function(self, offset: int, result: Any, *arguments: Any) -> Callable[..., Any]:
        """A function of the image as a Python callable that releases the interpreter lock.

        The callable does not keep the image alive.
        """
        return ctypes.CFUNCTYPE(result, *arguments)(self.base + offset)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return libc


def has_futex() -> bool:
    """Whether threads can sleep on a word of memory, as the engine loop does."""
    return sys.platform == "linux"


def system_call() -> int:
    """The address of the C library's `syscall`, through which the engine loop sleeps; 0: none."""
    if not has_futex():
        return 0
    return ctypes.cast(_libc().syscall, ctypes.c_void_p).value or 0


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_list(text: str) -> list[int]:
    """Processors as Linux lists them: "0,2-3" -> [0, 2, 3]. raises: ValueError"""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def separate_cpus(count: int) -> list[int] | None:
    """So many processors to pin threads to, of different cores as long as there are any.

    None where threads cannot be pinned, or there are not so many.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    first = [cpu for cpu in allowed if cpu == min(_siblings(cpu) & set(allowed))]
    ranked = [*first, *(cpu for cpu in allowed if cpu not in first)]
    return ranked[:count] if count <= len(ranked) else None


def _siblings(cpu: int) -> set[int]:
    """Processors that share a core with this one, and itself."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return {cpu, *cpu_list(path.read_text())}
    except (OSError, ValueError):
        return {cpu}


def pinned(cpu: int) -> AbstractContextManager[None]:
    """Keep the calling thread on one processor inside a `with` block."""
    return confined((cpu,))


@contextmanager
def confined(cpus: Sequence[int]) -> Iterator[None]:
    """Keep the calling thread on some processors inside a `with` block.

    Threads and processes that it starts meanwhile stay there for good.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def check_cpus(cpus: Sequence[int]) -> None:
    """raises: InputError if this process may not run on one of the processors"""
    if not hasattr(os, "sched_setaffinity"):
        raise InputError(f"{sys.platform} cannot pin threads", try_="leave out cpus=")
    allowed = os.sched_getaffinity(0)
    wrong = [cpu for cpu in cpus if cpu not in allowed]
    if wrong:
        raise InputError(
            f"this process may not run on cpus {wrong}", know=f"it may on {sorted(allowed)}"
        )


_ticks_per_us: float | None = None


def ticks_per_us(clock: Callable[[], int]) -> float:
    """How fast the engine loop's clock runs; measured once a process, for half a millisecond."""
    global _ticks_per_us
    if _ticks_per_us is None:
        start_ns, start = time.perf_counter_ns(), clock()
        while time.perf_counter_ns() - start_ns < 500_000:
            pass
        end = clock()
        _ticks_per_us = max((end - start) * 1000 / (time.perf_counter_ns() - start_ns), 1e-6)
    return _ticks_per_us


class Crew:
    """Threads that sit inside native code until `stop` calls them back.

    bodies:  one callable a thread; each returns after `stop` was called
    Threads are daemons, and end on `close`, with this object, or as the interpreter exits.
    """

    def __init__(self, bodies: Iterable[Callable[[], None]], stop: Callable[[], None]) -> None:
        threads = [threading.Thread(target=body, name="planck", daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        self._finish = weakref.finalize(self, _dismiss, threads, stop)

    def close(self) -> None:
        """Stop the threads and wait for them; a second call does nothing."""
        self._finish()


def _dismiss(threads: list[threading.Thread], stop: Callable[[], None]) -> None:
    stop()
    for thread in threads:
        if thread is not threading.current_thread():  # collected as garbage by its own thread
            thread.join()
