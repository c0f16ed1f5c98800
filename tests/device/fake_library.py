"""cuBLASLt without a GPU: products on a fake driver's memory, every argument checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planck.device.cuda.driver import Parameters
from planck.device.cuda.library import ALIGN, CUBLASLT, Algorithm, Call, Pointers, Product, Side
from planck.dtypes import BY_NAME, Array
from planck.errors import LibraryError
from tests.device.fake_cuda import FakeDriver
from tests.device.fake_work import Stream, Work

VERSION = 130_100


def reference(product: Product, a: Array, b: Array, c: Array | None, bias: Array | None) -> Array:
    """What a product is, in float64: a [batch, rows, depth], b [batch, depth, columns]."""
    made = product.alpha * (a.astype(np.float64) @ b.astype(np.float64))
    made = made if c is None else made + c.astype(np.float64)
    made = made if bias is None else made + bias.astype(np.float64)
    if product.activation == "relu":
        made = np.maximum(made, 0)
    elif product.activation:
        inner = math.sqrt(2 / math.pi) * (made + 0.044715 * made**3)
        made = made * (1 + np.tanh(inner)) / 2
    return made


@dataclass(eq=False)
class Prepared:
    call: Call
    pointers: Pointers


@dataclass
class FakeLibrary:
    """See `planck.device.cuda.library.Library`.

    count:  algorithms of each product
    asked:  products that heuristics were asked about
    """

    driver: FakeDriver
    version: int = VERSION
    count: int = 3
    asked: list[Product] = field(default_factory=list)
    live: set[Any] = field(default_factory=set)

    def open(self, name: str) -> FakeLibrary:
        self.driver.expect(name == CUBLASLT, f"no library {name}")
        return self

    def create(self) -> Any:
        return self._taken(object())

    def destroy(self, handle: Any) -> None:
        self._given_back(handle)

    def algorithms(
        self, handle: Any, product: Product, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        self.driver.expect(handle in self.live, "a handle that is gone")
        self._in_context()
        self.asked.append(product)
        made = [self.algorithm(product, n) for n in range(min(count, self.count))]
        return [own for own in made if own.workspace_bytes <= workspace_bytes]

    def algorithm(self, product: Product, number: int) -> Algorithm:
        digest = hashlib.sha512(f"{product} {number} {self.version}".encode()).digest()
        return Algorithm(digest, 256 * number)

    def prepare(self, handle: Any, call: Call, parameters: Parameters) -> Prepared:
        expect = self.driver.expect
        expect(handle in self.live, "a handle that is gone")
        expect(call.version == self.version, "an algorithm of another version")
        known = [self.algorithm(call.product, n) for n in range(self.count)]
        own = Algorithm(bytes.fromhex(call.algorithm), call.workspace_bytes)
        expect(own in known, "an algorithm of another product")
        count = len(parameters.values) - Parameters.HIDDEN
        expect(count == call.arguments, f"{count} pointers")
        prepared = Prepared(call, Pointers(call, parameters))
        self._taken(prepared)
        return prepared

    def release(self, prepared: Prepared) -> None:
        self._given_back(prepared)

    def run(self, prepared: Prepared, stream: Stream) -> None:
        self.driver.expect(prepared in self.live, "a call that was given back")
        a, b, d, c, bias, workspace = prepared.pointers.read()
        call, product = prepared.call, prepared.call.product
        if call.workspace_bytes:
            self.driver.array(workspace, call.workspace_bytes)
        at = {"a": a, "b": b, "c": c, "d": d}
        for name, address in at.items():
            self.driver.expect(address % ALIGN == 0, f"{name} is not aligned")
        extents = {
            "a": (product.rows, product.depth), "b": (product.depth, product.columns),
            "c": (product.rows, product.columns), "d": (product.rows, product.columns),
        }  # fmt: skip
        dtypes = {"a": product.dtype, "b": product.dtype, "c": product.result, "d": product.result}
        sides = {"a": product.a, "b": product.b, "c": product.c or product.d, "d": product.d}

        def view(name: str) -> Array:
            return matrix(
                self.driver, at[name], sides[name], extents[name], dtypes[name], product.batch
            )

        def compute() -> None:
            result = BY_NAME[product.result].numpy
            own = None
            if product.bias:
                own = self.driver.array(bias, product.columns * result.itemsize).view(result)
            beside = view("c") if product.c is not None else None
            view("d")[:] = reference(product, view("a"), view("b"), beside, own).astype(result)

        for name in at:
            view(name)
        self.driver.put(Work(("library", call), compute), stream)

    def finish(self) -> None:
        assert not self.live, "what was not given back"

    def _taken(self, thing: Any) -> Any:
        self._in_context()
        self.live.add(thing)
        return thing

    def _given_back(self, thing: Any) -> None:
        self._in_context()
        self.driver.expect(thing in self.live, "given back twice")
        self.live.remove(thing)

    def _in_context(self) -> None:
        self.driver.expect(bool(self.driver.stack()), "a library called without a context")


def matrix(
    driver: FakeDriver, address: int, side: Side, extents: tuple[int, int], dtype: str, batch: int
) -> Array:
    """[batch, rows, columns] of a fake GPU's memory."""
    own = BY_NAME[dtype].numpy
    rows, columns = extents[::-1] if side.transposed else extents
    last = (batch - 1) * side.batch + (rows - 1) * side.stride + columns
    driver.expect(side.stride >= columns, "rows that overlap")
    memory = driver.array(address, last * own.itemsize).view(own)
    strides = tuple(n * own.itemsize for n in (side.batch, side.stride, 1))
    made = np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), strides)
    return made.swapaxes(1, 2) if side.transposed else made


def missing(name: str) -> Any:
    """Opens nothing."""
    raise LibraryError("cuBLASLt is not on this machine", know="looked for it", try_="install it")
