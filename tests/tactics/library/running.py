"""Runs a kernel by a library: a fake one on a fake GPU, or NVIDIA's where there is a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from planck.device import system
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device, Resources
from planck.device.cuda.driver import Parameters
from planck.device.cuda.libraries import open_library
from planck.device.cuda.library import CUBLASLT, CUDNN, Library
from planck.errors import DeviceError, MissingExtraError
from planck.plan.model import WORKSPACE
from planck.tactics.kernel import Kernel
from planck.tactics.library.cublaslt import CublasLt
from planck.tactics.library.cudnn import Cudnn
from planck.tactics.library.source import Heuristics
from tests.device.fake_cuda import FakeDriver
from tests.device.fake_library import FakeLibrary
from tests.tactics.conftest import lay_out, read_back

Array = np.ndarray[Any, Any]


@dataclass
class Machine:
    """A GPU with a library, and the tactic that asks it."""

    library: Library
    device: Device
    tactic: CublasLt | Cudnn

    def run(self, kernel: Kernel, arrays: Mapping[str, Array], number: int) -> dict[str, Array]:
        """The outputs of an offer, launched twice in a graph."""
        driver = self.device.driver
        config = (self.tactic.offers(kernel) or ())[number]
        code = self.tactic.build(kernel, config)
        packed = self.tactic.pack(kernel, config, {n: arrays[n] for n in kernel.constants})
        outputs = {v.name for v in kernel.graph.outputs}
        buffers: dict[str, Array] = dict(packed)
        for name, operand in kernel.operands.items():
            if name not in packed:
                given = np.full(operand.type.dims, np.nan) if name in outputs else arrays[name]
                buffers[name] = lay_out(given, operand)
        buffers[WORKSPACE] = np.zeros(code.workspace_bytes, np.uint8)
        resources = Resources(self.device)
        with resources.filling():
            stream = resources.stream()
            places = {}
            for name in code.arguments:
                flat = np.ascontiguousarray(buffers[name]).reshape(-1).view(np.uint8)
                places[name] = resources.memory(flat.nbytes)
                if flat.nbytes:
                    driver.upload(places[name], system.address(flat), flat.nbytes, stream)
                    driver.synchronize(stream)
            handle = resources.undo(self.library.create(), self.library.destroy)
            parameters = Parameters([places[name] for name in code.arguments])
            prepared = self.library.prepare(handle, code.call, parameters)
            resources.undo(prepared, self.library.release)
            driver.begin_capture(stream)
            for _ in range(2):
                self.library.run(prepared, stream)
            graph = resources.undo(driver.end_capture(stream), driver.destroy_graph)
            executable = resources.undo(driver.instantiate(graph), driver.destroy_executable)
            driver.launch_graph(executable, stream)
            for name in outputs:
                flat = buffers[name].view(np.uint8)
                driver.download(system.address(flat), places[name], flat.nbytes, stream)
                driver.synchronize(stream)
        resources.close()
        return {name: read_back(buffers[name], kernel.operands[name]) for name in outputs}


@contextmanager
def machine(kind: str, name: str = CUBLASLT) -> Iterator[Machine]:
    """kind: "fake" or "gpu"; name: the library's"""
    if kind == "fake":
        driver = FakeDriver()
        library: Any = FakeLibrary(driver)
        device = Device(driver)
    else:
        try:
            device, library = Device(open_driver()), open_library(name)
        except (DeviceError, MissingExtraError) as error:
            pytest.skip(error.what)
    source = Heuristics(library, device)
    yield Machine(library, device, {CUBLASLT: CublasLt, CUDNN: Cudnn}[name](source))
    source.close()
    device.close()
    if kind == "fake":
        library.finish()
        driver.finish()
