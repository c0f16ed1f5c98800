"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from planck.errors import FileError

Buffer = bytes | bytearray | memoryview
_SEEKING = threading.Lock()  # a descriptor has one position


def write_file(path: str | os.PathLike[str], parts: Buffer | Iterable[Buffer]) -> None:
    """Write a file that everybody may read.

    raises: FileError (no such folder, no rights, disk full); what was at `path` is then untouched
    """
    path = Path(path)
    pieces = (parts,) if isinstance(parts, bytes | bytearray | memoryview) else parts
    try:
        with replacing(path) as file:
            for piece in pieces:
                file.write(piece)
            os.chmod(file.name, 0o644)
    except OSError as error:
        raise FileError(
            f"cannot write {path}",
            know=error.strerror or str(error),
            try_="check that the folder exists, is writable and has room",
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file in the same folder, flushed to the disk and renamed to `path` after the block.

    Where the block fails it is removed, and what was at `path` is untouched.
    raises: OSError
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    file = temporary.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read_at(descriptor: int, offset: int, memory: memoryview) -> bool:
    """Fill memory with a file's bytes from an offset on; False if the file ends before.

    Several threads may read one descriptor at a time where the system reads at offsets.
    raises: OSError
    """
    done = 0
    while done < len(memory):
        if hasattr(os, "preadv"):
            count = os.preadv(descriptor, [memory[done:]], offset + done)
        else:
            with _SEEKING:
                os.lseek(descriptor, offset + done, os.SEEK_SET)
                piece = os.read(descriptor, len(memory) - done)
            count = len(piece)
            memory[done : done + count] = piece
        if not count:
            return False
        done += count
    return True
