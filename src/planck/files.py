"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from planck.errors import FileError

Buffer = bytes | bytearray | memoryview
_SEEKING = threading.Lock()  # a descriptor has one position


def write_file(path: str | os.PathLike[str], parts: Buffer | Iterable[Buffer]) -> None:
    """Write under a temporary name in the same folder, flush to the disk, then rename.

    raises: FileError (no such folder, no rights, disk full); what was at `path` is then untouched
    """
    path = Path(path)
    pieces = (parts,) if isinstance(parts, bytes | bytearray | memoryview) else parts
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise FileError(
            f"cannot write {path}",
            know=error.strerror or str(error),
            try_="check that the folder exists, is writable and has room",
        ) from error


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
