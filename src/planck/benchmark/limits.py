"""What a machine can do at most: arithmetic, and bytes a second of each cache and of memory.

`tune/limits.py` measures them once; they are kept in the folder `knobs().cache` says, as JSON:
{"format": 1, "entries": {"machine isa": {"threads": {peak_gflops, pairs_gflops, levels}}}}.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from planck.errors import FileError
from planck.files import write_file
from planck.knobs import knobs
from planck.target import Target

log = logging.getLogger(__name__)
FORMAT: Final = 1
MEMORY: Final = "memory"


@dataclass(frozen=True, slots=True)
class Level:
    """A place that bytes come from.

    bytes:          what it holds, of all threads together; 0: anything
    gbytes_per_s:   read by all threads together
    """

    name: str
    bytes: int
    gbytes_per_s: float

    def holds(self, bytes_: int) -> bool:
        return not self.bytes or bytes_ <= self.bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of some threads of a machine.

    peak_gflops:  float32 multiply-adds of all threads, counted twice
    levels:       L1, L2, L3 where there is one, memory
    pairs_gflops: the same of bfloat16 in pairs; 0 where the processor has no instruction for them
    """

    threads: int
    peak_gflops: float
    levels: tuple[Level, ...]
    pairs_gflops: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        levels = ", ".join(f"{level.name} {level.gbytes_per_s:.0f}" for level in self.levels)
        pairs = f", bfloat16 {self.pairs_gflops:.0f}" if self.pairs_gflops else ""
        return f"{self.peak_gflops:.0f} GFLOP/s{pairs}; GB/s: {levels}"


def path() -> Path:
    """The file that limits are kept in."""
    return knobs().cache.expanduser() / "limits.json"


def load_limits(target: Target, threads: int) -> Limits | None:
    """The limits measured before for these threads; None where there are none to be read.

    Older files do not say what pairs of bfloat16 do: that is none, where the processor has them.
    """
    row = _read().get(_machine(target), {}).get(str(threads))
    if row is None:
        return None
    if target.multiplies_bfloat16 and isinstance(row, dict) and "pairs_gflops" not in row:
        return None  # of an older version
    found = limits_of_row(threads, row)
    if found is None or (target.multiplies_bfloat16 and not found.pairs_gflops):
        log.warning("the limits in %s make no sense; measuring again", path())
        return None
    return found


def limits_of_row(threads: int, row: Mapping[str, Any]) -> Limits | None:
    """What `Limits.to_json` gave; None for what makes no sense."""
    try:
        levels = tuple(Level(str(n["name"]), int(n["bytes"]), float(n["gbytes_per_s"]))
                       for n in row["levels"])  # fmt: skip
        pairs = float(row.get("pairs_gflops", 0.0))
        found = Limits(threads, float(row["peak_gflops"]), levels, pairs)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    rates = (found.peak_gflops, *(level.gbytes_per_s for level in found.levels))
    sensible = levels and all(0 < rate < float("inf") for rate in rates)
    return found if sensible and 0 <= pairs < float("inf") else None


def save_limits(target: Target, limits: Limits) -> None:
    """Add to the file, or replace what it says of so many threads.

    A file that cannot be written costs the next one a second, and is a warning.
    """
    entries = _read()
    mine = entries.setdefault(_machine(target), {})
    mine[str(limits.threads)] = limits.to_json()
    body = json.dumps({"format": FORMAT, "entries": entries}, sort_keys=True, indent=1)
    try:
        with contextlib.suppress(OSError):
            path().parent.mkdir(parents=True, exist_ok=True)
        write_file(path(), body.encode())
    except FileError as error:
        log.warning("the machine's limits cannot be kept: %s", error)


def _machine(target: Target) -> str:
    return f"{target.machine} {target.isa}"


def _read() -> dict[str, dict[str, dict[str, Any]]]:
    try:
        content = json.loads(path().read_text())
        entries: dict[str, dict[str, dict[str, Any]]] = content["entries"]
        machines = entries.values()
        if content["format"] == FORMAT and all(isinstance(rows, dict) for rows in machines):
            return entries
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    log.warning("%s cannot be read; measuring again", path())
    return {}
