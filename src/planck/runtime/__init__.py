"""Engine and ExecutionContext: runs plans."""

from __future__ import annotations

from planck.runtime.context import ExecutionContext
from planck.runtime.engine import Binding, Engine
from planck.runtime.profile import Profile
from planck.runtime.report import Report

__all__ = ["Binding", "Engine", "ExecutionContext", "Profile", "Report"]
