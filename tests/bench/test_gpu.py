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


SUMMARY = "========= ERROR SUMMARY: 0 errors"
HAZARDS = "========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)"


@pytest.mark.parametrize(
    ("log", "said", "code", "errors", "clean"),
    [
        (SUMMARY, "3 passed in 1.00s", 0, 0, True),
        (HAZARDS, "3 passed in 1.00s", 9, 2, False),
        (SUMMARY, "1 failed, 2 passed in 1.00s", 1, 0, False),
        (SUMMARY, "3 skipped in 1.00s", 0, 0, False),
        ("========= Error: the target ended early", "3 passed in 1.00s", 0, 0, False),
    ],
)
def test_only_a_summary_of_tests_that_passed_is_clean(
    log: str,
    said: str,
    code: int,
    errors: int,
    clean: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stand-in writes the log that the tool would."""
    program = stand_in(
        tmp_path,
        "at = sys.argv.index('--log-file')\n"
        f"open(sys.argv[at + 1], 'w').write({log!r})\nprint({said!r})\nsys.exit({code})\n",
    )
    monkeypatch.setattr(cuda_sanitizer, "_spread", lambda file, count: ["tests/a.py::test"])
    row = cuda_sanitizer._run(program, "racecheck", Path("tests/a.py"), 3, 20.0)
    assert (row["errors"], row["exit"], row["tests"]) == (errors, code, 1)
    assert row["clean"] == clean


def test_a_sanitizer_that_is_over_time_or_has_no_tests_is_not_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = stand_in(tmp_path, "import time\ntime.sleep(60)\n")
    monkeypatch.setattr(cuda_sanitizer, "_spread", lambda file, count: ["tests/a.py::test"])
    row = cuda_sanitizer._run(program, "memcheck", Path("tests/a.py"), 3, 0.5)
    assert (row["clean"], row["said"][:14]) == (False, "-1: over after")
    monkeypatch.setattr(cuda_sanitizer, "_spread", lambda file, count: [])
    assert not cuda_sanitizer._run(program, "memcheck", Path("tests/a.py"), 3, 0.5)["clean"]


def stand_in(folder: Path, script: str) -> str:
    program = folder / "compute-sanitizer"
    program.write_text(f"#!{sys.executable}\nimport sys\n{script}")
    program.chmod(0o755)
    return str(program)


def test_tests_are_of_each_function_before_more_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"tests/a.py::test_{kind}[gpu-{n}]" for kind in "ab" for n in range(3)]
    names += ["tests/a.py::test_compiles[gpu]", "tests/a.py::test_what_is_refused[gpu]"]
    done = subprocess.CompletedProcess([], 0, stdout="\n".join(names) + "\n8 tests collected")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    chosen = cuda_sanitizer._spread(Path("tests/a.py"), 3)
    assert chosen == [f"tests/a.py::test_{end}]" for end in ("a[gpu-0", "b[gpu-0", "a[gpu-1")]


@pytest.mark.slow
def test_tests_are_found_where_kernels_are() -> None:
    assert len(cuda_sanitizer._spread(Path("tests/tactics/triton/test_matmul.py"), 3)) == 3


def test_speedups_are_over_serial() -> None:
    us = {"serial": 10.0, "streams": 5.0, "merged": 4.0}
    assert _speedups(us) == {"streams_speedup": 2.0, "merged_speedup": 2.5}
