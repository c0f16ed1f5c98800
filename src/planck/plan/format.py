"""The plan file: a header that can be read alone, then code, description, graph and weights.

    bytes 0..8      magic
    bytes 8..12     format version, u32 little-endian
    bytes 12..16    bytes of the header's JSON, u32
    bytes 16..48    SHA-256 of bytes 0..16 and of the JSON
    bytes 48..      the header: Planck version, target, inputs, outputs, the table of sections
    sections        each at a multiple of 64, in the table's order: plan, code, graph, weights
    64 bytes        zero, for vector loads that run over the end of the weights

Every byte is checked before any code runs: the header and each section by their SHA-256, the gaps
between them for being zero, the file for its length. SHA-256 reads 1.7 GB/s on a core with SHA
instructions (Zen 4), 57 ms for 100 MB of weights; so sections are hashed in chunks, side by side.
CRC-32 takes 24 ms, and would see every damaged byte but not every pattern of damage.

Weights are read into memory that the caller gives, each chunk hashed while a cache still has it, or
stay mapped, and then processes that run the same plan share them. A plan is saved under a temporary
name and renamed, so that a mapped file never changes. Equal plans give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from planck.dtypes import Array
from planck.errors import FileError, PlanFormatError, PlanVersionError
from planck.files import read_at, replacing
from planck.plan.check import check_plan, check_target
from planck.plan.codec import (
    plan_from_json,
    plan_to_json,
    slot_from_json,
    slot_to_json,
    target_from_json,
    target_to_json,
)
from planck.plan.model import Plan, Slot, aligned
from planck.target import Target, counterpart

MAGIC: Final = b"\x89PLANCK\n"  # not text, and damaged by whoever takes it for text
FORMAT: Final = 2
_START = struct.Struct("<8sII32s")
_ALIGN = 64
_CHUNK = 4 << 20  # bytes hashed by one thread at a time
_SECTIONS = ("plan", "code", "graph", "weights")

Allocate = Callable[[int], Array]
Fill = Callable[[int, memoryview], None]  # where a chunk begins in its section, its memory


@dataclass(frozen=True, slots=True)
class Section:
    """A range of the file's bytes and its `checksum`."""

    name: str
    offset: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a plan file says about itself without being loaded."""

    name: str
    planck: str
    target: Target
    precision: str
    threads: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    names: dict[str, str]
    steps: int
    sections: tuple[Section, ...]
    file_bytes: int


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan file; the old file of that name stays until the new one is whole on disk.

    raises: FileError if it cannot be written (folder missing, no rights, disk full)
    """
    path = Path(path)
    bodies: tuple[bytes | memoryview, ...] = (
        _json(plan_to_json(plan)),
        plan.code,
        plan.graph.encode(),
        memoryview(plan.weights).cast("B"),
    )
    start, sections = _header(plan, bodies)
    try:
        with replacing(path) as file:
            at = file.write(start)
            for section, body in zip(sections, bodies, strict=True):
                file.write(bytes(section.offset - at))
                file.write(body)
                at = section.offset + section.bytes
            file.write(bytes(_ALIGN))
    except OSError as error:
        raise FileError(
            "the plan cannot be written", at=str(path), know=error.strerror or str(error)
        ) from error


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header alone, in well under a millisecond; the sections are not looked at.

    raises: FileError, PlanFormatError, PlanVersionError
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(_START.size)
            _, _, size, _ = _unpack(start, path)
            text = file.read(size)
            file_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read_header(start + text, file_bytes, path)


def load_plan(
    path: str | os.PathLike[str],
    any_machine: bool = False,
    allocate: Allocate | None = None,
    any_target: bool = False,
) -> Plan:
    """A plan whose every byte has been checked.

    any_machine:  accept a plan tuned for another processor that has the same instructions
    allocate:     bytes -> the memory, u8, that weights are read into; None: they stay mapped from
                  the file
    any_target:   accept a plan for whatever processor or GPU, to look at
    raises:       FileError, PlanFormatError, PlanVersionError, PlanTargetError
    """
    try:
        with Path(path).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise PlanFormatError("the file is empty", at=str(path))
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _checked(path, data, file.fileno(), any_machine, allocate, any_target)
    except OSError as error:
        raise _unreadable(path, error) from error


def _checked(
    path: str | os.PathLike[str],
    data: memoryview,
    descriptor: int,
    any_machine: bool,
    allocate: Allocate | None,
    any_target: bool,
) -> Plan:
    _, _, size, _ = _unpack(bytes(data[: _START.size]), path)
    header = _read_header(bytes(data[: _START.size + size]), len(data), path)
    if not any_target:
        check_target(header.target, counterpart(header.target), any_machine, str(path))
    at = _START.size + size
    bodies: list[memoryview] = []
    for section in header.sections:
        end = section.offset + section.bytes
        if any(data[at : section.offset]):
            raise _damaged(path, f"the bytes before section {section.name} are not zero")
        body, fill = data[section.offset : end], None
        if allocate and section.name == "weights":
            body = allocate(section.bytes).data
            fill = partial(_fill, descriptor, section.offset)
        if checksum(body, fill) != section.sha256:
            raise _damaged(path, f"section {section.name} does not match its checksum")
        bodies.append(body.toreadonly())
        at = end
    if any(data[at:]):
        raise _damaged(path, "the bytes after the last section are not zero")
    description, code, graph, weights = bodies
    plan = plan_from_json(bytes(description), bytes(code), weights, bytes(graph))
    check_plan(plan)
    return plan


