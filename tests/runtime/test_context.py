"""Execution contexts: right results from any number of threads, and clear refusals."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.errors import ContextInUseError, DTypeError, InputError, ShapeError
from planck.runtime import Engine
from tests.runtime.kernels import chain

X = "my input"
Y = "my:output"


def random(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, count).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("length", "count", "tile"), [(1, 1, 64), (2, 1000, 64), (40, 5003, 97)])
def test_results_do_not_depend_on_threads(threads: int, length: int, count: int, tile: int) -> None:
    plan, expected = chain(length, count, tile)
    with Engine(plan).create_execution_context(threads) as context:
        for seed in range(20):
            x = random(count, seed)
            np.testing.assert_array_equal(context(x)[Y], expected(x))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ten_thousand_small_steps(threads: int) -> None:
    plan, expected = chain(10_000, 130, 16)
    x = random(130)
    wanted = expected(x)
    with Engine(plan).create_execution_context(threads) as context:
        for _ in range(10):
            np.testing.assert_array_equal(context(x)[Y], wanted)


@pytest.mark.parametrize("grain", [1, 3, 16, 1000])
def test_tiles_are_claimed_in_grains(grain: int) -> None:
    plan, expected = chain(5, 1000, 13)
    plan = replace(plan, steps=tuple(replace(s, grain=grain) for s in plan.steps))
    x = random(1000)
    with Engine(plan).create_execution_context(3) as context:
        np.testing.assert_array_equal(context(x)[Y], expected(x))


def test_more_tiles_than_a_work_word_counts() -> None:
    plan, expected = chain(2, 200_000, 1)
    x = random(200_000)
    for threads in (1, 2):
        with Engine(plan).create_execution_context(threads) as context:
            np.testing.assert_array_equal(context(x)[Y], expected(x))


def test_steps_of_one_tile_and_of_many_take_turns() -> None:
    plan, expected = chain(60, 700, 50)
    steps = tuple(replace(s, grain=1000 if i % 3 else 1) for i, s in enumerate(plan.steps))
    x = random(700)
    with Engine(replace(plan, steps=steps)).create_execution_context(2) as context:
        for _ in range(200):
            np.testing.assert_array_equal(context(x)[Y], expected(x))


def test_a_busy_machine_changes_no_result() -> None:
    """With other processes on every core, threads lose theirs at any point of the loop."""
    plan, expected = chain(300, 3000, 40)
    x = random(3000)
    wanted = expected(x)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        time.sleep(0.1)
        with Engine(plan).create_execution_context(3) as context:
            for _ in range(150):
                np.testing.assert_array_equal(context(x)[Y], wanted)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_sleeping_threads_wake_again() -> None:
    plan, expected = chain(20, 2000, 64)
    x = random(2000)
    with Engine(plan).create_execution_context(3) as context:
        for _ in range(30):
            np.testing.assert_array_equal(context(x)[Y], expected(x))
            time.sleep(0.002)


def test_an_idle_context_costs_no_processor() -> None:
    plan, _ = chain(5, 2000)
    with Engine(plan).create_execution_context(4) as context:
        context(random(2000))
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.05


def test_two_contexts_run_at_the_same_time() -> None:
    plan, expected = chain(50, 3000, 200)
    engine = Engine(plan)

    def work(seed: int) -> None:
        x = random(3000, seed)
        wanted = expected(x)
        with engine.create_execution_context(2) as context:
            for _ in range(200):
                np.testing.assert_array_equal(context(x)[Y], wanted)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))


def test_a_second_thread_gets_an_error() -> None:
    plan, expected = chain(4000, 20_000, 20_000)
    x = random(20_000)
    with Engine(plan).create_execution_context(1) as context:
        result: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: result.update(context(x)))
        thread.start()
        caught = None
        while thread.is_alive() and caught is None:
            try:
                context(x)
            except ContextInUseError as error:
                caught = error
        thread.join()
        assert caught is not None
        assert "create_execution_context" in caught.try_
        np.testing.assert_array_equal(result[Y], expected(x))


def test_outputs_are_written_in_place_when_given() -> None:
    plan, expected = chain(3, 500)
    with Engine(plan).create_execution_context(2) as context:
        out = {Y: np.full(500, np.nan, np.float32)}
        x = random(500)
        result = context(x, out)
        assert result[Y] is out[Y]
        np.testing.assert_array_equal(out[Y], expected(x))
        first, second = context(x), context(random(500, 1))
        np.testing.assert_array_equal(first[Y], out[Y])
        assert not np.array_equal(first[Y], second[Y])


def test_inputs_anywhere_in_memory() -> None:
    plan, expected = chain(3, 500)
    with Engine(plan).create_execution_context(2) as context:
        wide = random(1501)
        unaligned = np.frombuffer(b"." + wide.tobytes(), np.float32, 500, 1)
        for x in (wide[:500], wide[1:501], wide[1000:0:-2], wide[::3][:500], unaligned):
            np.testing.assert_array_equal(context({X: x})[Y], expected(x))


def test_nan_and_infinity_pass() -> None:
    plan, expected = chain(1, 100)
    x = random(100)
    x[3], x[50], x[99] = np.nan, np.inf, -np.inf
    with Engine(plan).create_execution_context() as context:
        np.testing.assert_array_equal(context(x)[Y], expected(x))


@pytest.mark.parametrize(
    ("inputs", "kind", "words"),
    [
        ({}, InputError, "my input: float32[500]"),
        ({"x": np.zeros(500, np.float32)}, InputError, "given 'x'"),
        ({X: np.zeros(500, np.float32), "z": 1}, InputError, "'z'"),
        ({X: [0.0] * 500}, InputError, "list"),
        (None, InputError, "NoneType"),
        (np.zeros(500), DTypeError, "expected float32, given float64"),
        (np.zeros(500, ">f4"), DTypeError, "expected float32, given >f4"),
        (np.zeros(500, object), DTypeError, "given object"),
        (np.zeros((1, 500), np.float32), ShapeError, "expected (500,), given (1, 500)"),
        (np.zeros(499, np.float32), ShapeError, "given (499,)"),
    ],
)
def test_wrong_inputs_say_what_was_expected(inputs: Any, kind: Any, words: str) -> None:
    plan, _ = chain(1, 500)
    context = Engine(plan).create_execution_context(1)
    with pytest.raises(kind) as caught:
        context(inputs)
    assert words in caught.value.know
    assert "my input" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda x: {"y": np.zeros(500, np.float32)}, InputError),
        (lambda x: {Y: np.zeros(500)}, DTypeError),
        (lambda x: {Y: np.zeros(501, np.float32)}, ShapeError),
        (lambda x: {Y: np.zeros(1000, np.float32)[::2]}, InputError),
        (lambda x: {Y: np.frombuffer(bytes(2000), np.float32)}, InputError),
        (lambda x: {Y: x}, InputError),
    ],
    ids=["name", "dtype", "shape", "strides", "read-only", "overlap"],
)
def test_wrong_outputs_are_refused(make: Any, kind: Any) -> None:
    plan, _ = chain(1, 500)
    context = Engine(plan).create_execution_context(1)
    x = random(500)
    with pytest.raises(kind):
        context(x, make(x))
    context(x)


def test_impossible_threads_and_processors_are_refused() -> None:
    engine = Engine(chain(1, 10)[0])
    for arguments in ({"threads": 0}, {"cpus": [4095]}, {"cpus": []}, {"threads": 2, "cpus": [0]}):
        with pytest.raises(InputError):
            engine.create_execution_context(**arguments)


def test_threads_stay_on_their_processors() -> None:
    plan, expected = chain(10, 2000)
    x = random(2000)
    before = os.sched_getaffinity(0)
    cpus = sorted(before)[:2]
    with Engine(plan).create_execution_context(cpus=cpus) as context:
        assert context.threads == len(cpus)
        np.testing.assert_array_equal(context(x)[Y], expected(x))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            kept = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
            if all({cpu} in kept for cpu in cpus[1:]):
                break
        assert all({cpu} in kept for cpu in cpus[1:])
    assert os.sched_getaffinity(0) == before


def test_a_closed_context_refuses_and_its_threads_are_gone() -> None:
    engine = Engine(chain(1, 500)[0])
    before = threading.active_count()
    context = engine.create_execution_context(4)
    assert threading.active_count() == before + 3
    context.close()
    context.close()
    assert threading.active_count() == before
    with pytest.raises(InputError, match="closed"):
        context(random(500))


def test_dropped_contexts_and_engines_leave_no_threads() -> None:
    gc.collect()
    before = threading.active_count()
    engine = Engine(chain(1, 500)[0])
    engine.create_execution_context(3)(random(500))
    engine(random(500))
    del engine
    gc.collect()
    assert threading.active_count() == before


def test_ten_thousand_inferences_do_not_grow() -> None:
    plan, _ = chain(3, 4000, 500)
    x = random(4000)
    with Engine(plan).create_execution_context(2) as context:
        for _ in range(1000):
            context(x)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(10_000):
            context(x)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024  # kB


def test_profile_has_a_time_for_every_step() -> None:
    plan, expected = chain(8, 40_000, 1000)
    x = random(40_000)
    for threads in (1, 2):
        with Engine(plan).create_execution_context(threads) as context:
            profile = context.profile(x, runs=5)
            assert [s.number for s in profile.steps] == list(range(8))
            assert all(0 < s.min_us <= s.us for s in profile.steps)
            assert sum(s.min_us for s in profile.steps) < profile.total_us
            assert "axpy7" in str(profile)
            assert profile.to_json()["steps"][0]["name"] == "axpy0"
            np.testing.assert_array_equal(context(x)[Y], expected(x))
    with pytest.raises(InputError):
        Engine(plan).create_execution_context(1).profile(x, runs=0)
