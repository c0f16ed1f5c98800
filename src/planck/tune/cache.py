"""The timing cache: what was measured, by machine and kernel, so that no build measures it again.

The file is JSON: {"format": 1, "entries": {machine: {"key/threads": [{tactic, config, us}, ...]}}}.
An entry lists what was tried, the fastest first; "key/threads/memory" was timed with weights that
no cache held, "key/threads/memory/results" with results that none held, either. Beside "entries"
stand "checks", by machine and by the digest of a plan: what its check against float64 found
(compiler/accuracy.py); and "limits", by machine and threads: what the machine can do at most, by
which candidates were left out; a build from the cache does the same.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from planck.benchmark.limits import Limits, limits_of_row, load_limits
from planck.errors import FileError
from planck.files import write_file
from planck.target import GENERIC, Target

log = logging.getLogger(__name__)
FORMAT = 1
LOCK = Path(tempfile.gettempdir()) / "planck-timing.lock"  # of who times something


@dataclass(frozen=True, slots=True)
class Timing:
    """One measured way to run a kernel: microseconds, or why it was refused.

    error:  largest error over largest output on random numbers, where a tactic was not exact
    growth_bytes:  by which it needs more room for weights than the model has them in
    """

    tactic: str
    config: Mapping[str, Any]
    us: float = 0.0
    refused: str = ""
    error: float | None = None
    growth_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"tactic": self.tactic}
        if self.error is not None:
            row["error"] = self.error
        if self.growth_bytes:
            row["growth_bytes"] = self.growth_bytes
        if self.config or not self.refused:
            row["config"] = dict(self.config)
        if self.us or not self.refused:
            row["us"] = round(self.us, 3)
        return {**row, "refused": self.refused} if self.refused else row

    def is_of(self, tactic: str, config: Mapping[str, Any]) -> bool:
        return self.tactic == tactic and dict(self.config) == dict(config)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Timing:
        """raises: KeyError, TypeError, ValueError, AttributeError for what as_json never gives"""
        error, us = row.get("error"), row.get("us", 0.0)
        tactic, refused = row["tactic"], row.get("refused", "")
        if not (isinstance(tactic, str) and isinstance(refused, str)):
            raise TypeError("names and reasons are text")
        return cls(
            tactic,
            dict(row.get("config", {})),
            us + 0.0,
            refused,
            None if error is None else float(error),
            int(row.get("growth_bytes", 0)),
        )


@dataclass
class TimingCache:
    """Timings of one machine, kept in a file (or only in memory when path is None).

    For a target that is no machine in particular, those of any machine of its ISA.
    """

    path: Path | None
    target: Target
    entries: dict[str, list[Timing]] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    changed: bool = False
    _before: dict[str, dict[str, Any]] = field(default_factory=dict)  # the file's, by part

    @classmethod
    def open(cls, path: Path | None, target: Target) -> TimingCache:
        """Read what the file has of this machine. A damaged file counts as empty, and says so."""
        cache = cls(path, target)
        content = _read(path)
        machines = [cache.machine]
        if target.machine == GENERIC:
            machines = [name for name in content["entries"] if name.endswith(f" {target.isa}")]
        for machine in machines:
            for key, rows in content["entries"].get(machine, {}).items():
                with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                    cache.entries[key] = [Timing.from_json(row) for row in rows]
            cache.checks.update(content["checks"].get(machine, {}))
        cache.limits = dict(content["limits"].get(cache.machine, {}))
        cache._before = {name: dict(rows) for name, rows in cache._parts.items()}
        return cache

    @property
    def _parts(self) -> dict[str, dict[str, Any]]:
        return {"entries": self.entries, "checks": self.checks, "limits": self.limits}

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

    def refuse(self, key: str, refused: Timing) -> None:
        """Keep that a way of a kernel is not to be tried again; in the file at once."""
        rows = self.entries.get(key, ())
        others = [row for row in rows if not row.is_of(refused.tactic, refused.config)]
        self.put(key, [*others, refused])
        self.save()

    def limits_of(self, threads: int) -> Limits | None:
        """The machine's limits that this cache goes by: its own, or else those kept on the machine.

        None where nobody measured them, which leaves no candidate out.
        """
        own = self.limits.get(str(threads))
        found = limits_of_row(threads, own) if own is not None else None
        if found is None and (found := load_limits(self.target, threads)):
            self.limits[str(threads)] = found.to_json()
            self.changed = True
        return found

    def save(self) -> None:
        """Merge into the file what is new: other builds may have changed the rest meanwhile.

        A file that cannot be written costs no build its plan: a warning says so.
        """
        if self.path is None or not self.changed:
            return
        try:
            self._merge(self.path)
        except FileError as error:
            log.warning("what was measured is not kept: %s", error)
        self.changed = False

    def _merge(self, path: Path) -> None:
        with turn(path.with_suffix(path.suffix + ".lock")):
            content = _read(path)
            for name, rows in self._parts.items():
                before = self._before.get(name, {})
                new = {key: row for key, row in rows.items() if row is not before.get(key)}
                if name == "entries":
                    new = {key: [timing.as_json() for timing in row] for key, row in new.items()}
                if new:
                    content[name].setdefault(self.machine, {}).update(new)
            body = json.dumps({"format": FORMAT, **content}, sort_keys=True, indent=0)
            write_file(path, body.encode())


def _read(path: Path | None) -> dict[str, dict[str, dict[str, Any]]]:
    """The file's parts, by machine; all empty where it cannot be read."""
    empty: dict[str, dict[str, dict[str, Any]]] = {"entries": {}, "checks": {}, "limits": {}}
    if path is None or not path.exists():
        return empty
    try:
        content = json.loads(path.read_text())
        parts = {name: content.get(name, {}) for name in empty}
        tables = [table for part in parts.values() for table in part.values()]
        if content["format"] == FORMAT and all(isinstance(table, dict) for table in tables):
            return parts
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    log.warning("timing cache %s cannot be read; measuring again", path)
    return empty


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
        try:
            file = path.open("a")
        except PermissionError:  # another user's: to lock it, reading does
            file = path.open()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("no lock at %s: %s", path, error)
    try:
        yield
    finally:
        if file:
            file.close()
