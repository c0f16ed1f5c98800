"""Options that several commands share, and the engine that they ask for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

import planck
from planck.device.system import cpu_list
from planck.errors import BuildError, InputError, ShapeError
from planck.ir.graph import Graph
from planck.plan.format import load_plan, read_header
from planck.plan.model import Plan
from planck.runtime import Engine

Model = Annotated[Path, typer.Argument(help="A plan, or a model: .plan, .onnx, .cfg, .graph")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
InputFiles = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--input",
        "--load-inputs",
        help="NAME:FILE, NAME=FILE, or FILE where it is clear whose: .npy, .npz, raw .bin. What is"
        " not given is random.",
    ),
]
_PANEL: Final = "How a model is built"
DEFAULT_PRECISION: Final = "fp32"


@dataclass(frozen=True)
class Building:
    """How a model becomes an engine. A plan is one already, and only checks what it is given."""

    target: Annotated[
        str,
        typer.Option(
            help="cpu, or cpu:avx512, cpu:avx2, cpu:portable; cuda, this machine's GPU; or"
            " cuda:sm_90 (80, 86, 89, 100, 120), any such GPU, untimed",
            rich_help_panel=_PANEL,
        ),
    ] = "cpu"
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32; bf16: products in bfloat16, less exact; or fp16: weights in float16. On a"
            " GPU bf16 and fp16 for both, or tf32.",
            rich_help_panel=_PANEL,
            show_default="fp32",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads; one for each processor if left out."),
    ] = None
    cpus: Annotated[
        str | None,
        typer.Option(
            help="Processors for a build, and for each thread of run and bench: 0,2 or 0-3"
        ),
    ] = None
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Shape of an open input: images:1x3x640x640", rich_help_panel=_PANEL),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="The first dimension of open inputs.", rich_help_panel=_PANEL),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(help="The .weights file of a Darknet .cfg.", rich_help_panel=_PANEL),
    ] = None
    timing_cache: Annotated[
        Path | None,
        typer.Option(help="File that keeps measured times between builds.", rich_help_panel=_PANEL),
    ] = None
    level: Annotated[
        int,
        typer.Option(
            "--optimization-level",
            "-O",
            min=0,
            max=5,
            help="0 fast build, 5 fast plan.",
            rich_help_panel=_PANEL,
        ),
    ] = 3
    tactic_sources: Annotated[
        str | None,
        typer.Option(
            help="Libraries whose kernels a GPU's plan may use where they are faster: cublaslt,"
            " cudnn, or none; those that are here if left out.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def cpu_list(self) -> list[int] | None:
        """ "0,2-3" -> [0, 2, 3]. raises: BadParameter"""
        try:
            return None if self.cpus is None else cpu_list(self.cpus)
        except ValueError as error:
            message = f"--cpus {self.cpus}: write processors as 0,2 or 0-3"
            raise typer.BadParameter(message) from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """["images:1x3x640x640"] -> {"images": (1, 3, 640, 640)}. raises: InputError"""
        shapes = {}
        for text in self.shape or ():
            name, _, dims = text.rpartition(":")
            if not name or not re.fullmatch(r"\d+([x,]\d+)*", dims):
                raise InputError(
                    f"--shape {text} is not NAME:DIMS", try_="write it as images:1x3x640x640"
                )
            shapes[name] = tuple(int(n) for n in re.split("[x,]", dims))
        return shapes


def sources_of(text: str | None) -> list[str] | None:
    """ "cublaslt" -> ["cublaslt"], "none" -> []"""
    if text is None:
        return None
    return [] if text == "none" else [name.strip() for name in text.split(",")]


def takes_building(command: Callable[..., None]) -> Callable[..., None]:
    """Make an option of each field of Building, for a command that takes `building`.

    def run(model: Model, building: Building) -> None
    ->  planck run MODEL [--target TEXT] [--threads INTEGER] ...
    """
    hints = get_type_hints(Building, include_extras=True)
    shared = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields(Building)
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        chosen = {f.name: given.pop(f.name) for f in fields(Building)}
        command(**given, building=Building(**chosen))

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "building"
    ]
    parameters = [*own, *shared]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def engine_of(
    model: Path,
    building: Building,
    *,
    seconds: float | None = None,
    accuracy: float = 1e-4,
    weight_growth_mb: float | None = None,
    progress: bool | Callable[[str, int, int, str], None] = True,
) -> Engine:
    """Load a plan, or build a model.

    raises: ShapeError for a plan of other shapes than the options ask for, BuildError for one of
            another precision; as planck.build
    """
    if model.suffix == ".plan":
        engine = planck.load(model)
        _check_plan(engine.plan, model, building)
        return engine
    return planck.build(
        model,
        target=building.target,
        precision=building.precision or DEFAULT_PRECISION,
        threads=building.threads,
        shapes=building.shapes,
        batch=building.batch,
        weights=building.weights,
        timing_cache=building.timing_cache,
        optimization_level=building.level,
        tactic_sources=sources_of(building.tactic_sources),
        build_seconds=seconds,
        accuracy=accuracy,
        weight_growth_mb=weight_growth_mb,
        cpus=building.cpu_list,
        progress=progress,
    )


def plan_of(
    model: Path,
    building: Building,
    progress: bool | Callable[[str, int, int, str], None] = True,
) -> Plan:
    """A plan to look at: the GPU that it is for need not be here. raises: as engine_of"""
    if model.suffix == ".plan" and read_header(model).target.is_cuda:
        plan = load_plan(model, any_target=True)
        _check_plan(plan, model, building)
        return plan
    return engine_of(model, building, progress=progress).plan


def stage_of(model: Path, stop_after: str, building: Building) -> Graph:
    """The graph of a model after a stage. raises: BuildError; as planck.build"""
    from planck.compiler.api import stage

    return stage(
        model,
        stop_after,
        target=building.target,
        precision=building.precision or DEFAULT_PRECISION,
        shapes=building.shapes,
        batch=building.batch,
        weights=building.weights,
    )


def _check_plan(plan: Plan, path: Path, building: Building) -> None:
    """raises: BuildError for another precision, ShapeError for other shapes than are asked for"""
    _check_precision(plan, path, building)
    _check_shapes(plan, path, building)


def _check_precision(plan: Plan, path: Path, building: Building) -> None:
    own = plan.precision
    if building.precision not in (None, own):
        raise BuildError(
            f"the plan was built for another precision than {building.precision}",
            at=str(path),
            know=f"a plan's precision is fixed; this one's is {own}",
            try_=f"leave --precision out, or build a plan from the model: planck build MODEL"
            f" --precision {building.precision}",
        )


def _check_shapes(plan: Plan, path: Path, building: Building) -> None:
    have = {plan.names.get(slot.name, slot.name): slot.type.dims for slot in plan.inputs}
    batch = building.batch
    fits = batch is None or (batch,) in [shape[:1] for shape in have.values()]
    wanted = f"batch {batch}" if not fits else ""
    for name, shape in building.shapes.items():
        if have.get(name) != shape:
            wanted = f"{name}: {list(shape)}"
    if wanted:
        raise ShapeError(
            f"the plan was built for other shapes than {wanted}",
            at=str(path),
            know="a plan's shapes are fixed: "
            + ", ".join(f"{name}: {list(shape)}" for name, shape in have.items()),
            try_="build one for these from the model: planck build MODEL --batch N, or --shape",
        )
