"""Engines: shared, saved, loaded without the compiler, and inspected."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planck import dtypes
from planck.device import system
from planck.errors import InputError, PlanFormatError
from planck.ir.types import TensorType
from planck.plan.model import Place, Step
from planck.runtime import Engine
from planck.runtime.reference import plain, store
from tests.runtime.kernels import chain

Y = "my:output"

# Runs a plan where nothing of the build wing can be imported, and forgets to close anything.
PROGRAM = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("llvmlite", "onnx"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Block())
import numpy as np
import planck

engine = planck.load(sys.argv[1])
context = engine.create_execution_context(2)
x = np.load(sys.argv[2])
for _ in range(10):
    y = context(x)["my:output"]
np.save(sys.argv[3], y)
wings = ("planck.codegen", "planck.compiler", "planck.tactics", "planck.tune", "planck.frontends")
print([name for name in sys.modules if name.startswith(wings)])
"""


def test_a_saved_plan_runs_without_the_compiler(tmp_path: Path) -> None:
    plan, expected = chain(20, 3000, 100)
    Engine(plan).save(tmp_path / "a.plan")
    x = np.random.default_rng(0).uniform(-1, 1, 3000).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "run.py").write_text(PROGRAM)
    names = ("run.py", "a.plan", "x.npy", "y.npy")
    done = subprocess.run(
        [sys.executable, "-W", "error", *(str(tmp_path / name) for name in names)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "[]")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected(x))


def test_loaded_and_built_engines_agree(tmp_path: Path) -> None:
    plan, expected = chain(5, 333)
    built = Engine(plan)
    built.save(tmp_path / "a.plan")
    loaded = Engine.load(tmp_path / "a.plan")
    mapped = Engine.load(tmp_path / "a.plan", mapped=True)
    for engine in (loaded, mapped):  # neither is copied once more
        own = np.frombuffer(engine.plan.weights, np.uint8)
        assert system.address(engine.weights) == system.address(own)
    x = np.linspace(-1, 1, 333, dtype=np.float32)
    for engine in (built, loaded, mapped):
        np.testing.assert_array_equal(engine(x)[Y], expected(x))
        np.testing.assert_array_equal(engine({"my input": x})[Y], expected(x))
    assert loaded.inputs == built.inputs
    assert (built.inputs[0].name, built.inputs[0].shape) == ("my input", (333,))
    assert built.outputs[0].dtype is dtypes.f32
    assert "my input" in repr(built)


def test_calls_from_many_threads() -> None:
    plan, expected = chain(30, 2000, 100)
    engine = Engine(plan)

    def wrong(seed: int) -> int:
        x = np.random.default_rng(seed).uniform(-1, 1, 2000).astype(np.float32)
        wanted = expected(x)
        return sum(not np.array_equal(engine(x)[Y], wanted) for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(wrong, range(4))) == [0, 0, 0, 0]


def test_a_failed_call_gives_its_context_back() -> None:
    engine = Engine(chain(1, 10)[0])
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(InputError):
            engine({})
    assert threading.active_count() <= before + 1


def test_a_closed_engine_gives_its_idle_contexts_back() -> None:
    plan, expected = chain(3, 1000)
    x = np.linspace(-1, 1, 1000, dtype=np.float32)
    with Engine(plan) as engine:
        made, create = [], engine.create_execution_context
        engine.create_execution_context = lambda: made.append(create(2)) or made[-1]
        engine(x)
        engine(x)
        own = create()
    assert len(made) == 1
    with pytest.raises(InputError, match="closed"):
        made[0](x)
    engine.close()
    for again in (own, engine):
        np.testing.assert_array_equal(again(x)[Y], expected(x))
    engine.close()


def test_a_plan_that_points_outside_itself_is_refused() -> None:
    plan, _ = chain(2, 1000)
    with pytest.raises(PlanFormatError):
        Engine(replace(plan, arena_bytes=10))


def test_the_report_counts_and_prints() -> None:
    plan, _ = chain(3, 1000)
    report = Engine(plan).inspect()
    assert [s.name for s in report.steps] == ["axpy0", "axpy1", "axpy2"]
    assert report.steps[0].reads == ("my input: f32[1000]",)
    assert report.steps[2].origin == ("hand:axpy2",)
    assert (report.reference_steps, report.code_bytes) == (0, len(plan.code))
    assert json.loads(json.dumps(report.to_json()))["steps"][1]["tactic"] == "hand"
    for word in ("axpy1", "f32[1000]", "my:output", "hand:axpy2"):
        assert word in str(report)


@pytest.mark.parametrize("threads", [1, 2])
def test_reference_steps_run_between_compiled_ones(
    threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps 0 and 2 are compiled; 1 and 3 are not: one in the arena, one to the output."""
    count = 100
    plan, _ = chain(4, count)
    first = chain(1, count)[1]
    factor = np.frombuffer(plan.weights, np.float32, count, 2 * 4 * 112)  # a of the second pair
    slots = (*plan.slots, replace(plan.slots[1], name="w", place=Place("weights", 2 * 4 * 112)))

    def reference(number: int, body: str, reads: tuple[int, ...]) -> Step:
        old = plan.steps[number]
        inputs = ", ".join(f"%v{i}: f32[{count}]" for i in range(len(reads)))
        text = f'graph "reference"({inputs}) {{\n  %y: f32[{count}] = {body}\n  return %y\n}}'
        return Step(old.name, "reference", "", (), reads, old.writes, reference=text)

    steps = (
        plan.steps[0],
        reference(1, 'Pointwise(%v0, %v1, fn="mul")', (1, len(slots) - 1)),
        replace(
            plan.steps[2],
            arguments=(plan.slots[2].place, *plan.steps[0].arguments[1:3], plan.slots[3].place),
        ),
        reference(3, 'Pointwise(%v0, fn="neg")', (3,)),
    )
    with caplog.at_level(logging.WARNING):
        engine = Engine(replace(plan, slots=slots, steps=steps))
    assert "2 steps run by their NumPy reference" in caplog.text
    assert engine.inspect().reference_steps == 2
    assert [s.reference for s in engine.inspect().steps] == [False, True, False, True]
    x = np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32)
    with engine.create_execution_context(threads) as context:
        for _ in range(3):
            np.testing.assert_array_equal(context(x)[Y], -first(first(x) * factor))
        assert all(step.us > 0 for step in context.profile(x, runs=3).steps)


def test_blocked_memory_comes_back_plain() -> None:
    rng = np.random.default_rng(0)
    for channels, spatial in ((3, (4, 5)), (17, (2, 3)), (16, ()), (5, (7,))):
        type_ = TensorType((2, channels, *spatial), dtypes.f32, 8)
        tensor = rng.normal(size=type_.dims).astype(np.float32)
        memory = np.full(type_.physical, np.nan, np.float32)
        store(tensor, memory)
        np.testing.assert_array_equal(plain(memory, type_), tensor)


def test_the_hosts_time_is_what_steps_do_not_take() -> None:
    """However far off the clock's rate was measured before, it is not the steps' time."""
    plan, _ = chain(6, 200_000)
    with Engine(plan).create_execution_context(threads=1) as context:
        profile = context.profile(np.zeros(200_000, np.float32), runs=30)
    assert 0 < profile.host_us < profile.total_us
