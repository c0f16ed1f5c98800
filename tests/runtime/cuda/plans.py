"""Hand-made plans for a GPU, whose kernels are Python functions on a fake driver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planck import dtypes
from planck.device.cuda.arrays import DeviceArray
from planck.device.cuda.device import Device
from planck.ir.types import TensorType
from planck.plan.model import Launch, Place, Plan, Slot, Step
from planck.target import Target, resolve
from tests.device.fake_cuda import FakeDriver, cubin

GENERIC = resolve("cuda:sm_90")


def vector(name: str, count: int, place: Place) -> Slot:
    return Slot(name, TensorType((count,), dtypes.f32), place, (1,))


def axpy_kernel(count: int) -> Any:
    """y = a * x + b; it counts itself in the counter, uses its workspace, and cleans up."""

    def axpy(x: Any, a: Any, b: Any, y: Any, workspace: Any, counter: Any) -> None:
        x, a, b, y = (array[: 4 * count].view(np.float32) for array in (x, a, b, y))
        assert counter[:4].view(np.uint32)[0] == 0, "a counter that is not zero"
        product = workspace[: 4 * count].view(np.float32)
        product[:] = a * x
        y[:] = product + b

    return axpy


def chain(
    length: int, count: int = 1000, target: Target = GENERIC, code: bytes = b"", **changes: Any
) -> tuple[Plan, Any]:
    """A network of `length` steps x -> a_i * x + b_i, and the function that it computes."""
    rng = np.random.default_rng(0)
    kinds, room = 4, -(-4 * count // 256) * 256
    weights = rng.uniform(-1, 1, (kinds, 2, room // 4)).astype(np.float32)
    slots = [vector("x", count, Place("input"))]
    steps = []
    for i in range(length):
        last = i == length - 1
        place = Place("output") if last else Place("arena", (i % 2) * room)
        slots.append(vector("y" if last else f"t{i}", count, place))
        at = (i % kinds) * 2 * room
        constants = (Place("weights", at), Place("weights", at + room))
        arguments = (slots[i].place, *constants, place, Place("workspace"), Place("counters", 4))
        launch = Launch(-(-count // 128), 128, 1024 if i else 100_000, dependent=True)
        step = Step(
            f"axpy{i}", "hand", "axpy", arguments, (i,), (i + 1,), flops=2 * count, launch=launch
        )
        steps.append(step)
    plan = Plan(
        name="chain",
        target=target,
        precision="fp32",
        threads=1,
        inputs=(slots[0],),
        outputs=(slots[-1],),
        slots=tuple(slots),
        steps=tuple(steps),
        arena_bytes=2 * room,
        code=code or cubin("other") + cubin("axpy"),
        symbols={"other": 0, "axpy": 0 if code else len(cubin("other"))},
        weights=weights.tobytes(),
        names={"x": "my input", "y": "my:output"},
        workspace_bytes=4 * count,
        counter_bytes=8,
    )

    def expected(x: Any) -> Any:
        for i in range(length):
            a, b = weights[i % kinds, :, :count]
            x = (a * x).astype(np.float32) + b
        return x

    return replace(plan, **changes), expected


def with_references(count: int = 100) -> tuple[Plan, Any]:
    """Five steps, of which the second, the third and the last run by their references."""
    plan, _ = chain(5, count)

    def reference(number: int, text: str) -> Step:
        old = plan.steps[number]
        text = (
            f'graph "reference"(%x: f32[{count}]) {{\n  %y: f32[{count}] = {text}\n  return %y\n}}'
        )
        return Step(old.name, "reference", "", (), old.reads, old.writes, reference=text)

    negate = 'Pointwise(%x, fn="neg")'
    steps = [
        reference(n, negate) if n in (1, 2, 4) else plan.steps[n] for n in range(len(plan.steps))
    ]
    weights = np.frombuffer(plan.weights, np.float32).reshape(4, 2, -1)[:, :, :count]

    def expected(x: Any) -> Any:
        for i in range(5):
            a, b = weights[i % 4]
            x = -x if i in (1, 2, 4) else (a * x).astype(np.float32) + b
        return x

    return replace(plan, steps=tuple(steps)), expected


def fake(count: int = 1000, **options: Any) -> FakeDriver:
    return FakeDriver({"axpy": axpy_kernel(count)}, **options)


class Owned:
    """Memory of a fake GPU that another library would have."""

    def __init__(self, device: Device, array: Any, offset: int = 0) -> None:
        self._driver: FakeDriver = device.driver  # type: ignore[assignment]
        self.device, self.like = device, array
        with device:
            self._base = self._driver.allocate(array.nbytes + offset)
        self.address = self._base + offset
        self.numpy()[:] = array.reshape(-1).view(np.uint8)

    def numpy(self) -> Any:
        return self._driver.array(self.address, self.like.nbytes)

    def values(self) -> Any:
        return self.numpy().view(self.like.dtype).reshape(self.like.shape).copy()

    def free(self) -> None:
        with self.device:
            self._driver.free(self._base)


class Interfaced(Owned):
    """As Numba and CuPy say it."""

    stream: int | None = None
    strides: tuple[int, ...] | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.like.shape,
            "typestr": self.like.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "strides": self.strides,
            "stream": self.stream,
        }


class Packed(Owned):
    """As PyTorch says it; `asked` are the streams on which it was to be ready."""

    place = (2, 0)

    def __init__(self, device: Device, array: Any, offset: int = 0) -> None:
        super().__init__(device, array, offset)
        self.asked: list[int] = []

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a tensor is ambiguous")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place

    def __dlpack__(self, *, stream: int) -> Any:
        self.asked.append(stream)
        dtype = dtypes.from_numpy(self.like.dtype)
        array = DeviceArray(self.address, self.like.shape, dtype, self.device, None)
        return array.__dlpack__()
