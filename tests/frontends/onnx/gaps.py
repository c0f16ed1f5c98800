"""ONNX's backend node tests that Planck does not pass, as patterns of their names, and why."""

from __future__ import annotations

GAPS: dict[str, str] = {}
