"""The ways to run a kernel on an NVIDIA GPU."""

from __future__ import annotations

from planck.tactics.triton.loops import Loops
from planck.tactics.triton.tactic import CudaTactic

TACTICS: tuple[CudaTactic, ...] = (Loops(),)
"""In the order in which they are asked; all that offer are compared."""
