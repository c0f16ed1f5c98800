"""The stages from a graph to a plan, in one tuple; each is a function and can be stopped at."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from planck.benchmark.limits import save_limits
from planck.codegen.processes import CompilePool
from planck.compiler.accuracy import Check, hold_budget
from planck.compiler.assemble import Packs, assemble
from planck.compiler.chains import Answers, settle
from planck.compiler.cuda.build import compile_cuda
from planck.compiler.cuda.stages import STAGES as CUDA_STAGES
from planck.compiler.dump import dump_kernels, dump_stage
from planck.compiler.feasible import take_apart
from planck.compiler.layouts import choose_layouts
from planck.compiler.notes import or_reference, record, references, refuse_strings
from planck.compiler.options import SHORT, Options, Stages
from planck.compiler.place import place
from planck.compiler.split import repeated, split
from planck.compiler.weigh import weigh
from planck.compiler.work import weight_bytes
from planck.dtypes import bf16
from planck.errors import BuildError
from planck.ir.graph import Graph
from planck.ir.verify import verify
from planck.knobs import knobs
from planck.passes import PASSES, simplify
from planck.passes.depth_first import cut, depth_first
from planck.passes.fuse import fuse
from planck.passes.layout import assign
from planck.passes.precision import shorten
from planck.plan.model import Plan
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Kernel
from planck.target import Target
from planck.tune.cache import LOCK, TimingCache, turn
from planck.tune.choose import CANDIDATES, Choice, choose
from planck.tune.limits import measure_limits

log = logging.getLogger(__name__)

# So few kernels are compiled before another process has started.
FEW = 8

# From this level on, many candidates are timed.
THOROUGH: Final = 4


def _simplify(graph: Graph, options: Options) -> Graph:
    return simplify(graph)


def _fuse(graph: Graph, options: Options) -> Graph:
    return fuse(graph)


def _depth_first(graph: Graph, options: Options) -> Graph:
    return depth_first(graph)


def _layout(graph: Graph, options: Options) -> Graph:
    return assign(graph, options.target.lanes)


def _precision(graph: Graph, options: Options) -> Graph:
    """Depth-first kernels compute in float32 only: their parts multiply pairs of bfloat16."""
    dtype = SHORT.get(options.precision)
    if dtype is None:
        return graph
    if dtype is bf16:
        parts = [part for node in graph.nodes for part in cut(node, options.target.lanes)]
        graph = graph.with_(nodes=tuple(parts))
    return shorten(graph, dtype)


# Graph -> Graph stages. Fusion sees the simplest graph; layout needs to know what became a kernel;
# precision is a matter of what goes through memory, which kernels' boundaries are.
STAGES: Final[Stages] = (
    ("simplify", _simplify),
    ("fuse", _fuse),
    ("depth_first", _depth_first),
    ("layout", _layout),
    ("precision", _precision),
)


def stages_of(target: Target) -> Stages:
    """The stages of a target."""
    return CUDA_STAGES if target.is_cuda else STAGES


def run_stages(graph: Graph, options: Options, stop_after: str | None = None) -> Graph:
    """The graph after a stage (after all of them by default).

    raises: BuildError for a stage that does not exist
    """
    stages, passes = stages_of(options.target), [name for name, _ in PASSES]
    names = ("read", *passes, *(name for name, _ in stages))
    if stop_after is not None and stop_after not in names:
        raise BuildError(f"there is no stage {stop_after!r}", know=f"stages are {', '.join(names)}")
    verify(graph, after="read")
    if stop_after == "read":
        return graph
    if stop_after in passes:
        for _, function in PASSES[: passes.index(stop_after) + 1]:
            graph = function(graph)
        return graph
    for number, (name, stage) in enumerate(stages):
        options.progress(name, number, len(stages), "")
        start = time.perf_counter()
        graph = stage(graph, options)
        log.info("%s: %d nodes, %.3f s", name, len(graph.nodes), time.perf_counter() - start)
        if dump := knobs().dump:
            dump_stage(dump, number, name, graph)
        if name == stop_after:
            return graph
    return graph


def compile_graph(graph: Graph, options: Options) -> Plan:
    """A graph (at any stage) -> the plan. raises: BuildError, GraphError"""
    given = graph
    graph = run_stages(graph, options)
    if options.target.is_cuda:
        return compile_cuda(given, graph, options)
    # In float16 the network is that of the rounded weights. In bfloat16 no budget could be held.
    truth = {"fp32": given, "fp16": graph}.get(options.precision)
    refuse_strings(graph)
    cache = TimingCache.open(options.timing_cache, options.target)
    _know_limits(options, cache)
    # Whether a run of the network pushes all its weights out of the last cache.
    from_memory = weight_bytes(graph) > options.target.l3_bytes // 2
    end = time.monotonic() + options.seconds if options.seconds is not None else None
    tune = _Tuner(options, cache, from_memory, end)
    graph, answers = settle(graph, options.target, options.threads, tune if options.level else None)
    notes: dict[str, Any] = {"layouts": []}
    if options.level:
        graph, found, why = choose_layouts(graph, options.target, options.threads, tune)
        answers |= found
        notes["layouts"] = [list(row) for row in why]
    graph = take_apart(graph, TACTICS, options.target, options.threads)
    placement = place(graph)
    launches = split(placement, graph.weights, options.target, options.threads)
    kernels = {launch.kernel.key: launch.kernel for launch in launches if launch.kernel}
    left = {key: kernel for key, kernel in kernels.items() if key not in answers}
    answers |= tune(left, repeated(launches))
    answers = {key: answers[key] for key in kernels}
    choices: dict[str, Choice] = {k: a for k, a in answers.items() if not isinstance(a, No)}
    slow = references(launches, answers)
    launches = [or_reference(launch, answers) for launch in launches]
    packs: Packs = {}
    with CompilePool(options.target, 1) as pool:
        choices = weigh(launches, choices, TACTICS, pool, options.weight_growth)

    def assembled(choices: dict[str, Choice]) -> Plan:
        return assemble(
            graph,
            placement,
            launches,
            choices,
            target=options.target,
            threads=options.threads,
            precision=options.precision,
            build={**record(options, slow, choices, placement.refused), **notes},
            packs=packs,
        )

    options.progress("assemble", 0, 1, "")
    if options.accuracy and truth is not None:
        with CompilePool(options.target) as pool:
            check = Check(
                graph=truth,
                kernels=kernels,
                tactics=TACTICS,
                pool=pool,
                cache=cache,
                budget=options.accuracy,
                weights_from_memory=from_memory,
                assembled=assembled,
                report=options.progress,
            )
            plan, choices = hold_budget(check, choices)
    else:
        plan = assembled(choices)
    if dump := knobs().dump:
        dump_kernels(dump, kernels, choices)
    options.progress("done", 1, 1, "")
    return plan


def _know_limits(options: Options, cache: TimingCache) -> None:
    """A build that measures much spends two seconds on limits that spare it hopeless candidates."""
    if options.level >= THOROUGH and cache.limits_of(options.threads) is None:
        options.progress("limits", 0, 1, "")
        with turn(LOCK):
            save_limits(options.target, measure_limits(options.target, options.threads))


@dataclass(frozen=True)
class _Tuner:
    """Chooses code for kernels, for as long as the build has seconds left."""

    options: Options
    cache: TimingCache
    weights_from_memory: bool
    end: float | None

    def __call__(self, kernels: Mapping[str, Kernel], again: Collection[str] = ()) -> Answers:
        options = self.options
        jobs = 1 if len(kernels) * CANDIDATES[options.level] <= FEW else 0
        with CompilePool(options.target, jobs) as pool:
            return choose(
                list(kernels.values()),
                TACTICS,
                pool,
                self.cache,
                level=options.level,
                seconds=self.end - time.monotonic() if self.end is not None else None,
                weights_from_memory=self.weights_from_memory,
                again=again,
                report=options.progress,
            )
