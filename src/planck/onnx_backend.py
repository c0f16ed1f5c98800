"""Planck as an ONNX backend: the interface of `onnx.backend.base`, for ONNX's own test suite.

    import planck
    rep = planck.onnx_backend.prepare(model)        # rep.engine is the Engine
    outputs = rep.run([x, y])

Some models take shapes, axes or indices as inputs whose values decide what is computed. Such a
model is compiled at its first run, for the values it is given then, and again when they change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from planck.compiler.api import options_of
from planck.compiler.stages import compile_graph
from planck.dtypes import Array
from planck.errors import BuildError, NotConstant, PlanckError, ShapeError
from planck.frontends.onnx import read
from planck.frontends.onnx.counted import count_name
from planck.frontends.onnx.inputs import Constant
from planck.runtime import Engine
from planck.runtime.engine import engine_or_plan

_REALS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


class PlanckBackendRep(BackendRep):  # type: ignore[misc]
    """A model ready to run."""

    def __init__(self, model: onnx.ModelProto, options: Mapping[str, Any]) -> None:
        self._model = model
        self._options = dict(options)
        initial = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [info for info in model.graph.input if info.name not in initial]
        self._outputs = [(v.name, v.type.WhichOneof("value")) for v in model.graph.output]
        self._built: Engine | None = None
        self._refusal: PlanckError | None = None
        self._constants: dict[str, Constant] = {}
        try:
            self._built = self._build({}, {})
        except (NotConstant, ShapeError) as error:
            if isinstance(error, ShapeError) and not any(map(_is_open, self._inputs)):
                raise
            self._refusal = error

    @property
    def engine(self) -> Engine:
        """The compiled model. raises: BuildError while a model still waits for its first run"""
        if self._built is None:
            raise BuildError(
                "the model is compiled at its first run, for the values of its inputs",
                know=str(self._refusal),
                try_="call run first",
            )
        return self._built

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the model's order; a list of arrays for a sequence.

        inputs:  arrays (lists for sequences, None for an absent optional), in order or by name
        """
        given = self._by_name(inputs)
        engine = self.engine_for(given)
        found = engine({binding.name: given[binding.name] for binding in engine.inputs})
        return tuple(_output(found, name, kind) for name, kind in self._outputs)

    def engine_for(self, inputs: Any) -> Engine:
        """The engine that runs these inputs, compiled if need be."""
        given = self._by_name(inputs)
        if not self._fits(given):
            self._specialise(given)
        return self.engine

    def _by_name(self, inputs: Any) -> dict[str, Any]:
        if not isinstance(inputs, Mapping):
            rows = inputs if isinstance(inputs, Sequence) else [inputs]
            inputs = dict(zip((info.name for info in self._inputs), rows, strict=False))
        return {name: _plain(item) for name, item in inputs.items()}

    def _fits(self, given: Mapping[str, Any]) -> bool:
        """Whether the engine is made for the values and open dims of these inputs."""
        if self._built is None:
            return False
        shapes = {binding.name: binding.shape for binding in self._built.inputs}
        for info in self._inputs:
            item: Any = given.get(info.name)
            if info.name in self._constants and not _same(self._constants[info.name], item):
                return False
            if info.name in shapes and _is_open(info) and shapes[info.name] != np.shape(item):
                return False
        return True

    def _specialise(self, given: Mapping[str, Any]) -> None:
        """Compile for the fewest values that decide the graph."""
        for decides in _DECIDING:
            constants = {i.name: given.get(i.name) for i in self._inputs if decides(i)}
            try:
                self._built = self._build(constants, given)
            except NotConstant as error:
                self._refusal = error
                continue
            self._constants = {name: _copy(item) for name, item in constants.items()}
            return
        assert self._refusal
        raise self._refusal

    def _build(self, constants: Mapping[str, Constant], given: Mapping[str, Any]) -> Engine:
        open_ = [i.name for i in self._inputs if _is_open(i) and i.name not in constants]
        shapes = {name: np.shape(given[name]) for name in open_ if name in given}
        graph = read(self._model, shapes=shapes, constants=constants)
        options = options_of(
            self._options["target"],
            self._options.get("precision", "fp32"),
            self._options.get("threads", 1),
            self._options.get("optimization_level", 0),
            None,
            self._options.get("timing_cache"),
        )
        return engine_or_plan(compile_graph(graph, options))


