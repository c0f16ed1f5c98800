"""Each Darknet layer, read and interpreted, against Darknet's own loops written out in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planck.frontends import darknet
from planck.ir.interpret import interpret
from planck.ir.verify import verify
from tests.frontends.darknet.plain import ACTIVATIONS, Network, Section

# float32 against float64: sums of at most a few hundred products
TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def conv(filters: int, size: int = 1, **options: object) -> Section:
    return ("convolutional", {"filters": filters, "size": size, "activation": "linear", **options})


def check(
    folder: Path, sections: list[Section], shape: tuple[int, int, int, int] = (2, 3, 7, 10)
) -> None:
    """The last layer's output, or the detections, are Darknet's."""
    net = Network(shape, sections)
    graph = darknet.read(net.write(folder), shapes={"input": shape})
    verify(graph)
    (result,) = interpret(graph, {graph.inputs[0].name: net.input}).values()
    wanted = net.detections if net.boxes else net.layers[-1]
    np.testing.assert_allclose(result, wanted, **TOLERANCE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(tmp_path: Path, activation: str) -> None:
    check(tmp_path, [conv(5, 3, pad=1, activation=activation)])


def test_activation_left_out_is_logistic(tmp_path: Path) -> None:
    check(tmp_path, [("convolutional", {"filters": 4})])


@pytest.mark.parametrize(
    "options",
    [
        {"size": 1},
        {"size": 3},
        {"size": 3, "pad": 1},
        {"size": 3, "padding": 2},
        {"size": 4, "pad": 1, "stride": 2},
        {"size": 3, "pad": 1, "stride_x": 2, "stride_y": 1},
        {"size": 3, "pad": 1, "dilation": 2},
        {"size": 3, "pad": 1, "groups": 3},
        {"size": 3, "pad": 1, "stride": 2, "groups": 3, "batch_normalize": 1},
        {"size": 3, "flipped": 1},
        {"size": 3, "flipped": 1, "groups": 3},
        {"size": 1, "batch_normalize": 1, "activation": "mish"},
    ],
    ids=lambda o: " ".join(f"{k}={v}" for k, v in o.items()),
)
def test_convolutional(tmp_path: Path, options: dict[str, object]) -> None:
    check(tmp_path, [conv(6, **options)])  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [0, 1])
def test_connected(tmp_path: Path, norm: int) -> None:
    options = {"output": 17, "activation": "leaky", "batch_normalize": norm}
    check(tmp_path, [("connected", options), ("connected", {"output": 4})])


@pytest.mark.parametrize("filters", [3, 5, 8], ids=["fewer", "same", "more"])
def test_shortcut_adds_common_channels(tmp_path: Path, filters: int) -> None:
    check(tmp_path, [conv(filters), conv(5), ("shortcut", {"from": -2, "activation": "leaky"})])


def test_shortcut_of_several(tmp_path: Path) -> None:
    check(tmp_path, [conv(5), conv(5), conv(5), ("shortcut", {"from": "-2,0"})])


def test_route(tmp_path: Path) -> None:
    check(tmp_path, [conv(5), conv(3), ("route", {"layers": "-1, 0"})])


def test_route_of_one_layer(tmp_path: Path) -> None:
    check(tmp_path, [conv(5), conv(3), ("route", {"layers": "0"}), conv(2)])


@pytest.mark.parametrize("group", [0, 1])
def test_route_of_groups(tmp_path: Path, group: int) -> None:
    routed = ("route", {"layers": "-1,-2", "groups": 2, "group_id": group})
    check(tmp_path, [conv(6), conv(4), routed])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_maxpool(tmp_path: Path, size: int, stride: int) -> None:
    check(tmp_path, [("maxpool", {"size": size, "stride": stride})])


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_maxpool_padding(tmp_path: Path, padding: int) -> None:
    check(tmp_path, [("maxpool", {"size": 3, "stride": 2, "padding": padding})])


def test_maxpool_strides(tmp_path: Path) -> None:
    check(tmp_path, [("maxpool", {"size": 2, "stride_x": 2, "stride_y": 1})])


def test_avgpool(tmp_path: Path) -> None:
    check(tmp_path, [("avgpool", {})])


@pytest.mark.parametrize("options", [{}, {"stride": 3}, {"stride": 2, "scale": 0.5}])
def test_upsample(tmp_path: Path, options: dict[str, object]) -> None:
    check(tmp_path, [("upsample", options)])


@pytest.mark.parametrize("options", [{}, {"groups": 5}, {"temperature": 2.5}])
def test_softmax(tmp_path: Path, options: dict[str, object]) -> None:
    check(tmp_path, [conv(5), ("softmax", options)])


def test_scale_channels(tmp_path: Path) -> None:
    squeeze = [("avgpool", {}), conv(5, activation="logistic")]
    check(tmp_path, [conv(5), *squeeze, ("scale_channels", {"from": -3, "activation": "relu"})])


def test_sam(tmp_path: Path) -> None:
    check(tmp_path, [conv(5), conv(5, activation="logistic"), ("sam", {"from": -2})])


@pytest.mark.parametrize("kind", ["reorg", "reorg3d"])
@pytest.mark.parametrize("stride", [1, 2])
def test_reorg(tmp_path: Path, kind: str, stride: int) -> None:
    check(tmp_path, [(kind, {"stride": stride})], (2, 8, 6, 10))


def test_dropout_changes_nothing(tmp_path: Path) -> None:
    check(tmp_path, [conv(5), ("dropout", {"probability": 0.5}), conv(3)])


YOLO = {"classes": 4, "anchors": "10,14, 23,27, 37.5,58, 81,82", "mask": "1,3"}


@pytest.mark.parametrize(
    "options",
    [
        YOLO,
        {**YOLO, "scale_x_y": 1.2},
        {**YOLO, "scale_x_y": 2.0, "new_coords": 1},
        {**YOLO, "new_coords": 1},
    ],
    ids=["v3", "v4", "scaled v4", "new_coords"],
)
def test_yolo(tmp_path: Path, options: dict[str, object]) -> None:
    check(tmp_path, [conv(18), ("yolo", options)], (2, 3, 4, 6))


def test_yolo_without_mask_takes_all_anchors(tmp_path: Path) -> None:
    options = {"classes": 1, "anchors": "10,14, 23,27"}
    check(tmp_path, [conv(12), ("yolo", options)], (1, 3, 4, 6))


def test_yolo_twice(tmp_path: Path) -> None:
    second = [("route", {"layers": "0"}), conv(18, 3, pad=1, stride=2), ("yolo", YOLO)]
    check(tmp_path, [conv(8), conv(18), ("yolo", YOLO), *second], (2, 3, 4, 6))


def test_input_size_can_change(tmp_path: Path) -> None:
    """Boxes are in pixels of the input that is built for, not of the cfg's."""
    net = Network((1, 3, 8, 12), [conv(18), ("yolo", YOLO)])
    path = net.write(tmp_path)
    path.write_text(net.cfg().replace("height=8", "height=4").replace("width=12", "width=6"))
    graph = darknet.read(path, shapes={"input": (1, 3, 8, 12)})
    (result,) = interpret(graph, {graph.inputs[0].name: net.input}).values()
    np.testing.assert_allclose(result, net.detections, **TOLERANCE)
