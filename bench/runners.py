"""How each runtime is set up: one function a runtime, as its experts would for lowest latency.

A runner is a function (onnx_path, threads, precision) -> run, and run takes inputs by name and
gives outputs by name. Its thread pool must keep to `threads` threads. What it cannot do it raises;
the comparison then shows the reason in place of a time. Imports stand inside the functions, so
that a process loads one runtime alone.

Who compiles ahead of time is measured as users deploy it: PREPARE names a function (onnx_path,
out_path, threads, precision) that writes a file in a process of its own; the runner loads that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
Run = Callable[[Arrays], Arrays]
Runner = Callable[[str, int, str], Run]
Prepare = Callable[[str, str, int, str], None]

TIMING_CACHE = "bench-output/planck.timings"


def build_plan(onnx_path: str, plan_path: str, threads: int, precision: str) -> None:
    """Planck's build for the CPU target, with a timing cache kept between runs."""
    ours: Any = import_module("planck")
    Path(TIMING_CACHE).parent.mkdir(parents=True, exist_ok=True)
    engine = ours.build(
        onnx_path, target="cpu", precision=precision, threads=threads, timing_cache=TIMING_CACHE
    )
    engine.save(plan_path)


def planck(plan_path: str, threads: int, precision: str) -> Run:
    """Planck's engine, from the plan that `build_plan` wrote."""
    engine: Run = import_module("planck").load(plan_path)
    return engine


def onnxruntime(onnx_path: str, threads: int, precision: str) -> Run:
    """ONNX Runtime's CPU provider: all optimisations, sequential, spinning intra-op threads."""
    import onnxruntime

    if precision != "fp32":
        raise ValueError(f"ONNX Runtime on a CPU runs models as they are, not in {precision}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))


def openvino(onnx_path: str, threads: int, precision: str) -> Run:
    """OpenVINO's CPU plug-in: latency hint, one stream, given threads and precision."""
    openvino = import_module("openvino")
    hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}.get(precision)
    if hint is None:
        raise ValueError(f"OpenVINO has no precision hint for {precision}")
    core = openvino.Core()
    model = core.read_model(onnx_path)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": hint,
        },
    )
    request = compiled.create_infer_request()
    # tensors may be renamed while compiling, results are not
    names = [r.get_friendly_name().removesuffix("/sink_port_0") for r in model.get_results()]
    outputs = list(zip(compiled.outputs, names, strict=True))

    def run(feed: Arrays) -> Arrays:
        results = request.infer(feed, share_inputs=True, share_outputs=True)
        return {name: results[output] for output, name in outputs}

    return run


def torch(onnx_path: str, threads: int, precision: str) -> Run:
    """torch.compile (Inductor) with freezing, on the model rebuilt from ONNX in PyTorch."""
    from bench.torch_import import module_of

    torch: Any = import_module("torch")
    inductor: Any = import_module("torch._inductor.config")
    inductor.freezing = True

    torch.set_num_threads(threads)
    if precision != "fp32":
        raise ValueError(f"the PyTorch runner runs models as they are, not in {precision}")
    module = module_of(onnx_path)
    compiled = torch.compile(module, dynamic=False)

    def run(feed: Arrays) -> Arrays:
        with torch.inference_mode(False), torch.no_grad():
            results = compiled(*(torch.from_numpy(feed[name]) for name in module.input_names))
        return {n: r.numpy() for n, r in zip(module.output_names, results, strict=True)}

    return run


def convert_to_mnn(onnx_path: str, mnn_path: str, threads: int, precision: str) -> None:
    """MNN's own converter; threads and precision are chosen when its file is loaded."""
    tools = import_module("_tools")
    files = ("--modelFile", onnx_path, "--MNNModel", mnn_path)
    tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "bench"])
    if not Path(mnn_path).exists():
        raise ValueError("MNN's converter wrote no file")
    graph = import_module("onnx").load(onnx_path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    names = {
        "inputs": [value.name for value in graph.input if value.name not in weights],
        "outputs": [value.name for value in graph.output],
    }
    Path(f"{mnn_path}.json").write_text(json.dumps(names))


def mnn(mnn_path: str, threads: int, precision: str) -> Run:
    """MNN's CPU backend as a module: high power; float32 throughout, or its bf16 mode ("low")."""
    mode = {"fp32": "high", "bf16": "low"}.get(precision)
    if mode is None:
        raise ValueError(f"MNN has no mode for {precision} on a CPU")
    nn, expr = import_module("MNN.nn"), import_module("MNN.expr")
    names = json.loads(Path(f"{mnn_path}.json").read_text())
    settings = {"backend": "CPU", "numThread": threads, "precision": mode, "power": "high"}
    manager = nn.create_runtime_manager((settings,))
    network = nn.load_module_from_file(
        mnn_path, names["inputs"], names["outputs"], runtime_manager=manager
    )

    def variable(array: npt.NDArray[Any]) -> Any:
        whole = array.dtype.kind in "iub"
        array = array.astype(np.int32) if whole else array
        return expr.const(array, list(array.shape), expr.NCHW, expr.int if whole else expr.float)

    def run(feed: Arrays) -> Arrays:
        results = network.forward([variable(feed[name]) for name in names["inputs"]])
        if len(results) != len(names["outputs"]):
            raise ValueError("MNN could not run the model")
        pairs = zip(names["outputs"], results, strict=True)
        return {name: expr.convert(result, expr.NCHW).read() for name, result in pairs}

    return run


PREPARE: dict[str, Prepare] = {"planck": build_plan, "mnn": convert_to_mnn}
RUNNERS: tuple[Runner, ...] = (planck, onnxruntime, openvino, torch, mnn)
NAMES = tuple(runner.__name__ for runner in RUNNERS)
DISTRIBUTIONS = {
    "planck": "planckrt",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "mnn": "MNN",
}
LIBRARIES = {"mnn": "MNN"}  # to import, where a runner is not called as its library


def find(spec: str) -> Runner:
    """A runner by its name in RUNNERS, or a plug-in by module:function.

    raises: ValueError, ImportError, AttributeError for one that is not there
    """
    if ":" in spec:
        module, function = spec.split(":", 1)
        runner: Runner = getattr(import_module(module), function)
        return runner
    for runner in RUNNERS:
        if runner.__name__ == spec:
            return runner
    known = ", ".join(NAMES)
    raise ValueError(f"no runtime {spec!r}; there are {known}, and --plugin module:function")


def import_runtime(spec: str) -> None:
    """Import what a runner needs, as far as its name tells: its library, or a plug-in's module."""
    import_module(LIBRARIES.get(spec, spec.split(":")[0]))


def relative_error(outputs: Arrays, truth: Arrays) -> float:
    """Largest over the outputs of max |a - b| / max |b|; infinite if names or shapes differ."""
    if outputs.keys() != truth.keys():
        return float("inf")
    worst = 0.0
    for name, b in truth.items():
        a = outputs[name]
        if a.shape != b.shape or not np.isfinite(a.astype(np.float64)).all():
            return float("inf")
        if a.size:
            scale = float(np.abs(b).max()) or 1.0
            difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            worst = max(worst, float(difference) / scale)
    return worst
