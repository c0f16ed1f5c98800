"""What `planck bench` times: an engine, its inputs, and a context for each stream."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from planck.benchmark.statistics import Latency
from planck.benchmark.timing import Call, Contender
from planck.cli.inputs import load_inputs
from planck.cli.options import Building, engine_of
from planck.device.system import available_cpus
from planck.dtypes import Array
from planck.errors import InputError
from planck.runtime import Engine, ExecutionContext
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.pipeline import Pipeline
from planck.runtime.profile import Profile


@dataclass(frozen=True)
class Subject:
    """A model ready to be timed: an engine, inputs, and what runs each stream.

    contexts:   one for each stream; with pipelines, only one, whose steps are timed
    pipelines:  one for each stream, where copies overlap with computing
    """

    path: Path
    engine: Engine
    inputs: dict[str, Array]
    contexts: tuple[ExecutionContext, ...]
    pipelines: tuple[Pipeline, ...] = ()

    @property
    def threads(self) -> int:
        """Of each stream."""
        return self.contexts[0].threads

    @property
    def streams(self) -> int:
        return len(self.pipelines or self.contexts)

    @property
    def what(self) -> str:
        """What runs at the same time, in words."""
        if self.engine.plan.target.is_cuda:
            way = ", copies beside computing" if self.pipelines else ""
            return f"{_many(self.streams, 'stream')} on {self.engine.plan.target}{way}"
        count = f"{self.streams} streams of " if self.streams > 1 else ""
        return f"{count}{_many(self.threads, 'thread')}"

    @property
    def batch(self) -> int:
        """What all inputs have as first of several dimensions; 1 where they differ."""
        firsts = {b.shape[0] if len(b.shape) > 1 else 1 for b in self.engine.inputs}
        return firsts.pop() if len(firsts) == 1 else 1

    def calls(self) -> list[Call]:
        """One inference of each stream, into arrays of its own; or begun while others end."""
        if self.pipelines:
            return [partial(pipeline.push, self.inputs) for pipeline in self.pipelines]
        return [
            partial(context.execute, self.inputs, context.execute(self.inputs))
            for context in self.contexts
        ]

    def contender(self) -> Contender:
        """The first stream, to be timed in turn with another subject's."""
        if not self.pipelines:
            return Contender(self.calls()[0])
        pipeline = self.pipelines[0]
        return Contender(
            self.calls()[0], pipeline.depth + 1, lambda: deque(pipeline.drain(), maxlen=0)
        )

    def profile(self, latency: Latency, seconds: float) -> Profile:
        """The steps' times of about so many seconds of runs."""
        runs = round(seconds * 1e3 / max(latency.median_ms, 1e-3))
        return self.contexts[0].profile(self.inputs, min(max(runs, 10), 500))

    def to_json(self) -> dict[str, Any]:
        return {
            "model": str(self.path),
            "threads": self.threads,
            "streams": self.streams,
            "batch": self.batch,
        }


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def take(
    stack: ExitStack,
    building: Building,
    path: Path,
    *,
    inputs: list[str],
    streams: int,
    overlap: bool,
    progress: bool,
) -> Subject:
    """Load or build a model, and make its contexts, which live as long as the stack.

    overlap:  let copies overlap with computing, on a GPU
    """
    cpus = building.cpu_list
    engine = engine_of(path, building, progress=progress)
    pipelines = []
    if overlap:
        if not isinstance(engine, CudaEngine):
            raise InputError("--overlap is for GPUs", know=f"the plan is for {engine.plan.target}")
        pipelines = [stack.enter_context(Pipeline(engine)) for _ in range(streams)]
    arrays = engine.empty_inputs()
    for name, array in load_inputs(engine, inputs).items():
        arrays[name][...] = array
    share = min(engine.plan.threads, available_cpus()) // streams
    threads = building.threads or max(len(cpus) // streams if cpus else share, 1)
    contexts = []
    for number in range(1 if overlap else streams):
        own = cpus[number * threads : (number + 1) * threads] if cpus else None
        context = engine.create_execution_context(threads=threads, cpus=own)
        contexts.append(stack.enter_context(context))
    return Subject(path, engine, arrays, tuple(contexts), tuple(pipelines))
