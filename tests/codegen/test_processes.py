"""Compiler processes: they start wherever the build stands, and say what went wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planck.codegen.processes import CompilePool
from planck.errors import BuildError
from planck.target import host


def test_they_find_planck_though_no_path_leads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a change of folder, where Planck was found by a relative path."""
    packages = str(Path(np.__file__).parents[1])
    start = subprocess.Popen

    def elsewhere(command: list[str], **how: Any) -> Any:
        # Without `site`, nor what is installed as a link to its sources.
        return start(
            [command[0], "-S", *command[1:]], cwd=tmp_path, env={"PYTHONPATH": packages}, **how
        )

    monkeypatch.setattr(subprocess, "Popen", elsewhere)
    with CompilePool(host(), jobs=2) as pool:
        made, wrong = pool.submit("define void @f() { ret void }"), pool.submit("no module")
        assert made.result().startswith(b"\x7fELF")
        with pytest.raises(BuildError, match="generated code does not compile"):
            wrong.result()
