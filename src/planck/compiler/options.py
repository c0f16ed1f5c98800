"""Options: what a build was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from planck.compiler.accuracy import BUDGET
from planck.dtypes import DType, bf16, f16
from planck.ir.graph import Graph
from planck.target import Target

# Precisions in which some tensors lie in memory with 16 bits.
SHORT: Final[Mapping[str, DType]] = {"bf16": bf16, "fp16": f16}
TF32: Final = "tf32"  # on a GPU: tensors in float32, but products that round what they multiply
Progress = Callable[[str, int, int, str], None]  # stage, done, total, what


@dataclass(frozen=True)
class Options:
    """What a build was asked for.

    level:    0 takes each tactic's best guess, 5 measures everything
    seconds:  best so far when they are over
    accuracy: how far a plan may be from float64, over each output's largest value; 0 for no check
    libraries: whose kernels may be steps beside Planck's own, on a GPU; None: those that are here
    weight_growth: bytes by which weights may be more than the model's; None: by weigh.allowance
    """

    target: Target
    precision: str = "fp32"
    threads: int = 1
    level: int = 3
    seconds: float | None = None
    timing_cache: Path | None = None
    accuracy: float = BUDGET
    weight_growth: int | None = None
    libraries: tuple[str, ...] | None = None
    progress: Progress = lambda stage, done, total, what: None
    notes: dict[str, Any] = field(default_factory=dict)


Stages = tuple[tuple[str, Callable[[Graph, Options], Graph]], ...]
"""Functions from graph to graph by their names, in the order in which they run."""
