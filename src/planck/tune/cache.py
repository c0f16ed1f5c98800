"""The timing cache: what was measured, by machine and kernel, so that no build measures it again.

The file is JSON: {"format": 1, "entries": {machine: {"key/threads": [{tactic, config, us}, ...]}}}.
An entry lists what was tried, the fastest first; "key/threads/memory" was timed with weights that
no cache held.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from planck.files import write_file
from planck.target import Target

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """One measured way to run a kernel: microseconds, or why it was refused."""

    tactic: str
    config: Mapping[str, Any]
    us: float = 0.0
    refused: str = ""

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"tactic": self.tactic}
        if self.refused:
            return {**row, "refused": self.refused}
        return {**row, "config": dict(self.config), "us": round(self.us, 3)}


@dataclass
class TimingCache:
    """Timings of one machine, kept in a file (or only in memory when path is None)."""

    path: Path | None
    target: Target
    entries: dict[str, list[Timing]] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    changed: bool = False

    @classmethod
    def open(cls, path: Path | None, target: Target) -> TimingCache:
        """Read what the file has of this machine. A damaged file counts as empty, and says so."""
        cache = cls(path, target)
        for key, rows in _read(path).get(cache.machine, {}).items():
            with contextlib.suppress(KeyError, TypeError):
                cache.entries[key] = [
                    Timing(r["tactic"], r.get("config", {}), r.get("us", 0.0), r.get("refused", ""))
                    for r in rows
                ]
        return cache

    @property
    def machine(self) -> str:
        return f"{self.target.machine} {self.target.isa}"

    def get(self, key: str) -> list[Timing] | None:
        found = self.entries.get(key)
        self.hits, self.misses = self.hits + bool(found), self.misses + (not found)
        return found

    def put(self, key: str, timings: list[Timing]) -> None:
        self.entries[key] = timings
        self.changed = True

    def save(self) -> None:
        """Merge into the file: other builds may have added to it meanwhile."""
        if self.path is None or not self.changed:
            return
        with turn(self.path.with_suffix(self.path.suffix + ".lock")):
            machines = _read(self.path)
            mine = machines.setdefault(self.machine, {})
            mine.update({k: [t.as_json() for t in v] for k, v in self.entries.items()})
            body = json.dumps({"format": FORMAT, "entries": machines}, sort_keys=True, indent=0)
            write_file(self.path, body.encode())
        self.changed = False


def _read(path: Path | None) -> dict[str, dict[str, list[dict[str, Any]]]]:
    if path is None or not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        if content["format"] == FORMAT and isinstance(content["entries"], dict):
            entries: dict[str, dict[str, list[dict[str, Any]]]] = content["entries"]
            return entries
    except (OSError, ValueError, KeyError, TypeError):
        pass
    log.warning("timing cache %s cannot be read; measuring again", path)
    return {}


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait for this file's lock across processes: timing and cache files take turns."""
    try:
        import fcntl
    except ImportError:  # a system without advisory locks: builds there should not overlap
        yield
        return
    file: IO[str] | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("no lock at %s: %s", path, error)
    try:
        yield
    finally:
        if file:
            file.close()
