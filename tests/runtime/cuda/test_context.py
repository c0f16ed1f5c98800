"""Contexts on a fake GPU: right results, no copies where none are needed, nothing left behind."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from planck.device.cuda.arrays import DeviceArray
from planck.errors import (
    ContextInUseError,
    CudaError,
    DeviceError,
    DeviceMemoryError,
    DTypeError,
    InputError,
    PlanTargetError,
    ShapeError,
)
from planck.runtime.cuda import engine
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.launches import GRAPHS
from planck.runtime.cuda.merged import Merged
from planck.runtime.cuda.pipeline import Pipeline
from planck.runtime.engine import PlanOnly, engine_or_plan
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.conftest import COUNT
from tests.runtime.cuda.plans import (
    Interfaced,
    Owned,
    Packed,
    chain,
    fake,
    with_references,
)

X, Y = "my input", "my:output"


def random(seed: int = 0, count: int = COUNT) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, count).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_results_of_arrays_of_the_host(driver: FakeDriver, length: int) -> None:
    plan, expected = chain(length)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        for seed in range(3):
            x = random(seed)
            np.testing.assert_array_equal(context({X: x})[Y], expected(x))
            np.testing.assert_array_equal(made(x)[Y], expected(x))
        wide = random(0, 3 * COUNT)
        np.testing.assert_array_equal(context(wide[::-3])[Y], expected(wide[::-3]))
        out = {Y: np.empty(2 * COUNT, np.float32)[::2]}
        assert context(x, out)[Y] is out[Y]
        np.testing.assert_array_equal(out[Y], expected(x))


def test_every_launch_is_as_the_plan_says(driver: FakeDriver) -> None:
    plan, _ = chain(3)
    with CudaEngine(plan, driver) as made:
        made(random())
    ran = [(r.grid, r.threads, r.shared_bytes, r.dependent) for r in driver.ran]
    # The first of a graph depends on nothing in it.
    assert ran == [(8, 128, 100_000, False), (8, 128, 1024, True), (8, 128, 1024, True)]
    assert driver.calls.count("load_module") == 1  # of the two in the plan, one is used


@pytest.mark.parametrize("kind", [Packed, Interfaced])
def test_arrays_of_the_gpu_are_used_where_they_lie(driver: FakeDriver, kind: Any) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        x, y = kind(made.device, random()), kind(made.device, random(1))
        driver.calls.clear()
        result = context({X: x}, {Y: y})
        assert result[Y] is y
        np.testing.assert_array_equal(y.values(), expected(random()))
        np.testing.assert_array_equal(x.values(), random())
        assert not {"upload", "download", "copy", "allocate"} & set(driver.calls)
        assert [driver.ran[0].pointers[0], driver.ran[-1].pointers[3]] == [x.address, y.address]
        if kind is Packed:  # was told to be ready on the context's stream
            assert x.asked == [int(context._stream)]
        x.free(), y.free()


def test_outputs_stay_on_the_gpu_if_asked(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        y = context(random(), device_outputs=True)[Y]
        assert isinstance(y, DeviceArray)
        assert (y.shape, y.dtype, y.nbytes) == ((COUNT,), np.float32, 4 * COUNT)
        assert "DeviceArray(f32[1000], cuda:0)" in repr(y)
        np.testing.assert_array_equal(y.numpy(), expected(random()))
        again = made.create_execution_context()(y, device_outputs=True)[Y]  # without a copy
        np.testing.assert_array_equal(again.numpy(), expected(expected(random())))


def test_unaligned_inputs_are_copied_and_outputs_refused(driver: FakeDriver) -> None:
    plan, expected = chain(1)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        x = Packed(made.device, random(), offset=4)
        np.testing.assert_array_equal(context(x)[Y], expected(random()))
        with pytest.raises(InputError, match="in place"):
            context(random(), {Y: x})
        x.free()


def test_a_stream_of_the_array_is_waited_for(driver: FakeDriver) -> None:
    plan, expected = chain(1)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        source, x = Owned(made.device, random(3)), Interfaced(made.device, random())
        with made.device:
            stream = driver.create_stream()
            driver.copy(x.address, source.address, 4 * COUNT, stream)
        x.stream = int(stream)
        np.testing.assert_array_equal(context(x)[Y], expected(random(3)))
        x.free(), source.free()
        with made.device:
            driver.destroy_stream(stream)


def test_execute_async_is_one_launch_of_a_graph(driver: FakeDriver) -> None:
    plan, expected = chain(5)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        with pytest.raises(InputError, match="bound"):
            context.execute_async()
        x = Packed(made.device, random())
        y = context.bind({X: x})[Y]
        driver.ran.clear()
        driver.calls.clear()
        context.execute_async()
        assert driver.calls == ["push", "launch_graph", "pop"]
        assert not driver.ran
        context.synchronize()
        np.testing.assert_array_equal(y.numpy(), expected(random()))
        x.numpy()[:] = random(5).view(np.uint8)
        other = PyTorchStream(made.device)
        context.execute_async(other)
        context.synchronize()  # the other stream goes on
        assert len(driver.ran) == 5
        np.testing.assert_array_equal(y.numpy(), expected(random(5)))  # waits for it
        other.close()
        np.testing.assert_array_equal(y.numpy(), expected(random(5)))
        out = Packed(made.device, random())
        assert context.bind({X: random(2)}, {Y: out})[Y] is out
        context.execute_async(0)
        with made.device:
            driver.synchronize(driver.stream(0))
        np.testing.assert_array_equal(out.values(), expected(random(2)))
        x.free(), out.free()


class PyTorchStream:
    def __init__(self, device: Any) -> None:
        self._device, self._driver = device, device.driver
        with device:
            self._stream = self._driver.create_stream()
        self.cuda_stream = int(self._stream)

    def close(self) -> None:
        with self._device:
            self._driver.synchronize(self._stream)
            self._driver.destroy_stream(self._stream)


@pytest.mark.parametrize("how", ["interface", "capsule", "array"])
@pytest.mark.parametrize("own", [True, False])
def test_who_is_given_an_output_reads_it_behind_the_run(
    driver: FakeDriver, own: bool, how: str
) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as made:
        first, second = (made.create_execution_context() for _ in range(2))
        y, stream = first.bind(random())[Y], None if own else PyTorchStream(made.device)
        passed: dict[str, Any] = {"array": y, "interface": Passed(y), "capsule": Capsuled(y)}
        for _ in range(2):
            first.execute_async(stream)
            found = second(passed[how])[Y]
            np.testing.assert_array_equal(found, expected(expected(random())))
        first.synchronize()
        assert (y.__cuda_array_interface__["stream"] is None) == own
        if stream:
            stream.close()
            np.testing.assert_array_equal(y.numpy(), expected(random()))


class Passed:
    """Another library's array, that says of itself what ours says."""

    def __init__(self, array: DeviceArray) -> None:
        self._array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._array.__cuda_array_interface__


