"""Planck: an inference compiler and runtime. Model file in, machine code for this machine out.

import planck

engine = planck.build("yolov5s.onnx", threads=2)     # compile for this machine
engine.save("yolov5s.plan")

engine = planck.load("yolov5s.plan")                 # milliseconds; no compiler needed
outputs = engine({"images": x})                      # {name: array}
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from planck import errors
from planck.errors import PlanckError

if TYPE_CHECKING:
    from planck import onnx_backend
    from planck.compiler.api import build
    from planck.runtime import Engine, ExecutionContext

__version__ = "0.1.0"
__all__ = [
    "Engine",
    "ExecutionContext",
    "PlanckError",
    "build",
    "errors",
    "load",
    "onnx_backend",
]


def load(
    path: str | os.PathLike[str], *, any_machine: bool = False, mapped: bool = False
) -> Engine:
    """The engine of a plan file.

    any_machine:  accept a plan tuned on another machine whose ISA this one has
    mapped:       leave the weights in the file's pages, to share them with other processes
    raises:       FileError, PlanFormatError, PlanVersionError, PlanTargetError
    """
    from planck.runtime import Engine

    return Engine.load(path, any_machine=any_machine, mapped=mapped)


def __getattr__(name: str) -> Any:
    """The compiler is imported when it is first used: running a plan does not need it."""
    if name == "build":
        from planck.compiler.api import build

        return build
    if name in ("Engine", "ExecutionContext"):
        from planck import runtime

        return getattr(runtime, name)
    if name == "onnx_backend":
        import importlib

        return importlib.import_module("planck.onnx_backend")
    raise AttributeError(f"module 'planck' has no attribute {name!r}")
