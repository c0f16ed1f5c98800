"""Contexts whose plans have steps that a library runs, among kernels of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.device.cuda.device import Device
from planck.device.cuda.library import CUBLASLT, Call, Product, Side
from planck.errors import CudaError
from planck.plan.check import check_plan
from planck.plan.model import Place, Plan
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.launches import GRAPHS
from planck.tune.cuda.clock import GpuClock, Trial
from tests.device.fake_cuda import FakeDriver
from tests.device.fake_library import VERSION, FakeLibrary
from tests.device.fake_work import Work
from tests.runtime.cuda.plans import chain, fake

X, Y = "my input", "my:output"
ROWS, COLUMNS = 20, 50
COUNT = ROWS * COLUMNS


def mixed(library: FakeLibrary, calls: tuple[int, ...] = (1, 3)) -> tuple[Plan, Any]:
    """A chain of five steps, of which some are x -> relu(x + x W + b), with the chain's weights."""
    plan, _ = chain(5, COUNT)
    weights = np.frombuffer(plan.weights, np.float32).reshape(4, 2, -1)
    side = Side(COLUMNS)
    square = Product(
        ROWS, COLUMNS, COLUMNS, "f32", "f32", side, side, side, side, 1, 1.0, True, "relu"
    )
    # W is a matrix of [50, 50], which takes more than the room of one of the chain's constants.
    matrix = np.random.default_rng(1).standard_normal((COLUMNS, COLUMNS)).astype(np.float32)
    start = len(plan.weights)
    algorithm = library.algorithm(square, 1)
    call = Call(CUBLASLT, VERSION, square, algorithm.data.hex(), algorithm.workspace_bytes)
    steps = list(plan.steps)
    for number in calls:
        x, _, bias, y, workspace, _ = steps[number].arguments
        arguments = (x, Place("weights", start), y, x, bias, workspace)
        steps[number] = replace(
            steps[number], symbol="products", arguments=arguments, launch=call, tactic=CUBLASLT
        )
    plan = replace(plan, steps=tuple(steps), weights=bytes(plan.weights) + matrix.tobytes())

    def expected(x: Any) -> Any:
        for i in range(5):
            a, b = weights[i % 4, :, :COUNT]
            if i in calls:
                rows = x.reshape(ROWS, COLUMNS).astype(np.float64)
                made = np.maximum(rows @ matrix.astype(np.float64) + rows + b[:COLUMNS], 0)
                x = made.astype(np.float32).reshape(-1)
            else:
                x = (a * x).astype(np.float32) + b
        return x

    return plan, expected


def random(seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, COUNT).astype(np.float32)


@pytest.mark.parametrize("calls", [(1, 3), (0,), (4,), (0, 1, 2, 3, 4)])
def test_kernels_and_calls_share_a_graph(calls: tuple[int, ...]) -> None:
    driver = fake(COUNT)
    library = FakeLibrary(driver)
    plan, expected = mixed(library, calls)
    check_plan(plan)
    with CudaEngine(plan, driver, library.open) as engine:
        np.testing.assert_allclose(engine(random())[Y], expected(random()), rtol=1e-6)
        kinds = [isinstance(ran, Work) for ran in driver.ran]
        assert [n for n, own in enumerate(kinds) if own] == list(calls)
        # A kernel waits for the call before it: it is launched as if that were a kernel of ours.
        assert all(ran.dependent for n, ran in enumerate(driver.ran) if n and n not in calls)
        assert driver.calls.count("launch_graph") == 1
    library.finish()
    driver.finish()


def test_pointers_change_and_graphs_are_made_again() -> None:
    driver = fake(COUNT)
    library = FakeLibrary(driver)
    plan, expected = mixed(library, (0, 4))
    with CudaEngine(plan, driver, library.open) as engine:
        first, second = engine.create_execution_context(), engine.create_execution_context()
        kept = [engine.create_execution_context() for _ in range(GRAPHS + 2)]
        for seed, other in enumerate(kept):
            x = other(random(seed), device_outputs=True)[Y]
            for context in (first, second):
                y = context(x, device_outputs=True)[Y]
                np.testing.assert_allclose(y.numpy(), expected(expected(random(seed))), rtol=1e-5)
        assert len(first.times_us(random())) == 5
    library.finish()
    driver.finish()


def test_what_was_taken_before_a_call_failed_is_given_back() -> None:
    for number in range(0, 60, 3):
        driver = fake(COUNT)
        library = FakeLibrary(driver)
        plan, _ = mixed(library)
        driver.fail_in = number
        try:
            with CudaEngine(plan, driver, library.open) as engine:
                engine(random())
        except CudaError:
            pass
        driver.fail_in = None
        library.finish()
        driver.finish()


def test_a_clock_times_calls() -> None:
    driver = fake(COUNT)
    library = FakeLibrary(driver)
    plan, _ = mixed(library)
    steps = tuple(
        replace(step, arguments=tuple(
            Place("arena", 256 * (at.space == "output")) if at.space in ("input", "output") else at
            for at in step.arguments
        ))
        for step in plan.steps
    )  # fmt: skip
    steps = tuple(replace(step, reads=(), writes=()) for step in steps)
    plan = replace(plan, steps=steps, inputs=(), outputs=(), slots=(), arena_bytes=3 * 4096)
    with GpuClock(Device(driver), library.open).open(Trial(plan)) as session:
        graph = session.capture([1, 0, 1, 3])
        assert session.run_us(graph, cold=True) > 0
        assert [isinstance(ran, Work) for ran in driver.ran] == [True, False, True, True]
    del session
    library.finish()


def test_plans_without_calls_open_no_library() -> None:
    driver = FakeDriver({"axpy": lambda *_: None})

    def nothing(name: str) -> Any:
        raise AssertionError(name)

    CudaEngine(chain(2, COUNT)[0], driver, nothing).close()
    driver.finish()
