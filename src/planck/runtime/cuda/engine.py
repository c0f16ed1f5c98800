"""CudaEngine: a plan's code and weights on a GPU, shared by all its execution contexts."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from planck.device import system
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device, Resources
from planck.device.cuda.driver import Driver, Handle
from planck.device.cuda.lending import Lender
from planck.device.cuda.libraries import open_library
from planck.device.cuda.library import Open
from planck.dtypes import Array
from planck.errors import InputError
from planck.plan.check import check_target
from planck.plan.model import Launch, Plan
from planck.runtime.cuda.context import CudaContext
from planck.runtime.cuda.libraries import Libraries
from planck.runtime.engine import Engine
from planck.target import gpu_target

_STATIC_SHARED = 48 * 1024  # bytes that a block may have without asking for more


class CudaEngine(Engine):
    """Runs a plan on a GPU: an Engine, whose contexts take arrays of the GPU too.

        with planck.load("yolov5s.plan") as engine:
            outputs = engine({"images": x})

    driver:     None: this machine's
    libraries:  opens the libraries that steps call
    raises:     PlanFormatError, PlanTargetError; MissingExtraError and DeviceError where there is
                no GPU or driver, not enough memory, or not the library that a step calls
    """

    def __init__(
        self, plan: Plan, driver: Driver | None = None, libraries: Open = open_library
    ) -> None:
        self.device, self._open = Device(driver or open_driver()), libraries
        try:
            super().__init__(plan)
        except BaseException:
            self.device.close()
            raise

    def _ready(self) -> None:
        check_target(self.plan.target, gpu_target(self.device.properties), any_machine=True)
        self.resources = Resources(self.device)
        self._contexts: weakref.WeakSet[CudaContext] = weakref.WeakSet()
        weakref.finalize(self, self.resources.close)
        with self.resources.filling():
            self.weights_address = self._upload_weights()
            self.functions = self._load_functions()
            self.libraries = Libraries(self.plan, self.resources, self._open)
            self._lenders = {
                b.name: self.resources.undo(
                    Lender(self.device, b.shape, b.dtype.numpy), Lender.close
                )
                for b in self.inputs
            }

    def create_execution_context(
        self, threads: int | None = None, cpus: Sequence[int] | None = None
    ) -> CudaContext:
        """A context with memory and a stream of its own; the weights are shared.

        threads, cpus:  of no use on a GPU
        raises:         DeviceError, if there is not enough memory; InputError if it is closed
        """
        self._check_open()
        context = CudaContext(self)
        self._contexts.add(context)
        return context

    def empty_inputs(self) -> dict[str, Array]:
        """As Engine's, in pinned memory, which the GPU copies from while others are computed.

        They may be kept, and outlive the engine; the memory of those that are not is used again.

        raises: InputError if the engine is closed
        """
        self._check_open()
        arrays = super().empty_inputs()
        return {
            name: array if (lent := self._lenders[name].lend()) is None else lent
            for name, array in arrays.items()
        }

    def close(self) -> None:
        """Give back all memory of the GPU, that of the contexts too. A second call does nothing.

        raises: ContextInUseError while a context runs
        """
        for context in tuple(self._contexts):
            context.close()
        self._idle.clear()
        self.resources.close()
        self.device.close()

    def _check_open(self) -> None:
        if self.resources.closed:
            raise InputError("the engine is closed", try_="load the plan again")

    def _upload_weights(self) -> int:
        weights = np.frombuffer(self.plan.weights, np.uint8)
        address = self.resources.memory(len(weights))
        if len(weights):
            driver, once = self.device.driver, Resources(self.device, self.resources)
            stream = once.stream()
            driver.upload(address, system.address(weights), len(weights), stream)
            driver.synchronize(stream)
            once.close()
        return address

    def _load_functions(self) -> dict[str, Handle]:
        """The kernels of all steps by symbol, each with the shared memory that it needs."""
        shared: dict[str, int] = {}
        for step in self.plan.steps:
            if isinstance(step.launch, Launch):
                bytes_ = max(shared.get(step.symbol, 0), step.launch.shared_bytes)
                shared[step.symbol] = bytes_
        starts = sorted(set(self.plan.symbols.values()))
        ends = dict(pairwise((*starts, len(self.plan.code))))
        modules: dict[int, Handle] = {}
        functions: dict[str, Handle] = {}
        driver = self.device.driver
        for symbol, bytes_ in shared.items():
            start = self.plan.symbols[symbol]
            if start not in modules:
                modules[start] = self.resources.module(self.plan.code[start : ends[start]])
            functions[symbol] = driver.function(modules[start], symbol)
            if bytes_ > _STATIC_SHARED:
                driver.allow_shared(functions[symbol], bytes_)
        return functions
