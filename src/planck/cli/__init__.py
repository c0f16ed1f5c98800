"""The `planck` command: build, run, bench, inspect, why, ops, detect. One file a command.

Exit codes: 0 done; 1 Planck said no (the message on standard error says why and what to do);
2 the command line itself was wrong; 130 interrupted.
"""

from __future__ import annotations

from planck.cli.app import app, main
from planck.cli.bench import bench
from planck.cli.build import build
from planck.cli.detect import detect
from planck.cli.inspect import inspect
from planck.cli.ops import ops
from planck.cli.run import run
from planck.cli.why import why

COMMANDS = (build, run, bench, inspect, why, ops, detect)

for command in COMMANDS:
    app.command(rich_help_panel=None)(command)

__all__ = ["COMMANDS", "app", "main"]
