"""cuBLASLt's matrix products, as steps of a plan.

A library's kernel takes no part in programmatic dependent launch: it begins when the kernel before
it has ended, and one launched dependent on it waits for its end.

What it computes is just what the region says but for one rounding: a constant bias lies in the
result's dtype, as the library wants it. Parts of a sum are added up in float32 only.

Notebook (one H100, cuBLASLt 13.1.0, us in a graph of 24 launches, weights in L2, the best of the
first four algorithms, float16, rows of batch 1 / 8 / 64 of 128):

- BERT: 768x2304 with a bias 4.1 / 8.2 / 49; 768x768 with a residual 4.1 / 5.9 / 19; 3072x768 with a
  residual 7.4 / 10.3 / 58; 768x3072 4.2 / 9.4 / 62, with GELU by tanh 4.5 / 10.8 / 69.
- Two layers of BERT at batch 64, weights from memory, beside the best tiles of triton_matmul: 51.1
  (57.1), 20.0 (21.7), 63.3 (69.7); the network's graph 618 us, with no library 638. Predicted were
  15 to 25 % a product: the tiles were better than in the prototype, and a step of the library does
  not overlap with its neighbours' ends.
- The library's first guess is not always its best: 1x2048x1000 takes 12.6 by the first and 5.3 by
  the second; 1024 rows by 768x768 are within 6 %, 8192 within 15 %.
- Errors over the largest result: float16 2e-4 to 4e-4, bfloat16 3e-3 (the result's own rounding),
  float32 1e-7, TF32 2e-4.
- Heuristics take 0.3 to 0.6 ms a product, the first of a process 150.
- Not done: GELU by erf, as BERT's. A pointwise kernel behind the product would read and write 50 MB
  each at batch 64, which is 30 us at 3 TB/s (a prediction) on top of the product's 62.
"""

from __future__ import annotations

from collections.abc import Mapping

from planck.codegen.library import LibraryCode
from planck.device.cuda.library import CUBLASLT, Algorithm, Call
from planck.dtypes import Array
from planck.plan.model import WORKSPACE
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.library.product import Reading, pack_right, read
from planck.tactics.library.tactic import LibraryTactic, packed_bias
from planck.tactics.pattern import constant, symbol


class CublasLt(LibraryTactic):
    """The first few algorithms of the library's own heuristics."""

    name = CUBLASLT

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        reading = read(kernel)
        if isinstance(reading, No):
            return reading
        found = self.found(reading.product)
        if isinstance(found, No):
            return found
        return tuple({"algorithm": n, "version": self.version} for n in range(len(found)))

    def build(self, kernel: Kernel, config: Config) -> LibraryCode:
        reading = _take(kernel)
        algorithm = self._algorithm(reading, config)
        call = Call(
            CUBLASLT, config["version"], reading.product, algorithm.data.hex(),
            algorithm.workspace_bytes,
        )  # fmt: skip
        ending, right = reading.ending, reading.b
        b = _packed(right.name) if reading.packed else right.name
        workspace = WORKSPACE if algorithm.workspace_bytes else ""
        arguments = [reading.a, b, reading.d, ending.beside, ending.bias, workspace]
        growth = 0
        if reading.packed:
            own = reading.product.columns * reading.product.b.stride * right.type.dtype.bytes
            growth = max(0, own - right.type.size * right.type.dtype.bytes)
        return LibraryCode(
            symbol(self.name, kernel, config), call, tuple(filter(None, arguments)), growth
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        reading = _take(kernel)
        right = reading.b.name
        packed = packed_bias(reading.form, reading.ending.bias, constants, reading.product.result)
        if reading.packed:
            packed[_packed(right)] = pack_right(reading, constant(kernel, constants, right))
        return packed

    def _algorithm(self, reading: Reading, config: Config) -> Algorithm:
        return self.source.algorithms(reading.product)[config["algorithm"]]


def _take(kernel: Kernel) -> Reading:
    reading = read(kernel)
    assert isinstance(reading, Reading), reading
    return reading


def _packed(name: str) -> str:
    return f"{name}_packed"
