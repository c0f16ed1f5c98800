"""Inferences on their way at the same time: right outputs, in order, with copies in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from planck.errors import InputError, ShapeError
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.pipeline import Pipeline
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.conftest import COUNT
from tests.runtime.cuda.plans import chain

Y = "my:output"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_outputs_come_in_order_though_one_array_is_used_again(
    driver: FakeDriver, depth: int
) -> None:
    plan, expected = chain(3)
    rows = np.random.default_rng(0).uniform(-2, 2, (7, COUNT)).astype(np.float32)

    def inputs() -> Iterator[Any]:
        x = np.empty(COUNT, np.float32)
        for row in rows:
            x[:] = row
            yield x

    with CudaEngine(plan, driver) as engine, Pipeline(engine, depth) as pipeline:
        for _ in range(2):
            found = [outputs[Y] for outputs in pipeline.run(inputs())]
            assert len(found) == len(rows)
            for row, y in zip(rows, found, strict=True):
                np.testing.assert_array_equal(y, expected(row))


def test_nothing_waits_before_the_pipeline_is_full(driver: FakeDriver) -> None:
    x = np.zeros(COUNT, np.float32)
    with CudaEngine(chain(2)[0], driver) as engine, Pipeline(engine, 3) as pipeline:
        assert len(list(pipeline.run([x] * 7))) == 7
        driver.calls.clear()
        assert [pipeline.push(x) for _ in range(3)] == [None] * 3
        assert "synchronize" not in driver.calls
        assert not {"allocate", "allocate_host"} & set(driver.calls)
        assert pipeline.push(x) is not None
        assert len(list(pipeline.drain())) == 3


def test_outputs_left_over_are_not_taken_for_the_next_ones(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    x = np.ones(COUNT, np.float32)
    with CudaEngine(plan, driver) as engine, Pipeline(engine) as pipeline:
        for _ in pipeline.run([x] * 5):
            break
        with pytest.raises(InputError, match="not been taken") as caught:
            list(pipeline.run([2 * x]))
        assert "3" in caught.value.know
        assert len(list(pipeline.drain())) == 3
        with pytest.raises(ShapeError):
            list(pipeline.run([x, x[:3]]))
        assert len(list(pipeline.drain())) == 1
        (found,) = pipeline.run([2 * x])
        np.testing.assert_array_equal(found[Y], expected(2 * x))


def test_an_input_that_is_refused_leaves_the_others(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    x = np.ones(COUNT, np.float32)
    with CudaEngine(plan, driver) as engine, Pipeline(engine, 2) as pipeline:
        pipeline.push(x)
        pipeline.push(2 * x)
        with pytest.raises(InputError, match="begun"):
            pipeline._busy[0].execute(x)
        with pytest.raises(ShapeError):
            pipeline.push(x[:3])
        for times, only in enumerate(pipeline.drain(), start=1):
            np.testing.assert_array_equal(only[Y], expected(times * x))
        with pytest.raises(InputError, match="begun"):
            pipeline._idle[0].finish()
    with pytest.raises(InputError, match="runs none"):
        Pipeline(engine, 0)
