"""Darknet's .cfg text: sections of options, each with its line for error messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from planck.errors import FileError, ModelFormatError

MAX_BYTES = 4 << 20  # the largest published cfg has 50 KB


@dataclass
class Section:
    """One [section]: its options as text, and the lines they stand in.

    number:  of the layer, from 0; -1 for [net]
    """

    kind: str
    line: int
    file: str
    number: int = -1
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def at(self) -> str:
        layer = f", layer {self.number}" if self.number >= 0 else ""
        return f"{self.file}, line {self.line}{layer}, [{self.kind}]"

    def text(self, key: str, default: str | None = None) -> str:
        """An option. raises: ModelFormatError if it is missing and has no default"""
        if key in self.options:
            return self.options[key][0]
        if default is None:
            raise ModelFormatError(f"[{self.kind}] has no {key}=", at=self.at)
        return default

    def integer(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = 1 << 20
    ) -> int:
        """A whole number in a range. raises: ModelFormatError with the line"""
        return self._number(
            key, self.text(key, None if default is None else str(default)), least, most
        )

    def decimal(self, key: str, default: float) -> float:
        text = self.text(key, repr(default))
        try:
            return float(text)
        except ValueError as error:
            raise self._bad(key, text, "a number") from error

    def integers(
        self, key: str, default: str | None = None, *, least: int = -(1 << 20), most: int = 1 << 20
    ) -> list[int]:
        """A comma-separated list of whole numbers."""
        text = self.text(key, default)
        return [self._number(key, part, least, most) for part in text.split(",") if part.strip()]

    def decimals(self, key: str, default: str | None = None) -> list[float]:
        text = self.text(key, default)
        try:
            return [float(part) for part in text.split(",") if part.strip()]
        except ValueError as error:
            raise self._bad(key, text, "numbers between commas") from error

    def _number(self, key: str, text: str, least: int, most: int) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise self._bad(key, text, "a whole number") from error
        if not least <= value <= most:
            raise self._bad(key, text, f"from {least} to {most}")
        return value

    def _bad(self, key: str, text: str, wanted: str) -> ModelFormatError:
        line = self.options[key][1] if key in self.options else self.line
        return ModelFormatError(
            f"{key}={text[:40]} must be {wanted}", at=f"{self.file}, line {line}, [{self.kind}]"
        )


def read_sections(path: Path) -> list[Section]:
    """The sections of a .cfg file in order; the first is [net].

    raises: FileError, ModelFormatError with the line
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFormatError(
                f"{path.name} is too large to be a Darknet cfg",
                know=f"{path.stat().st_size} bytes, at most {MAX_BYTES}",
            )
        lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FileError(f"cannot read {path}", know=str(error)) from error
    sections: list[Section] = []
    for number, raw in enumerate(lines, 1):
        line = raw.split("#")[0].strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ModelFormatError(
                    f"{line[:40]!r} is no section", at=f"{path.name}, line {number}"
                )
            sections.append(Section(line[1:-1].strip(), number, path.name, len(sections) - 1))
            continue
        key, equals, value = line.partition("=")
        if not equals or not sections:
            raise ModelFormatError(
                f"{line[:40]!r} is neither a [section] nor key=value",
                at=f"{path.name}, line {number}",
            )
        sections[-1].options[key.strip()] = (value.strip(), number)
    if not sections or sections[0].kind not in ("net", "network"):
        raise ModelFormatError(f"{path.name} does not begin with [net]", at=f"{path.name}, line 1")
    return sections
