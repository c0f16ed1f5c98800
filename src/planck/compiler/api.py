"""`planck.build`: from anything that holds a model to an Engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planck import frontends
from planck import target as targets
from planck.compiler.accuracy import BUDGET
from planck.compiler.options import SHORT, TF32, Options, Progress
from planck.compiler.stages import compile_graph, run_stages
from planck.device.cuda.library import LIBRARIES
from planck.device.system import available_cpus, check_cpus, confined
from planck.errors import BuildError, NoDeviceError, ShapeError
from planck.ir.graph import Graph
from planck.runtime import Engine, engine_or_plan

if TYPE_CHECKING:
    import onnx

PRECISIONS: Final = ("fp32", *SHORT, TF32)


def build(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Graph,
    *,
    target: str = "cpu",
    precision: str = "fp32",
    threads: int | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    optimization_level: int = 3,
    build_seconds: float | None = None,
    accuracy: float | None = BUDGET,
    progress: bool | Progress = False,
    weights: str | os.PathLike[str] | None = None,
    batch: int | None = None,
    weight_growth_mb: float | None = None,
    cpus: Sequence[int] | None = None,
    tactic_sources: Sequence[str] | None = None,
) -> Engine:
    """Compile a model for this machine, or for a GPU.

    model:               a file (.onnx, .cfg, .graph), ONNX bytes, an onnx.ModelProto, or a Graph
    target:              "cpu", or "cpu:avx512", "cpu:avx2", "cpu:portable" to force an ISA; "cuda":
                         this machine's GPU, or "cuda:sm_90": any of that kind, which need not be
                         here, so that nothing is timed on it
    precision:           "fp32"; "bf16": products and the tensors between them in bfloat16; or
                         "fp16": the weights of products in float16, all else as in "fp32", but on
                         a GPU all that "bf16" is there. On a GPU also "tf32": tensors in float32,
                         products with operands rounded to TF32
    threads:             threads that a context will use; when left out, one for each of cpus, or of
                         the processors that this process may use
    timing_cache:        file that keeps measured times between builds
    shapes:              shapes of inputs that the model leaves open, by input name
    optimization_level:  0 (no measuring) to 5 (measure everything)
    build_seconds:       a budget; when it is over, the best so far is taken
    accuracy:            how far outputs may be from float64 because of kernels that trade accuracy
                         for speed, over each output's largest value; None or 0 checks nothing
    progress:            True draws a bar on the terminal; or a function(stage, done, total, what)
    weights:             the weights of a Darknet .cfg (its own name with .weights when left out)
    batch:               the first dimension of inputs where the model leaves it open, else 1
    weight_growth_mb:    on a CPU, how many MB more a plan's weights may take than the model's,
                         where faster kernels need that; by default 48, or 75 % of the weights if
                         that is more
    cpus:                processors that the build keeps to, compilers and measurements alike; all
                         that this process may use when left out
    tactic_sources:      libraries of NVIDIA's whose kernels may be a GPU's steps where they are
                         faster than Planck's: "cublaslt", "cudnn"; none if empty. When left out,
                         for target "cuda" those of this machine. A plan with such steps runs where
                         the same version of the library is
    gives:               an engine; for a GPU that is not here one that can be saved, not run
    raises:              ModelError, ShapeError, BuildError, FileError; InputError for cpus that
                         this process may not use; for a GPU MissingExtraError, DeviceError
    """
    if cpus is not None:
        check_cpus(cpus)
        if not cpus:
            raise BuildError("a build needs a processor, and cpus is empty")
    options = options_of(
        target,
        precision,
        len(set(cpus)) if threads is None and cpus else threads,
        optimization_level,
        build_seconds,
        timing_cache,
        accuracy,
        weight_growth_mb,
        tactic_sources,
    )
    keep = confined(cpus) if cpus else nullcontext()
    with keep, _progress(progress) as report:
        options = replace(options, progress=report)
        report("read", 0, 1, "")
        graph = read(model, shapes=shapes, weights=weights, batch=batch)
        return engine_or_plan(compile_graph(graph, options))


def read(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Graph,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    weights: str | os.PathLike[str] | None = None,
    batch: int | None = None,
) -> Graph:
    """The graph of a model, as its frontend gives it.

    raises: as build; ShapeError if no input has this batch, and none could take it
    """
    if batch is not None and batch < 1:
        raise ShapeError(f"a batch holds at least one, not {batch}")
    if isinstance(model, Graph):
        graph = model
    else:
        bound = {name: tuple(int(n) for n in shape) for name, shape in (shapes or {}).items()}
        file = Path(weights) if weights else None
        graph = frontends.read(model, shapes=bound, weights=file, batch=batch)
    if batch is not None and (batch,) not in [v.type.shape[:1] for v in graph.inputs]:
        raise ShapeError(
            f"the model cannot take a batch of {batch}",
            know=f"its inputs are {', '.join(f'{v.name}: {v.type}' for v in graph.inputs)}",
            try_="export it with an open first dimension, or give shapes that have this batch",
        )
    return graph


def stage(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Graph,
    stop_after: str,
    *,
    target: str = "cpu",
    precision: str = "fp32",
    shapes: Mapping[str, Sequence[int]] | None = None,
    weights: str | os.PathLike[str] | None = None,
    batch: int | None = None,
) -> Graph:
    """The graph after a stage: what `planck inspect --stage` prints."""
    options = options_of(target, precision, 1, 0, None, None)
    return run_stages(read(model, shapes=shapes, weights=weights, batch=batch), options, stop_after)


def options_of(
    target: str,
    precision: str,
    threads: int | None,
    level: int,
    seconds: float | None,
    timing_cache: str | os.PathLike[str] | None,
    accuracy: float | None = BUDGET,
    weight_growth_mb: float | None = None,
    tactic_sources: Sequence[str] | None = None,
) -> Options:
    """Checked options. raises: BuildError that names the argument"""
    if precision not in PRECISIONS:
        raise BuildError(
            f"planck does not build for precision {precision!r}",
            know=f"precisions are {', '.join(PRECISIONS)}",
        )
    if threads is not None and not 1 <= threads <= 1024:
        raise BuildError(f"threads must be 1 to 1024, not {threads}")
    if not 0 <= level <= 5:
        raise BuildError(f"optimization_level must be 0 to 5, not {level}")
    number = isinstance(accuracy, int | float) and not isinstance(accuracy, bool)
    if accuracy is not None and not (number and 0 <= accuracy <= 1):
        raise BuildError(
            f"accuracy must be a number from 0 to 1, not {accuracy!r}",
            try_="1e-4 is the default; None or 0 checks nothing",
        )
    if weight_growth_mb is not None and not weight_growth_mb >= 0:
        raise BuildError(
            f"weight_growth_mb must be a number of MB from 0 on, not {weight_growth_mb!r}",
            try_="leave it out for the default, or give inf for no limit",
        )
    for name in tactic_sources or ():
        if name not in LIBRARIES:
            raise BuildError(
                f"planck has no tactics of {name!r}",
                know=f"tactic_sources are {', '.join(LIBRARIES)}",
            )
    try:
        resolved = targets.resolve(target)
    except NoDeviceError as error:
        elsewhere = 'target="cuda:sm_90" builds, without timing, for a GPU that is elsewhere'
        try_ = f"{error.try_}; {elsewhere}" if error.try_ else elsewhere
        raise NoDeviceError(error.what, know=error.know, try_=try_) from error
    if precision == TF32:
        if not resolved.is_cuda:
            raise BuildError(
                f"{TF32} is a precision of GPUs, and the target is {resolved}",
                try_='target="cuda", or precision="fp32"',
            )
        resolved = replace(resolved, extras=(*resolved.extras, TF32))
    if tactic_sources and not resolved.is_cuda:
        raise BuildError(
            f"tactic_sources are libraries of GPUs, and the target is {resolved}",
            know=f"asked for were {', '.join(tactic_sources)}",
            try_='target="cuda", or leave them out',
        )
    return Options(
        target=resolved,
        precision=precision,
        threads=1 if resolved.is_cuda else threads or available_cpus(),
        level=level,
        seconds=seconds,
        timing_cache=Path(timing_cache) if timing_cache is not None else None,
        accuracy=float(accuracy or 0.0),
        libraries=None if tactic_sources is None else tuple(tactic_sources),
        weight_growth=None if weight_growth_mb is None else int(min(weight_growth_mb, 1e12) * 1e6),
    )


def _progress(progress: bool | Progress) -> AbstractContextManager[Progress]:
    if callable(progress):
        return nullcontext(progress)
    if progress:
        from planck.compiler.progress import bar

        return bar()
    return nullcontext(lambda stage, done, total, what: None)
