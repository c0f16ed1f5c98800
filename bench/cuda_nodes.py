"""ONNX's backend tests on an NVIDIA GPU beside the CPU: which pass, and which without NumPy.

    python -m bench.cuda_nodes --target cpu --target cuda -o nodes.json
    python -m bench.cuda_nodes --target cuda:sm_90 --build-only    # builds without a GPU

Results go to the file by target; those of targets that are not run stay there and are compared. A
case whose kernel spoils the GPU's context gets a new process for those behind it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device
from planck.errors import CudaError
from planck.files import write_file
from tests.conformance.backend import Outcome, cases, outcome

CASE_SECONDS: Final = 60.0  # then a case has failed
_held: list[Device] = []  # so that its context is not made again for every case
_FORK: Final = multiprocessing.get_context("fork")  # the cases are made once
_SPOILT: Final = f"{CudaError.__name__}: "  # so does the reason of such a case begin

Row = dict[str, Any]


def main(
    target: Annotated[list[str] | None, typer.Option(help="cpu and cuda if left out")] = None,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda-nodes.json"),
    build_only: Annotated[bool, typer.Option(help="run nothing")] = False,
    jobs: Annotated[int, typer.Option("-j", help="processes; all cores if 0")] = 0,
    only: Annotated[str, typer.Option(help="part of the cases' names")] = "",
    every: Annotated[int, typer.Option(help="each how many-th case")] = 1,
    failed: Annotated[bool, typer.Option(help="only what the file says did not pass")] = False,
    budget_seconds: Annotated[float, typer.Option(help="no case begins after this")] = 3600.0,
) -> None:
    """Run ONNX's backend tests on several targets."""
    end = time.monotonic() + budget_seconds
    targets = target or ["cpu", "cuda"]
    results: dict[str, dict[str, Row]] = json.loads(out.read_text()) if out.exists() else {}
    names = [name for name in sorted(cases()) if only in name][::every]
    random.Random(0).shuffle(names)  # where the budget ends, a fair sample is done
    for one in targets:
        rows = results.setdefault(one, {})
        mine = [n for n in names if not (failed and n in rows and _compiled(rows[n]))]
        for found in _outcomes(mine, one, not build_only, jobs or os.cpu_count() or 1, end):
            rows[found.name] = {k: v for k, v in asdict(found).items() if v and k != "name"}
        results[one] = dict(sorted(rows.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps(results, indent=0).encode())
    print(report(results))


def _outcomes(
    names: Sequence[str], target: str, run: bool, jobs: int, end: float
) -> Iterator[Outcome]:
    """The cases' outcomes as they come, of as many processes."""
    if target != "cpu":
        import_module("triton.compiler")  # once, before the processes begin
    todo = list(reversed(names))
    workers = [_Worker(target, run) for _ in range(min(jobs, len(names)))]
    while todo or any(worker.name for worker in workers):
        for k, worker in enumerate(workers):
            if worker.name and worker.pipe.poll():
                found = worker.take()
                if found.why.startswith(_SPOILT):
                    if worker.done > 1:  # perhaps an earlier case did it
                        todo.append(found.name)
                    else:
                        yield found
                    workers[k] = worker = worker.again()
                else:
                    yield found
            elif worker.name and time.monotonic() > worker.late:
                yield Outcome(worker.name, f"took more than {CASE_SECONDS:.0f} s")
                workers[k] = worker = worker.again()
            if not worker.name and todo:
                if time.monotonic() > end:
                    todo.clear()
                else:
                    worker.give(todo.pop())
        wait([worker.pipe for worker in workers if worker.name], 0.5)
    for worker in workers:
        worker.process.kill()


class _Worker:
    """A process that runs one case after the other."""

    def __init__(self, target: str, run: bool) -> None:
        self.target, self.run = target, run
        self.pipe, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_serve, args=(theirs, target, run), daemon=True)
        self.process.start()
        theirs.close()
        self.name, self.late, self.done = "", 0.0, 0

    def give(self, name: str) -> None:
        self.name, self.late = name, time.monotonic() + CASE_SECONDS
        self.pipe.send(name)

    def take(self) -> Outcome:
        name, self.name, self.done = self.name, "", self.done + 1
        try:
            found: Outcome = self.pipe.recv()
        except EOFError:
            found = Outcome(name, f"{_SPOILT}the process ended")
        return found

    def again(self) -> _Worker:
        self.process.kill()
        return _Worker(self.target, self.run)


def _serve(pipe: Connection, target: str, run: bool) -> None:
    if target == "cuda" and run:
        _held.append(Device(open_driver()))
    while True:
        pipe.send(outcome(pipe.recv(), target, run))


def _compiled(row: Row) -> bool:
    return not row.get("why") and not row.get("reference")


def report(results: dict[str, dict[str, Row]]) -> str:
    """Counts of each target, and what each does worse than the first."""
    lines = []
    for target, rows in results.items():
        passed = [row for row in rows.values() if not row.get("why")]
        compiled = [row for row in passed if not row.get("reference")]
        known = sum(bool(row.get("known")) for row in compiled)
        lines.append(
            f"{target}: {len(rows)} cases, {len(passed)} pass, {len(compiled)} of them compiled"
            f" ({known} known while building), {len(passed) - len(compiled)} with reference steps"
        )
    first, *others = results
    for target in others:
        rows = results[target]
        base = [n for n, row in results[first].items() if _compiled(row) and n in rows]
        worse = [n for n in base if not _compiled(rows[n])]
        share = 100 * (1 - len(worse) / max(len(base), 1))
        lines.append(f"{target}: {share:.1f} % of the {len(base)} that {first} runs compiled")
        for name in worse:
            slow = [why.rpartition("loops: ")[2] for why in rows[name].get("slow", ())]
            why = rows[name].get("why") or "; ".join(slow)
            lines.append(f"  {name}: {' '.join(why.split())[:160]}")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
