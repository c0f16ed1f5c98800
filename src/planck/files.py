"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from planck.errors import FileError

Buffer = bytes | bytearray | memoryview


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
