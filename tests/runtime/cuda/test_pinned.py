"""Arrays of the host in pinned memory: read and written where they lie, and never too early."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from planck.runtime.cuda import ports
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.pipeline import Pipeline
from planck.runtime.cuda.ports import DIRECT_BYTES, LENT
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.plans import chain, fake

COUNT = DIRECT_BYTES // 4 + 3
X, Y = "my input", "my:output"


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    made = fake(COUNT)
    yield made
    made.finish()


def random(seed: int) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, COUNT).astype(np.float32)


def test_inputs_in_pinned_memory_are_read_where_they_lie(driver: FakeDriver) -> None:
    plan, expected = chain(2, COUNT)
    with CudaEngine(plan, driver) as engine, engine.create_execution_context() as context:
        pinned = engine.empty_inputs()
        pinned[X][:] = random(0)
        np.testing.assert_array_equal(context(pinned)[Y], expected(random(0)))
        for x, read in ((pinned[X], random(1)), (random(0), random(0))):
            context.begin(x)
            x[:] = random(1)  # before it is read, where no copy was made
            np.testing.assert_array_equal(context.finish()[Y], expected(read))
        part = pinned[X][::-1]  # lies in pinned memory, but not as the kernels want it
        np.testing.assert_array_equal(context(part)[Y], expected(part))
        at = pinned[X].ctypes.data
        del pinned, part, x
        assert engine.empty_inputs()[X].ctypes.data == at


@pytest.mark.parametrize("piece_bytes", [4, 4096, 3 * 4096, 1 << 20])
def test_other_inputs_are_copied_piece_by_piece(
    driver: FakeDriver, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "PIECE_BYTES", piece_bytes)
    plan, expected = chain(1, COUNT)
    wide = np.repeat(random(5), 2)
    with CudaEngine(plan, driver) as engine, engine.create_execution_context() as context:
        driver.calls.clear()
        np.testing.assert_array_equal(context(random(4))[Y], expected(random(4)))
        assert driver.calls.count("upload") == -(-4 * COUNT // piece_bytes)
        driver.calls.clear()
        np.testing.assert_array_equal(context(wide[::2])[Y], expected(random(5)))
        assert driver.calls.count("upload") == 1


def test_results_are_in_pinned_memory_while_there_is_some(driver: FakeDriver) -> None:
    plan, expected = chain(3, COUNT)
    with CudaEngine(plan, driver) as engine, engine.create_execution_context() as context:
        kept = [context(random(seed))[Y] for seed in range(6)]
        lying = [driver._is_pinned(y.ctypes.data, y.nbytes) for y in kept]
        assert lying == [True] * LENT + [False] * (6 - LENT)
        for seed, y in enumerate(kept):
            np.testing.assert_array_equal(y, expected(random(seed)))
        y = kept[1]
        del kept
        driver.calls.clear()
        for seed in range(5):  # one is kept, one is used again and again
            found = context(random(seed), {Y: y} if seed == 3 else None)[Y]
            assert seed != 3 or found is y
            np.testing.assert_array_equal(found, expected(random(seed)))
            del found
        assert not {"allocate", "allocate_host"} & set(driver.calls)


def test_results_outlive_the_engine(driver: FakeDriver) -> None:
    plan, expected = chain(1, COUNT)
    with CudaEngine(plan, driver) as engine:
        with Pipeline(engine, 2) as pipeline:
            found = [y[Y] for y in pipeline.run(random(seed) for seed in range(7))]
        inputs = engine.empty_inputs()
    inputs[X][:] = 1
    for seed, y in enumerate(found):
        np.testing.assert_array_equal(y, expected(random(seed)))
    assert driver.leaks() == {"host": 2 * LENT + 1, "context": 3}


def test_a_pipeline_of_inputs_in_pinned_memory(driver: FakeDriver) -> None:
    plan, expected = chain(2, COUNT)

    def inputs(engine: CudaEngine) -> Iterator[Any]:
        for seed in range(9):
            x = engine.empty_inputs()
            x[X][:] = random(seed)
            yield x

    with CudaEngine(plan, driver) as engine, Pipeline(engine) as pipeline:
        for seed, outputs in enumerate(pipeline.run(inputs(engine))):
            np.testing.assert_array_equal(outputs[Y], expected(random(seed)))
            if seed == 5:
                driver.calls.clear()
        assert "allocate_host" not in driver.calls
