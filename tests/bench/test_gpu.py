"""The suite for a GPU without one: budgets, failures, and what is written of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import cuda_sanitizer, gpu
from bench.cuda_streams import _speedups
from bench.gpu import Part


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**commands: tuple[str, ...]) -> None:
        made = tuple(Part(name, command, 0.5) for name, command in commands.items())
        monkeypatch.setattr(gpu, "PARTS", made)

    return use


def test_what_parts_find_and_how_they_fail(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"a": 1}')
    own = Part("good", ("json.tool", str(tmp_path / "in.json"), "OUT"), 0.5)
    row = gpu.run(own, 30.0, tmp_path / "cache")
    assert (row["found"], "failed" in row) == ({"a": 1}, False)
    row = gpu.run(Part("bad", ("no_such_module",), 0.5), 30.0, tmp_path / "cache")
    assert row["failed"] == "exit 1"
    assert "no_such_module" in row["said"][-1]


def test_a_part_that_hangs_is_ended(tmp_path: Path) -> None:
    own = Part("slow", ("http.server", "0", "--bind", "127.0.0.1"), 1.0)
    row = gpu.run(own, 0.5, tmp_path / "cache")
    assert row["failed"] == "the budget was over"


def test_parts_that_were_not_begun_say_so(parts: Any, tmp_path: Path) -> None:
    parts(one=("json.tool",), two=("json.tool",))
    out = tmp_path / "gpu.json"
    out.write_text('{"tests": {"seconds": 1}}')  # of an earlier call
    gpu.main(["two"], budget_seconds=1.0, out=out, timing_cache=tmp_path / "x" / "cache")
    found = json.loads(out.read_text())
    assert found == {"tests": {"seconds": 1}, "two": {"failed": "the budget was over"}}


def test_the_sanitizers_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in writes the log that the tool would, and runs the command."""
    program = tmp_path / "compute-sanitizer"
    log = "========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "at = sys.argv.index('--log-file')\n"
        f"open(sys.argv[at + 1], 'w').write({log!r})\nsys.exit(9)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(cuda_sanitizer, "_spread", lambda file, count: ["tests/a.py::test"])
    row = cuda_sanitizer._run(str(program), "racecheck", Path("tests/a.py"), 3, 20.0)
    assert (row["errors"], row["exit"], row["tests"]) == (2, 9, 1)


def test_a_spread_of_tests_is_of_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "\n".join(f"tests/a.py::test[{n}]" for n in range(10))
    done = subprocess.CompletedProcess([], 0, stdout=names + "\n10 tests collected")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    chosen = cuda_sanitizer._spread(Path("tests/a.py"), 4)
    assert chosen == [f"tests/a.py::test[{n}]" for n in (0, 3, 6, 9)]


def test_speedups_are_over_serial() -> None:
    us = {"serial": 10.0, "streams": 5.0, "merged": 4.0}
    assert _speedups(us) == {"streams_speedup": 2.0, "merged_speedup": 2.5}
