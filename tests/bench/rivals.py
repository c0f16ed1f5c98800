"""Runtimes that misbehave, as plug-ins for the comparison's tests."""

from __future__ import annotations

import os

from bench.runners import Run, onnxruntime


def dies(onnx_path: str, threads: int, precision: str) -> Run:
    """Kill the process while loading."""
    os._exit(3)


def raises(onnx_path: str, threads: int, precision: str) -> Run:
    """Refuse while loading."""
    raise ValueError("not this model")


def wrong(onnx_path: str, threads: int, precision: str) -> Run:
    """ONNX Runtime's outputs, doubled."""
    run = onnxruntime(onnx_path, threads, precision)
    return lambda feed: {name: 2 * array for name, array in run(feed).items()}
