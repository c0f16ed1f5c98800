"""The benchmark models: valid ONNX, accepted by ONNX Runtime, outputs worth comparing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bench import models
from bench.models import darknet

BATCHES = (1, 3)


def session_of(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", models.ALL)
def test_small_model_is_valid_and_its_declared_shapes_are_inferred(name: str) -> None:
    for batch in BATCHES:
        model = models.build(name, batch, small=True)
        onnx.checker.check_model(model, full_check=True)
        session = session_of(model)
        outputs = session.run(None, models.inputs(model))
        for value, array in zip(session.get_outputs(), outputs, strict=True):
            assert value.shape == list(array.shape)


@pytest.mark.parametrize("name", models.ALL)
def test_outputs_are_finite_spread_and_depend_on_the_inputs(name: str) -> None:
    model = models.build(name, batch=3, small=True)
    session = session_of(model)
    first, second = (session.run(None, models.inputs(model, seed)) for seed in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert np.isfinite(a).all()
        assert 0.01 < a.std() < 100
        assert np.unique(a).size > a.size // 3  # neither constant nor saturated
        assert (np.abs(a - b) / (np.abs(a) + np.abs(b) + 1e-9)).mean() > 0.01


def test_models_are_the_same_on_every_call() -> None:
    one, two = (models.build("mobilenet_v2", small=True).SerializeToString() for _ in range(2))
    assert one == two


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match="resnet50"):
        models.build("resnet51")


def test_integer_inputs_stay_below_their_bounds() -> None:
    feed = models.inputs(models.build("bert_base", small=True))
    assert feed["input_ids"].max() < 100
    assert set(np.unique(feed["attention_mask"])) == {0, 1}


def test_path_writes_a_model_once(tmp_path: Path) -> None:
    file = models.path("mlp", 2, small=True, folder=tmp_path)
    written = file.stat().st_mtime_ns
    assert models.path("mlp", 2, small=True, folder=tmp_path).stat().st_mtime_ns == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["mlp-b2-small.onnx"]


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov4-tiny"])
def test_darknet_weights_hold_the_numbers_of_the_onnx_model(name: str, tmp_path: Path) -> None:
    files = darknet.write(name, tmp_path, small=True)
    model = onnx.load(files.onnx)
    stored = np.frombuffer(files.weights.read_bytes()[20:], "<f4")
    learned = [
        onnx.numpy_helper.to_array(w)
        for w in model.graph.initializer
        if w.name.startswith(("w_", "b_", "bn_"))
    ]
    assert stored.size == sum(w.size for w in learned)
    np.testing.assert_array_equal(
        np.sort(stored), np.sort(np.concatenate([w.ravel() for w in learned]))
    )
    assert files.cfg.read_text().count("[yolo]") == 2


# the sizes of the published yolov3-tiny.weights and yolov4-tiny.weights, in bytes
@pytest.mark.parametrize(("name", "size"), [("yolov3-tiny", 35434956), ("yolov4-tiny", 24251276)])
def test_darknet_weights_are_as_large_as_the_published_files(name: str, size: int) -> None:
    cfg = (darknet.CFG_FOLDER / f"{name}.cfg").read_text()
    assert len(darknet.draw(cfg)[1]) == size


def test_activated_boxes_are_the_sigmoid_of_raw_ones(tmp_path: Path) -> None:
    raw = darknet.write("yolov4-tiny", tmp_path / "raw", small=True)
    activated = darknet.write("yolov4-tiny", tmp_path / "activated", small=True, boxes="activated")
    feed = models.inputs(onnx.load(raw.onnx))
    heads = zip(
        session_of(raw.onnx).run(None, feed),
        session_of(activated.onnx).run(None, feed),
        strict=True,
    )
    for x, y in heads:
        n, _, h, w = x.shape
        expected = x.reshape(n, 3, 85, h, w).astype(np.float64)
        sigmoid = 1 / (1 + np.exp(-expected))
        expected[:, :, 4:] = sigmoid[:, :, 4:]
        expected[:, :, :2] = sigmoid[:, :, :2] * 1.05 - 0.025  # scale_x_y=1.05
        np.testing.assert_allclose(y.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)
