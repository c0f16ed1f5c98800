"""Inputs of a network from files, checked; random ones where there is no file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from planck.dtypes import Array
from planck.errors import DTypeError, InputError, ShapeError
from planck.runtime import Engine
from planck.runtime.engine import Binding


def random_inputs(engine: Engine, seed: int = 0) -> dict[str, Array]:
    """Inputs to time with: reals around 0, small whole numbers."""
    draw = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for binding in engine.inputs:
        if binding.dtype.is_float:
            array = draw.standard_normal(binding.shape).astype(binding.dtype.numpy)
        else:
            array = draw.integers(0, 2, binding.shape).astype(binding.dtype.numpy)
        inputs[binding.name] = array
    return inputs


def load_inputs(engine: Engine, files: Iterable[str]) -> dict[str, Array]:
    """An array for each input; those that no file gives are random.

    files:   "name:file", "name=file", or "file" where it says its names (.npz) or the network has
             one input; .npy, .npz, or .bin with the raw numbers in row-major order
    raises:  InputError, ShapeError, DTypeError
    """
    inputs = random_inputs(engine)
    bindings = {binding.name: binding for binding in engine.inputs}
    for text in files:
        name, path = _split(text, bindings)
        for key, array in _read(path, name, bindings).items():
            _check(array, bindings[key], path)
            inputs[key] = array
    return inputs


def _split(text: str, bindings: dict[str, Binding]) -> tuple[str, Path]:
    """The input's name, "" if none is given, and the file; names may hold the signs themselves."""
    for name in sorted(bindings, key=len, reverse=True):
        if text.startswith((f"{name}:", f"{name}=")):
            return name, Path(text[len(name) + 1 :])
    for sign in "=:":
        name, found, path = text.rpartition(sign)
        if found and not Path(text).exists() and Path(path).exists():
            raise InputError(f"the network has no input {name!r}", know=_known(bindings))
    return "", Path(text)


def _read(path: Path, name: str, bindings: dict[str, Binding]) -> dict[str, Array]:
    """Arrays by input. raises: InputError"""
    try:
        if path.suffix == ".bin":
            binding = bindings[_only(path, name, bindings)]
            return {binding.name: _raw(path, binding)}
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {_only(path, name, bindings): content}
            arrays = {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot read arrays from {path}",
            know=str(error),
            try_="give a .npy, a .npz, or a .bin of raw numbers",
        ) from error
    if name:
        if name not in arrays and len(arrays) != 1:
            raise InputError(
                f"{path} does not say which array is {name!r}", know=f"it has {', '.join(arrays)}"
            )
        return {name: arrays.get(name, next(iter(arrays.values())))}
    for key in arrays:
        if key not in bindings:
            raise InputError(
                f"the network has no input {key!r}", at=str(path), know=_known(bindings)
            )
    return arrays


def _raw(path: Path, binding: Binding) -> Array:
    """Row-major numbers without a header. raises: ShapeError for another number of bytes"""
    body = path.read_bytes()
    needed = int(np.prod(binding.shape)) * binding.dtype.bytes
    if len(body) != needed:
        raise ShapeError(
            f"{path} does not hold input {binding.name!r}",
            know=f"{len(body)} bytes; {binding.dtype}{list(binding.shape)} has {needed}",
        )
    return np.frombuffer(body, binding.dtype.numpy).reshape(binding.shape).copy()


def _only(path: Path, name: str, bindings: dict[str, Binding]) -> str:
    """The name given, or the network's only input. raises: InputError"""
    if name or len(bindings) == 1:
        return name or next(iter(bindings))
    raise InputError(
        f"{path} does not say which input it is",
        know=_known(bindings),
        try_=f"write --input NAME:{path}",
    )


def _check(array: Array, binding: Binding, path: Path) -> None:
    """raises: DTypeError, ShapeError"""
    expected = f"expected {binding.dtype}{list(binding.shape)}"
    if array.dtype != binding.dtype.numpy:
        raise DTypeError(
            f"input {binding.name!r} has the wrong dtype",
            at=str(path),
            know=f"{expected}, the file has {array.dtype}",
            try_=f"array.astype({binding.dtype.numpy.name!r}) before it is saved",
        )
    if array.shape != binding.shape:
        raise ShapeError(
            f"input {binding.name!r} has the wrong shape",
            at=str(path),
            know=f"{expected}, the file has {list(array.shape)}",
            try_="save an array of that shape, or build the model for this one with --shape",
        )


def _known(bindings: dict[str, Binding]) -> str:
    return "inputs: " + ", ".join(f"{b.name}: {b.dtype}{list(b.shape)}" for b in bindings.values())
