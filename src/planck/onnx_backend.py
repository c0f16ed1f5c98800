"""Planck as an ONNX backend: the interface of `onnx.backend.base`, for ONNX's own test suite.

    import planck
    rep = planck.onnx_backend.prepare(model)        # rep.engine is the Engine
    outputs = rep.run([x, y])

Some models take shapes, axes or indices as inputs whose values decide what is computed. Such a
model is compiled at its first run, for the values it is given then, and again when they change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from planck.compiler.api import options_of
from planck.compiler.stages import compile_graph
from planck.dtypes import Array
from planck.errors import BuildError, PlanckError
from planck.frontends.onnx import read
from planck.runtime import Engine


class PlanckBackendRep(BackendRep):  # type: ignore[misc]
    """A model ready to run."""

    def __init__(self, model: onnx.ModelProto, options: Mapping[str, Any]) -> None:
        self._model = model
        self._options = dict(options)
        initial = {tensor.name for tensor in model.graph.initializer}
        self._names = [v.name for v in model.graph.input if v.name not in initial]
        self._outputs = [v.name for v in model.graph.output]
        self._built: Engine | None = None
        self._refusal: PlanckError | None = None
        self._constants: dict[str, Array] = {}
        try:
            self._built = self._build({})
        except PlanckError as error:
            if not self._deciding():
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

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs in the model's order.

        inputs:  arrays in the model's order, or by name
        """
        arrays = self._by_name(inputs)
        if self._refusal is not None:
            self._specialise(arrays)
        wanted = {b.name for b in self.engine.inputs}
        found = self.engine({name: a for name, a in arrays.items() if name in wanted})
        return tuple(found[name] for name in self._outputs)

    def _by_name(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            return {name: np.asarray(array) for name, array in inputs.items()}
        if not isinstance(inputs, Sequence):
            inputs = [inputs]
        return {n: np.asarray(a) for n, a in zip(self._names, inputs, strict=False)}

    def _deciding(self) -> list[str]:
        """Inputs whose values may decide shapes: whole numbers, and short lists of reals."""
        floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
        found = []
        for info in self._model.graph.input:
            kind = info.type.tensor_type
            short = len(kind.shape.dim) <= 1
            if info.name in self._names and (kind.elem_type not in floats or short):
                found.append(info.name)
        return found

    def _specialise(self, arrays: Mapping[str, Array]) -> None:
        constants = {name: arrays[name] for name in self._deciding() if name in arrays}
        same = self._constants.keys() == constants.keys() and all(
            np.array_equal(self._constants[name], array) for name, array in constants.items()
        )
        if self._built is None or not same:
            self._built = self._build(constants)
            self._constants = {name: array.copy() for name, array in constants.items()}

    def _build(self, constants: Mapping[str, Array]) -> Engine:
        graph = read(self._model, constants=constants)
        options = options_of(
            self._options.get("target", "cpu"),
            self._options.get("precision", "fp32"),
            self._options.get("threads", 1),
            self._options.get("optimization_level", 0),
            None,
            self._options.get("timing_cache"),
        )
        return Engine(compile_graph(graph, options))


class PlanckBackend(Backend):  # type: ignore[misc]
    """`onnx.backend.base.Backend` for Planck; keyword arguments are those of planck.build."""

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
            raise BuildError(f"planck has no device {device!r} here", know="it has CPU")
        return PlanckBackendRep(model, kwargs)

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
        return device.partition(":")[0] == "CPU"


is_compatible = PlanckBackend.is_compatible
prepare = PlanckBackend.prepare
run_model = PlanckBackend.run_model
run_node = PlanckBackend.run_node
supports_device = PlanckBackend.supports_device
