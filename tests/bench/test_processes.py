"""Processes in their time: what they said, who runs beside whom, what is ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from bench import processes
from bench.processes import Job, in_time, side_by_side


@pytest.fixture(autouse=True)
def short_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEAST_SECONDS", 0.05)


def job(name: str, script: str) -> Job:
    return Job(name, [sys.executable, "-S", "-c", f"import os, time\n{script}"])


def test_what_a_command_says_and_its_exit_code() -> None:
    script = "import sys; print('a', flush=True); print('b', file=sys.stderr); sys.exit(3)"
    assert in_time([sys.executable, "-S", "-c", script], 30.0) == (3, "a\nb\n")


def test_a_command_that_hangs_ends_with_its_children() -> None:
    code, said = in_time(["sh", "-c", "sleep 60 & echo $!; wait"], 0.5)
    assert code == -1
    child = Path(f"/proc/{said.strip()}/stat")
    deadline = time.monotonic() + 5
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_as_many_run_at_a_time_as_there_are_places() -> None:
    script = "a = time.time(); time.sleep(0.4); print([os.environ['GPU'], a, time.time()])"
    places = [{"GPU": gpu} for gpu in ("0", "1", "0", "1")]
    ended = list(side_by_side([job(str(n), script) for n in range(8)], places, 60.0))
    assert {own.name for own in ended} == set("01234567")
    assert all(own.code == 0 and own.seconds >= 0.4 for own in ended)
    spans = [json.loads(own.said.replace("'", '"')) for own in ended]
    for gpu in "01":
        mine = [(start, end) for name, start, end in spans if name == gpu]
        assert len(mine) == 4
        beside = [sum(a <= start < b for a, b in mine) for start, _ in mine]
        assert max(beside) == 2


def test_they_begin_in_order() -> None:
    ended = side_by_side([job(name, "") for name in "cab"], [{}], 60.0)
    assert [own.name for own in ended] == ["c", "a", "b"]


def test_one_that_hangs_holds_nobody_up() -> None:
    jobs = [job("hangs", "time.sleep(60)"), *(job(name, "print(1)") for name in "ab")]
    ended = {own.name: own for own in side_by_side(jobs, [{}, {}], 60.0, job_seconds=1.0)}
    assert (ended["hangs"].code, ended["a"].code, ended["b"].said) == (-1, 0, "1\n")
    assert ended["hangs"].seconds < 5


def test_the_budget_ends_what_runs_and_begins_nothing_more() -> None:
    jobs = [job("long", "time.sleep(60)"), job("never", "print(1)")]
    start = time.monotonic()
    ended = list(side_by_side(jobs, [{}], 0.8))
    assert [(own.name, own.code) for own in ended] == [("long", -1)]
    assert time.monotonic() - start < 5


def test_who_stops_listening_ends_them_all() -> None:
    jobs = [job("a", "print(1)"), job("b", "print(os.getpid(), flush=True); time.sleep(60)")]
    running = side_by_side(jobs, [{}, {}], 60.0)
    next(running)
    start = time.monotonic()
    running.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5
