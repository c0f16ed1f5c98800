"""Darknet networks from file to compiled plan, against Darknet's own loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import planck
from tests.frontends.darknet.plain import Network, Section

YOLO = ("yolo", {"classes": 2, "anchors": "10,14, 23,27"})
BLOCK = {"size": 3, "pad": 1, "batch_normalize": 1}
NETWORKS: dict[str, tuple[tuple[int, int, int, int], list[Section]]] = {
    "residual": (
        (2, 3, 9, 14),
        [
            ("convolutional", {**BLOCK, "filters": 17, "activation": "mish"}),
            ("convolutional", {**BLOCK, "filters": 17, "activation": "leaky", "groups": 17}),
            ("shortcut", {"from": -2, "activation": "leaky"}),
            ("maxpool", {"size": 2, "stride": 2}),
            ("route", {"layers": "-1,-1"}),
            ("upsample", {"stride": 2}),
            ("convolutional", {"filters": 14, "activation": "linear"}),
            YOLO,
        ],
    ),
    "squeeze": (
        (1, 3, 6, 10),
        [
            ("convolutional", {**BLOCK, "filters": 20, "stride": 2, "activation": "swish"}),
            ("avgpool", {}),
            ("convolutional", {"filters": 20, "activation": "logistic"}),
            ("scale_channels", {"from": -3}),
            ("convolutional", {"filters": 20, "activation": "logistic"}),
            ("sam", {"from": -2}),
            ("connected", {"output": 10, "activation": "tanh"}),
            ("softmax", {"groups": 2}),
        ],
    ),
    "one pixel": (
        (1, 3, 5, 5),
        [
            ("convolutional", {**BLOCK, "filters": 8, "activation": "relu"}),
            ("avgpool", {}),
            ("convolutional", {"filters": 14, "activation": "linear"}),
            YOLO,
        ],
    ),
    "pyramid": (
        (1, 4, 8, 12),
        [
            ("reorg3d", {"stride": 2}),
            ("convolutional", {**BLOCK, "filters": 24, "activation": "selu"}),
            ("route", {"layers": -1, "groups": 3, "group_id": 1}),
            ("maxpool", {"size": 5, "stride": 1}),
            ("maxpool", {"size": 3, "stride": 1}),
            ("route", {"layers": "-1,-2,-3,1"}),
            ("reorg", {"stride": 2}),
            ("convolutional", {"filters": 14, "activation": "linear"}),
            YOLO,
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_compiled(tmp_path: Path, name: str) -> None:
    shape, sections = NETWORKS[name]
    net = Network(shape, sections)
    path = net.write(tmp_path)
    engine = planck.build(path, shapes={"input": shape}, threads=1, optimization_level=0)
    (result,) = engine(net.input).values()
    wanted = net.detections if net.boxes else net.layers[-1]
    # float32 through ten layers; boxes are exponentials of their sums
    np.testing.assert_allclose(result, wanted, rtol=1e-3, atol=1e-4)
    assert engine.inspect().reference_steps == 0
