"""Planck: an inference compiler and runtime. Model file in, machine code tuned for this machine out."""

from __future__ import annotations

__version__ = "0.1.0"
