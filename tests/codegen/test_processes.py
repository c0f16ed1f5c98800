"""Compiler processes: they start wherever the build stands, and say what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planck.codegen import processes
from planck.codegen.processes import CompilePool, Workers
from planck.errors import BuildError, CompilerProcessError
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


WORKER = """
import os, sys
from planck.codegen.processes import serve
from planck.errors import BuildError, MissingExtraError

def make(target, source, header):
    print("a library prints this")
    os.write(1, b"and this")
    if source == "dies once":
        try:
            os.close(os.open(header["mark"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return b"made"
        os.kill(os.getpid(), 9)
    if source == "lacks":
        raise MissingExtraError("there is no compiler")
    if source == "defect":
        raise AssertionError("it wants scratch memory")
    if source.isdigit():
        os.kill(os.getpid(), int(source))
    return source.upper().encode()

serve(make)
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two processes of a pretended compiler, found by a path that this process alone has."""
    (tmp_path / "pretended.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Workers, "module", "pretended")
    with Workers(host(), 2) as made:
        yield made


def test_what_is_printed_is_no_answer(workers: Workers) -> None:
    assert workers.ask("text") == b"TEXT"
    assert workers.ask("more") == b"MORE"


def test_a_process_that_was_killed_is_replaced_once(
    workers: Workers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert workers.ask("dies once", mark=str(tmp_path / "mark")) == b"made"
    assert "ended with exit status -9" in caplog.text
    with pytest.raises(CompilerProcessError, match="ended unexpectedly") as caught:
        workers.ask("9")
    assert "exit status -9: killed; memory may be short" in caught.value.know
    assert workers.ask("text") == b"TEXT"


def test_a_compiler_that_crashes_refuses_its_source_alone(workers: Workers) -> None:
    with pytest.raises(BuildError, match="the compiler crashed") as caught:
        workers.ask(str(int(signal.SIGSEGV)))
    assert "signal 11, 2 times" in caught.value.know
    with pytest.raises(BuildError, match="does not compile") as caught:
        workers.ask("defect")
    assert "AssertionError: it wants scratch memory" in caught.value.know


def test_what_a_process_lacks_ends_the_build(workers: Workers) -> None:
    with pytest.raises(CompilerProcessError, match="cannot work") as caught:
        workers.ask("lacks")
    assert "there is no compiler" in caught.value.know


def test_a_module_that_is_not_there_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workers, "module", "of_no_package")
    with Workers(host(), 2) as pool, pytest.raises(CompilerProcessError, match="unexpectedly"):
        pool.ask("text")


@pytest.mark.parametrize("name", ["queue", "inspect", "statistics", "llvmlite"])
def test_files_beside_the_user_are_not_taken_for_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise ValueError('not this one')")
    monkeypatch.chdir(tmp_path)
    with CompilePool(host(), jobs=2) as pool:
        assert pool.submit("define void @f() { ret void }").result().startswith(b"\x7fELF")


def test_an_interrupt_ends_at_once_and_in_silence(tmp_path: Path) -> None:
    """As Ctrl-C in a terminal, which all processes of the group get."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom planck.codegen.processes import serve\n"
        "serve(lambda *_: time.sleep(60) or b'')"
    )
    (tmp_path / "main.py").write_text(
        textwrap.dedent("""
        import os, signal, threading, time
        from planck.codegen.processes import Workers
        from planck.target import host
        Workers.module = "slow"
        try:
            with Workers(host(), 2) as pool:
                futures = [pool._threads.submit(pool.ask, "x") for _ in range(4)]
                while len(pool._all) < 2:
                    time.sleep(0.01)
                time.sleep(0.5)
                threading.Timer(0.1, os.killpg, (os.getpgrp(), signal.SIGINT)).start()
                futures[0].result()
        except KeyboardInterrupt:
            print("ended")
        """)
    )
    folder = str(Path(processes.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": folder},
        capture_output=True, text=True, timeout=30, start_new_session=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)
