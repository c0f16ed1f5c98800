"""Processes that end in their time, with their children: one, or many side by side.

A command has a session of its own, so that all it started ends with it, where it hangs and where
the one who waits for it is interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LEAST_SECONDS: Final = 5.0  # with which something is begun
_POLL_SECONDS: Final = 0.02


class Running:
    """A command that has begun, and has so many seconds."""

    def __init__(
        self, command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by finish
        self.start = time.monotonic()
        self.end = self.start + seconds
        self._process = subprocess.Popen(
            command,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    @property
    def over(self) -> bool:
        return self._process.poll() is not None or time.monotonic() > self.end

    def finish(self) -> tuple[int, str]:
        """The exit code, negative if it had to be ended, and what it said."""
        code = self._process.poll()
        if code is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            code = -1
        with self._said as said:
            said.seek(0)
            return code, said.read()


def in_time(command: Sequence[str], seconds: float) -> tuple[int, str]:
    """A command's exit code, negative if it was ended, and what it said."""
    running = Running(command, seconds)
    try:
        while not running.over:
            time.sleep(_POLL_SECONDS)
    finally:
        found = running.finish()
    return found


@dataclass(frozen=True)
class Job:
    """A command to run; name tells it from others."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Ended:
    """code:  negative where the job was ended, as its time was over"""

    name: str
    code: int
    said: str
    seconds: float


def side_by_side(
    jobs: Sequence[Job],
    places: Sequence[Mapping[str, str]],
    budget_seconds: float,
    job_seconds: float = float("inf"),
) -> Iterator[Ended]:
    """Each job as it ends; they begin in their order. Those that the budget leaves out never come.

    places:  environments, each for one job at a time
    """
    end = time.monotonic() + budget_seconds
    waiting, free = list(jobs), list(places)
    running: list[tuple[Job, Mapping[str, str], Running]] = []
    try:
        while running or (waiting and end - time.monotonic() > LEAST_SECONDS):
            while waiting and free and (left := end - time.monotonic()) > LEAST_SECONDS:
                job, place = waiting.pop(0), free.pop(0)
                running.append((job, place, Running(job.command, min(left, job_seconds), place)))
            time.sleep(_POLL_SECONDS)
            for item in [item for item in running if item[2].over]:
                running.remove(item)
                job, place, own = item
                free.append(place)
                yield Ended(job.name, *own.finish(), time.monotonic() - own.start)
    finally:
        for _, _, own in running:
            own.finish()
