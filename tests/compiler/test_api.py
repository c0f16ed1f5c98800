"""What `planck.build` takes beside a model: threads, processors, and a folder for dumps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planck
from planck.device import system
from planck.dtypes import f32
from planck.errors import BuildError, FileError, InputError
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.knobs import turned
from planck.ops.pointwise import Pointwise
from planck.runtime import Engine
from planck.tune import measure


def negation() -> Graph:
    x, y = (Value(name, TensorType((3, 70), f32)) for name in "xy")
    return Graph("net", (x,), (Node(Pointwise("neg"), (x,), (y,)),), (y,))


@pytest.fixture
def confinements(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The processors that this process was allowed each time that candidates were timed."""
    seen: list[set[int]] = []
    separate = system.separate_cpus

    def recorded(count: int) -> list[int] | None:
        seen.append(os.sched_getaffinity(0))
        return separate(count)

    monkeypatch.setattr(measure, "separate_cpus", recorded)
    return seen


def test_a_build_keeps_to_its_processors(confinements: list[set[int]]) -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    engine = planck.build(negation(), cpus=[cpu], optimization_level=5)
    assert engine.plan.threads == 1
    assert confinements
    assert all(seen == {cpu} for seen in confinements)
    assert os.sched_getaffinity(0) == before
    x = np.random.default_rng(0).standard_normal((3, 70), np.float32)
    np.testing.assert_array_equal(engine(x)["y"], -x)


def test_threads_are_as_many_as_processors_that_may_be_used() -> None:
    cpu = min(os.sched_getaffinity(0))
    with system.confined([cpu]):
        assert planck.build(negation(), optimization_level=0).plan.threads == 1
    engine = planck.build(negation(), cpus=[cpu], threads=3, optimization_level=0)
    assert engine.plan.threads == 3


def test_candidates_are_timed_on_processors_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    if system.available_cpus() < 2:
        pytest.skip("needs two processors")
    asked: list[tuple[int, Any]] = []
    create = Engine.create_execution_context

    def recorded(self: Engine, threads: int, cpus: Any = None) -> Any:
        asked.append((threads, cpus))
        return create(self, threads, cpus)

    monkeypatch.setattr(Engine, "create_execution_context", recorded)
    planck.build(negation(), threads=2, optimization_level=5)
    timed = [cpus for threads, cpus in asked if threads == 2]
    assert timed
    assert all(len(set(cpus)) == 2 for cpus in timed)


def test_processors_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="4095"):
        planck.build(negation(), cpus=[4095])
    with pytest.raises(BuildError, match="cpus is empty"):
        planck.build(negation(), cpus=[])
    with pytest.raises(BuildError, match="threads"):
        planck.build(negation(), threads=0, cpus=[min(os.sched_getaffinity(0))])


def test_a_folder_for_dumps_that_cannot_be_made(tmp_path: Path) -> None:
    """Neither for the stages' graphs nor, where that is there, for the kernels."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    with turned(dump=file / "dump"), pytest.raises(FileError, match="cannot make the folder"):
        planck.build(negation(), threads=1, optimization_level=0)
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "kernels").write_bytes(b"")
    with turned(dump=folder), pytest.raises(FileError, match="cannot make the folder"):
        planck.build(negation(), threads=1, optimization_level=0)
