"""The binding against a library that decodes every argument as cublasLt.h declares it."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import numpy as np
import pytest

from planck.device.cuda.cublaslt import CublasLt
from planck.device.cuda.driver import Parameters
from planck.device.cuda.library import CUBLASLT, Call, Product, Side
from planck.dtypes import BY_NAME
from planck.errors import LibraryError
from tests.device.fake_library import reference

# Of the operation: attribute -> bytes; of a layout; of a preference.
OPERATION = {3: 4, 4: 4, 7: 4, 8: 8, 26: 4}
LAYOUT = {5: 4, 6: 8}
PREFERENCE = {1: 8, 3: 4, 5: 4, 6: 4, 7: 4, 8: 4}
TYPES = {0: "f32", 2: "f16", 14: "bf16"}
DATA = bytes(range(64))


class Own:
    """A library that counts columns, as the real one does, on the host's memory."""

    def __init__(self, version: int = 130_100, status: int = 0) -> None:
        self.version, self.status = version, status
        self.things: dict[int, dict[Any, Any]] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cublasLt"):
            raise AttributeError(name)
        made = partial(getattr(self, "do_" + name.removeprefix("cublasLt")))
        self.__dict__[name] = made
        return made

    def do_GetVersion(self) -> int:  # noqa: N802
        return self.version

    def make(self, to: Any, **facts: Any) -> int:
        to._obj.value = number = 1000 + len(self.calls)
        self.calls.append("make")
        self.things[number] = facts
        return self.status

    def take(self, thing: Any) -> dict[Any, Any]:
        assert isinstance(thing, ctypes.c_void_p)
        return self.things[thing.value or 0]

    def drop(self, thing: Any) -> int:
        del self.things[thing.value]
        return 0

    def set(self, sizes: dict[int, int], thing: Any, name: Any, value: Any, size: Any) -> int:
        assert isinstance(name, ctypes.c_int)
        assert isinstance(size, ctypes.c_size_t)
        assert sizes[name.value] == size.value == ctypes.sizeof(value._obj)
        self.take(thing)[name.value] = value._obj.value
        return 0

    do_Create = make  # noqa: N815
    do_Destroy = do_MatrixLayoutDestroy = do_MatmulDescDestroy = drop  # noqa: N815
    do_MatmulPreferenceDestroy = drop  # noqa: N815

    def do_MatmulDescCreate(self, to: Any, compute: Any, scale: Any) -> int:  # noqa: N802
        assert compute.value in (68, 77)
        assert scale.value == 0
        return self.make(to, compute=compute.value)

    def do_MatrixLayoutCreate(  # noqa: N802
        self, to: Any, dtype: Any, rows: Any, columns: Any, stride: Any
    ) -> int:
        assert (type(rows), type(stride)) == (ctypes.c_uint64, ctypes.c_int64)
        assert stride.value >= rows.value
        return self.make(
            to, dtype=TYPES[dtype.value], rows=rows.value, columns=columns.value, ld=stride.value
        )

    def do_MatmulPreferenceCreate(self, to: Any) -> int:  # noqa: N802
        return self.make(to)

    def do_MatmulDescSetAttribute(self, *arguments: Any) -> int:  # noqa: N802
        return self.set(OPERATION, *arguments)

    def do_MatrixLayoutSetAttribute(self, *arguments: Any) -> int:  # noqa: N802
        return self.set(LAYOUT, *arguments)

    def do_MatmulPreferenceSetAttribute(self, *arguments: Any) -> int:  # noqa: N802
        return self.set(PREFERENCE, *arguments)

    def do_MatmulAlgoGetHeuristic(  # noqa: N802
        self, handle: Any, operation: Any, a: Any, b: Any, c: Any, d: Any, preference: Any,
        count: Any, found: Any, returned: Any,
    ) -> int:  # fmt: skip
        self.take(handle)
        assert {*PREFERENCE} == {*self.take(preference)}
        if self.take(operation)[7] & 4:
            assert self.take(operation)[8], "a bias that lies nowhere"
        assert ctypes.sizeof(found) == 96 * count.value
        for number in range(2):
            found[number].algorithm[:] = DATA
            found[number].workspace_bytes = 512
            found[number].state = 15 if number else 0
        returned._obj.value = 2
        return self.status

    def do_Matmul(  # noqa: N802
        self, handle: Any, operation: Any, alpha: Any, a: Any, a_layout: Any, b: Any,
        b_layout: Any, beta: Any, c: Any, c_layout: Any, d: Any, d_layout: Any, algorithm: Any,
        workspace: Any, size: Any, stream: Any,
    ) -> int:  # fmt: skip
        self.take(handle)
        assert bytes(algorithm) == DATA
        assert (workspace.value, size.value, stream.value) == (4096, 512, 77)
        own = self.take(operation)
        left, right = self.matrix(a, a_layout, own.get(3)), self.matrix(b, b_layout, own.get(4))
        result = self.matrix(d, d_layout, 0)
        made = alpha._obj.value * (left.astype(np.float64) @ right.astype(np.float64))
        if beta._obj.value:
            assert beta._obj.value == 1.0
            made += self.matrix(c, c_layout, 0)
        if own[7] & 4:
            dtype = BY_NAME[TYPES[own[26]]].numpy
            count = result.shape[1]
            bias = np.frombuffer(ctypes.string_at(own[8], count * dtype.itemsize), dtype)
            made += bias.astype(np.float64)[:, None]
        if own[7] & 2:
            made = np.maximum(made, 0)
        if own[7] & 32:
            made = made * (1 + np.tanh(np.sqrt(2 / np.pi) * (made + 0.044715 * made**3))) / 2
        result[:] = made.astype(result.dtype)
        return self.status

    def matrix(self, address: Any, layout: Any, transposed: Any) -> Any:
        """[batch, rows, columns], stored column by column."""
        own = self.take(layout)
        dtype = BY_NAME[own["dtype"]].numpy
        batch, stride = own.get(5, 1), own.get(6, 0)
        size = dtype.itemsize
        memory = (ctypes.c_ubyte * (1 << 16)).from_address(address.value)
        made = np.ndarray(
            (batch, own["rows"], own["columns"]), dtype, memory, 0,
            (stride * size, size, own["ld"] * size),
        )  # fmt: skip
        return made.swapaxes(1, 2) if transposed else made


