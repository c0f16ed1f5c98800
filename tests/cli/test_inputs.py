"""Inputs from files: every way to name them, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import planck
from planck.cli.inputs import load_inputs
from planck.errors import DTypeError, InputError, ShapeError
from planck.ir.parse import parse
from planck.runtime import Engine
from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Two inputs, one of which has a name with both signs in it."""
    graph = parse(
        """graph "two"(%a: f32[2,3], %b: f32[2,3]) {
          %y: f32[2,3] = Pointwise(%a, %b, fn="add")
          return %y
        }"""
    )
    graph = planck.ir.graph.Graph(
        graph.name, graph.inputs, graph.nodes, graph.outputs, graph.weights,
        names={"a": "a", "b": "b:0=x"},
    )  # fmt: skip
    return planck.build(graph, threads=1, optimization_level=0)


ONE = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_each_kind_of_file(engine: Engine, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE)
    (tmp_path / "b.bin").write_bytes((ONE + 1).tobytes())
    np.savez(tmp_path / "both.npz", **{"a": ONE + 2, "b:0=x": ONE + 3})
    np.savez(tmp_path / "one.npz", ONE + 4)
    found = load_inputs(engine, [f"a:{tmp_path}/a.npy", f"b:0=x={tmp_path}/b.bin"])
    np.testing.assert_array_equal(found["a"], ONE)
    np.testing.assert_array_equal(found["b:0=x"], ONE + 1)
    found = load_inputs(engine, [f"{tmp_path}/both.npz", f"a={tmp_path}/one.npz"])
    np.testing.assert_array_equal(found["a"], ONE + 4)
    np.testing.assert_array_equal(found["b:0=x"], ONE + 3)


def test_what_no_file_gives_is_random_and_fits(engine: Engine, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE)
    found = load_inputs(engine, [f"a:{tmp_path}/a.npy"])
    assert found["b:0=x"].shape == (2, 3)
    assert found["b:0=x"].std() > 0
    engine(found)


@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (np.zeros((3, 2), np.float32), ShapeError, r"expected f32\[2, 3\], the file has \[3, 2\]"),
        (np.zeros((2, 3), np.float64), DTypeError, "the file has float64"),
        (np.zeros((2, 3), ">f4"), DTypeError, "the file has >f4"),
    ],
)
def test_arrays_that_do_not_fit(
    engine: Engine, tmp_path: Path, array: np.ndarray, error: type[Exception], says: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(error, match=says):
        load_inputs(engine, [f"a:{tmp_path}/a.npy"])


@pytest.mark.parametrize("bytes_", [0, 23, 25])
def test_raw_numbers_of_another_size(engine: Engine, tmp_path: Path, bytes_: int) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(bytes_))
    with pytest.raises(ShapeError, match=rf"{bytes_} bytes; f32\[2, 3\] has 24"):
        load_inputs(engine, [f"a:{tmp_path}/a.bin"])


@pytest.mark.parametrize("body", [b"", b"not an array", b"PK\x03\x04damaged", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damaged_files(engine: Engine, tmp_path: Path, body: bytes, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(body)
    with pytest.raises(InputError, match="cannot read arrays from"):
        load_inputs(engine, [f"a:{path}"])


def test_pickles_are_not_read(engine: Engine, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot read arrays from"):
        load_inputs(engine, [f"a:{tmp_path}/a.npy"])


def test_names_that_do_not_fit(engine: Engine, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE)
    np.savez(tmp_path / "z.npz", z=ONE)
    np.savez(tmp_path / "pq.npz", p=ONE, q=ONE)
    for text, says in (
        (f"z:{tmp_path}/a.npy", "no input 'z'"),
        (f"z={tmp_path}/a.npy", "no input 'z'"),
        (f"{tmp_path}/z.npz", "no input 'z'"),
        (f"{tmp_path}/a.npy", "does not say which input it is"),
        (f"a:{tmp_path}/pq.npz", "does not say which array is 'a'"),
        (f"a:{tmp_path}/gone.npy", "cannot read arrays"),
        (f"{tmp_path}/gone.bin", "does not say which input"),
        (f"a:{tmp_path}/gone.bin", "cannot read arrays"),
    ):
        with pytest.raises(InputError, match=says):
            load_inputs(engine, [text])


def test_commands_say_so(command: Command, plan: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((2, 3, 8, 8), np.float32))
    for arguments in (("run", plan, "-i", wrong), ("bench", plan, "--load-inputs", f"x:{wrong}")):
        done = command(*arguments)
        assert (done.code, done.out) == (1, "")
        assert "ShapeError: input 'x' has the wrong shape" in done.err
