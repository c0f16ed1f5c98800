"""CubinPool: compiles Triton kernels in parallel processes."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict
from importlib.util import find_spec

from planck.codegen.processes import Workers
from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.compile import compile_cubin, missing_triton
from planck.codegen.triton.worker import from_bytes
from planck.target import Target


class CubinPool(Workers):
    """`submit` a kernel, get a future of its cubin. raises: MissingExtraError without Triton"""

    module = "planck.codegen.triton.worker"

    def __init__(self, target: Target, jobs: int = 0) -> None:
        if find_spec("triton") is None:
            raise missing_triton()
        super().__init__(target, jobs)

    def submit(self, code: TritonCode) -> Future[Cubin]:
        return self._threads.submit(self._compile, code)

    def _compile(self, code: TritonCode) -> Cubin:
        if self.alone:
            return compile_cubin(code, self.target)
        fields = asdict(code)
        return from_bytes(self.ask(fields.pop("source"), code=fields))
