"""An ONNX model rebuilt as a PyTorch module (torch.fx), for torch.compile to work on.

It covers the operators of `bench.models` and shapes that are static. Batch norms are folded into
the convolutions before them, as one does before inference; shape arithmetic is evaluated here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch  # type: ignore[import-not-found]
import torch.nn.functional as F  # type: ignore[import-not-found]
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bench import models

Attributes = dict[str, Any]
Translate = Callable[[Attributes, Sequence[Any]], Any]


def module_of(onnx_path: str) -> Any:
    """A torch.fx.GraphModule of the model: inputs in graph order, gives a tuple of the outputs.

    It has `input_names` and `output_names`.
    raises: NotImplementedError for an operator that is not in TRANSLATE
    """
    model = onnx.load(onnx_path)
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    nodes = _fold_batch_norms(list(model.graph.node), weights)
    build = _Build(weights)
    feed = models.inputs(model)
    for name, array in feed.items():
        build.placeholder(name, torch.from_numpy(array))
    for node in nodes:
        build.node(node)
    names = [output.name for output in model.graph.output]
    return build.finish(names, list(feed))


def _fold_batch_norms(nodes: list[NodeProto], weights: dict[str, Any]) -> list[NodeProto]:
    """conv(x, w) then batch norm -> conv(x, w', b')."""
    readers: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    makers = {name: node for node in nodes for name in node.output}
    kept = []
    for node in nodes:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or readers[conv.output[0]] != 1:
            kept.append(node)
            continue
        epsilon = {a.name: a.f for a in node.attribute}.get("epsilon", 1e-5)
        gamma, beta, mean, variance = (weights[n].astype(np.float64) for n in node.input[1:])
        factor = gamma / np.sqrt(variance + epsilon)
        kernel = weights[conv.input[1]]
        bias = weights[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(beta))
        weight_name, bias_name = f"{node.output[0]}.w", f"{node.output[0]}.b"
        weights[weight_name] = (kernel * factor[:, None, None, None]).astype(np.float32)
        weights[bias_name] = ((bias - mean) * factor + beta).astype(np.float32)
        folded = NodeProto()
        folded.CopyFrom(conv)
        del folded.input[1:]
        folded.input.extend([weight_name, bias_name])
        folded.output[0] = node.output[0]
        kept[next(i for i, k in enumerate(kept) if k is conv)] = folded
    return kept


class _Build:
    """The fx graph under construction; every value also has an example, which gives its shape.

    Examples lie on PyTorch's device "meta", where nothing is computed.
    """

    def __init__(self, constants: dict[str, Any]) -> None:
        self.constants = constants  # NumPy arrays known at build time
        self.examples: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.buffers: dict[str, Any] = {}
        self.graph = torch.fx.Graph()
        self.tracer = torch.fx.proxy.GraphAppendingTracer(self.graph)

    def placeholder(self, name: str, example: Any) -> None:
        node = self.graph.placeholder(f"x{len(self.values)}")
        self.values[name] = torch.fx.Proxy(node, self.tracer)
        self.examples[name] = example.to("meta")

    def node(self, node: NodeProto) -> None:
        names = list(node.input)
        if node.op_type == "Shape":
            self.constants[node.output[0]] = np.array(self.examples[names[0]].shape, np.int64)
        elif all(name in self.constants for name in names):
            evaluator = ReferenceEvaluator(node)
            results = evaluator.run(None, {name: self.constants[name] for name in names})
            self.constants.update(zip(node.output, results, strict=True))
        else:
            self._translate(node, names)

    def _translate(self, node: NodeProto, names: Sequence[str]) -> None:
        if node.op_type not in TRANSLATE:
            raise NotImplementedError(f"operator {node.op_type} has no PyTorch translation here")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes["_x_shape"] = self._example(names[0]).shape
        parameters = PARAMETERS.get(node.op_type, ())
        if node.op_type == "Gather" and names[1] in self.constants:
            parameters = (1,)
        examples: list[Any] = []
        values: list[Any] = []
        for place, name in enumerate(names):
            if not name or place in parameters:
                fixed = self.constants[name] if name else None
                examples.append(fixed)
                values.append(fixed)
            else:
                values.append(self._value(name))
                examples.append(self.examples[name])
        translate = TRANSLATE[node.op_type]
        with torch.no_grad():
            found = translate(attributes, examples)
        made = translate(attributes, values)
        many = len(node.output) > 1
        for place, name in enumerate(node.output):
            self.examples[name] = found[place] if many else found
            self.values[name] = made[place] if many else made

    def _example(self, name: str) -> Any:
        return self.examples[name] if name in self.examples else self.constants[name]

    def _value(self, name: str) -> Any:
        if name not in self.values:
            buffer = f"w{len(self.buffers)}"
            self.buffers[buffer] = torch.from_numpy(np.array(self.constants[name]))
            self.examples[name] = self.buffers[buffer].to("meta")
            self.values[name] = torch.fx.Proxy(
                self.graph.create_node("get_attr", buffer), self.tracer
            )
        return self.values[name]

    def finish(self, outputs: Sequence[str], inputs: Sequence[str]) -> Any:
        self.graph.output(tuple(self.values[name].node for name in outputs))
        root = torch.nn.Module()
        for name, tensor in self.buffers.items():
            root.register_buffer(name, tensor)
        module = torch.fx.GraphModule(root, self.graph)
        module.input_names, module.output_names = list(inputs), list(outputs)
        return module.eval()


# ---- operators; inputs listed in PARAMETERS arrive as NumPy arrays, all others as tensors


def _padded(a: Attributes, x: Any, value: float) -> tuple[Any, list[int]]:
    """x padded as far as the pads are lopsided, and what symmetric padding remains."""
    pads = a.get("pads", [0, 0, 0, 0])
    begins, ends = pads[:2], pads[2:]
    if begins == ends:
        return x, begins
    return F.pad(x, (begins[1], ends[1], begins[0], ends[0]), value=value), [0, 0]


def _conv(a: Attributes, i: Sequence[Any]) -> Any:
    x, pads = _padded(a, i[0], 0.0)
    bias = i[2] if len(i) > 2 else None
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    return F.conv2d(x, i[1], bias, strides, pads, dilations, a.get("group", 1))


def _max_pool(a: Attributes, i: Sequence[Any]) -> Any:
    x, pads = _padded(a, i[0], float("-inf"))
    ceil = bool(a.get("ceil_mode", 0))
    return F.max_pool2d(x, a["kernel_shape"], a["strides"], pads, ceil_mode=ceil)


def _gemm(a: Attributes, i: Sequence[Any]) -> Any:
    assert a.get("transB") == 1
    return F.linear(i[0], i[1], i[2])


def _slice(a: Attributes, i: Sequence[Any]) -> Any:
    x = i[0]
    for start, end, axis in zip(i[1].tolist(), i[2].tolist(), i[3].tolist(), strict=True):
        x = torch.narrow(x, axis, start, end - start)
    return x


def _gather(a: Attributes, i: Sequence[Any]) -> Any:
    table, places = i
    axis = a.get("axis", 0)
    if isinstance(places, np.ndarray):
        return torch.select(table, axis, int(places))
    return F.embedding(places, table)


def _lstm(a: Attributes, i: Sequence[Any]) -> Any:
    x, weights, recurrent, bias, _, h, c = i
    size = a["hidden_size"]
    flat = []
    for way in (0, 1):
        for part in (weights[way], recurrent[way], bias[way][: 4 * size], bias[way][4 * size :]):
            gate_i, gate_o, gate_f, gate_c = torch.split(part, size)
            flat.append(torch.cat([gate_i, gate_f, gate_c, gate_o]))
    y, h_last, c_last = torch.lstm(x, [h, c], flat, True, 1, 0.0, False, True, False)
    return y.reshape(*a["_x_shape"][:2], 2, size).permute(0, 2, 1, 3), h_last, c_last


def _resize(a: Attributes, i: Sequence[Any]) -> Any:
    return F.interpolate(i[0], scale_factor=[float(s) for s in i[2][2:]], mode="nearest")


def _reshape(a: Attributes, i: Sequence[Any]) -> Any:
    shape = [a["_x_shape"][k] if size == 0 else int(size) for k, size in enumerate(i[1])]
    return torch.reshape(i[0], shape)


def _layer_norm(a: Attributes, i: Sequence[Any]) -> Any:
    return F.layer_norm(i[0], [i[1].shape[0]], i[1], i[2], a.get("epsilon", 1e-5))


def _transposed(a: Attributes, i: Sequence[Any]) -> Any:
    return F.conv_transpose2d(i[0], i[1], i[2], a["strides"])


PARAMETERS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "Expand": (1,),
    "Reshape": (1,),
    "Resize": (2,),
    "Slice": (1, 2, 3),
    "Split": (1,),
    "Unsqueeze": (1,),
}
TRANSLATE: dict[str, Translate] = {
    "Add": lambda a, i: torch.add(i[0], i[1]),
    "Cast": lambda a, i: i[0].to(torch.float32),
    "Clip": lambda a, i: torch.clamp(i[0], float(i[1]), float(i[2])),
    "Concat": lambda a, i: torch.cat(list(i), a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "Div": lambda a, i: torch.div(i[0], i[1]),
    "Dropout": lambda a, i: i[0],
    "Erf": lambda a, i: torch.erf(i[0]),
    "Expand": lambda a, i: i[0].expand(i[1].tolist()),
    "Flatten": lambda a, i: torch.flatten(i[0], a.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, i: torch.mean(i[0], (2, 3), keepdim=True),
    "Identity": lambda a, i: i[0],
    "LSTM": _lstm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, i: F.leaky_relu(i[0], a.get("alpha", 0.01)),
    "MatMul": lambda a, i: torch.matmul(i[0], i[1]),
    "MaxPool": _max_pool,
    "Mul": lambda a, i: torch.mul(i[0], i[1]),
    "Pow": lambda a, i: torch.pow(i[0], i[1]),
    "ReduceMean": lambda a, i: torch.mean(i[0], a["axes"], keepdim=True),
    "Relu": lambda a, i: torch.relu(i[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda a, i: torch.sigmoid(i[0]),
    "Slice": _slice,
    "Softmax": lambda a, i: torch.softmax(i[0], a.get("axis", -1)),
    "Split": lambda a, i: torch.split(i[0], i[1].tolist(), a.get("axis", 0)),
    "Sqrt": lambda a, i: torch.sqrt(i[0]),
    "Sub": lambda a, i: torch.sub(i[0], i[1]),
    "Tanh": lambda a, i: torch.tanh(i[0]),
    "Transpose": lambda a, i: torch.permute(i[0], a["perm"]),
    "Unsqueeze": lambda a, i: torch.unsqueeze(i[0], int(i[1][0])),
}
