"""Models for tests and benchmarks, made on the spot: real structure, random weights, fixed seeds.

    model = build("resnet50", batch=1)         # an onnx.ModelProto, opset 17
    feed = inputs(model, seed=0)               # {"input": f32[1, 3, 224, 224]}
    path("yolov8n")                            # bench-output/models/yolov8n-b1.onnx, made once

`small=True` keeps a model's operators and structure and reduces widths and sizes, so that it runs
in about a millisecond. Weights have statistics under which activations keep their size through
depth, so results of two runtimes can be compared by relative error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, helper

from bench.models import classify, darknet, dense, held_out, transformers, unet, yolo

Builder = Callable[[int, bool], ModelProto]

BUILDERS: tuple[Builder, ...] = (
    classify.resnet50,
    classify.mobilenet_v2,
    classify.squeezenet,
    darknet.yolov3_tiny,
    darknet.yolov4_tiny,
    yolo.yolov5s,
    yolo.yolov8n,
    transformers.bert_base,
    transformers.vit_b16,
    unet.unet,
    dense.lstm,
    dense.mlp,
)
HELD_OUT_BUILDERS: tuple[Builder, ...] = (
    held_out.vgg16,
    held_out.inception_v3,
    held_out.regnet_y_400mf,
)
NAMES: tuple[str, ...] = tuple(builder.__name__ for builder in BUILDERS)
HELD_OUT: tuple[str, ...] = tuple(builder.__name__ for builder in HELD_OUT_BUILDERS)
ALL: tuple[str, ...] = NAMES + HELD_OUT
FOLDER = Path("bench-output/models")


def build(name: str, batch: int = 1, small: bool = False) -> ModelProto:
    """The model called name, one of ALL; the same bytes on every call.

    raises: ValueError for a name that is not in ALL
    """
    if name not in ALL:
        raise ValueError(f"no model {name!r}; there are {', '.join(ALL)}")
    return (BUILDERS + HELD_OUT_BUILDERS)[ALL.index(name)](batch, small)


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Names as commands take them: none or "all" is NAMES, "held-out" is HELD_OUT."""
    groups = {"all": NAMES, "held-out": HELD_OUT}
    return tuple(n for name in names or ("all",) for n in groups.get(name, (name,)))


def inputs(
    model: ModelProto, seed: int = 0, dims: Mapping[str, int] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Random inputs for a model, by its graph inputs.

    dims: sizes of symbolic dimensions by symbol; 2 for those it does not have

    Images (float, 4-d) are uniform in 0..1, other floats normal; integers are uniform below the
    bound that the model's metadata gives ("high:NAME"), or below 2; booleans are fair coins.
    """
    rng = np.random.default_rng(seed)
    highs = {prop.key: int(prop.value) for prop in model.metadata_props if "high:" in prop.key}
    weights = {weight.name for weight in model.graph.initializer}
    feed: dict[str, npt.NDArray[Any]] = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = [d.dim_value or (dims or {}).get(d.dim_param, 2) for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if dtype.kind in "iu":
            high = highs.get(f"high:{value.name}", 2)
            feed[value.name] = rng.integers(0, high, shape, dtype=dtype)
        elif dtype.kind == "b":
            feed[value.name] = rng.random(shape) < 0.5
        else:
            array = rng.random(shape) if len(shape) == 4 else rng.standard_normal(shape)
            feed[value.name] = array.astype(dtype)
    return feed


def path(name: str, batch: int = 1, small: bool = False, folder: Path | None = None) -> Path:
    """The model's file, written on the first call: FOLDER/NAME-bBATCH[-small].onnx."""
    file = (folder or FOLDER) / f"{name}-b{batch}{'-small' if small else ''}.onnx"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        onnx.save(build(name, batch, small), partial)
        partial.replace(file)  # another process never sees half a model
    return file
