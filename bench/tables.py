"""Markdown tables from what bench.peers wrote: `python -m bench.tables bench/results/*.json`.

Times are medians in milliseconds; the ratio is the fastest rival's time over Planck's; the error is
Planck's, against the first rival's outputs. Geometric means are over the convolutional networks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.models import HELD_OUT

OURS = "planck"
# batch size and suffix are cut off: "resnet50-b8" is resnet50
NOT_CONVOLUTIONAL = ("bert_base", "vit_b16", "lstm", "mlp")

Row = dict[str, Any]


def name_of(model: str) -> str:
    """resnet50-b8 -> resnet50"""
    return model.rpartition("-b")[0] or model


def geometric_mean(values: Sequence[float]) -> float:
    """Of one value at the least."""
    return math.exp(sum(map(math.log, values)) / len(values))


def time_table(found: dict[str, Any]) -> list[str]:
    """A row for each model: medians in ms, the ratio, the error."""
    runtimes = _runtimes(found)
    lines = _head(["model", *runtimes, "ratio", "error"])
    for model, row in found["models"].items():
        results = {result["runtime"]: result for result in row["runtimes"]}
        cells = [_time(results.get(runtime)) for runtime in runtimes]
        error = results.get(OURS, {}).get("relative_error")
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        cells += [ratio, "-" if error is None else f"{error:.0e}"]
        lines.append(f"| {' | '.join([name_of(model), *cells])} |")
    return lines


def means(found: dict[str, Any]) -> list[str]:
    """Geometric means of the ratios: convolutional networks, held-out ones."""
    ratios = {name_of(model): row["ratio"] for model, row in found["models"].items()}
    others = (*NOT_CONVOLUTIONAL, *HELD_OUT)
    groups = {
        "convolutional": [r for name, r in ratios.items() if name not in others and r],
        "held out": [r for name, r in ratios.items() if name in HELD_OUT and r],
        "all": [r for r in ratios.values() if r],
    }
    return [
        f"{title}: {geometric_mean(own):.2f}, least {min(own):.2f}, of {len(own)}"
        for title, own in groups.items()
        if own
    ]


def memory_table(found: dict[str, Any]) -> list[str]:
    """A row for each model: peak resident memory of each runtime's process in MB."""
    runtimes = _runtimes(found)
    lines = _head(["model", *runtimes])
    for model, row in found["models"].items():
        results = {result["runtime"]: result for result in row["runtimes"]}
        cells = [_megabytes(results.get(runtime)) for runtime in runtimes]
        lines.append(f"| {' | '.join([name_of(model), *cells])} |")
    return lines


def _runtimes(found: dict[str, Any]) -> list[str]:
    rows = found["models"].values()
    return list(dict.fromkeys(result["runtime"] for row in rows for result in row["runtimes"]))


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def _time(result: Row | None) -> str:
    return f"{result['median_us'] / 1e3:.2f}" if result and result["runs"] else "-"


def _megabytes(result: Row | None) -> str:
    return f"{result['peak_bytes'] / 1e6:.0f}" if result and result["runs"] else "-"


def main(
    files: Annotated[list[Path], typer.Argument(help="JSON files of bench.peers")],
    memory: Annotated[bool, typer.Option(help="peak memory too")] = False,
) -> None:
    """Print the figures of bench.peers as Markdown."""
    for file in files:
        found = json.loads(file.read_text())
        settings = found["settings"]
        print(f"\n{file.name}: {settings['precision']}, {settings['threads']} threads\n")
        print("\n".join([*time_table(found), "", *means(found)]))
        if memory:
            print("\n".join(["", *memory_table(found)]))


if __name__ == "__main__":
    typer.run(main)
