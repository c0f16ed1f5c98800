"""One runtime in a process of its own, driven line by line by `bench.peers`.

Commands and replies are JSON, one a line, on stdin and stdout; what libraries print goes to stderr.

    {"do": "prepare", "runner", "model", "out", "threads", "precision", "cpus"}
        pins the process, compiles ahead of time into a file   -> {"ok": true, "build_s"}
    {"do": "load", "runner", "model", "inputs", "outputs", "threads", "precision", "cpus"}
        pins the process, loads, runs once, stores the outputs as .npz
        -> {"ok": true, "load_s", "first_ms", "version"}
    {"do": "import", "runner"}           -> {"ok": true}, the runtime imported and nothing loaded
    {"do": "slice", "seconds", "warm"}   -> {"ok": true, "us": [time of each run]}

Every reply has "peak_bytes", the most memory that was resident in the process so far (VmHWM, file
mappings included); 0 where the system does not tell. Any failure is the reply
{"ok": false, "reason": "..."}.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from time import perf_counter_ns
from typing import Any, TextIO

import numpy as np

from bench.runners import DISTRIBUTIONS, PREPARE, Arrays, Run, find, import_runtime

LEAST_RUNS = 3


def main() -> None:
    """Serve commands until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not disturb the replies
    run: Run | None = None
    feed: Arrays = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply: dict[str, Any] = {}
            match command["do"]:
                case "prepare":
                    reply = _prepare(command)
                case "load":
                    run, feed, reply = _load(command)
                case "import":
                    import_runtime(command["runner"])
                case _:
                    assert run is not None
                    reply = {"us": _slice(run, feed, command["seconds"], command["warm"])}
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            _send(replies, {"ok": False, "reason": f"{type(error).__name__}: {reason}"})
        else:
            _send(replies, {"ok": True, "peak_bytes": _peak_bytes(), **reply})


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _peak_bytes() -> int:
    # not ru_maxrss, which starts from the parent's
    try:
        rows = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) << 10 for row in rows if row.startswith("VmHWM")), 0)


def _prepare(command: dict[str, Any]) -> dict[str, Any]:
    os.sched_setaffinity(0, command["cpus"])
    start = perf_counter_ns()
    PREPARE[command["runner"]](
        command["model"], command["out"], command["threads"], command["precision"]
    )
    return {"build_s": (perf_counter_ns() - start) / 1e9}


def _load(command: dict[str, Any]) -> tuple[Run, Arrays, dict[str, Any]]:
    os.sched_setaffinity(0, command["cpus"])  # before any runtime counts its CPUs
    with np.load(command["inputs"]) as stored:
        feed = dict(stored)
    runner = find(command["runner"])
    start = perf_counter_ns()
    run = runner(command["model"], command["threads"], command["precision"])
    built = perf_counter_ns()
    outputs = run(feed)
    first_ms = (perf_counter_ns() - built) / 1e6
    with Path(command["outputs"]).open("wb") as file:
        np.savez(file, allow_pickle=False, **outputs)
    gc.collect()
    gc.disable()
    load_s = (built - start) / 1e9
    return run, feed, {"load_s": load_s, "first_ms": first_ms, "version": _version(command)}


def _slice(run: Run, feed: Arrays, seconds: float, warm: float) -> list[float]:
    """Run for so many seconds, LEAST_RUNS at the least; the first `warm` seconds do not count."""
    now = start = perf_counter_ns()
    while True:
        run(feed)
        now = perf_counter_ns()
        if now - start > warm * 1e9:
            break
    times: list[float] = []
    end = now + seconds * 1e9
    while now < end or len(times) < LEAST_RUNS:
        before = perf_counter_ns()
        run(feed)
        now = perf_counter_ns()
        times.append((now - before) / 1e3)
    return times


def _version(command: dict[str, Any]) -> str:
    try:
        return metadata.version(DISTRIBUTIONS.get(command["runner"], ""))
    except (metadata.PackageNotFoundError, ValueError):
        return ""


if __name__ == "__main__":
    main()
