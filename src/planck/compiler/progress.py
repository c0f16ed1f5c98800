"""A progress bar with an estimate for builds, drawn by rich on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from planck.compiler.options import Progress as Report

_DOING = {
    "read": "reading the model",
    "simplify": "simplifying the graph",
    "fuse": "fusing layers",
    "depth_first": "fusing across layers",
    "layout": "choosing layouts",
    "limits": "measuring the machine",
    "compile": "compiling kernels",
    "compare": "comparing with float64",
    "tune": "timing kernels",
    "assemble": "writing the plan",
    "check": "checking the whole plan",
    "done": "built",
}


@contextmanager
def bar() -> Iterator[Report]:
    """`with bar() as report: report(stage, done, total, what)`; nothing where nobody looks."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("starting", total=None)

        def report(stage: str, done: int, total: int, what: str) -> None:
            progress.update(task, description=_DOING.get(stage, stage), completed=done, total=total)

        yield report
