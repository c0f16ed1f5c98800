"""Runs many damaged models through Planck; every one must end in a result or in a PlanckError.

    python -m bench.fuzz onnx --count 2000 --seed 0
    python -m bench.fuzz darknet --count 2000 --build-every 20

What ends otherwise is printed, and its file is kept in --out: another exception, a crash, more than
ten seconds (a hundred and twenty if it is compiled), more than two gigabytes, compiled code that
differs from the interpreter.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.fuzz.worker import Kind, write_case

ROOT = Path(__file__).parent.parent.parent
READ_SECONDS, BUILD_SECONDS = 10.0, 120.0


class Result(NamedTuple):
    """How one case ended; outcomes that begin with "!" must not be."""

    number: int
    outcome: str
    detail: str
    seconds: float

    @property
    def failed(self) -> bool:
        return self.outcome.startswith("!")


class Worker:
    """A worker process that is started again whenever a case has ended it."""

    def __init__(self, kind: Kind, seed: int, build_every: int) -> None:
        arguments = ["--seed", str(seed), "--build-every", str(build_every)]
        self.command = [sys.executable, "-m", "bench.fuzz.worker", kind, *arguments]
        self.build_every = build_every
        self.process: subprocess.Popen[str] | None = None

    def run(self, number: int) -> Result:
        process = self.process = self.process or self._start()
        start = time.monotonic()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        builds = self.build_every and number % self.build_every == 0
        limit = BUILD_SECONDS if builds else READ_SECONDS
        ready, _, _ = select.select([process.stdout], [], [], limit)
        seconds = time.monotonic() - start
        line = process.stdout.readline() if ready else ""
        if line:
            answer = json.loads(line)
            return Result(number, answer["outcome"], answer["detail"], seconds)
        self.close()
        ended = f"!exit {process.returncode}" if ready else "!time"
        return Result(number, ended, "", seconds)

    def _start(self) -> subprocess.Popen[str]:
        environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(self.command)} does not start")
        return process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None


def fuzz(kind: Kind, numbers: range, *, seed: int = 0, build_every: int = 0) -> Iterator[Result]:
    """Each case's result, in order."""
    worker = Worker(kind, seed, build_every)
    try:
        for number in numbers:
            yield worker.run(number)
    finally:
        worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("onnx", "darknet"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build-every", type=int, default=0, help="compile every n-th case")
    parser.add_argument("--out", type=Path, default=Path("bench-output/fuzz"))
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    numbers = range(options.first, options.first + options.count)
    found = fuzz(options.kind, numbers, seed=options.seed, build_every=options.build_every)
    for result in found:
        outcomes[result.outcome] += 1
        slowest = max(slowest, result.seconds)
        if result.failed:
            options.out.mkdir(parents=True, exist_ok=True)
            path = write_case(options.kind, options.seed, result.number, options.out)
            print(f"case {result.number}: {result.outcome[1:]}, kept as {path}\n{result.detail}")
    for name, count in outcomes.most_common():
        print(f"{count:6}  {name}")
    print(f"{sum(outcomes.values()):6}  cases; the slowest took {slowest:.1f} s")
    if any(name.startswith("!") for name in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
