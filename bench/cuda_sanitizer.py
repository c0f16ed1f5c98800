"""NVIDIA's compute-sanitizer over the kernel tests: reads and writes outside memory, and races.

    python -m bench.cuda_sanitizer -o sanitizer.json

Each file of tests and each tool has a process of its own, all at the same time. It runs a few of
the file's tests for a GPU, from all over it: under the sanitizer a kernel takes many times as long.
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
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from planck.files import write_file

TOOLS: Final = ("memcheck", "racecheck")
FILES: Final = (*sorted(Path("tests/tactics/triton").glob("test_*.py")), Path("tests/runtime/cuda"))
FOUND: Final = 9  # the exit code that we ask for
CUDA: Final = "/usr/local/cuda/bin"  # where the toolkit is, if it is not in the PATH


def main(
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/sanitizer.json"),
    tests: Annotated[int, typer.Option(help="of each file, at most")] = 12,
    seconds: Annotated[float, typer.Option(help="for each process")] = 60.0,
    tool: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(TOOLS)}")] = None,
) -> None:
    """Run the kernel tests under the sanitizer; the exit code is 1 if it found anything."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=CUDA)
    if program is None:
        raise typer.BadParameter("compute-sanitizer is not in the PATH")
    out.parent.mkdir(parents=True, exist_ok=True)
    jobs = [(name, file) for file in FILES for name in tool or TOOLS]
    with ThreadPoolExecutor(len(jobs)) as pool:
        rows = list(pool.map(lambda job: _run(program, *job, tests, seconds), jobs))
    results = {f"{name} {file.name}": row for (name, file), row in zip(jobs, rows, strict=True)}
    write_file(out, json.dumps(results, indent=1).encode())
    for name, row in results.items():
        print(f"{name:36} {row['said']}, {row['seconds']} s", flush=True)
    raise typer.Exit(int(any(row["errors"] for row in rows)))


def _run(program: str, tool: str, file: Path, tests: int, seconds: float) -> dict[str, Any]:
    start = time.monotonic()
    chosen = _spread(file, tests)
    if not chosen:
        return {"tests": 0, "errors": 0, "said": "no tests", "seconds": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [
            program, "--tool", tool, "--error-exitcode", str(FOUND), "--log-file", str(log),
            sys.executable, "-m", "pytest", "-q", "-p", "no:benchmark", "-p", "no:cacheprovider",
            *chosen,
        ]  # fmt: skip
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False
            )
            code, said = ran.returncode, (ran.stdout.strip().splitlines() or [""])[-1][:200]
        except subprocess.TimeoutExpired:
            code, said = None, f"over after {seconds:.0f} s"
        text = log.read_text() if log.exists() else ""
    summaries = re.findall(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)", text)
    return {
        "tests": len(chosen),
        "errors": sum(map(int, summaries)),
        "exit": code,
        "said": f"{code}: {said}",
        "seconds": round(time.monotonic() - start, 1),
        "log": text[:3000] if any(map(int, summaries)) else text[-300:],
    }


def _spread(file: Path, count: int) -> list[str]:
    """So many of a file's tests for a GPU, from all of it."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "gpu", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    names = [line for line in ran.stdout.splitlines() if "::" in line]
    names = [name for name in names if "pytorch" not in name]  # whose kernels are not ours
    step = max(1, -(-len(names) // count))
    return names[::step]


if __name__ == "__main__":
    typer.run(main)
