"""The binding against a library that decodes every descriptor as cudnn_graph.h declares it."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from planck.device.cuda import cudnn
from planck.device.cuda.cudnn import Cudnn
from planck.device.cuda.driver import Parameters
from planck.device.cuda.library import CUDNN, Call, Convolution, Image
from planck.dtypes import BY_NAME
from planck.errors import LibraryError
from tests.device.fake_library import FUNCTIONS, convolved

POINTWISE, CONVOLUTION, ENGINE, CONFIG, HEURISTIC, PLAN, CHOICE = 0, 1, 2, 3, 4, 5, 7
OP_CONVOLUTION, OP_POINTWISE, GRAPH, PACK, TENSOR = 10, 13, 15, 16, 17
HANDLE, DTYPE, BOOL, INT64, FLOAT, POINTER, DESCRIPTOR = 0, 1, 2, 3, 4, 6, 15
SIZES = {0: 8, 1: 4, 2: 1, 3: 8, 4: 4, 6: 8, 7: 4, 8: 4, 9: 4, 11: 4, 14: 4, 15: 8, 19: 4, 24: 1}
# Of each kind of descriptor: attributes that must be set, and their types.
SET = {
    POINTWISE: {0: 14, 1: DTYPE},
    CONVOLUTION: {100: DTYPE, 101: 7, **dict.fromkeys(range(102, 107), INT64)},
    ENGINE: {1300: DESCRIPTOR, 1301: INT64},
    CONFIG: {300: DESCRIPTOR},
    HEURISTIC: {200: 8, 201: DESCRIPTOR},
    PLAN: {400: HANDLE, 401: DESCRIPTOR},
    CHOICE: {600: 9, 601: INT64},
    OP_CONVOLUTION: {700: FLOAT, 701: FLOAT, **dict.fromkeys(range(702, 706), DESCRIPTOR)},
    OP_POINTWISE: dict.fromkeys((750, 751, 753), DESCRIPTOR),
    GRAPH: {800: HANDLE, 801: DESCRIPTOR},
    PACK: {1000: INT64, 1001: POINTER, 1003: POINTER},
    TENSOR: {900: INT64, 901: DTYPE, 902: INT64, 903: INT64, 906: INT64},
}
OPTIONAL = {302: DESCRIPTOR, 405: 24, 752: DESCRIPTOR, 907: BOOL}
GOT = {202: DESCRIPTOR, 300: DESCRIPTOR, 302: DESCRIPTOR, 402: INT64, 600: 9, 601: INT64}
GOT |= {1301: INT64, 1303: 11, 1305: 19, 405: 24}
DTYPES = {0: "f32", 2: "f16", 9: "bf16"}
UNARY = {100: "relu", 101: "tanh", 102: "sigmoid", 104: "gelu", 106: "silu", 107: "gelu_tanh"}
# Engines that heuristics name: number, notes, knobs. The second differs from run to run, the third
# cannot be run, the last two and the first round float32.
ENGINES = (
    (41, [0], {2: 4, 27: 8}), (7, [0, 4], {}), (10, [], {2: 1}), (0, [9], {}), (4, [], {2: 1}),
    (4, [], {2: 2}), (4, [], {2: 3}), (30, [0, 1], {}), (31, [1], {}),
)  # fmt: skip
UNRUN, COMPILES = 10, 4
WORKSPACE = 512


@dataclass
class Descriptor:
    kind: int
    values: dict[int, list[Any]] = field(default_factory=dict)
    final: bool = False


class Own:
    """A library that computes on the host's memory."""

    def __init__(self, version: int = 91_400) -> None:
        self.version, self.stream, self.fail, self.count = version, 0, "", 0
        self.made = 0  # plans, of engines
        self.taken: dict[int, Descriptor] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cudnn"):
            raise AttributeError(name)
        own = getattr(self, "do_" + name.removeprefix("cudnn").removeprefix("Backend"))
        self.__dict__[name] = lambda *a: 5000 if name == self.fail else own(*a)
        return self.__dict__[name]

    def take(self, thing: Any) -> Descriptor:
        value = thing.value if isinstance(thing, ctypes.c_void_p) else thing
        return self.taken[value]

    def do_GetVersion(self) -> int:  # noqa: N802
        return self.version

    def do_GetCudartVersion(self) -> int:  # noqa: N802
        return 13_000

    def do_GetLastErrorString(self, to: Any, size: Any) -> None:  # noqa: N802
        to.value = b"why it\nfailed"
        assert size.value == ctypes.sizeof(to)

    def do_Create(self, to: Any) -> int:  # noqa: N802
        return self.do_CreateDescriptor(ctypes.c_int(-1), to)

    def do_SetStream(self, handle: Any, stream: Any) -> int:  # noqa: N802
        assert self.take(handle).kind == -1
        self.stream = stream.value
        return 0

    def do_CreateDescriptor(self, kind: Any, to: Any) -> int:  # noqa: N802
        self.count += 1
        to._obj.value = self.count
        self.taken[self.count] = Descriptor(kind.value)
        return 0

    def do_DestroyDescriptor(self, thing: Any) -> int:  # noqa: N802
        del self.taken[thing.value]
        return 0

    do_Destroy = do_DestroyDescriptor  # noqa: N815

    def do_SetAttribute(  # noqa: N802
        self, thing: Any, name: Any, type_: Any, count: Any, values: Any
    ) -> int:
        own = self.take(thing)
        assert not own.final
        assert isinstance(count, ctypes.c_int64)
        assert {**SET[own.kind], **OPTIONAL}[name.value] == type_.value
        assert ctypes.sizeof(values) == SIZES[type_.value] * count.value
        own.values[name.value] = list(values)
        if type_.value == DESCRIPTOR:
            assert all(self.take(value).final for value in values)
        return 0

    def do_Finalize(self, thing: Any) -> int:  # noqa: N802
        own = self.take(thing)
        if own.kind == PLAN and 405 in own.values:
            text = b"".join(own.values[405])
            if not text.startswith(b"config ") or int(text[7:]) not in self.taken:
                return 2000
            own.values[401] = [int(text[7:])]
        assert SET[own.kind].keys() <= own.values.keys()
        if own.kind == ENGINE and own.values[1301] not in [[row[0]] for row in ENGINES]:
            return 2000
        if own.kind == PLAN:
            engine = self.take(self.take(own.values[401][0]).values[300][0])
            if engine.values[1301] == [UNRUN]:
                return 3007
            own.values[402] = [WORKSPACE]
            self.made += 405 not in own.values
        if own.kind == HEURISTIC:
            assert own.values[200] == [3]
        own.final = True
        return 0

    def do_GetAttribute(  # noqa: N802
        self, thing: Any, name: Any, type_: Any, most: Any, count: Any, values: Any
    ) -> int:
        own = self.take(thing)
        assert GOT[name.value] == type_.value
        assert SIZES[type_.value] * most.value == (ctypes.sizeof(values) if values else 0)
        found = own.values.get(name.value, [])
        if name.value == 1305:
            found = [0] * (own.values[1301] == [COMPILES])
        if name.value == 405:
            text = b"config %d" % own.values[401][0]
            count._obj.value = len(text)
            if values:
                values.value = text
            return 0
        if name.value == 202:
            found = list(values)[: len(ENGINES)]
            for value, (engine, notes, knobs) in zip(found, ENGINES, strict=True):
                self.take(value).values = {300: [(engine, notes)], 302: list(knobs.items())}
        elif name.value == 300:
            ((engine, notes),) = found
            self.take(values[0]).values = {1301: [engine], 1303: notes}
        elif name.value == 302:
            for value, (knob, number) in zip(values, found, strict=False):
                self.take(value).values = {600: [knob], 601: [number]}
        else:
            values[: len(found)] = found
        count._obj.value = len(found)
        return 0

    def do_Execute(self, handle: Any, plan: Any, pack: Any) -> int:  # noqa: N802
        assert self.take(handle).kind == -1
        assert self.stream == 77
        packed = self.take(pack).values
        assert packed[1003] == [4096]
        at = dict(zip(packed[1000], packed[1001], strict=True))
        engine = self.take(self.take(self.take(plan).values[401][0]).values[300][0])
        graph = self.take(engine.values[1300][0])
        made: dict[int, Any] = {}
        for value in graph.values[801]:
            operation = self.take(value)
            compute = self.convolve if operation.kind == OP_CONVOLUTION else self.step
            result, array = compute(operation.values, made, at)
            if self.take(result).values.get(907):
                made[self.take(result).values[906][0]] = array
            else:
                view = self.tensor(result, made, at)
                view[:] = array.astype(view.dtype)
        return 0

    def tensor(self, value: Any, made: dict[int, Any], at: dict[int, int]) -> Any:
        own = self.take(value).values
        number = own[906][0]
        if own.get(907):
            assert own[901] == [0]
            return made[number]
        assert own[900] == [16]
        dtype = BY_NAME[DTYPES[own[901][0]]].numpy
        memory = (ctypes.c_ubyte * (1 << 14)).from_address(at[number])
        strides = [n * dtype.itemsize for n in own[903]]
        return np.ndarray(own[902], dtype, memory, 0, strides)

    def convolve(self, own: Any, made: Any, at: Any) -> tuple[Any, Any]:
        how = self.take(own[702][0]).values
        assert (how[100], how[101], how[106]) == ([0], [1], [2])
        assert (own[700], own[701]) == ([1.0], [0.0])
        x, w = self.tensor(own[704][0], made, at), self.tensor(own[703][0], made, at)
        y = self.take(own[705][0]).values[902]
        image = Image(0, 0, 0, 0)
        problem = Convolution(
            x.shape[0], x.shape[1], y[1], x.shape[1] // w.shape[1], x.shape[2:], tuple(y[2:]),
            w.shape[2:], how[103], how[102], how[105], how[104], "f32", "f32", image, image,
        )  # fmt: skip
        return own[705][0], convolved(problem, x, w, None, None)

    def step(self, own: Any, made: Any, at: Any) -> tuple[Any, Any]:
        how = self.take(own[750][0]).values
        assert how[1] == [0]
        x = self.tensor(own[751][0], made, at)
        if how[0] == [0]:
            return own[753][0], x + self.tensor(own[752][0], made, at).astype(np.float64)
        return own[753][0], FUNCTIONS[UNARY[how[0][0]]](x)


