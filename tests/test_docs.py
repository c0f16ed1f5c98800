"""The Python that the documentation shows, run in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from planck.compiler.cuda.stages import STAGES as CUDA_STAGES
from planck.compiler.options import Stages
from planck.compiler.stages import STAGES
from planck.errors import DeviceError, MissingExtraError
from planck.target import gpu

DOCS = Path(__file__).parents[1] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.M | re.S)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """net.onnx in the current folder, which classifies pictures."""
    weights = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 224, 224))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 1000))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)


def run(codes: list[str], name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for number, code in enumerate(codes):
        exec(compile(code, f"{name}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("stages", [STAGES, CUDA_STAGES], ids=["cpu", "cuda"])
def test_the_page_on_commands_names_every_stage(stages: Stages) -> None:
    (said,) = re.findall(r"^`--stop-after STAGE`.*?^$", (DOCS / "cli.md").read_text(), re.M | re.S)
    assert {name for name, _ in stages} <= set(re.findall(r"`(\w+)`", said))


@pytest.mark.usefixtures("network")
def test_the_quick_start_runs() -> None:
    build, load, context, _ = blocks("quickstart.md")  # the last wants a detector
    names = run([build, load, context], "quickstart.md")
    assert names["outputs"]["output"].shape == (1, 1000)


@pytest.mark.gpu
@pytest.mark.usefixtures("network")
def test_the_page_on_gpus_runs() -> None:
    pytest.importorskip("triton")
    pytest.importorskip("torch")
    try:
        gpu(0)
    except (DeviceError, MissingExtraError) as error:
        pytest.skip(error.what)
    names = run(blocks("gpu.md"), "gpu.md")
    picture = names["x"].mean((2, 3))
    expected = picture @ onnx.numpy_helper.to_array(onnx.load("net.onnx").graph.initializer[0])
    np.testing.assert_allclose(names["outputs"]["output"], expected, atol=2e-2)


def test_what_the_page_on_gpus_imports_is_there() -> None:
    """Where there is no GPU it is only read."""
    for code in blocks("gpu.md"):
        compile(code, "gpu.md", "exec")
        for line in re.findall(r"^from planck.*", code, re.M):
            exec(line, {})
