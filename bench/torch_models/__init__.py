"""Networks in plain PyTorch, exported to ONNX by both of its exporters: graphs as users bring them.

    python -m bench.torch_models -o tests/data/exported  # narrow, for the tests
    python -m bench.torch_models --full resnet50 -o exports  # as wide as in bench.models

It needs PyTorch and onnxscript, which Planck does not. What is wanted of these networks is what
exporters write around the arithmetic: shape arithmetic, constants, functions, names. Weights are
random with a fixed seed, and batch norms have the statistics of what flows through them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
import torch  # type: ignore[import-not-found]

Exporter = Literal["script", "dynamo"]
OPSETS: dict[Exporter, int] = {"script": 17, "dynamo": 20}
STATISTICS_RUNS = 8  # forward passes in training mode, so that batch norms know their inputs


class Case(NamedTuple):
    """A network to export: how to make it and its inputs, and which of their axes are symbolic."""

    make: Callable[[], Any]
    example: Callable[[], tuple[Any, ...]]
    dynamic: dict[str, dict[int, str]]  # for each input in order: axis -> symbol
    highs: tuple[tuple[str, int], ...] = ()  # bounds of integer inputs, see bench.models.inputs


def export(case: Case, exporter: Exporter, file: Path) -> Path:
    """Write a network by one exporter: "script" (TorchScript) or "dynamo" (torch.export).

    raises: what the exporter raises, for a network that it cannot read
    """
    torch.manual_seed(0)
    network = case.make()
    if any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules()):
        with torch.no_grad():
            for _ in range(STATISTICS_RUNS):
                network.train()(*case.example())
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": case.dynamic}
    if exporter == "dynamo":
        shapes = tuple(axes or None for axes in case.dynamic.values())
        options = {"dynamo": True, "external_data": False, "dynamic_shapes": shapes}
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            case.example(),
            str(file),
            input_names=list(case.dynamic),
            opset_version=OPSETS[exporter],
            verbose=False,
            **options,
        )
    _tidy(file, case)
    return file


def _tidy(file: Path, case: Case) -> None:
    """Drop what exporters note about the machine (stack traces, source paths); add the bounds."""
    model = onnx.load(file)
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        for item in (*graph.node, *graph.value_info):
            item.doc_string = ""
            del item.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    for name, high in case.highs:
        model.metadata_props.add(key=f"high:{name}", value=str(high))
    onnx.save(model, file)