class Capsuled:
    def __init__(self, array: DeviceArray) -> None:
        self.__dlpack__ = array.__dlpack__
        self.__dlpack_device__ = array.__dlpack_device__


def test_bound_copies_that_a_call_overwrites_are_not_run(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        y = context.bind(random(1))[Y]
        x = Packed(made.device, random(2))
        context(x)  # is read where it lies
        context.execute_async()
        np.testing.assert_array_equal(y.numpy(), expected(random(1)))
        context.synchronize()
        merged = Merged([context])
        merged.execute_async()
        context(random(3))
        for use in (context.execute_async, lambda: Merged([context]), merged.execute_async):
            with pytest.raises(InputError, match="nothing is bound any more") as caught:
                use()
            assert "copied other inputs" in caught.value.know
        y = context.bind(x)[Y]
        context.execute_async()
        np.testing.assert_array_equal(y.numpy(), expected(random(2)))
        with pytest.raises(InputError, match="nothing is bound any more"):
            merged.execute_async()  # whose graph reads the copy that is gone
        context.bind(random(1))
        merged.execute_async()
        np.testing.assert_array_equal(y.numpy(), expected(random(1)))
        y = context.bind()[Y]
        context(random(4))  # the context's own arrays are whoever's who writes them
        context.execute_async()
        np.testing.assert_array_equal(y.numpy(), expected(random(4)))
        x.free()


def test_own_buffers_are_bound_where_nothing_is_given(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        y = context.bind()[Y]
        x = context.input_buffers[X]
        driver.array(x.address, x.nbytes)[:] = random(4).view(np.uint8)
        context.execute_async()
        context.synchronize()
        np.testing.assert_array_equal(y.numpy(), expected(random(4)))
        for wrong in (object(), "1"):
            with pytest.raises(InputError, match="no CUDA stream"):
                context.execute_async(wrong)
        with pytest.raises(InputError, match="host's memory"):
            context.bind(random(), {Y: random()})


def test_calls_take_no_memory_after_the_first(driver: FakeDriver) -> None:
    plan, _ = chain(3)
    taking = {"allocate", "allocate_host", "create_event", "create_stream", "instantiate"}
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        x = Interfaced(made.device, random())
        x.stream = 0
        context(random()), context(x)
        driver.calls.clear()
        for seed in range(5):
            context(random(seed)), context(x, device_outputs=True)
        assert not taking & set(driver.calls)
        x.free()


def test_a_context_that_nobody_keeps_gives_its_memory_back_at_once(driver: FakeDriver) -> None:
    """Memory of a context is looked at while it is kept: here on a GPU that counts every byte."""
    plan, _ = chain(3)
    with CudaEngine(plan, driver) as made:
        before = driver.leaks()
        made.create_execution_context()(random())
        assert driver.leaks() == before
        context = made.create_execution_context()
        context(random())
        assert driver.leaks()["memory"] > before["memory"]
        context.close()
        assert driver.leaks() == before


def test_graphs_are_kept_for_the_last_sets_of_pointers(driver: FakeDriver) -> None:
    plan, expected = chain(3)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        y = context.bind()[Y]
        given = [Packed(made.device, random(seed)) for seed in range(2 * GRAPHS)]
        for _ in range(2):
            for seed, x in enumerate(given):
                np.testing.assert_array_equal(context(x)[Y], expected(random(seed)))
        # No more are made than are kept: the oldest are changed.
        assert driver.calls.count("instantiate") == GRAPHS
        assert len(driver.live["executable"]) == GRAPHS
        driver.calls.clear()
        context(given[-1])
        assert "begin_capture" not in driver.calls
        own = context.input_buffers[X]
        driver.array(own.address, own.nbytes)[:] = random(9).view(np.uint8)
        context.execute_async()  # what is bound is never dropped
        context.synchronize()
        np.testing.assert_array_equal(y.numpy(), expected(random(9)))
        for x in given:
            x.free()


def test_contexts_share_weights_and_run_side_by_side(driver: FakeDriver) -> None:
    plan, expected = chain(20)
    with CudaEngine(plan, driver) as made:
        before = len(driver.memory)

        def work(seed: int) -> None:
            with made.create_execution_context() as context:
                for turn in range(10):
                    x = random(100 * seed + turn)
                    np.testing.assert_array_equal(context(x)[Y], expected(x))
                    np.testing.assert_array_equal(made(x)[Y], expected(x))

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(work, range(3)))
        assert before == 1  # the weights
        assert sum(len(m) == len(plan.weights) for m in driver.memory.values()) == 1


def test_a_second_thread_gets_an_error(driver: FakeDriver) -> None:
    inside, go = threading.Event(), threading.Event()

    def slow(*arrays: Any) -> None:
        inside.set()
        assert go.wait(30)

    plan, _ = chain(1)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        driver.kernels["axpy"] = slow
        thread = threading.Thread(target=context, args=(random(),))
        thread.start()
        assert inside.wait(30)
        for act in (lambda: context(random()), context.execute_async, context.close, made.close):
            with pytest.raises(ContextInUseError):
                act()
        go.set()
        thread.join()


def test_reference_steps_run_between_graphs(
    driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    plan, expected = with_references(COUNT)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        assert "3 steps run by their NumPy reference" in caplog.text
        assert made.inspect().reference_steps == 3
        for seed in range(3):
            np.testing.assert_array_equal(context(random(seed))[Y], expected(random(seed)))
        x = Packed(made.device, random(7))
        np.testing.assert_array_equal(
            context(x, device_outputs=True)[Y].numpy(), expected(random(7))
        )
        x.free()
        assert all(us > 0 for us in context.times_us(random()))
        with pytest.raises(InputError, match="NumPy"):
            context.bind()


def test_profile_has_a_time_for_every_step(driver: FakeDriver) -> None:
    plan, expected = chain(8)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        profile = context.profile(random(), runs=3)
        assert [(s.number, s.us, s.min_us) for s in profile.steps] == [
            (number, 5.0, 5.0) for number in range(8)
        ]
        assert profile.total_us > 0
        assert profile.host_us >= 0
        assert "axpy7" in str(profile)
        assert context.times_us(random()) == [5.0] * 8
        np.testing.assert_array_equal(context(random())[Y], expected(random()))
        with pytest.raises(InputError):
            context.profile(random(), runs=0)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda d: {}, InputError, "my input: float32[1000]"),
        (lambda d: {"x": random()}, InputError, "given 'x'"),
        (lambda d: [0.0] * COUNT, InputError, "list"),
        (lambda d: random().astype(np.float64), DTypeError, "given float64"),
        (lambda d: random()[None], ShapeError, "given (1, 1000)"),
        (lambda d: Packed(d, random().astype(np.float16)), DTypeError, "given float16"),
        (lambda d: Packed(d, random()[:-1]), ShapeError, "given (999,)"),
        (lambda d: Interfaced(d, random().astype(np.int32)), DTypeError, "given int32"),
        (lambda d: strided(Interfaced(d, random())), InputError, "strides"),
        (lambda d: elsewhere(Packed(d, random()), (1, 0)), InputError, "Packed"),
        (lambda d: moved(Packed(d, random()), 1 << 40), InputError, "in no GPU's memory"),
        (lambda d: broken(Packed(d, random())), InputError, "requires grad"),
    ],
)
def test_wrong_inputs_say_what_was_expected(
    driver: FakeDriver, make: Any, kind: Any, words: str
) -> None:
    plan, expected = chain(1)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        given = make(made.device)
        for act in (context, context.bind):
            with pytest.raises(kind) as caught:
                act(given)
            assert words in caught.value.know
            assert "my input" in str(caught.value)
        if isinstance(given, Owned):
            given.free()
        np.testing.assert_array_equal(context(random())[Y], expected(random()))


