"""The timing cache: round trip, several builds at once, damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planck.target import Target, host, resolve
from planck.tune.cache import Timing, TimingCache, turn


@pytest.fixture
def target() -> Target:
    return host()


def rows(us: float) -> list[Timing]:
    return [Timing("direct", {"px": 14}, us), Timing("loops", {}, refused="too slow to try")]


def test_what_is_saved_is_read_again(tmp_path: Path, target: Target) -> None:
    cache = TimingCache.open(tmp_path / "t.cache", target)
    cache.put("abc/2", rows(12.5))
    cache.save()
    again = TimingCache.open(tmp_path / "t.cache", target)
    assert again.get("abc/2") == rows(12.5)
    assert (again.hits, again.misses) == (1, 0)


def test_builds_that_overlap_keep_each_others_times(tmp_path: Path, target: Target) -> None:
    one, two = (TimingCache.open(tmp_path / "t.cache", target) for _ in range(2))
    one.put("a/1", rows(1.0))
    two.put("b/1", rows(2.0))
    one.save()
    two.save()
    assert set(TimingCache.open(tmp_path / "t.cache", target).entries) == {"a/1", "b/1"}


def test_a_build_that_began_earlier_takes_back_nothing(tmp_path: Path, target: Target) -> None:
    """It saves what it measured, not what it read."""
    first = TimingCache.open(tmp_path / "t.cache", target)
    first.put("a/1", rows(1.0))
    first.checks["digest"] = {"error": 1e-5}
    first.save()
    early, late = (TimingCache.open(tmp_path / "t.cache", target) for _ in range(2))
    late.put("a/1", rows(3.0))
    late.checks["digest"] = {"error": 2e-5}
    late.save()
    early.put("b/1", rows(2.0))
    early.save()
    found = TimingCache.open(tmp_path / "t.cache", target)
    assert (found.entries["a/1"], found.checks["digest"]) == (rows(3.0), {"error": 2e-5})
    assert found.entries["b/1"] == rows(2.0)


def test_another_machine_has_its_own_times(tmp_path: Path, target: Target) -> None:
    cache = TimingCache.open(tmp_path / "t.cache", target)
    cache.put("a/1", rows(1.0))
    cache.save()
    other = replace(target, machine="another processor x8")
    assert TimingCache.open(tmp_path / "t.cache", other).get("a/1") is None


def test_errors_and_checks_are_kept(tmp_path: Path, target: Target) -> None:
    cache = TimingCache.open(tmp_path / "t.cache", target)
    config = {"side": 6}
    kept = [
        Timing("winograd", config, 3.5, error=7.4e-6),
        Timing("winograd", {"side": 8}, 2.5, "errs too much", 3e-5),
    ]
    cache.put("a/1", kept)
    cache.checks["digest"] = {"record": {"error": 1e-5}, "rows": {}}
    cache.save()
    again = TimingCache.open(tmp_path / "t.cache", target)
    assert again.get("a/1") == kept
    assert again.checks == cache.checks


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", '{"format": 99, "entries": {}}', "\x00\xff", '{"format": 1, "entries": []}',
        '{"format": 1, "entries": {}, "checks": 3}', '{"format": 1, "checks": {"m": [1]}}',
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_empty_and_is_replaced(
    tmp_path: Path, target: Target, body: str
) -> None:
    path = tmp_path / "t.cache"
    path.write_text(body)
    cache = TimingCache.open(path, target)
    assert not cache.entries
    cache.put("a/1", rows(1.0))
    cache.save()
    assert json.loads(path.read_text())["format"] == 1


def test_a_file_that_cannot_be_written_is_told_and_costs_no_build(
    tmp_path: Path, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t.cache").mkdir()
    cache = TimingCache(tmp_path / "t.cache", target)
    cache.put("a/1", rows(1.0))
    cache.save()
    assert "what was measured is not kept: cannot write" in caplog.text
    assert cache.get("a/1") == rows(1.0)


def test_a_target_that_is_no_machine_has_the_times_of_all_of_its_isa(tmp_path: Path) -> None:
    path, generic = tmp_path / "t.cache", resolve("cuda:sm_90")
    for machine, isa, key in (("A", "sm_90", "a"), ("B", "sm_90", "b"), ("C", "sm_80", "c")):
        cache = TimingCache.open(path, replace(generic, machine=machine, isa=isa))
        cache.put(key, rows(1.0))
        cache.checks[f"graph/{key}"] = {"us": {}}
        cache.changed = True
        cache.save()
    before = path.read_text()
    found = TimingCache.open(path, generic)
    assert found.entries == {"a": rows(1.0), "b": rows(1.0)}
    assert found.checks.keys() == {"graph/a", "graph/b"}
    found.save()
    assert path.read_text() == before


@pytest.mark.parametrize(
    "row",
    [
        {"tactic": 3}, {"tactic": "t", "us": "fast"}, {"tactic": "t", "us": None},
        {"tactic": "t", "refused": None}, {"tactic": "t", "config": [1]}, [], None,
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_nobody_wrote_are_left_out(tmp_path: Path, target: Target, row: Any) -> None:
    path = tmp_path / "t.cache"
    cache = TimingCache.open(path, target)
    cache.put("a/1", rows(1.0)), cache.put("b/1", rows(1.0))
    cache.save()
    content = json.loads(path.read_text())
    content["entries"][cache.machine]["b/1"] = [row]
    path.write_text(json.dumps(content))
    assert TimingCache.open(path, target).entries.keys() == {"a/1"}


def test_a_lock_of_another_user_is_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not write it can lock it all the same."""
    fcntl = pytest.importorskip("fcntl", reason="this system has no advisory locks")
    path, opened, start = tmp_path / "lock", list[str](), Path.open

    def refuse(self: Path, mode: str = "r") -> Any:
        opened.append(mode)
        if mode != "r":
            raise PermissionError(13, "Permission denied")
        return start(self, mode)

    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    with turn(path):
        assert opened == ["a", "r"]
        other = start(path)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.close()
