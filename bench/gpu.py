"""All that is to be known of Planck on this machine's GPU, in one call and one file.

    python -m bench.gpu --budget-seconds 600

    tests       pytest -m gpu, on many cores
    host        what a run costs the host, and a long run (bench.cuda_host)
    streams     five engines side by side (bench.cuda_streams)
    sanitizer   the kernel tests under compute-sanitizer (bench.cuda_sanitizer)
    right       whole networks in all precisions, whether their outputs are (bench.cuda --check)
    networks    whole networks beside PyTorch (bench.cuda)

Each part is a process of its own with a share of the budget; what a part leaves over, the others
may use. The file is written after each, so that a part that fails or hangs spoils nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.processes import LEAST_SECONDS, in_time
from planck.files import write_file

WORKERS: Final = "14"


@dataclass(frozen=True)
class Part:
    """What one process measures.

    command:  after `python -m`; "OUT" stands for the JSON file that it writes, "SECONDS" for its
              budget, "CACHE" for the timing cache
    share:    of the budget
    """

    name: str
    command: tuple[str, ...]
    share: float


NETWORKS: Final = (
    "bench.cuda", "--timing-cache", "CACHE", "--budget-seconds", "SECONDS", "-o", "OUT",
)  # fmt: skip
PARTS: Final = (
    Part(
        "tests",
        ("pytest", "-q", "-m", "gpu", "-p", "no:benchmark", "-n", WORKERS, "tests"),
        0.2,
    ),
    Part("host", ("bench.cuda_host", "--timing-cache", "CACHE", "-o", "OUT"), 0.1),
    Part("streams", ("bench.cuda_streams", "--peer", "--timing-cache", "CACHE", "-o", "OUT"), 0.1),
    Part("sanitizer", ("bench.cuda_sanitizer", "--seconds", "SECONDS", "-o", "OUT"), 0.15),
    Part("right", (*NETWORKS, "--check", "--jobs", "8"), 0.15),
    Part("networks", NETWORKS, 0.3),
)


def main(
    part: Annotated[list[str] | None, typer.Argument(help="parts; all if left out")] = None,
    budget_seconds: Annotated[float, typer.Option(help="for all parts")] = 600.0,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench/results/gpu.json"),
    timing_cache: Annotated[Path, typer.Option()] = Path("bench-output/planck-cuda.timings"),
) -> None:
    """Run all parts, or some, and write what they found."""
    chosen = [own for own in PARTS if not part or own.name in part]
    if unknown := set(part or ()) - {own.name for own in PARTS}:
        raise typer.BadParameter(f"no part {', '.join(unknown)}")
    timing_cache.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    end = time.monotonic() + budget_seconds
    for number, own in enumerate(chosen):
        left = end - time.monotonic()
        seconds = left * own.share / sum(later.share for later in chosen[number:])
        if seconds < LEAST_SECONDS:
            results[own.name] = {"failed": "the budget was over"}
        else:
            results[own.name] = run(own, seconds, timing_cache)
        write_file(out, json.dumps(results, indent=1).encode())
        print(f"== {own.name}: {results[own.name].get('failed', 'done')}", flush=True)


def run(part: Part, seconds: float, timing_cache: Path) -> dict[str, Any]:
    """What a part's process found, and the end of what it said."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "out.json"
        stands = {"OUT": str(file), "SECONDS": f"{0.9 * seconds:.0f}", "CACHE": str(timing_cache)}
        command = [sys.executable, "-m", *(stands.get(word, word) for word in part.command)]
        code, said = in_time(command, seconds)
        found = json.loads(file.read_text()) if file.exists() else None
    row: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1), "found": found}
    if code:
        row["failed"] = "the budget was over" if code < 0 else f"exit {code}"
    return {**row, "said": said[-2000:].splitlines()[-12:]}


if __name__ == "__main__":
    typer.run(main)