def strided(array: Any) -> Any:
    array.strides = (8,)
    return array


def elsewhere(array: Any, place: tuple[int, int]) -> Any:
    array.place = place
    return array


def moved(array: Any, address: int) -> Any:
    array.address = address
    return array


def broken(array: Any) -> Any:
    def refuse(**_: Any) -> Any:
        raise BufferError("requires grad")

    array.__dlpack__ = refuse
    return array


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda x: {"y": random()}, InputError),
        (lambda x: {Y: random().astype(np.float64)}, DTypeError),
        (lambda x: {Y: random()[1:]}, ShapeError),
        (lambda x: {Y: np.frombuffer(bytes(4 * COUNT), np.float32)}, InputError),
        (lambda x: {Y: ReadOnly()}, InputError),
        (lambda x: {Y: x}, InputError),
    ],
    ids=["name", "dtype", "shape", "read-only", "read-only on the GPU", "overlap"],
)
def test_wrong_outputs_are_refused(driver: FakeDriver, make: Any, kind: Any) -> None:
    plan, _ = chain(1)
    with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
        host, packed = random(), Packed(made.device, random())
        for x in (host, packed):
            with pytest.raises(kind):
                context(x, make(x))
            context(x)
        packed.free()


class ReadOnly:
    __cuda_array_interface__: ClassVar = {
        "shape": (COUNT,), "typestr": "<f4", "data": (0, True), "version": 3,
    }  # fmt: skip


