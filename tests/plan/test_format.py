"""The plan file: it comes back as it went, and no damaged byte goes unnoticed."""

from __future__ import annotations

import errno
import json
import os
import struct
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planck
from planck import dtypes
from planck.device import system
from planck.errors import (
    FileError,
    PlanFormatError,
    PlanTargetError,
    PlanVersionError,
)
from planck.ir.types import Quant, TensorType
from planck.plan.format import FORMAT, load_plan, read_header, save_plan
from planck.plan.model import Place, Plan, Slot
from planck.target import host
from tests.runtime.kernels import chain

# How the weights are loaded: mapped, or read into memory of the process.
LOADS = {"mapped": load_plan, "read": partial(load_plan, allocate=system.allocate)}


@pytest.fixture(params=LOADS)
def load(request: pytest.FixtureRequest) -> Any:
    return LOADS[request.param]


@cache
def small() -> Plan:
    """Two steps, with one of everything that a plan can hold."""
    plan, _ = chain(2, 20)
    quant = Quant((0.5, 0.25), (0, 3), 1)
    odd = Slot("odd", TensorType((1, 2, 3), dtypes.u8, 16, quant), Place("arena"), (48, 48, 16, 1))
    steps = (replace(plan.steps[0], config={"tile": [4, 6]}, measured_us=1.25), plan.steps[1])
    return replace(
        plan, slots=(*plan.slots, odd), steps=steps, graph="graph(ü) {}", build={"seed": 1}
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "small.plan"
    save_plan(small(), path)
    return path.read_bytes()


def test_round_trip(tmp_path: Path, load: Any) -> None:
    path = tmp_path / "a.plan"
    save_plan(small(), path)
    loaded = load(path)
    assert isinstance(loaded.weights, memoryview)
    assert loaded.weights.readonly
    assert np.frombuffer(loaded.weights, np.uint8).ctypes.data % 64 == 0
    assert replace(loaded, weights=bytes(loaded.weights)) == small()
    again = tmp_path / "b.plan"
    save_plan(loaded, again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.plan", "b.plan"]


def test_a_plan_can_be_saved_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    save_plan(small(), path)
    loaded = load_plan(path)
    save_plan(loaded, path)
    assert load_plan(path).steps == loaded.steps


def test_the_header_reads_alone(tmp_path: Path, saved: bytes) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(saved)
    header = read_header(path)
    assert (header.name, header.steps, header.target) == ("chain", 2, small().target)
    assert (header.inputs, header.outputs, header.names) == (
        small().inputs,
        small().outputs,
        small().names,
    )
    assert header.file_bytes == len(saved)
    assert [s.name for s in header.sections] == ["plan", "code", "graph", "weights"]
    assert all(s.offset % 64 == 0 for s in header.sections)
    assert saved[header.sections[-1].offset + header.sections[-1].bytes :] == bytes(64)


def test_every_flipped_byte_is_noticed(tmp_path: Path, saved: bytes, load: Any) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(saved)
    with path.open("r+b", buffering=0) as file:
        for at in range(len(saved)):
            file.seek(at)
            file.write(bytes([saved[at] ^ (1 << at % 8)]))
            with pytest.raises(PlanFormatError):
                load(path)
            file.seek(at)
            file.write(saved[at : at + 1])
    assert load(path).name == "chain"


def test_every_truncation_is_noticed(tmp_path: Path, saved: bytes, load: Any) -> None:
    path = tmp_path / "a.plan"
    for size in range(len(saved) - 1, -1, -7):
        path.write_bytes(saved[:size])
        with pytest.raises(PlanFormatError):
            load(path)
    path.write_bytes(saved + b"\0")
    with pytest.raises(PlanFormatError, match="damaged"):
        load(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_other_bytes_are_noticed(
    data: st.DataObject, saved: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    begin = data.draw(st.integers(0, len(saved)))
    end = data.draw(st.integers(begin, len(saved)))
    other = data.draw(st.binary(max_size=80))
    damaged = saved[:begin] + other + saved[end:]
    if damaged != saved:
        path = tmp_path_factory.getbasetemp() / "any.plan"
        path.write_bytes(damaged)
        for read in (*LOADS.values(), read_header):
            try:
                read(path)
            except PlanFormatError:
                continue
            assert read is read_header  # which does not look at the sections


def test_what_is_no_plan_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07model" * 20)
    with pytest.raises(PlanFormatError, match="not a plan file"):
        load_plan(path)
    path.write_bytes(b"")
    with pytest.raises(PlanFormatError):
        load_plan(path)


def rewritten(saved: bytes, change: Any, version: int = FORMAT) -> bytes:
    """The file with another header, its checksum made right again."""
    (size,) = struct.unpack_from("<I", saved, 12)
    header = json.loads(saved[48 : 48 + size])
    change(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode().ljust(size)
    first = saved[:8] + struct.pack("<II", version, size)
    return first + sha256(first + text).digest() + text + saved[48 + size :]


def test_other_versions_are_refused_with_both_values(tmp_path: Path, saved: bytes) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(rewritten(saved, lambda h: None, version=7))
    with pytest.raises(PlanVersionError, match="format") as caught:
        load_plan(path)
    assert f"7 in the plan, {FORMAT} here" in caught.value.know
    path.write_bytes(rewritten(saved, lambda h: h.update(planck="9.8.7")))
    with pytest.raises(PlanVersionError) as caught:
        read_header(path)
    assert f"9.8.7 in the plan, {planck.__version__} here" in caught.value.know
    assert caught.value.try_


@pytest.mark.parametrize(
    ("field", "value", "escape"),
    [
        ("arch", "riscv64", False),
        ("isa", "sve9", False),
        ("extras", ("amx_tile",), False),
        ("machine", "Another 9000 x64", True),
    ],
)
def test_other_machines_are_refused_with_both_values(
    tmp_path: Path, field: str, value: Any, escape: bool
) -> None:
    path = tmp_path / "a.plan"
    save_plan(replace(small(), target=replace(host(), **{field: value})), path)
    with pytest.raises(PlanTargetError) as caught:
        load_plan(path)
    shown = value if isinstance(value, str) else value[0]
    assert f"{shown} in the plan" in caught.value.know
    assert caught.value.try_
    if escape:
        assert load_plan(path, any_machine=True).target.machine == value
    else:
        with pytest.raises(PlanTargetError):
            load_plan(path, any_machine=True)


def test_a_smaller_instruction_set_runs_here(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    save_plan(replace(small(), target=replace(host(), isa="portable", extras=())), path)
    assert load_plan(path).target.isa == "portable"


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, saved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="cannot be written") as caught:
        save_plan(small(), path)
    assert "No space left" in caught.value.know
    assert [p.name for p in tmp_path.iterdir()] == ["a.plan"]
    assert path.read_bytes() == b"old"


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for act in (
        lambda: load_plan(tmp_path / "no.plan"),
        lambda: read_header(tmp_path / "no.plan"),
        lambda: save_plan(small(), tmp_path / "no" / "a.plan"),
        lambda: load_plan(tmp_path),
    ):
        with pytest.raises(FileError) as caught:
            act()
        assert str(tmp_path) in caught.value.at


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, symbols={**p.symbols, "axpy": len(p.code)}),
        lambda p: replace(p, symbols={k: v for k, v in p.symbols.items() if k != "planck_run"}),
        lambda p: replace(p, arena_bytes=0),
        lambda p: replace(p, slots=(replace(p.slots[0], strides=(1, 1)), *p.slots[1:])),
        lambda p: replace(p, steps=(replace(p.steps[0], symbol="nothing"),)),
        lambda p: replace(p, steps=(replace(p.steps[0], symbol=""),)),
        lambda p: replace(p, steps=(replace(p.steps[0], grain=0),)),
        lambda p: replace(p, steps=(replace(p.steps[0], reads=(99,)),)),
        lambda p: replace(p, steps=(replace(p.steps[0], arguments=(Place("input", 0, 1),)),)),
        lambda p: replace(p, steps=(replace(p.steps[0], arguments=(Place("weights", 1 << 40),)),)),
        lambda p: replace(p, steps=(replace(p.steps[0], arguments=(Place("arena", -4),)),)),
    ],
)
def test_numbers_that_point_outside_are_refused(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "a.plan"
    save_plan(change(small()), path)
    with pytest.raises(PlanFormatError):
        load_plan(path)
