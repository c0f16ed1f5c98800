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
import shutil
import subprocess
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


def _ends(onnx_path: str) -> tuple[list[Any], list[Any]]:
    """A model's inputs without its weights, and its outputs."""
    graph = import_module("onnx").load(onnx_path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    return [value for value in graph.input if value.name not in weights], list(graph.output)


def _names(inputs: list[Any], outputs: list[Any]) -> dict[str, list[str]]:
    ends = {"inputs": inputs, "outputs": outputs}
    return {end: [value.name for value in values] for end, values in ends.items()}


def convert_to_mnn(onnx_path: str, mnn_path: str, threads: int, precision: str) -> None:
    """MNN's own converter; threads and precision are chosen when its file is loaded."""
    tools = import_module("_tools")
    files = ("--modelFile", onnx_path, "--MNNModel", mnn_path)
    tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "bench"])
    if not Path(mnn_path).exists():
        raise ValueError("MNN's converter wrote no file")
    names = _names(*_ends(onnx_path))
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
    try:
        network = nn.load_module_from_file(
            mnn_path, names["inputs"], names["outputs"], runtime_manager=manager
        )
    except SystemError as error:  # its way to say that a name is not there
        raise ValueError("MNN's converter lost an input or output of the model") from error

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


def convert_to_ncnn(onnx_path: str, folder: str, threads: int, precision: str) -> None:
    """ncnn's converter, pnnx; weights stay float32."""
    inputs, outputs = _ends(onnx_path)
    tensors: Any = import_module("onnx").TensorProto
    kinds = {tensors.FLOAT: "f32", tensors.INT64: "i64"}
    shapes = []
    for value in inputs:
        tensor = value.type.tensor_type
        sizes = ",".join(str(dim.dim_value) for dim in tensor.shape.dim)
        shapes.append(f"[{sizes}]{kinds[tensor.elem_type]}")
    Path(folder).mkdir()
    shutil.copy(onnx_path, Path(folder, "model.onnx"))  # it writes its files beside the model
    binary = Path(str(import_module("pnnx").__file__)).with_name("pnnx")
    command = [str(binary), "model.onnx", f"inputshape={','.join(shapes)}", "fp16=0"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL)
    if done.returncode or not Path(folder, "model.ncnn.bin").exists():
        raise ValueError(f"pnnx wrote no ncnn model (exit code {done.returncode})")
    Path(folder, "names.json").write_text(json.dumps(_names(inputs, outputs)))


def ncnn(folder: str, threads: int, precision: str) -> Run:
    """ncnn: Winograd, SGEMM and packed layouts on as by default; images one after another.

    Its tensors have no batch axis: pnnx drops it, and a batch is so many inferences.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"ncnn has no mode for {precision} on this processor")
    ncnn = import_module("ncnn")
    names = json.loads(Path(folder, "names.json").read_text())
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = precision == "bf16"
    for load, file in ((net.load_param, "model.ncnn.param"), (net.load_model, "model.ncnn.bin")):
        if load(str(Path(folder, file))):
            raise ValueError(f"ncnn cannot load {file}")

    def one(feed: Arrays, image: int) -> list[npt.NDArray[Any]]:
        extractor = net.create_extractor()
        for number, name in enumerate(names["inputs"]):
            array = feed[name][image]
            array = array.astype(np.int32) if array.dtype.kind == "i" else array
            extractor.input(f"in{number}", ncnn.Mat(array))
        found = []
        for number in range(len(names["outputs"])):
            failed, result = extractor.extract(f"out{number}")
            if failed:
                raise ValueError("ncnn could not run the model")
            found.append(np.array(result))
        return found

    def run(feed: Arrays) -> Arrays:
        batch = len(feed[names["inputs"][0]])
        images = [one(feed, image) for image in range(batch)]
        pairs = zip(names["outputs"], zip(*images, strict=True), strict=True)
        return {name: np.stack(parts) for name, parts in pairs}

    return run


PREPARE: dict[str, Prepare] = {
    "planck": build_plan,
    "mnn": convert_to_mnn,
    "ncnn": convert_to_ncnn,
}
RUNNERS: tuple[Runner, ...] = (planck, onnxruntime, openvino, torch, mnn, ncnn)
NAMES = tuple(runner.__name__ for runner in RUNNERS)
DISTRIBUTIONS = {
    "planck": "planckrt",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "mnn": "MNN",
    "ncnn": "ncnn",
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
