"""NVIDIA's compute-sanitizer over the kernel tests: reads and writes outside memory, and races.

    python -m bench.cuda_sanitizer -o sanitizer.json

Each file of tests and each tool has a process of its own, all at the same time. It runs a few of
the file's tests for a GPU, one of each function before a second: under the sanitizer a kernel takes
many times as long. A process is clean only if its tests passed and the tool wrote a summary without
errors: one that was ended, skipped its tests or found none is not.
It needs compute-sanitizer, of the CUDA toolkit.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.processes import in_time
from planck.files import write_file

TOOLS: Final = ("memcheck", "racecheck")
KERNELS: Final = Path("tests/tactics/triton")
# Not the interpreter's own tests, whose kernels are wrong on purpose; nor those of the runtime that
# look at times and at the device's memory, which the sanitizer changes.
FILES: Final = (
    *sorted(file for file in KERNELS.glob("test_*.py") if file.stem != "test_interpreting"),
    Path("tests/runtime/cuda/test_gpu.py"),
)
NO_LAUNCH: Final = re.compile(r"_compile|refused|pytorch|profile|at_once|memory_back")
# Without the project's own -q: with two of them, pytest prints neither names nor a last line.
PYTEST: Final = (sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib", "-q")
FOUND: Final = 9  # the exit code that we ask for
CUDA: Final = "/usr/local/cuda/bin"  # where the toolkit is, if it is not in the PATH


def main(
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/sanitizer.json"),
    tests: Annotated[int, typer.Option(help="of each file, at most")] = 12,
    seconds: Annotated[float, typer.Option(help="for each process")] = 60.0,
    tool: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(TOOLS)}")] = None,
) -> None:
    """Run the kernel tests under the sanitizer; the exit code is 1 if one is not clean."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=CUDA)
    if program is None:
        raise typer.BadParameter("compute-sanitizer is not in the PATH")
    out.parent.mkdir(parents=True, exist_ok=True)
    jobs = [(name, file) for file in FILES for name in tool or TOOLS]
    with ThreadPoolExecutor(len(jobs)) as pool:
        rows = list(pool.map(lambda job: _run(program, job[0], job[1], tests, seconds), jobs))
    results = {f"{name} {file.name}": row for (name, file), row in zip(jobs, rows, strict=True)}
    write_file(out, json.dumps(results, indent=1).encode())
    for name, row in results.items():
        print(
            f"{name:36} {'clean' if row['clean'] else 'NOT CLEAN'},"
            f" {row['tests']} tests, {row['said']}, {row['seconds']} s",
            flush=True,
        )
    raise typer.Exit(int(not all(row["clean"] for row in rows)))


def _run(program: str, tool: str, file: Path, tests: int, seconds: float) -> dict[str, Any]:
    start = time.monotonic()
    chosen = _spread(file, tests)
    if not chosen:
        return {"tests": 0, "errors": 0, "clean": False, "said": "no tests", "seconds": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            program, "--tool", tool, "--error-exitcode", str(FOUND), "--log-file", str(log),
            *PYTEST, "-p", "no:benchmark", "-p", "no:cacheprovider", *chosen,
        ]  # fmt: skip
        code, output = in_time(command, seconds - (time.monotonic() - start))
        text = log.read_text() if log.exists() else ""
    summaries = re.findall(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)", text)
    last = (output.strip().splitlines() or [""])[-1][:200]
    said = f"over after {seconds:.0f} s" if code == -1 else last
    errors = sum(map(int, summaries))
    return {
        "tests": len(chosen),
        "errors": errors,
        "clean": bool(summaries) and not errors and code == 0 and " passed" in last,
        "exit": code,
        "said": f"{code}: {said}",
        "seconds": round(time.monotonic() - start, 1),
        "log": text[:3000] if errors else text[-300:],
    }


def _spread(file: Path, count: int) -> list[str]:
    """So many of a file's tests that launch kernels on a GPU: one of each function, then more."""
    command = [*PYTEST, "--collect-only", "-m", "gpu", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    variants: dict[str, list[str]] = {}
    for name in ran.stdout.splitlines():
        function = name.partition("[")[0]
        if "::" in name and not NO_LAUNCH.search(function):
            variants.setdefault(function, []).append(name)
    turns = [name for turn in zip_longest(*variants.values()) for name in turn if name]
    return turns[:count]


if __name__ == "__main__":
    typer.run(main)
