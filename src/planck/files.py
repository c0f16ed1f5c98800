"""Writing files whole or not at all, and the folders for them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
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
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.chmod(file.name, 0o644)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, where they are not there yet. raises: FileError"""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder {path}", know=error.strerror or str(error)
        ) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse now what could not be written after long work.

    raises: FileError (no such folder, no rights); a full disk is not foreseen
    """
    real = Path(os.path.realpath(path))
    try:
        if real.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISDIR(real.parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(real if _is_special(real) else real.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(Path(path), error.strerror or str(error)) from error


def _is_special(path: Path) -> bool:
    """Whether there is a pipe or a device, which is written and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _unwritable(path: Path, why: str) -> FileError:
    return FileError(
        f"cannot write {path}",
        know=why,
        try_="check that the folder exists, is writable and has room",
    )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file in the same folder, flushed to the disk and renamed to `path` after the block.

    Where the block fails it is removed, and what was at `path` is untouched. What a link leads to
    is replaced, not the link; a pipe or a device is written itself.

    raises: OSError
    """
    path = Path(os.path.realpath(path))
    if _is_special(path):
        with path.open("wb") as file:
            yield file
        return
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
