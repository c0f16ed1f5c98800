"""`python -m planck` as its own process: logs, dumps, pipes and signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "planck"]


@pytest.mark.slow
def test_everything_logged_and_dumped(model: Path, tmp_path: Path) -> None:
    """The highest level, so that what is only printed then cannot rot."""
    dump = tmp_path / "dump"
    environment = {**os.environ, "PLANCK_DEBUG": "6", "PLANCK_DUMP": str(dump)}
    done = subprocess.run(
        [*COMMAND, "run", model, "--shape", "x:1x3x8x8", "--threads", "1", "-O", "1", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")
    for word in ("simplify", "fuse", "layout"):
        assert word in done.stderr
        assert list(dump.glob(f"*-{word}.graph"))


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "ops", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in errors
