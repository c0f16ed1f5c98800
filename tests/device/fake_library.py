"""cuBLASLt and cuDNN without a GPU: on a fake driver's memory, every argument checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planck.device.cuda.driver import Parameters
from planck.device.cuda.library import (
    ALIGN,
    LIBRARIES,
    Algorithm,
    Call,
    Convolution,
    Image,
    Pointers,
    Problem,
    Product,
    Side,
)
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


def convolved(own: Convolution, a: Array, b: Array, c: Array | None, bias: Array | None) -> Array:
    """What a convolution is, in float64: a [N, C, H, W], b [K, C of a group, R, S]."""
    pads = [(0, 0), (0, 0), *zip(own.before, own.after, strict=True)]
    a, b = np.pad(a.astype(np.float64), pads), b.astype(np.float64)
    reach = [(taps - 1) * step for taps, step in zip(own.taps, own.dilations, strict=True)]
    out = [(a.shape[2 + i] - reach[i] - 1) // own.strides[i] + 1 for i in range(2)]
    assert tuple(out) == own.out, (out, own)
    made = np.zeros((own.batch, own.groups, own.columns // own.groups, *out))
    a = a.reshape(own.batch, own.groups, -1, *a.shape[2:])
    b = b.reshape(own.groups, -1, *b.shape[1:])
    for r in range(own.taps[0]):
        for s in range(own.taps[1]):
            rows = r * own.dilations[0] + own.strides[0] * np.arange(out[0])
            columns = s * own.dilations[1] + own.strides[1] * np.arange(out[1])
            window = a[..., rows[:, None], columns]
            made += np.einsum("ngchw,gkc->ngkhw", window, b[..., r, s])
    made = made.reshape(own.d_dims)
    for step in own.steps:
        made = _stepped(step, made, c, bias)
    return made


def _stepped(step: str, made: Array, c: Array | None, bias: Array | None) -> Array:
    if step == "bias":
        assert bias is not None
        return made + bias.astype(np.float64)[:, None, None]
    if step == "beside":
        assert c is not None
        return made + c.astype(np.float64)
    return FUNCTIONS[step](made)


FUNCTIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}


@dataclass(eq=False)
class Prepared:
    call: Call
    pointers: Pointers


@dataclass
class FakeLibrary:
    """See `planck.device.cuda.library.Library`.

    count:  algorithms of each product
    asked:  problems that heuristics were asked about
    """

    driver: FakeDriver
    version: int = VERSION
    count: int = 3
    asked: list[Problem] = field(default_factory=list)
    live: set[Any] = field(default_factory=set)

    def open(self, name: str) -> FakeLibrary:
        self.driver.expect(name in LIBRARIES, f"no library {name}")
        return self

    def create(self) -> Any:
        return self._taken(object())

    def destroy(self, handle: Any) -> None:
        self._given_back(handle)

    def algorithms(
        self, handle: Any, product: Problem, workspace_bytes: int, count: int
    ) -> Sequence[Algorithm]:
        self.driver.expect(handle in self.live, "a handle that is gone")
        self._in_context()
        self.asked.append(product)
        made = [self.algorithm(product, n) for n in range(min(count, self.count))]
        return [own for own in made if own.workspace_bytes <= workspace_bytes]

    def algorithm(self, product: Problem, number: int) -> Algorithm:
        digest = hashlib.sha512(f"{product} {number} {self.version}".encode()).digest()
        if isinstance(product, Convolution):
            digest = digest[:56]  # an engine, and three knobs with their values
        return Algorithm(digest, 256 * number)

    def complete(self, handle: Any, product: Problem, algorithm: Algorithm) -> Algorithm:
        self.driver.expect(handle in self.live, "a handle that is gone")
        self._in_context()
        return algorithm

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
        if isinstance(product, Convolution):
            self._convolve(call, product, at, bias, stream)
            return
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

    def _convolve(
        self, call: Call, own: Convolution, at: dict[str, int], bias: int, stream: Stream
    ) -> None:
        def view(name: str, image: Image) -> Array:
            dims = own.a_dims if name == "a" else own.d_dims
            return pixels(self.driver, at[name], image, dims, own.dtype)

        def compute() -> None:
            dtype = BY_NAME[own.dtype].numpy
            size = math.prod(own.b_dims) * dtype.itemsize
            columns, channels, *taps = own.b_dims
            b = self.driver.array(at["b"], size).view(dtype).reshape(columns, *taps, channels)
            one = None
            if own.bias:
                one = self.driver.array(bias, columns * dtype.itemsize).view(dtype)
            beside = view("c", own.c) if own.c is not None else None
            made = convolved(own, view("a", own.a), np.moveaxis(b, -1, 1), beside, one)
            view("d", own.d)[:] = made.astype(dtype)

        for name in ("a", "c", "d"):
            view(name, getattr(own, name) or own.d)
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


def pixels(
    driver: FakeDriver, address: int, image: Image, dims: tuple[int, ...], dtype: str
) -> Array:
    """[batch, channels, rows, columns] of a fake GPU's memory."""
    own = BY_NAME[dtype].numpy
    last = 1 + sum((n - 1) * stride for n, stride in zip(dims, image.strides, strict=True))
    memory = driver.array(address, last * own.itemsize).view(own)
    strides = tuple(n * own.itemsize for n in image.strides)
    return np.lib.stride_tricks.as_strided(memory, dims, strides)


def missing(name: str) -> Any:
    """Opens nothing."""
    raise LibraryError("cuBLASLt is not on this machine", know="looked for it", try_="install it")
