"""What is compared on a GPU: each a list of graph launches, one for each set of inputs.

    planck        a plan of `planck.build(target="cuda")`, its graph with the sets' pointers
    torch eager   PyTorch, channels last, in a CUDA graph
    inductor      torch.compile with frozen weights (batch norms folded), in a CUDA graph

All run on the stream that they are given, and read inputs that lie on the GPU: PyTorch's in the
precision's own type, Planck's in the model's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]

import planck
from bench import models
from bench.runners import Arrays, relative_error
from bench.torch_import import module_of
from bench.torch_models.full import full

SETS = 3  # of inputs, in turn
DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass
class Contender:
    """launches: of its graphs, one for each set of inputs"""

    name: str
    launches: list[Callable[[], None]]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One network at one batch in one precision."""

    name: str
    batch: int
    precision: str

    @property
    def file(self) -> Path:
        return models.path(self.name, self.batch)

    def feeds(self) -> list[Arrays]:
        """Random inputs, set by set."""
        import onnx

        model = onnx.load(self.file)
        return [models.inputs(model, seed=seed) for seed in range(SETS)]


def ours(
    case: Case,
    stream: Any,
    level: int,
    cache: str,
    feeds: Sequence[Arrays],
    sources: Sequence[str] | None = None,
) -> Contender:
    """Planck, with its error from PyTorch's float32 among the facts."""
    start = time.perf_counter()
    engine = planck.build(
        case.file,
        target="cuda",
        precision=case.precision,
        optimization_level=level,
        timing_cache=cache,
        accuracy=None,
        tactic_sources=sources,
    )
    seconds = time.perf_counter() - start
    context: Any = engine.create_execution_context()
    driver = context._driver
    handle = driver.stream(stream.cuda_stream)
    launches = []
    for feed in feeds:
        given = {name: torch.from_numpy(array).cuda() for name, array in feed.items()}
        context.bind(given)
        # A context keeps the graphs of the last sets of pointers: these, for as long as it lives.
        executables = context._bound

        # PyTorch has made the GPU's primary context the thread's own, and Planck's is the same.
        def launch(executables: Any = executables, keep: Any = (context, given)) -> None:
            for executable in executables:
                driver.launch_graph(executable, handle)

        launches.append(launch)
    found = context(feeds[0])
    report = engine.inspect()
    facts = {
        "error": _error_from_float32(case, feeds[0], found),
        "build_s": round(seconds, 1),
        "steps": len(report.steps),
        "reference_steps": report.reference_steps,
        "sum_us": round(sum(step.measured_us for step in report.steps), 1),
        "tactics": _by_tactic(report.steps),
        "graph_us": engine.plan.build.get("graph_us"),
        "weights_mb": round(report.weights_bytes / 1e6, 1),
        "arena_mb": round(report.arena_bytes / 1e6, 1),
    }
    if report.reference_steps:
        facts["references"] = engine.plan.build["references"]
    return Contender("planck", launches, facts)


def _by_tactic(steps: Sequence[Any]) -> dict[str, tuple[int, float]]:
    """How many steps each tactic runs, and what they took alone, in microseconds."""
    found: dict[str, tuple[int, float]] = {}
    for step in steps:
        count, us = found.get(step.tactic, (0, 0.0))
        found[step.tactic] = count + 1, round(us + step.measured_us, 1)
    return found


def _error_from_float32(case: Case, feed: Arrays, found: Arrays) -> float:
    """How far outputs are from the same network, with the same weights, in PyTorch's float32."""
    module = module_of(str(case.file)).cuda()
    with torch.no_grad(), _float32():
        made = module(*(torch.from_numpy(feed[name]).cuda() for name in module.input_names))
    truth = {n: t.cpu().numpy() for n, t in zip(module.output_names, made, strict=True)}
    floats = {n: array for n, array in truth.items() if array.dtype == np.float32}
    return relative_error({n: np.asarray(found[n]) for n in floats}, floats)


class _float32:  # noqa: N801 - a switch, used as `with _float32():`
    """PyTorch without TF32."""

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        allow_tf32(False)

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def allow_tf32(yes: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = yes
    torch.backends.cudnn.allow_tf32 = yes


def theirs(case: Case, stream: Any, compiled: bool) -> Contender:
    """PyTorch, as its users write the network: eager, or by torch.compile."""
    import torch._inductor.config as inductor  # type: ignore[import-not-found]

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    allow_tf32(case.precision == "tf32")
    dtype = DTYPES.get(case.precision, torch.float32)
    made = full(case.name, case.batch)
    network = made.make().eval().cuda().to(dtype)
    image = any(x.dim() == 4 for x in made.example())
    if image:
        network = network.to(memory_format=torch.channels_last)
    start = time.perf_counter()
    if compiled:
        torch._dynamo.reset()
        inductor.freezing = True
        network = torch.compile(network, dynamic=False)
    launches = []
    with torch.no_grad():
        for _ in range(SETS):
            inputs = [_placed(x, dtype) for x in made.example()]
            launches.append(_captured(network, inputs, stream))
    facts = {"build_s": round(time.perf_counter() - start, 1)}
    return Contender("inductor" if compiled else "eager", launches, facts)


def _placed(x: Any, dtype: Any) -> Any:
    x = x.cuda()
    if x.is_floating_point():
        x = x.to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _captured(network: Any, inputs: list[Any], stream: Any) -> Callable[[], None]:
    """A network in a CUDA graph that reads these inputs."""
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(*inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = network(*inputs)

    def launch(keep: Any = (inputs, outputs)) -> None:
        graph.replay()

    return launch
