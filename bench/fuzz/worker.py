"""A process that runs cases: numbers on standard input, one line of JSON for each on output.

Its address space is limited, and whoever started it limits its time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from planck import Engine
    from planck.ir.graph import Graph

MEMORY_BYTES = 2 << 30
MAX_ELEMENTS = 1 << 22  # of all tensors that the interpreter would fill
Kind = Literal["onnx", "darknet"]


def draw_of(seed: int, number: int) -> random.Random:
    """The random numbers of one case: the same in every process."""
    return random.Random(f"{seed}/{number}")


def write_case(kind: Kind, seed: int, number: int, folder: Path) -> Path:
    """The damaged file (and its weights beside it); gives the model's path."""
    draw = draw_of(seed, number)
    if kind == "onnx":
        from bench.fuzz import onnx_cases

        path = folder / f"{seed}-{number}.onnx"
        path.write_bytes(onnx_cases.case(draw))
        return path
    from bench.fuzz import darknet_cases

    path = folder / f"{seed}-{number}.cfg"
    cfg, weights = darknet_cases.case(draw)
    path.write_bytes(cfg)
    path.with_suffix(".weights").unlink(missing_ok=True)
    if weights is not None:
        path.with_suffix(".weights").write_bytes(weights)
    return path


def outcome(path: Path, build: bool) -> str:
    """How a file ends that is read and optimised: "ok", or the PlanckError's name.

    build:  compile and run it, too
    """
    import planck
    from planck import frontends
    from planck.passes import simplify

    try:
        graph = frontends.read(path)
        simplify(graph)
        if build:
            return compare(graph, planck.build(graph, optimization_level=0, threads=1))
    except planck.PlanckError as error:
        return type(error).__name__ if str(error) else "!nothing said"
    return "ok"


def compare(graph: Graph, engine: Engine) -> str:
    """Whether compiled code and the interpreter agree on random inputs, where they stay finite."""
    from planck.ir.interpret import interpret

    values = list(graph.values())
    if sum(v.type.size for v in values) > MAX_ELEMENTS:
        return "ok"
    if any(v.type.dtype.is_float and v.type.dtype.bits < 32 for v in values):
        return "ok"  # passes may round short floats less often
    draw = np.random.default_rng(0)
    inputs = {}
    for value in graph.inputs:
        numbers = draw.uniform(-2, 2, value.type.dims)
        inputs[value.name] = numbers.astype(value.type.dtype.numpy)
    found = engine({graph.names.get(name, name): array for name, array in inputs.items()})
    try:
        wanted = interpret(graph, inputs)
    except IndexError:
        return "ok"  # an index out of range: compiled code clamps it
    for value, want in wanted.items():
        got = found[graph.names.get(value, value)]
        if want.dtype.kind != "f":
            if not np.array_equal(got, want):
                return "!differs"
            continue
        scale = np.abs(want).max(initial=1.0)
        if np.isfinite(scale) and not np.allclose(got / scale, want / scale, 1e-3, 1e-3):
            return "!differs"
    return "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("onnx", "darknet"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build-every", type=int, default=0, help="compile every n-th case")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import planck.compiler.api  # noqa: F401 - its import is not part of the first case's time

    with tempfile.TemporaryDirectory() as folder:  # nor are the seeds
        write_case(options.kind, options.seed, 0, Path(folder))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answers.write("ready\n")
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            number = int(line)
            build = bool(options.build_every) and number % options.build_every == 0
            try:
                path = write_case(options.kind, options.seed, number, Path(folder))
                result = {"outcome": outcome(path, build), "detail": ""}
                path.unlink()
            except BaseException as error:  # that is what is looked for
                detail = traceback.format_exc(limit=-12)
                result = {"outcome": f"!{type(error).__name__}", "detail": detail}
            answers.write(json.dumps({"number": number, **result}) + "\n")


if __name__ == "__main__":
    main()
