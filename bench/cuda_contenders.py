"""What is compared on a GPU: each a list of graph launches, one for each set of inputs.

    planck        a plan of `planck.build(target="cuda")`, its graph with the sets' pointers
    torch eager   PyTorch, channels last, in a CUDA graph
    inductor      torch.compile with frozen weights (batch norms folded), in a CUDA graph

All run on the stream that they are given, and read inputs that lie on the GPU: PyTorch's in the
precision's own type, Planck's in the model's. Each is made in two parts: what is compiled may go on
beside other processes, and what it gives, `Ready`, times algorithms, and wants the GPU alone.
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
from bench.rounding import tolerance
from bench.runners import Arrays, relative_error
from bench.torch_import import module_of
from bench.torch_models.full import full

SETS = 3  # of inputs, in turn
WARM_UPS = 3  # of a network before its capture: cuDNN's algorithms are timed in the first
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


Ready = Callable[[], Contender]


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
    case: Case, stream: Any, level: int, cache: str, sources: Sequence[str] | None = None
) -> Ready:
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
    report = engine.inspect()
    facts = {
        "tolerance": tolerance(case.name, case.precision, case.batch),
        "build_s": round(time.perf_counter() - start, 1),
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
    feeds, module = case.feeds(), module_of(str(case.file)).cuda()

    def ready() -> Contender:
        context: Any = engine.create_execution_context()
        launches = [_launch(context, feed, stream) for feed in feeds]
        error = _error_from_float32(module, feeds[0], context(feeds[0]))
        return Contender("planck", launches, {"error": error, **facts})

    return ready


def _launch(context: Any, feed: Arrays, stream: Any) -> Callable[[], None]:
    """A context's graphs with the pointers of inputs on the GPU."""
    given = {name: torch.from_numpy(array).cuda() for name, array in feed.items()}
    context.bind(given)
    # A context keeps the graphs of the last sets of pointers: these, for as long as it lives.
    driver, executables = context._driver, context._bound
    handle = driver.stream(stream.cuda_stream)

    # PyTorch has made the GPU's primary context the thread's own, and Planck's is the same.
    def launch(keep: Any = (context, given)) -> None:
        for executable in executables:
            driver.launch_graph(executable, handle)

    return launch


def _by_tactic(steps: Sequence[Any]) -> dict[str, tuple[int, float]]:
    """How many steps each tactic runs, and what they took alone, in microseconds."""
    found: dict[str, tuple[int, float]] = {}
    for step in steps:
        count, us = found.get(step.tactic, (0, 0.0))
        found[step.tactic] = count + 1, round(us + step.measured_us, 1)
    return found


def _error_from_float32(module: Any, feed: Arrays, found: Arrays) -> float:
    """How far outputs are from the same network, with the same weights, in PyTorch's float32."""
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


def theirs(case: Case, stream: Any, compiled: bool) -> Ready:
    """PyTorch, as its users write the network: eager, or by torch.compile."""
    import torch._inductor.config as inductor  # type: ignore[import-not-found]

    torch.manual_seed(0)
    allow_tf32(case.precision == "tf32")
    dtype = DTYPES.get(case.precision, torch.float32)
    made = full(case.name, case.batch)
    network = made.make().eval().cuda().to(dtype)
    image = any(x.dim() == 4 for x in made.example())
    if image:
        network = network.to(memory_format=torch.channels_last)
    sets = [[_placed(x, dtype) for x in made.example()] for _ in range(SETS)]
    start = time.perf_counter()
    if compiled:
        torch._dynamo.reset()
        inductor.freezing = True
        network = torch.compile(network, dynamic=False)
        torch.backends.cudnn.benchmark = False  # which waits for its turn
        with torch.no_grad(), torch.cuda.stream(stream):
            network(*sets[0])
        torch.cuda.synchronize()
    facts = {"build_s": round(time.perf_counter() - start, 1)}
    name = "inductor" if compiled else "eager"

    def ready() -> Contender:
        allow_tf32(case.precision == "tf32")
        torch.backends.cudnn.benchmark = True
        with torch.no_grad():
            launches = [_captured(network, inputs, stream) for inputs in sets]
        return Contender(name, launches, facts)

    return ready


def _placed(x: Any, dtype: Any) -> Any:
    x = x.cuda()
    if x.is_floating_point():
        x = x.to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _captured(network: Any, inputs: list[Any], stream: Any) -> Callable[[], None]:
    """A network in a CUDA graph that reads these inputs."""
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            network(*inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = network(*inputs)

    def launch(keep: Any = (inputs, outputs)) -> None:
        graph.replay()

    return launch
