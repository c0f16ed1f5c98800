"""Engine and ExecutionContext: runs plans."""

from __future__ import annotations

from planck.runtime.context import ExecutionContext
from planck.runtime.engine import Binding, Engine, engine_of
from planck.runtime.profile import Profile, StepTime
from planck.runtime.report import Report, StepReport

__all__ = [
    "Binding",
    "Engine",
    "ExecutionContext",
    "Profile",
    "Report",
    "StepReport",
    "StepTime",
    "engine_of",
]
