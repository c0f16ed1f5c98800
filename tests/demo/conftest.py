"""The demo's modules are scripts beside each other, not a package: put their folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "demo"
sys.path.insert(0, str(DEMO))