def _fill(descriptor: int, section: int, at: int, chunk: memoryview) -> None:
    # a file that was cut meanwhile leaves zeros, which the checksum finds
    read_at(descriptor, section + at, chunk)


def checksum(body: bytes | memoryview, fill: Fill | None = None) -> str:
    """SHA-256 over the SHA-256 digests of a section's chunks, computed side by side.

    fill:  brings a chunk's bytes, which begin so far into the section, before they are read
    """

    def digest(at: int) -> bytes:
        chunk = body[at : at + _CHUNK]
        if fill:
            fill(at, memoryview(chunk))
        return hashlib.sha256(chunk).digest()

    starts = range(0, max(len(body), 1), _CHUNK)
    if len(starts) == 1:
        digests = [digest(0)]
    else:
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
            digests = list(pool.map(digest, starts))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _header(plan: Plan, bodies: tuple[bytes | memoryview, ...]) -> tuple[bytes, list[Section]]:
    """The file's start, and where its sections lie.

    The header holds offsets that depend on its own length: it is padded with spaces to a multiple
    of 64 after leaving room for them.
    """
    fixed = {
        "planck": _version(),
        "name": plan.name,
        "target": target_to_json(plan.target),
        "precision": plan.precision,
        "threads": plan.threads,
        "inputs": [slot_to_json(s) for s in plan.inputs],
        "outputs": [slot_to_json(s) for s in plan.outputs],
        "names": plan.names,
        "steps": len(plan.steps),
    }
    sums = [checksum(body) for body in bodies]
    room = 1024  # the section table: four rows of at most 150 characters, and the file's length
    size = aligned(_START.size + len(_json(fixed)) + room, _ALIGN) - _START.size
    at = _START.size + size
    sections = []
    for name, body, digest in zip(_SECTIONS, bodies, sums, strict=True):
        sections.append(Section(name, at, len(body), digest))
        at = aligned(at + len(body), _ALIGN)
    file_bytes = sections[-1].offset + sections[-1].bytes + _ALIGN
    rows = [[s.name, s.offset, s.bytes, s.sha256] for s in sections]
    text = _json({**fixed, "sections": rows, "file_bytes": file_bytes}).ljust(size)
    assert len(text) == size
    first = struct.pack("<8sII", MAGIC, FORMAT, size)
    return first + hashlib.sha256(first + text).digest() + text, sections


def _unpack(start: bytes, path: str | os.PathLike[str]) -> tuple[bytes, int, int, bytes]:
    if start[: len(MAGIC)] != MAGIC:
        raise PlanFormatError(
            "this is not a plan file",
            at=str(path),
            know=f"it starts with {start[: len(MAGIC)]!r}",
            try_="give a file that planck built, or build one: planck build model.onnx",
        )
    if len(start) < _START.size:
        raise _damaged(path, "the file is cut inside its header")
    return _START.unpack(start)


def _read_header(start: bytes, file_bytes: int, path: str | os.PathLike[str]) -> Header:
    _, version, size, digest = _START.unpack_from(start)
    text = start[_START.size :]
    if len(text) < size:
        raise _damaged(path, "the file is cut inside its header")
    if hashlib.sha256(start[:16] + text).digest() != digest:
        raise _damaged(path, "the header does not match its checksum")
    if version != FORMAT:
        raise _other_version(path, "format", str(version), str(FORMAT))
    try:
        data = json.loads(text)
        if data["planck"] != _version():
            raise _other_version(path, "planck version", data["planck"], _version())
        sections = tuple(Section(*row) for row in data["sections"])
        header = Header(
            data["name"],
            data["planck"],
            target_from_json(data["target"]),
            data["precision"],
            data["threads"],
            tuple(slot_from_json(s) for s in data["inputs"]),
            tuple(slot_from_json(s) for s in data["outputs"]),
            data["names"],
            data["steps"],
            sections,
            data["file_bytes"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"the header is not one that planck writes: {error}") from error
    if file_bytes != header.file_bytes:
        raise _damaged(path, f"it should have {header.file_bytes} bytes and has {file_bytes}")
    if tuple(s.name for s in sections) != _SECTIONS:
        raise _damaged(path, f"its sections are {[s.name for s in sections]}")
    return header


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _version() -> str:
    from planck import __version__

    return __version__


def _damaged(path: str | os.PathLike[str], what: str) -> PlanFormatError:
    return PlanFormatError(
        "the plan file is damaged",
        at=str(path),
        know=what,
        try_="copy it again from where it was built, or build it again",
    )


def _other_version(
    path: str | os.PathLike[str], field: str, theirs: str, ours: str
) -> PlanVersionError:
    return PlanVersionError(
        f"the plan has another {field}",
        at=str(path),
        know=f"{field}: {theirs} in the plan, {ours} here",
        try_="build the plan again with this version, or install the version that built it",
    )


def _unreadable(path: str | os.PathLike[str], error: OSError) -> FileError:
    return FileError("the plan cannot be read", at=str(path), know=error.strerror or str(error))
