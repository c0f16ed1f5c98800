"""The networks of bench.models in PyTorch, as wide as there; `full` makes one ready to export."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch  # type: ignore[import-not-found]

from bench.torch_models import Case
from bench.torch_models.classify import mobilenet_v2, resnet50, squeezenet
from bench.torch_models.darknet import Darknet
from bench.torch_models.dense import LongShortTerm, mlp
from bench.torch_models.transformers import BertBase, VitB16
from bench.torch_models.unet import UNet
from bench.torch_models.yolo import YoloV5s, YoloV8n

# name -> network, and the shape of its input behind the batch
NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "resnet50": (resnet50, (3, 224, 224)),
    "mobilenet_v2": (mobilenet_v2, (3, 224, 224)),
    "squeezenet": (squeezenet, (3, 224, 224)),
    "yolov3_tiny": (partial(Darknet, "yolov3-tiny"), (3, 416, 416)),
    "yolov4_tiny": (partial(Darknet, "yolov4-tiny"), (3, 416, 416)),
    "yolov5s": (YoloV5s, (3, 640, 640)),
    "yolov8n": (YoloV8n, (3, 640, 640)),
    "bert_base": (BertBase, (128,)),
    "vit_b16": (VitB16, (3, 224, 224)),
    "unet": (UNet, (3, 256, 256)),
    "lstm": (LongShortTerm, (32, 128)),
    "mlp": (mlp, (784,)),
}
FULL = tuple(NETWORKS)


def full(name: str, batch: int = 1, symbolic: bool = False) -> Case:
    """The case of one of FULL.

    symbolic: the batch is the symbol "batch", and BERT's length the symbol "length"
    raises:   KeyError for a name that is not in FULL
    """
    make, shape = NETWORKS[name]
    if symbolic:
        batch = 2  # torch.export takes a size of 1 for a constant
    if name == "bert_base":
        axes = {0: "batch", 1: "length"} if symbolic else {}
        names = ("input_ids", "attention_mask", "token_type_ids")
        highs = tuple(zip(names, (BertBase.VOCABULARY, 2, 2), strict=True))
        tokens = (batch, *shape)
        return Case(
            make,
            lambda: tuple(torch.randint(0, high, tokens) for _, high in highs),
            {name: axes for name in names},
            highs,
        )
    draw = torch.rand if len(shape) == 3 else torch.randn
    return Case(make, lambda: (draw(batch, *shape),), {"input": {0: "batch"} if symbolic else {}})