CASES = (
    {},
    {"bias": True, "activation": "relu"},
    {"c": True, "bias": True, "activation": "gelu_tanh"},
    {"batch": 3, "alpha": 0.25},
    {"transposes": (True, False)},
    {"dtype": "f32", "result": "f32", "tf32": True},
    {"dtype": "bf16", "result": "f32", "c": True},
)


@pytest.mark.parametrize("case", CASES)
def test_what_is_counted_in_columns_is_ours_in_rows(case: dict[str, Any]) -> None:
    given = {"dtype": "f16", "result": "f16", "batch": 1, **case}
    transposes, beside = given.pop("transposes", (False, True)), given.pop("c", False)
    rows, columns, depth, batch = 5, 7, 6, given["batch"]
    rng = np.random.default_rng(0)
    dtypes = [BY_NAME[given[name]].numpy for name in ("dtype", "result")]

    def memory(shape: tuple[int, ...], dtype: Any, transposed: bool = False) -> tuple[Any, Any]:
        """An array in a buffer of its own with two more elements in each row, and its side."""
        own = (shape[0], *shape[:0:-1]) if transposed else shape
        whole = np.full(1 << 16, 0x7F, np.uint8)[: 1 << 16]
        wide = whole.view(dtype)[: own[0] * own[1] * (own[2] + 2)].reshape(*own[:2], own[2] + 2)
        inner = wide[:, :, : own[2]]
        inner[:] = rng.standard_normal(own).astype(dtype)
        view = inner.swapaxes(1, 2) if transposed else inner
        return view, Side(own[2] + 2, own[1] * (own[2] + 2), transposed)

    a, a_side = memory((batch, rows, depth), dtypes[0], transposes[0])
    b, b_side = memory((batch, depth, columns), dtypes[0], transposes[1])
    c, c_side = memory((batch, rows, columns), dtypes[1])
    d, d_side = memory((batch, rows, columns), dtypes[1])
    bias = rng.standard_normal(columns).astype(dtypes[1])
    product = Product(
        rows, columns, depth, a=a_side, b=b_side, d=d_side, c=c_side if beside else None, **given
    )
    own = Own()
    library = CublasLt(own)
    handle = library.create()
    (found,) = library.algorithms(handle, product, 1 << 20, 4)
    assert (found.data, found.workspace_bytes) == (DATA, 512)
    call = Call(CUBLASLT, library.version, product, found.data.hex(), found.workspace_bytes)
    arrays = [a, b, d, *([c] if beside else []), *([bias] if product.bias else [])]
    parameters = Parameters([0] * len(arrays) + [4096])
    prepared = library.prepare(handle, call, parameters)
    for position, array in enumerate(arrays):  # they may change after it is prepared
        parameters.values[position] = array.ctypes.data
    library.run(prepared, 77)
    wanted = reference(product, a, b, c if beside else None, bias if product.bias else None)
    np.testing.assert_array_equal(d, wanted.astype(dtypes[1]))
    library.release(prepared)
    library.destroy(handle)
    assert not own.things


def test_a_product_that_it_cannot_take_has_no_algorithms() -> None:
    own = Own()
    library = CublasLt(own)
    handle = library.create()
    own.status = 0
    product = Product(4, 4, 4, "f16", "f16", Side(4), Side(4), Side(4))
    refuse = own.do_MatmulAlgoGetHeuristic
    own.cublasLtMatmulAlgoGetHeuristic = lambda *a: refuse(*a) or 15
    assert not library.algorithms(handle, product, 0, 4)
    own.cublasLtMatmulAlgoGetHeuristic = lambda *a: refuse(*a) or 14
    with pytest.raises(LibraryError, match="cublasLtMatmulAlgoGetHeuristic failed") as caught:
        library.algorithms(handle, product, 0, 4)
    assert "INTERNAL_ERROR" in caught.value.know
    library.destroy(handle)
    assert not own.things
