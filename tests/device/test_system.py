"""Memory, code and threads of the operating system."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np
import pytest

from planck.device import system
from planck.dtypes import bf16
from planck.errors import InputError


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4096, 5 << 20])
def test_memory_is_aligned_zeroed_and_readable_past_its_end(size: int) -> None:
    memory = system.allocate(size)
    assert len(memory) == size
    assert not memory.any()
    assert memory.flags.writeable
    assert not size or system.address(memory) % 64 == 0
    if size:
        ctypes.string_at(system.address(memory) + size, 64)


def test_addresses_are_where_the_data_is() -> None:
    array = np.arange(10, dtype=np.int64)
    assert ctypes.c_int64.from_address(system.address(array[3:])).value == 3
    assert ctypes.string_at(system.address(b"abc"), 3) == b"abc"


def test_code_cannot_be_written() -> None:
    image = system.CodeImage(b"\xc3" * 100)
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(word, 16) for word in line.split()[0].split("-"))
            if begin <= image.base < end:
                assert line.split()[1] == "r-xp"
                return
    pytest.fail("the image is not mapped")


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with system.pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_what_starts_in_a_confined_block_stays_there() -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    seen: list[set[int]] = []
    with system.confined([cpu]):
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        assert system.available_cpus() == 1
    thread.join()
    assert seen == [{cpu}]
    assert os.sched_getaffinity(0) == before


def test_processors_out_of_reach_are_refused() -> None:
    with pytest.raises(InputError, match="4095"):
        system.check_cpus([4095])


def test_a_crew_ends_when_closed_and_when_collected() -> None:
    for close in (True, False):
        stop = threading.Event()
        before = threading.active_count()
        crew = system.Crew([lambda e=stop: e.wait() for _ in range(3)], stop.set)
        assert threading.active_count() == before + 3
        if close:
            crew.close()
            crew.close()
        del crew
        assert threading.active_count() == before


def test_the_clock_is_measured_once() -> None:
    calls = iter(range(0, 10**9, 1000))
    first = system.ticks_per_us(lambda: next(calls))
    assert system.ticks_per_us(lambda: 0) == first > 0


def test_lists_of_processors() -> None:
    assert system.cpu_list("0,2-4,7\n") == [0, 2, 3, 4, 7]
    for text in ("", "a", "1-", "-1", "1,,2"):
        with pytest.raises(ValueError, match="invalid literal"):
            system.cpu_list(text)


def test_processors_of_different_cores_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}
    monkeypatch.setattr(system, "_siblings", pairs.__getitem__)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(pairs))
    assert system.separate_cpus(2) == [0, 2]
    assert system.separate_cpus(4) == [0, 2, 1, 3]
    assert system.separate_cpus(5) is None
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3})
    assert system.separate_cpus(2) == [1, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.bool_, bf16.numpy])
def test_address_of_any_array(dtype: Any) -> None:
    """Also of those that cannot be had as a writeable buffer."""
    array = np.zeros((4, 6), dtype)
    closed = array.copy()
    closed.flags.writeable = False
    for own in (array, closed, array[:, ::2], array[1:], array[:0]):
        assert system.address(own) == own.__array_interface__["data"][0]
