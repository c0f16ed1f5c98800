"""The libraries of NVIDIA's by their names, and handles of them that several engines share."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from planck.device.cuda.cublaslt import open_cublaslt
from planck.device.cuda.cudnn import open_cudnn
from planck.device.cuda.device import Device, Resources
from planck.device.cuda.driver import Handle, Parameters
from planck.device.cuda.library import CUBLASLT, CUDNN, Algorithm, Call, Library, Open, Problem


def open_library(name: str) -> Library:
    """As `planck.device.cuda.library.Open` says."""
    return {CUBLASLT: open_cublaslt, CUDNN: open_cudnn}[name]()


class Shared:
    """Opens libraries with one handle each, which lasts: what it has made is not made again."""

    def __init__(self, open_: Open, device: Device) -> None:
        self._open, self._resources = open_, Resources(device)
        self._lasting: dict[str, Library] = {}
        weakref.finalize(self, self._resources.close)

    def __call__(self, name: str) -> Library:
        if name not in self._lasting:
            self._lasting[name] = _Lasting(self._open(name), self._resources)
        return self._lasting[name]


class _Lasting:
    """A Library whose handle is made once."""

    def __init__(self, own: Library, resources: Resources) -> None:
        self._own, self._resources = own, resources
        self.version = own.version
        self._handle: Handle | None = None

    def create(self) -> Handle:
        if self._handle is None:
            self._handle = self._resources.undo(self._own.create(), self._own.destroy)
        return self._handle

    def destroy(self, handle: Handle) -> None:
        """Nothing: who opened the library has it."""

    def algorithms(
        self, handle: Handle, product: Problem, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        return self._own.algorithms(handle, product, workspace_bytes, count)

    def complete(self, handle: Handle, product: Problem, algorithm: Algorithm) -> Algorithm:
        return self._own.complete(handle, product, algorithm)

    def prepare(self, handle: Handle, call: Call, parameters: Parameters) -> Handle:
        return self._own.prepare(handle, call, parameters)

    def release(self, prepared: Handle) -> None:
        self._own.release(prepared)

    def run(self, prepared: Handle, stream: Handle) -> None:
        self._own.run(prepared, stream)
