"""CubinPool: compiles Triton kernels in parallel processes."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict

from planck.codegen.processes import Workers
from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.codegen.triton.worker import from_bytes


class CubinPool(Workers):
    """`submit` a kernel, get a future of its cubin."""

    module = "planck.codegen.triton.worker"

    def submit(self, code: TritonCode) -> Future[Cubin]:
        return self._threads.submit(self._compile, code)

    def _compile(self, code: TritonCode) -> Cubin:
        if self.alone:
            return compile_cubin(code, self.target)
        fields = asdict(code)
        return from_bytes(self.ask(fields.pop("source"), code=fields))
