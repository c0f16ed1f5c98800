"""The demo runs as the README says, and leaves what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import shapes

from planck.vision import read_image

DEMO = Path(shapes.__file__).parent


@pytest.mark.slow
def test_the_demo_leaves_a_plan_and_a_picture(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO / "run.py"), "--level", "0", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "built in" in done.stdout
    assert "Planck, network" in done.stdout
    assert (tmp_path / "shapes.plan").stat().st_size > 1_000_000
    assert read_image(tmp_path / "detections.png").shape == (720, 960, 3)
