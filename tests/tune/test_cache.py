"""The timing cache: round trip, several builds at once, damage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planck.errors import FileError
from planck.target import Target, host
from planck.tune.cache import Timing, TimingCache


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


def test_a_folder_in_the_way_is_a_file_error(tmp_path: Path, target: Target) -> None:
    (tmp_path / "t.cache").mkdir()
    cache = TimingCache(tmp_path / "t.cache", target)
    cache.put("a/1", rows(1.0))
    with pytest.raises(FileError, match="cannot write"):
        cache.save()