def _is_open(info: onnx.ValueInfoProto) -> bool:
    """Whether a tensor's shape is not all numbers."""
    kind = info.type.tensor_type
    return not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim)


def _is_no_tensor(info: onnx.ValueInfoProto) -> bool:
    return not info.type.HasField("tensor_type")


def _is_list(info: onnx.ValueInfoProto) -> bool:
    """Shapes, axes and the like: whole numbers along one axis at most, and what is no tensor."""
    whole = info.type.tensor_type.elem_type not in _REALS
    return _is_no_tensor(info) or (whole and len(info.type.tensor_type.shape.dim) <= 1)


def _is_short(info: onnx.ValueInfoProto) -> bool:
    """Lists, of reals as well: scales."""
    return _is_no_tensor(info) or len(info.type.tensor_type.shape.dim) <= 1


def _is_whole(info: onnx.ValueInfoProto) -> bool:
    """Whole numbers in any shape, and lists of reals."""
    return _is_short(info) or info.type.tensor_type.elem_type not in _REALS


# Which inputs a model is compiled for the values of: the first that is enough.
_DECIDING: Final = (_is_no_tensor, _is_list, _is_short, _is_whole)


def _plain(item: Any) -> Any:
    """Arrays, lists of arrays for sequences, None for an absent optional."""
    if item is None:
        return None
    return [_plain(one) for one in item] if isinstance(item, list) else np.asarray(item)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a is b


def _copy(item: Any) -> Any:
    if isinstance(item, list):
        return [_copy(one) for one in item]
    return item if item is None else item.copy()


def _output(found: Mapping[str, Array], name: str, kind: str) -> Any:
    if name in found or kind == "tensor_type":
        array = found[name]
        for axis in range(array.ndim):
            if (count := count_name(name, axis)) in found:
                return array[(slice(None),) * axis + (slice(int(found[count])),)]
        return array
    return [found[f"{name}[{k}]"] for k in range(len(found)) if f"{name}[{k}]" in found]


_DEVICES: Final = {"CPU": "cpu", "CUDA": "cuda"}  # ONNX's name, and the target's


def _kind(device: str) -> str:
    """The device without its number: of "CUDA:0", "CUDA"."""
    return device.partition(":")[0]


class PlanckBackend(Backend):  # type: ignore[misc]
    """`onnx.backend.base.Backend` for Planck; keyword arguments are those of planck.build.

    The target is the device unless `target` says another.
    """

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        try:
            cls.prepare(model, device, **kwargs)
        except PlanckError:
            return False
        return True

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any
    ) -> PlanckBackendRep:
        """raises: ModelError, BuildError where Planck cannot run the model"""
        if not cls.supports_device(device):
            raise BuildError(
                f"planck has no device {device!r}", know=f"it has {', '.join(_DEVICES)}"
            )
        return PlanckBackendRep(model, {"target": _DEVICES[_kind(device)], **kwargs})

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Array, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """One node, as a model of its own; the opset is the newest unless `opset_version` says."""
        arrays = [np.asarray(array) for array in inputs]
        infos = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in zip(node.input, arrays, strict=True)
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = onnx.helper.make_graph([node], "node", infos, outputs)
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return _kind(device) in _DEVICES


is_compatible = PlanckBackend.is_compatible
prepare = PlanckBackend.prepare
run_model = PlanckBackend.run_model
run_node = PlanckBackend.run_node
supports_device = PlanckBackend.supports_device
