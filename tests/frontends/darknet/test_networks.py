"""Whole Darknet networks against ONNX Runtime: the same weights, written apart from the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.models import darknet as writer
from planck.frontends import darknet
from planck.ir.interpret import interpret
from planck.ir.verify import verify


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov4-tiny"])
def test_same_as_onnx(tmp_path: Path, name: str) -> None:
    files = writer.write(name, tmp_path, small=True, batch=2)
    session = onnxruntime.InferenceSession(files.onnx, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    x = np.random.default_rng(1).uniform(0, 1, entry.shape).astype(np.float32)
    wanted = session.run(None, {entry.name: x})

    graph = darknet.read(
        files.cfg, weights=files.weights, shapes={"input": tuple(entry.shape)}, heads="raw"
    )
    verify(graph)
    results = interpret(graph, {graph.inputs[0].name: x})
    assert [graph.names[v.name] for v in graph.outputs] == [o.name for o in session.get_outputs()]
    for value, want in zip(graph.outputs, wanted, strict=True):
        # float32 sums in another order, through twenty layers
        np.testing.assert_allclose(results[value.name], want, rtol=2e-3, atol=2e-3)


def test_layers_keep_their_origin(tmp_path: Path) -> None:
    files = writer.write("yolov3-tiny", tmp_path, small=True)
    graph = darknet.read(files.cfg)
    assert graph.nodes[0].origin == ("yolov3-tiny.cfg:0/convolutional",)
    assert {n.origin[0].split("/")[1] for n in graph.nodes} == {
        "convolutional", "maxpool", "route", "upsample", "yolo",
    }  # fmt: skip
