"""The application that commands hang on: errors, exit codes, version, output as JSON."""

from __future__ import annotations

import json
import logging
import math
import sys
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

import planck
from planck.errors import PlanckError
from planck.knobs import knobs

app = typer.Typer(
    name="planck",
    help="Compile models for this machine, and run them at its speed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
errors = Console(stderr=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"planck {planck.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(knobs().debug, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """The entry point of the `planck` command."""
    try:
        app()
    except PlanckError as error:
        text = f"{type(error).__name__}: {error}"
        errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


def table(*head: str, title: str | None = None) -> Table:
    """An empty table in the style of all commands."""
    return Table(*head, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def show_json(content: Any) -> None:
    """JSON on standard output, and nothing else there; it has no NaN and no infinity: null."""
    print(json.dumps(_finite(content), indent=2, allow_nan=False))


def _finite(content: Any) -> Any:
    """{"a": [1.0, nan]} -> {"a": [1.0, None]}"""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