def test_closed_and_dropped_things_leave_nothing(driver: FakeDriver) -> None:
    plan, expected = chain(3)
    made = CudaEngine(plan, driver)
    context = made.create_execution_context()
    context.close()
    context.close()
    with pytest.raises(InputError, match="closed"):
        context(random())
    other = made.create_execution_context()
    other(random())
    made(random())
    held = other(random(), device_outputs=True)[Y]
    made.close()
    made.close()
    with pytest.raises(InputError, match="closed"):
        other(random())
    for use in (made, lambda _: made.empty_inputs(), Pipeline):
        with pytest.raises(InputError, match="the engine is closed"):
            use(made if use is Pipeline else random())
    for use in (held.numpy, held.__dlpack__, lambda: held.__cuda_array_interface__):
        with pytest.raises(InputError, match="context is closed"):
            use()
    assert not driver.leaks()
    dropped = CudaEngine(plan, driver)
    np.testing.assert_array_equal(dropped(random())[Y], expected(random()))
    y = dropped.create_execution_context()(random(), device_outputs=True)[Y]
    del dropped
    gc.collect()
    np.testing.assert_array_equal(y.numpy(), expected(random()))  # keeps its context
    del y
    assert not driver.leaks()


def test_whichever_call_fails_nothing_is_left(driver: FakeDriver) -> None:
    """From opening the engine to the end of a run, each call of the driver fails once."""
    plan, expected = with_references(COUNT)
    for number in range(1000):
        driver.fail_in, driver.failed = number, 0
        try:
            with CudaEngine(plan, driver) as made, made.create_execution_context() as context:
                context(random())
                context.times_us(random())
        except CudaError:
            pass
        assert not driver.leaks(), f"after call {number}"
        if not driver.failed:
            break
    assert 50 < number < 999
    driver.fail_in = None
    with CudaEngine(plan, driver) as made:
        context = made.create_execution_context()
        driver.fail_in = 3
        with pytest.raises(CudaError):
            context(random())
        np.testing.assert_array_equal(context(random())[Y], expected(random()))  # works again


