"""Runs ONNX's own backend tests through `planck.onnx_backend`, compared as ONNX compares them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from planck import onnx_backend
from planck.knobs import turned

KINDS: Final = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went.

    why:        empty if it passes
    reference:  steps that are not compiled
    slow:       why they are not
    known:      whether the outputs were known while building: no input is left to run with
    """

    name: str
    why: str
    reference: int = 0
    known: bool = False
    slow: tuple[str, ...] = ()


@cache
def cases() -> dict[str, TestCase]:
    """All cases, as kind/name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the expected values overflows on purpose
        return {
            f"{kind}/{case.name}": case for kind in KINDS for case in load_model_tests(kind=kind)
        }


@cache
def unsupported() -> dict[str, str]:
    """Patterns of kind/name, and why Planck cannot pass them."""
    lines = Path(__file__).with_name("unsupported.txt").read_text().splitlines()
    rows = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {pattern: reason for pattern, reason in rows}


def listed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in unsupported())


def outcome(name: str, target: str = "cpu", run: bool = True) -> Outcome:
    """Build and run a case; any exception is a failure of the case.

    run:  without, whatever is built passes
    """
    case = cases()[name]
    try:
        with warnings.catch_warnings(), turned(jobs=1):
            warnings.simplefilter("ignore")
            model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
            rep = onnx_backend.prepare(model, optimization_level=0, target=target)
            for inputs, wanted in _data_sets(case, model):
                if not run:
                    rep.engine_for(inputs)
                    continue
                found = rep.run(inputs)
                Runner.assert_similar_outputs(wanted, list(found), case.rtol, case.atol)
    except Exception as error:
        return Outcome(name, f"{type(error).__name__}: {error}")
    engine = rep.engine
    slow = tuple(engine.plan.build["references"].values())
    return Outcome(name, "", engine.inspect().reference_steps, not engine.inputs, slow)


def _data_sets(case: TestCase, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    """Inputs and expected outputs of each run."""
    if case.data_sets is not None:
        yield from (([_plain(i) for i in inputs], _each(outs)) for inputs, outs in case.data_sets)
        return
    folder = Path(case.model_dir)
    for file in sorted(folder.glob("test_data_*.npz")):
        with np.load(file, encoding="bytes") as data:
            yield list(data["inputs"]), list(data["outputs"])
    for inside in sorted(folder.glob("test_data_set*")):
        yield (
            _files(inside, "input", model.graph.input),
            _files(inside, "output", model.graph.output),
        )


def _files(folder: Path, role: str, infos: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    count = len(list(folder.glob(f"{role}_*.pb")))
    return [_file(folder / f"{role}_{i}.pb", infos[i].type) for i in range(count)]


def _file(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.WhichOneof("value") == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.WhichOneof("value") == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _each(items: Sequence[Any]) -> list[Any]:
    return [_plain(item) for item in items]


def _plain(item: Any) -> Any:
    """Arrays of tensor messages; everything else as it is."""
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    if isinstance(item, list):
        return _each(item)
    return item
