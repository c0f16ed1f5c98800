"""Several contexts in one graph: each a branch of its own, with its own results."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from planck.errors import ContextInUseError, CudaError, InputError
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.merged import Merged
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.conftest import COUNT
from tests.runtime.cuda.plans import Packed, chain, fake, with_references

X, Y = "my input", "my:output"


def random(seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, COUNT).astype(np.float32)


def test_contexts_of_several_engines_run_in_one_launch(driver: FakeDriver) -> None:
    networks = [chain(length) for length in (2, 5, 3)]
    with ExitStack() as stack:
        engines = [stack.enter_context(CudaEngine(plan, driver)) for plan, _ in networks]
        contexts = [engine.create_execution_context() for engine in engines]
        contexts.append(engines[0].create_execution_context())
        found = [c.bind({X: random(seed)})[Y] for seed, c in enumerate(contexts)]
        merged = Merged(contexts)
        other = Packed(engines[1].device, random(9))
        contexts[1](other)  # points its launches elsewhere, which the graph does not see
        driver.ran.clear(), driver.calls.clear()
        merged.execute_async()
        assert driver.calls.count("launch_graph") == 1
        merged.synchronize()
        assert len(driver.ran) == 2 + 5 + 3 + 2
        for seed, y in enumerate(found):
            expected = [*networks, networks[0]][seed][1]
            np.testing.assert_array_equal(y.numpy(), expected(random(seed)))
        other.free()
        merged.close(), merged.close()
        with pytest.raises(InputError, match="closed"):
            merged.execute_async()


def test_it_runs_on_another_librarys_stream(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as engine:
        contexts = [engine.create_execution_context() for _ in range(2)]
        arrays = [Packed(engine.device, random(seed)) for seed in range(2)]
        found = [c.bind({X: x})[Y] for c, x in zip(contexts, arrays, strict=True)]
        with engine.device:
            stream = driver.create_stream()
        with Merged(contexts) as merged:
            merged.execute_async(int(stream))
            with engine.device:
                driver.synchronize(stream)
        for seed, y in enumerate(found):
            np.testing.assert_array_equal(y.numpy(), expected(random(seed)))
        for x in arrays:
            x.free()
        with engine.device:
            driver.destroy_stream(stream)


def test_closing_a_context_closes_it(driver: FakeDriver) -> None:
    with CudaEngine(chain(2)[0], driver) as engine:
        contexts = [engine.create_execution_context() for _ in range(2)]
        for context in contexts:
            context.bind()
        merged = Merged(contexts)
        contexts[1].close()
        with pytest.raises(InputError, match="closed"):
            merged.execute_async()


def test_a_context_is_not_closed_while_it_is_launched(driver: FakeDriver) -> None:
    plan, expected = chain(2)
    with CudaEngine(plan, driver) as engine:
        contexts = [engine.create_execution_context() for _ in range(2)]
        x = np.ones(COUNT, np.float32)
        y = [context.bind(x)["my:output"] for context in contexts][1]
        with Merged(contexts) as merged:
            with merged._entered(), pytest.raises(ContextInUseError):
                contexts[0].close()
            merged.execute_async()
            np.testing.assert_array_equal(y.numpy(), expected(x))  # waits for the launch


def test_what_cannot_be_merged(driver: FakeDriver) -> None:
    with CudaEngine(chain(2)[0], driver) as engine, CudaEngine(*with_references_on(driver)) as slow:
        context = engine.create_execution_context()
        with pytest.raises(InputError, match="bound"):
            Merged([context])
        context.bind()
        for contexts in ([], [context, context]):
            with pytest.raises(InputError, match="merged"):
                Merged(contexts)
        with pytest.raises(InputError, match="bound"):
            Merged([context, slow.create_execution_context()])


def with_references_on(driver: FakeDriver) -> tuple[Any, FakeDriver]:
    return with_references(COUNT)[0], driver


def test_a_failure_at_any_call_leaves_nothing_behind() -> None:
    for fail_in in range(60):
        driver = fake(COUNT)
        with CudaEngine(chain(2)[0], driver) as engine:
            contexts = [engine.create_execution_context() for _ in range(2)]
            for context in contexts:
                context.bind()
            driver.fail_in = fail_in
            with suppress(CudaError):
                Merged(contexts).close()
            driver.fail_in = None
        driver.finish()
        if not driver.failed:
            return
    raise AssertionError("it never succeeded")