def test_too_little_memory_says_how_much(caplog: pytest.LogCaptureFixture) -> None:
    plan, _ = chain(2)
    small = fake(memory_bytes=len(plan.weights) + 8000)
    with CudaEngine(plan, small) as made:
        with pytest.raises(DeviceMemoryError) as caught:
            made.create_execution_context()
        assert "asked for" in caught.value.know
        assert isinstance(caught.value, DeviceError)
    del made
    small.finish()


def test_another_gpu_is_refused() -> None:
    plan, _ = chain(1)
    for sm in (100, 120):
        other = fake(sm=sm)
        with pytest.raises(PlanTargetError, match="compute capability") as caught:
            CudaEngine(plan, other)
        assert f"sm_90 in the plan, sm_{sm} here" in caught.value.know
        other.finish()
    none = fake(gpus=0)
    with pytest.raises(DeviceError, match="no GPU 0"):
        CudaEngine(plan, none)


@pytest.mark.parametrize("options", [{"sm": 70}, {"sm": 120}, {"gpus": 0}], ids=str)
def test_a_build_for_another_gpu_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    here = fake(**options)
    monkeypatch.setattr(engine, "open_driver", lambda: here)
    kept = engine_or_plan(chain(1)[0])
    assert isinstance(kept, PlanOnly)
    with pytest.raises((DeviceError, PlanTargetError)):
        kept(random())
    with kept as entered:
        assert entered is kept
    kept.close()
    assert "axpy0" in str(kept.inspect())
    here.finish()


def test_networks_of_no_steps_and_of_empty_tensors(driver: FakeDriver) -> None:
    plan, _ = chain(1)
    empty = replace(plan, steps=(), inputs=(), outputs=(), slots=())
    with CudaEngine(empty, driver) as made:
        assert made({}) == {}
