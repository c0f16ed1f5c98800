"""A GPU in benchmarks of single kernels: what lies on it, and what a graph of launches takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from planck.device.cuda.device import Device, Resources
from planck.dtypes import Array

REPLAYS: Final = 7


class OnGpu:
    """A GPU and a stream of its own."""

    def __init__(self, device: Device) -> None:
        self.device, self.driver = device, device.driver
        self.base = Resources(device)
        with device:
            self.stream = self.base.stream()

    def put(self, own: Resources, array: Array) -> int:
        data = np.ascontiguousarray(array)
        address = own.memory(data.nbytes)
        self.driver.upload(address, data.ctypes.data, data.nbytes, self.stream)
        self.driver.synchronize(self.stream)
        return address

    def filled(self, own: Resources, size: int, value: int = 0) -> int:
        address = own.memory(size)
        self.driver.fill(address, value, size, self.stream)
        return address

    def get(self, address: int, like: Array) -> Array:
        made = np.empty_like(like)
        self.driver.synchronize(self.stream)
        self.driver.download(made.ctypes.data, address, made.nbytes, self.stream)
        self.driver.synchronize(self.stream)
        return made

    @contextmanager
    def resources(self) -> Iterator[Resources]:
        own = Resources(self.device, self.base)
        try:
            yield own
        finally:
            own.close()

    def replayed_us(self, launches: Sequence[Any], replays: int = REPLAYS) -> float:
        """Microseconds a launch, in a graph of them all: the median of a few replays."""
        driver, stream = self.driver, self.stream
        driver.begin_capture(stream)
        for launch in launches:
            driver.launch(launch, stream)
        graph = driver.end_capture(stream)
        executable = driver.instantiate(graph)
        events = driver.create_event(True), driver.create_event(True)
        times = []
        for _ in range(replays + 1):
            driver.record(events[0], stream)
            driver.launch_graph(executable, stream)
            driver.record(events[1], stream)
            driver.synchronize(stream)
            times.append(driver.elapsed_us(*events) / len(launches))
        for event in events:
            driver.destroy_event(event)
        driver.destroy_executable(executable)
        driver.destroy_graph(graph)
        return sorted(times[1:])[replays // 2]
