"""One runtime in a process of its own, driven line by line by `bench.peers`.

Commands and replies are JSON, one a line, on stdin and stdout; what libraries print goes to stderr.

    {"do": "load", "runner", "model", "inputs", "outputs", "threads", "precision", "cpus"}
        pins the process, builds, runs once, stores the outputs as .npz
        -> {"ok": true, "load_s", "first_ms", "version"}
    {"do": "slice", "seconds", "warm"}   -> {"ok": true, "us": [time of each run]}

Any failure is the reply {"ok": false, "reason": "..."}.
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

from bench.runners import DISTRIBUTIONS, Arrays, Run, find

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
            if command["do"] == "load":
                run, feed, reply = _load(command)
            else:
                assert run is not None
                reply = {"us": _slice(run, feed, command["seconds"], command["warm"])}
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            _send(replies, {"ok": False, "reason": f"{type(error).__name__}: {reason}"})
        else:
            _send(replies, {"ok": True, **reply})


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


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
