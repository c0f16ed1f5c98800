"""Options and steps that several commands share: a model or a plan becomes an engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import planck
from planck.dtypes import Array
from planck.errors import InputError
from planck.runtime import Engine

Model = Annotated[Path, typer.Argument(help="A plan, or a model: .plan, .onnx, .cfg, .graph")]
Target = Annotated[str, typer.Option(help="cpu, or cpu:avx512, cpu:avx2, cpu:portable")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; all cores if left out.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", help="Shape of an open input: images:1x3x640x640")
]
WeightsFile = Annotated[Path | None, typer.Option(help="The .weights file of a Darknet .cfg.")]
Cache = Annotated[Path | None, typer.Option(help="File that keeps measured times between builds.")]
Level = Annotated[
    int, typer.Option("--optimization-level", "-O", min=0, max=5, help="0 fast build, 5 fast plan.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """["images:1x3x640x640"] -> {"images": (1, 3, 640, 640)}. raises: InputError"""
    shapes = {}
    for text in texts or ():
        name, _, dims = text.rpartition(":")
        if not name or not re.fullmatch(r"\d+([x,]\d+)*", dims):
            raise InputError(
                f"--shape {text} is not NAME:DIMS", try_="write it as images:1x3x640x640"
            )
        shapes[name] = tuple(int(n) for n in re.split("[x,]", dims))
    return shapes


def engine_of(
    model: Path,
    *,
    target: str = "cpu",
    threads: int | None = None,
    shapes: list[str] | None = None,
    weights: Path | None = None,
    timing_cache: Path | None = None,
    level: int = 3,
    seconds: float | None = None,
    accuracy: float = 1e-4,
    progress: bool | Callable[[str, int, int, str], None] = True,
) -> Engine:
    """Load a plan, or build a model."""
    if model.suffix == ".plan":
        return planck.load(model)
    return planck.build(
        model,
        target=target,
        threads=threads,
        shapes=parse_shapes(shapes),
        weights=weights,
        timing_cache=timing_cache,
        optimization_level=level,
        build_seconds=seconds,
        accuracy=accuracy,
        progress=progress,
    )


def random_inputs(engine: Engine, seed: int = 0) -> dict[str, Array]:
    """Inputs to time with: reals around 0, small whole numbers."""
    draw = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for binding in engine.inputs:
        if binding.dtype.is_float:
            array = draw.standard_normal(binding.shape).astype(binding.dtype.numpy)
        else:
            array = draw.integers(0, 2, binding.shape).astype(binding.dtype.numpy)
        inputs[binding.name] = array
    return inputs


def load_inputs(engine: Engine, files: list[str]) -> dict[str, Array]:
    """Arrays from .npz files, or NAME=file.npy; the rest random. raises: InputError"""
    inputs = random_inputs(engine)
    for text in files:
        name, equals, path = text.rpartition("=")
        try:
            content = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read arrays from {path}", know=str(error)) from error
        if isinstance(content, np.ndarray):
            if not equals and len(engine.inputs) > 1:
                raise InputError(
                    f"{path} has no name", know=f"inputs: {', '.join(inputs)}",
                    try_=f"write --input NAME={path}",
                )  # fmt: skip
            inputs[name or engine.inputs[0].name] = content
        else:
            inputs.update({key: content[key] for key in content.files})
    return inputs
