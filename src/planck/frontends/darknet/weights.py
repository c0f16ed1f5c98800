"""Darknet's .weights file: a header and one long row of float32, in the order of the layers."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np

from planck.dtypes import Array
from planck.errors import FileError, ModelFormatError

log = logging.getLogger(__name__)

MAX_NUMBERS = 1 << 28  # to draw for one network: a gigabyte, several times the largest published


class WeightsFile:
    """Hands out the numbers in order. Without a file it draws random ones, for benchmarks."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._random = np.random.default_rng(0)
        self._at = 0
        self._numbers: Array = np.zeros(0, np.float32)
        if path is not None:
            self._numbers = _read(path)

    def take(self, shape: tuple[int, ...], what: str, at: str) -> Array:
        """f32[shape], the next numbers of the file.

        what:    "bias", "scale", "mean", "variance" or "weights"
        raises:  ModelFormatError naming the layer where the file ends too early
        """
        count = int(np.prod(shape, dtype=np.int64))
        if self.path is None:
            self._at += count
            if self._at > MAX_NUMBERS:
                raise ModelFormatError(
                    "the network is too large for random weights",
                    at=at,
                    know=f"{self._at} numbers up to here, at most {MAX_NUMBERS} are drawn",
                )
            return self._draw(shape, what)
        left = self._numbers.size - self._at
        if count > left:
            raise ModelFormatError(
                f"{self.path.name} ends inside the {what} of a layer",
                at=at,
                know=f"the layer wants {count} numbers here, {left} are left of"
                f" {self._numbers.size}",
                try_="check that the .weights file belongs to this .cfg and was copied whole",
            )
        part = self._numbers[self._at : self._at + count]
        self._at += count
        return np.array(part, np.float32).reshape(shape)

    def finish(self, last: str) -> None:
        """raises: ModelFormatError if numbers are left after the last layer"""
        left = self._numbers.size - self._at
        if self.path and left:
            raise ModelFormatError(
                f"{self.path.name} holds {left} numbers more than the layers take",
                at=f"after {last}",
                know=f"the layers take {self._at}, the file has {self._numbers.size}",
                try_="check that the .weights file belongs to this .cfg",
            )

    def _draw(self, shape: tuple[int, ...], what: str) -> Array:
        if what == "weights":
            fan_in = max(int(np.prod(shape[1:])), 1)
            scale = np.float32(np.sqrt(2.0 / fan_in))
            return self._random.standard_normal(shape, np.float32) * scale
        if what in ("scale", "variance"):
            return self._random.uniform(0.8, 1.2, shape).astype(np.float32)
        return self._random.standard_normal(shape, np.float32) * np.float32(0.1)


def _read(path: Path) -> Array:
    """The numbers behind the header.

    source: Darknet, src/parser.c, load_weights_upto: three int32, then the count of images seen,
            32 bits before version 0.2 and 64 bits from then on
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}", know=str(error)) from error
    if len(body) < 16:
        raise ModelFormatError(
            f"{path.name} is too short to be a Darknet weights file",
            know=f"{len(body)} bytes; the header alone has 16 or 20",
        )
    major, minor, _ = struct.unpack("<3i", body[:12])
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise ModelFormatError(
            f"{path.name} is not a Darknet weights file", know=f"its version says {major}.{minor}"
        )
    header = 20 if major * 10 + minor >= 2 else 16
    if len(body) < header or (len(body) - header) % 4:
        raise ModelFormatError(
            f"{path.name} is cut: its numbers do not fill whole float32",
            know=f"{len(body)} bytes, {header} of them the header",
        )
    return np.frombuffer(body, "<f4", offset=header)