def convolution(steps: tuple[str, ...], dtype: str = "f16", **changes: Any) -> Convolution:
    """Of images whose pixels are 8 elements apart, of six channels to four."""
    image = Image(5 * 6 * 8, 1, 6 * 8, 8)
    made = Convolution(
        2, 6, 4, 1, (5, 6), (3, 3), (3, 2), (2, 2), (1, 1), (1, 0), (1, 0), dtype, dtype,
        image, Image(3 * 3 * 8, 1, 3 * 8, 8), steps=steps,  # type: ignore[arg-type]
        c=Image(3 * 3 * 8, 1, 3 * 8, 8) if "beside" in steps else None,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize("own", [
    convolution(("beside", "bias", "relu")),
    convolution(("bias", "silu", "beside"), "bf16"),
    convolution((), "f32"),
    convolution(("bias", "gelu"), "f32", groups=2, tf32=True),
    convolution(("sigmoid",), dilations=(2, 3), out=(2, 2)),
    *(convolution((name,)) for name in ("gelu_tanh", "tanh")),
])  # fmt: skip
@pytest.mark.parametrize("engine", [0, COMPILES])
def test_a_convolution_is_a_graph_of_descriptors(own: Convolution, engine: int) -> None:
    rng = np.random.default_rng(0)
    dtype = BY_NAME[own.dtype].numpy

    def memory(dims: tuple[int, ...], strides: tuple[int, ...]) -> tuple[Any, Any]:
        whole = np.full((1 << 14) // dtype.itemsize, 7, dtype)
        view = np.lib.stride_tricks.as_strided(
            whole, dims, [n * dtype.itemsize for n in strides], writeable=True
        )
        view[:] = rng.standard_normal(dims).astype(dtype)
        return whole, view

    columns, channels, down, across = own.b_dims
    dense = (down * across * channels, 1, across * channels, channels)
    given = {
        "a": memory(own.a_dims, own.a.strides), "b": memory(own.b_dims, dense),
        "d": memory(own.d_dims, own.d.strides), "c": memory(own.d_dims, own.d.strides),
        "bias": memory((columns,), (1,)),
    }  # fmt: skip
    fake = Own()
    library = Cudnn(fake)
    handle = library.create()
    found = library.algorithms(handle, own, 1 << 20, 9)
    named = [int.from_bytes(one.data[:8], "little") for one in found]
    exact = own.dtype == "f32" and not own.tf32
    assert named == ([10, 0, 4, 4] if exact else [41, 10, 0, 4, 4, 30, 31])
    if not exact:
        assert np.frombuffer(found[0].data, "<i8").tolist() == [41, 2, 4, 27, 8]
    assert library.algorithms(handle, own, 1 << 20, 2) == found[:2]
    made = library.complete(handle, own, found[named.index(engine)])
    assert (made.workspace_bytes, bool(made.image)) == (WORKSPACE, engine == COMPILES)
    call = Call(CUDNN, library.version, own, made.data.hex(), WORKSPACE, made.image.hex())
    names = ["a", "b", "d", *["c"] * (own.c is not None), *["bias"] * own.bias]
    assert call.arguments == len(names) + 1
    parameters = Parameters([0] * len(names) + [4096])
    prepared = library.prepare(handle, call, parameters)
    for position, name in enumerate(names):  # they may change after it is prepared
        parameters.values[position] = given[name][0].ctypes.data
    live = len(fake.taken)
    library.run(prepared, 77)
    assert len(fake.taken) == live
    a, b, d, c, bias = (given[name][1] for name in ("a", "b", "d", "c", "bias"))
    wanted = convolved(own, a, b, c, bias)
    np.testing.assert_array_equal(d, wanted.astype(dtype))
    library.release(prepared)
    library.destroy(handle)
    assert not fake.taken


def test_plans_are_made_once_a_handle_and_fail_with_what_to_do() -> None:
    fake = Own()
    library = Cudnn(fake)
    handle = library.create()
    own = convolution(("bias",))
    found = library.complete(handle, own, library.algorithms(handle, own, 1 << 20, 1)[0])
    live = len(fake.taken)
    call = Call(CUDNN, library.version, own, found.data.hex(), WORKSPACE)
    for _ in range(3):
        library.prepare(handle, call, Parameters([0] * 5))
    assert len(fake.taken) == live
    with pytest.raises(LibraryError, match="more memory") as caught:
        library.prepare(handle, replace(call, workspace_bytes=256), Parameters([0] * 5))
    for engine in (UNRUN, 99):
        data = engine.to_bytes(8, "little").hex()
        with pytest.raises(LibraryError, match="cannot run a step here") as caught:
            library.prepare(handle, replace(call, algorithm=data), Parameters([0] * 5))
        assert "build the plan again" in caught.value.try_
        assert "why it failed; cuDNN is 9.14.0" in caught.value.know
    fake.fail = "cudnnBackendExecute"
    prepared = library.prepare(handle, call, Parameters([16] * 4 + [4096]))
    with pytest.raises(LibraryError, match="cudnnBackendExecute failed"):
        library.run(prepared, 77)
    fake.fail = ""
    library.destroy(handle)
    assert not fake.taken


def test_what_was_compiled_is_read_and_made_again_where_it_cannot_be() -> None:
    fake = Own()
    library = Cudnn(fake)
    own = convolution(("bias", "silu"))
    first, second = library.create(), library.create()
    algorithm = library.algorithms(first, own, 1 << 20, 9)[3]
    made = library.complete(first, own, algorithm)
    assert (fake.made, library.complete(first, own, algorithm)) == (1, made)
    call = Call(CUDNN, library.version, own, made.data.hex(), WORKSPACE, made.image.hex())
    library.prepare(second, call, Parameters([0] * 5))
    assert fake.made == 1
    for number, image in enumerate(("00" * 8, zlib.compress(b"config 99999").hex()), 2):
        third = library.create()
        library.prepare(third, replace(call, image=image), Parameters([0] * 5))
        assert fake.made == number


@pytest.fixture
def fresh() -> Iterator[None]:
    cudnn.open_cudnn.cache_clear()
    yield
    cudnn.open_cudnn.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_what_it_would_end_the_process_without_is_loaded_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    absent = {"libcublasLt.so.13", "libnvrtc.so.13"}

    def load(place: str) -> Any:
        name = place.split("/")[-1]
        tried.append(name)
        if name in absent:
            raise OSError(f"{place}: cannot open shared object file")
        return Own()

    monkeypatch.setattr(ctypes, "CDLL", load)
    with pytest.raises(LibraryError, match="cuBLASLt, which cuDNN needs, is not on") as caught:
        cudnn.open_cudnn()
    assert "libcublasLt.so.13" in caught.value.know
    absent.remove("libcublasLt.so.13")
    assert cudnn.open_cudnn().version == 91_400
    assert tried[-3:] == ["libcudnn.so.9", "libcublasLt.so.13", "libnvrtc.so.13"]
